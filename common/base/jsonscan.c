#include "common/base/jsonscan.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/ascii.h"
#include "common/base/mem.h"
#include "common/base/utf8.h"

struct scanner {
    struct jsonscan *j;
    const char *s;
    size_t n, i;
    enum jsonscan_result result;
};

static bool broken(struct scanner *k, const char *error, size_t at)
{
    size_t position = 0;

    for (size_t i = 0; i < at; i++)
        position += ((unsigned char)k->s[i] & 0xc0) != 0x80;
    k->j->error = error;
    k->j->position = position;
    k->result = JSONSCAN_BROKEN;
    return false;
}

static bool unreadable(struct scanner *k)
{
    k->result = JSONSCAN_UNREADABLE;
    return false;
}

static bool is_digit(const struct scanner *k, size_t i)
{
    return i < k->n && k->s[i] >= '0' && k->s[i] <= '9';
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void skip_space(struct scanner *k)
{
    while (k->i < k->n && is_space(k->s[k->i]))
        k->i++;
}

static size_t put_code_point(char *to, uint32_t cp)
{
    if (cp >= 0xd800 && cp <= 0xdfff) { /* a lone surrogate: WTF-8 */
        to[0] = (char)(0xe0 | cp >> 12);
        to[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        to[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    return utf8_encode(to, cp);
}

/* Four hex digits at i; Python reports a bad one at the u before them. */
static bool four_digits(struct scanner *k, size_t i, uint32_t *v)
{
    *v = 0;
    for (size_t d = 0; d < 4; d++) {
        int h = ascii_hex(k->s[i + d]);
        if (h < 0)
            return broken(k, "Invalid \\uXXXX escape", i - 1);
        *v = *v << 4 | (uint32_t)h;
    }
    return true;
}

/* k->i is behind "\u". Writes the code point. */
static bool unicode_escape(struct scanner *k, char *to, size_t *len)
{
    uint32_t high, low;

    if (k->i + 4 >= k->n) /* not even room for a closing quote */
        return broken(k, "Invalid \\uXXXX escape", k->i - 1);
    if (!four_digits(k, k->i, &high))
        return false;
    k->i += 4;
    if (high >= 0xd800 && high <= 0xdbff && k->i + 6 < k->n && k->s[k->i] == '\\' && k->s[k->i + 1] == 'u') {
        if (!four_digits(k, k->i + 2, &low))
            return false;
        if (low >= 0xdc00 && low <= 0xdfff) {
            high = 0x10000 + ((high - 0xd800) << 10 | (low - 0xdc00));
            k->i += 6;
        }
    }
    *len += put_code_point(to + *len, high);
    return true;
}

static bool escape(struct scanner *k, char *to, size_t *len)
{
    static const char from[] = "\"\\/bfnrt";
    static const char means[] = "\"\\/\b\f\n\r\t";
    size_t backslash = k->i - 1;

    char c = k->s[k->i++];
    if (c == 'u')
        return unicode_escape(k, to, len);
    const char *at = c ? strchr(from, c) : NULL;
    if (!at)
        return broken(k, "Invalid \\escape", backslash);
    to[(*len)++] = means[at - from];
    return true;
}

/* Of eight bytes at once, as most of a string is: none ends it, begins an escape or is a control character. */
static bool are_plain(const char *p)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    uint64_t v;

    memcpy(&v, p, sizeof v);
    uint64_t quote = v ^ ones * '"', backslash = v ^ ones * '\\';
    return !((((v - ones * 0x20) & ~v) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)) &
             highs);
}

/* k->i is behind the opening quote. The decoded text is never longer than the source. */
static bool string(struct scanner *k, char *to, size_t *len)
{
    size_t quote = k->i - 1;

    *len = 0;
    for (;;) {
        size_t start = k->i;
        size_t i = start;
        while (k->n - i >= 8 && are_plain(k->s + i))
            i += 8;
        while (i < k->n && k->s[i] != '"' && k->s[i] != '\\') {
            if ((unsigned char)k->s[i] < 0x20)
                return broken(k, "Invalid control character at", i);
            i++;
        }
        k->i = i;
        if (to)
            memcpy(to + *len, k->s + start, k->i - start);
        *len += k->i - start;
        if (k->i == k->n)
            return broken(k, "Unterminated string starting at", quote);
        if (k->s[k->i++] == '"')
            return true;
        if (k->i == k->n)
            return broken(k, "Unterminated string starting at", quote);
        char scratch[8];
        size_t got = 0;
        if (!escape(k, to ? to + *len : scratch, &got))
            return false;
        *len += got;
    }
}

static bool number(struct scanner *k, enum value_type *type)
{
    size_t start = k->i;
    size_t i = k->i;

    *type = VALUE_INT;
    if (k->s[i] == '-')
        i++;
    if (!is_digit(k, i))
        return broken(k, "Expecting value", start);
    size_t digits = i;
    if (k->s[i] == '0')
        i++;
    else
        while (is_digit(k, i))
            i++;
    digits = i - digits;
    if (i < k->n && k->s[i] == '.' && is_digit(k, i + 1)) {
        *type = VALUE_FLOAT;
        for (i++; is_digit(k, i); i++)
            ;
    }
    if (i < k->n && (k->s[i] == 'e' || k->s[i] == 'E')) {
        size_t e = i + 1;
        if (e < k->n && (k->s[e] == '-' || k->s[e] == '+'))
            e++;
        if (is_digit(k, e)) {
            *type = VALUE_FLOAT;
            for (i = e; is_digit(k, i); i++)
                ;
        }
    }
    k->i = i;
    if (*type == VALUE_INT && digits > JSONSCAN_DIGITS_MAX)
        return unreadable(k);
    return true;
}

static bool word(struct scanner *k, const char *text)
{
    size_t n = strlen(text);

    if (k->n - k->i < n || memcmp(k->s + k->i, text, n) != 0)
        return false;
    k->i += n;
    return true;
}

/* Everything that does not nest. */
static bool scalar(struct scanner *k, enum value_type *type)
{
    size_t len;

    if (k->i >= k->n)
        return broken(k, "Expecting value", k->i);
    if (k->s[k->i] == '"') {
        *type = VALUE_STRING;
        k->i++;
        return string(k, NULL, &len);
    }
    *type = VALUE_FLOAT;
    if (word(k, "NaN") || word(k, "Infinity") || word(k, "-Infinity")) {
        k->j->beyond_json = true;
        return true;
    }
    *type = VALUE_NULL;
    if (word(k, "null"))
        return true;
    *type = VALUE_TRUE;
    if (word(k, "true"))
        return true;
    *type = VALUE_FALSE;
    if (word(k, "false"))
        return true;
    return number(k, type);
}

/* A member's key and the colon behind it, up to its value. */
static bool key(struct scanner *k, struct str *source)
{
    size_t len;

    if (k->i >= k->n || k->s[k->i] != '"')
        return broken(k, "Expecting property name enclosed in double quotes", k->i);
    size_t start = k->i++;
    if (!string(k, NULL, &len))
        return false;
    *source = (struct str){k->s + start, k->i - start};
    skip_space(k);
    if (k->i >= k->n || k->s[k->i] != ':')
        return broken(k, "Expecting ':' delimiter", k->i);
    k->i++;
    skip_space(k);
    return true;
}

static bool has_surrogate(struct str s)
{
    for (size_t i = 0; i + 2 < s.n; i++)
        if ((unsigned char)s.p[i] == 0xed && (unsigned char)s.p[i + 1] >= 0xa0)
            return true;
    return false;
}

/* The source of a string has been checked already. *decoded is replaced when the text has escapes. */
static struct value make_value(enum value_type type, struct str source, char **decoded)
{
    struct value v = {.type = type, .source = source};

    if (type != VALUE_STRING)
        return v;
    assert(source.p && source.n >= 2);
    v.text = (struct str){source.p + 1, source.n - 2};
    if (memchr(source.p, '\\', source.n)) {
        char *text = xmalloc(source.n);
        v.text.n = jsonscan_decode(source, text);
        free(*decoded);
        *decoded = text;
        v.text.p = text;
    }
    v.surrogate = has_surrogate(v.text);
    return v;
}

/* Python's dict: a key that comes again gets the new value. */
static void add_member(struct jsonscan *j, struct str key_source, enum value_type type, struct str source)
{
    char *decoded = NULL;
    struct str name = make_value(VALUE_STRING, key_source, &decoded).text;

    for (size_t i = 0; i < j->n; i++)
        if (str_eq(name, j->members[i].key)) {
            j->members[i].present = true;
            j->members[i].value = make_value(type, source, &j->members[i].decoded);
        }
    free(decoded);
}

/* One bit a level: an object (true) or an array. */
struct nest {
    unsigned char bits[JSONSCAN_DEPTH_MAX / 8 + 1];
    size_t depth;
};

static bool in_object(const struct nest *nest)
{
    return nest->bits[(nest->depth - 1) / 8] >> ((nest->depth - 1) % 8) & 1;
}

static bool enter(struct scanner *k, struct nest *nest, bool object)
{
    if (nest->depth == JSONSCAN_DEPTH_MAX)
        return unreadable(k);
    unsigned char bit = (unsigned char)(1u << (nest->depth % 8));
    if (object)
        nest->bits[nest->depth / 8] |= bit;
    else
        nest->bits[nest->depth / 8] &= (unsigned char)~bit;
    nest->depth++;
    k->i++;
    skip_space(k);
    return true;
}

/* The whole text from k->i, one value. A top-level object's members are collected on the way. */
static bool document(struct scanner *k)
{
    struct nest nest = {.depth = 0};
    struct jsonscan *j = k->j;
    struct str member_key = {NULL, 0};
    size_t member_start = 0;
    enum value_type type = VALUE_NULL;
    size_t start = k->i;

    for (;;) {
        /* A value begins at k->i. */
        if (nest.depth == 1)
            member_start = k->i;
        char c = k->i < k->n ? k->s[k->i] : '\0';
        if (c == '{' || c == '[') {
            if (!enter(k, &nest, c == '{'))
                return false;
            type = c == '{' ? VALUE_OBJECT : VALUE_ARRAY;
            bool empty = k->i < k->n && k->s[k->i] == (c == '{' ? '}' : ']');
            if (!empty) {
                struct str name = {NULL, 0};
                if (c == '{' && !key(k, &name))
                    return false;
                if (c == '{' && nest.depth == 1)
                    member_key = name;
                continue;
            }
            k->i++;
            nest.depth--;
        } else if (!scalar(k, &type)) {
            return false;
        }
        /* A value has ended before k->i: close what it completes. */
        for (;;) {
            if (nest.depth == 0) {
                j->top = make_value(type, (struct str){k->s + start, k->i - start}, &j->top_decoded);
                return true;
            }
            bool object = in_object(&nest);
            if (nest.depth == 1 && object)
                add_member(j, member_key, type, (struct str){k->s + member_start, k->i - member_start});
            skip_space(k);
            char end = k->i < k->n ? k->s[k->i] : '\0';
            if (k->i < k->n && end == (object ? '}' : ']')) {
                k->i++;
                nest.depth--;
                type = object ? VALUE_OBJECT : VALUE_ARRAY;
                continue;
            }
            if (k->i >= k->n || end != ',')
                return broken(k, "Expecting ',' delimiter", k->i);
            k->i++;
            skip_space(k);
            struct str name = {NULL, 0};
            if (object && !key(k, &name))
                return false;
            if (object && nest.depth == 1)
                member_key = name;
            break;
        }
    }
}

/* Encodings. */

struct encoding {
    int unit; /* bytes: 1, 2, 4 */
    bool big;
    size_t bom;
};

static struct encoding detect(struct str b)
{
    const unsigned char *p = (const unsigned char *)b.p;

    if (b.n >= 4 && memcmp(p, "\xff\xfe\0\0", 4) == 0)
        return (struct encoding){4, false, 4};
    if (b.n >= 4 && memcmp(p, "\0\0\xfe\xff", 4) == 0)
        return (struct encoding){4, true, 4};
    if (b.n >= 2 && memcmp(p, "\xff\xfe", 2) == 0)
        return (struct encoding){2, false, 2};
    if (b.n >= 2 && memcmp(p, "\xfe\xff", 2) == 0)
        return (struct encoding){2, true, 2};
    if (b.n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        return (struct encoding){1, false, 3};
    if (b.n >= 4 && !p[0])
        return (struct encoding){p[1] ? 2 : 4, true, 0};
    if (b.n >= 4 && !p[1])
        return (struct encoding){p[2] || p[3] ? 2 : 4, false, 0};
    if (b.n == 2 && !p[0])
        return (struct encoding){2, true, 0};
    if (b.n == 2 && !p[1])
        return (struct encoding){2, false, 0};
    return (struct encoding){1, false, 0};
}

static bool check_utf8(struct str b)
{
    for (size_t i = 0; i < b.n;) {
        uint64_t eight;
        uint32_t cp;
        if (b.n - i >= sizeof eight) { /* most text is ASCII: eight bytes at once */
            memcpy(&eight, b.p + i, sizeof eight);
            if (!(eight & 0x8080808080808080u)) {
                i += sizeof eight;
                continue;
            }
        }
        int got = utf8_next(b.p + i, b.n - i, &cp);
        if (got < 0)
            return false;
        i += (size_t)got;
    }
    return true;
}

static uint32_t unit_at(const struct encoding *e, const unsigned char *p)
{
    uint32_t v = 0;

    for (int i = 0; i < e->unit; i++)
        v |= (uint32_t)p[i] << 8 * (e->big ? e->unit - 1 - i : i);
    return v;
}

static bool to_utf8(struct buf *out, struct str b, const struct encoding *e)
{
    const unsigned char *p = (const unsigned char *)b.p;
    size_t unit = (size_t)e->unit;

    if (b.n % unit)
        return false;
    for (size_t i = 0; i < b.n; i += unit) {
        uint32_t cp = unit_at(e, p + i);
        if (unit == 2 && cp >= 0xd800 && cp <= 0xdbff && i + 4 <= b.n) {
            uint32_t low = unit_at(e, p + i + 2);
            if (low >= 0xdc00 && low <= 0xdfff) {
                cp = 0x10000 + ((cp - 0xd800) << 10 | (low - 0xdc00));
                i += 2;
            }
        }
        char text[4];
        if (cp > 0x10ffff)
            return false;
        buf_append(out, text, put_code_point(text, cp));
    }
    return !out->failed;
}

enum jsonscan_result jsonscan(struct jsonscan *j, struct str body, const char *const *keys)
{
    struct encoding e = detect(body);
    struct str rest = {body.p + e.bom, body.n - e.bom};

    *j = (struct jsonscan){.text = BUF_INIT(2 * body.n)}; /* from UTF-16 it grows by a half at most */
    for (; *keys; keys++) {
        assert(j->n < JSONSCAN_MEMBERS_MAX);
        j->members[j->n++].key = *keys;
    }
    if (e.unit > 1 ? !to_utf8(&j->text, rest, &e) : !check_utf8(rest))
        return JSONSCAN_UNREADABLE;
    struct scanner k = {.j = j, .s = rest.p, .n = rest.n, .result = JSONSCAN_OK};
    if (e.unit > 1) {
        k.s = j->text.data ? j->text.data : "";
        k.n = j->text.len;
    }
    skip_space(&k);
    if (!document(&k))
        return k.result;
    skip_space(&k);
    if (k.i < k.n)
        broken(&k, "Extra data", k.i);
    return k.result;
}

void jsonscan_free(struct jsonscan *j)
{
    for (size_t i = 0; i < j->n; i++)
        free(j->members[i].decoded);
    free(j->top_decoded);
    buf_free(&j->text);
}

const struct value *jsonscan_get(const struct jsonscan *j, const char *name)
{
    for (size_t i = 0; i < j->n; i++)
        if (j->members[i].present && strcmp(j->members[i].key, name) == 0)
            return &j->members[i].value;
    return NULL;
}

bool jsonscan_object(struct jsonscan *j, struct str source, const char *const *keys)
{
    *j = (struct jsonscan){.n = 0};
    return source.n > 0 && jsonscan(j, source, keys) == JSONSCAN_OK && j->top.type == VALUE_OBJECT;
}

struct str jsonscan_source(const struct jsonscan *j, const char *name, enum value_type type)
{
    const struct value *v = jsonscan_get(j, name);

    return v && v->type == type ? v->source : (struct str){NULL, 0};
}

struct str jsonscan_text(const struct jsonscan *j, const char *name)
{
    const struct value *v = jsonscan_get(j, name);

    return v && v->type == VALUE_STRING ? v->text : (struct str){NULL, 0};
}

struct str jsonscan_next(struct str array, size_t *at)
{
    struct jsonscan unused = {.n = 0};
    struct scanner k = {.j = &unused, .s = array.p, .n = array.n - 1, .i = *at ? *at : 1};
    size_t depth = 0, len, start;

    skip_space(&k);
    start = k.i;
    while (k.i < k.n && (depth > 0 || k.s[k.i] != ',')) {
        char c = k.s[k.i++];
        if (c == '"')
            (void)string(&k, NULL, &len); /* it was checked with the whole */
        else if (c == '{' || c == '[')
            depth++;
        else if (c == '}' || c == ']')
            depth--;
    }
    *at = k.i < k.n ? k.i + 1 : k.n;
    while (k.i > start && is_space(k.s[k.i - 1]))
        k.i--;
    return (struct str){k.s + start, k.i - start};
}

size_t jsonscan_decode(struct str source, char *to)
{
    struct jsonscan unused = {.n = 0};
    struct scanner k = {.j = &unused, .s = source.p, .n = source.n, .i = 1};
    size_t len = 0;
    bool ok = string(&k, to, &len);

    assert(ok);
    (void)ok;
    return len;
}
