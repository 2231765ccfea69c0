#include "telemetry/redact.h"

#include <errno.h>

#include "common/base/json.h"
#include "telemetry/jsonwalk.h"

#define DOMAIN_MAX   255 /* bytes behind the @ of an address */
#define CARD_MIN     13  /* digits */
#define CARD_MAX     19
#define PHONE_MIN    8 /* digits of a number with its country */
#define PHONE_MAX    15
#define GROUPS_MAX   5 /* of digits in a phone number */
#define NOTHING_MAX  2 /* separators in a row */
#define HEAD_AND_NIL "00"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_word(char c)
{
    return is_digit(c) || is_letter(c);
}

/* A byte of a letter from À to ɏ; a byte of that form within a longer sequence is told apart by its beginning. */
static bool is_latin(char c)
{
    unsigned char u = (unsigned char)c;

    return (u >= 0xc3 && u <= 0xc9) || (u >= 0x80 && u <= 0xbf);
}

static bool is_within(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static bool is_local(char c)
{
    return is_word(c) || is_latin(c) || (c && strchr("._%+'-", c));
}

static bool is_domain(char c)
{
    return is_word(c) || is_latin(c) || c == '-' || c == '.';
}

static bool is_key(char c)
{
    return is_word(c) || c == '-' || c == '_';
}

static char at(struct str s, size_t i)
{
    return i < s.n ? s.p[i] : '\0';
}

static char before(struct str s, size_t i, size_t n)
{
    return i >= n ? s.p[i - n] : '\0';
}

/* Length of an address that begins at i, where no local part is under way; 0: none. */
static size_t email(struct str s, size_t i)
{
    size_t end = i;

    if (is_within(s.p[i])) /* the rest of a character that is no Latin letter */
        return 0;
    while (end < s.n && is_local(s.p[end]))
        end++;
    if (end == i || at(s, end) != '@')
        return 0;
    size_t domain = ++end;
    while (end < s.n && end - domain <= DOMAIN_MAX && is_domain(s.p[end]))
        end++;
    while (end > domain && (s.p[end - 1] == '.' || s.p[end - 1] == '-'))
        end--;
    size_t top = end;
    while (top > domain && (is_letter(s.p[top - 1]) || is_latin(s.p[top - 1])))
        top--;
    return end - top >= 2 && top >= domain + 2 && s.p[top - 1] == '.' ? end - i : 0;
}

/* The character before i is one of a local part: of a letter beyond ASCII that takes two bytes the last one is looked
 * at only together with the first. */
static bool local_before(struct str s, size_t i)
{
    char c = before(s, i, 1);

    if (!is_within(c))
        return c && is_local(c);
    return is_latin(before(s, i, 2)) && !is_within(before(s, i, 2));
}

/* No character of a run of local ones is the start of another: each is looked at once. */
static bool starts_address(struct str s, size_t i)
{
    return is_local(s.p[i]) && !local_before(s, i);
}

/* Which first digits belong to which number of digits. */
static const struct brand {
    unsigned from, to; /* the first four digits */
    size_t min, max;
} brands[] = {
    {2221, 2720, 16, 16}, /* Mastercard */
    {3000, 3059, 14, 19}, /* Diners Club */
    {3400, 3499, 15, 15}, /* American Express */
    {3528, 3589, 16, 19}, /* JCB */
    {3600, 3699, 14, 19}, {3700, 3799, 15, 15}, {3800, 3999, 14, 19}, {4000, 4999, 13, 19}, /* Visa */
    {5000, 5099, 13, 19},                                                                   /* Maestro */
    {5100, 5599, 16, 16}, {5600, 6999, 13, 19}, /* Maestro, Discover, UnionPay */
};

static bool is_card(const char *digits, size_t n)
{
    unsigned head = 0, sum = 0;

    for (size_t i = 0; i < 4; i++)
        head = 10 * head + (unsigned)(digits[i] - '0');
    for (size_t i = 0; i < n; i++) {
        unsigned d = (unsigned)(digits[n - 1 - i] - '0');
        d = i % 2 ? 2 * d : d;
        sum += d > 9 ? d - 9 : d;
    }
    for (size_t i = 0; sum % 10 == 0 && i < ARRAY_LEN(brands); i++)
        if (head >= brands[i].from && head <= brands[i].to && n >= brands[i].min && n <= brands[i].max)
            return true;
    return false;
}

/* In the middle of a longer number or word. */
static bool continues_number(struct str s, size_t i)
{
    char c = before(s, i, 1);

    return is_word(c) || c == '_' || c == '#' || (c && strchr(".,:/+-", c) && is_digit(before(s, i, 2)));
}

static size_t card(struct str s, size_t i)
{
    char digits[CARD_MAX];
    size_t ends[CARD_MAX], n = 0, end = i;

    while (n < CARD_MAX && is_digit(at(s, end))) {
        digits[n] = s.p[end++];
        ends[n++] = end;
        if ((at(s, end) == ' ' || at(s, end) == '-') && is_digit(at(s, end + 1)))
            end++;
    }
    for (; n >= CARD_MIN; n--)
        if (!is_word(at(s, ends[n - 1])) && is_card(digits, n))
            return ends[n - 1] - i;
    return 0;
}

/* "+34 612 345 678", "0034 (612) 345-678". */
static size_t phone_abroad(struct str s, size_t i)
{
    bool plus = s.p[i] == '+';
    size_t end = i + (plus ? 1 : sizeof HEAD_AND_NIL - 1), last = end, n = 0, nothing = 0, separators = 0;

    if (!is_digit(at(s, end)) || s.p[end] == '0')
        return 0;
    for (; end < s.n && nothing <= NOTHING_MAX; end++) {
        if (is_digit(s.p[end])) {
            nothing = 0;
            last = end + 1;
            if (++n > PHONE_MAX)
                return 0;
        } else if (strchr(" -./()", s.p[end]) && s.p[end]) {
            nothing++;
            separators += n < PHONE_MIN;
        } else {
            break;
        }
    }
    return n >= PHONE_MIN && !is_word(at(s, last)) && (plus || separators) ? last - i : 0;
}

struct groups {
    size_t n, lengths[GROUPS_MAX], first[GROUPS_MAX];
    size_t end;
    char separator;
};

static void add_group(struct groups *g, struct str s, size_t *end)
{
    size_t from = *end;

    while (is_digit(at(s, *end)))
        ++*end;
    g->first[g->n] = from;
    g->lengths[g->n++] = *end - from;
    g->end = *end;
}

/* Digits in groups with one and the same separator between; "(415) 555-2671" too. */
static bool read_groups(struct groups *g, struct str s, size_t i)
{
    bool bracket = s.p[i] == '(';
    size_t end = i + bracket;

    *g = (struct groups){0};
    if (!is_digit(at(s, end)))
        return false;
    add_group(g, s, &end);
    if (bracket) {
        if (at(s, end) != ')')
            return false;
        end++;
        end += at(s, end) == ' ' || at(s, end) == '-';
        if (!is_digit(at(s, end)))
            return false;
        add_group(g, s, &end);
    }
    while (g->n < GROUPS_MAX && at(s, end) && strchr(" -.", at(s, end)) && is_digit(at(s, end + 1)) &&
           (!g->separator || g->separator == s.p[end])) {
        g->separator = s.p[end++];
        add_group(g, s, &end);
    }
    return true;
}

static const struct shape {
    size_t n, lengths[GROUPS_MAX];
    const char *first;      /* its first digit */
    const char *separators; /* a number like 612.345.678 is an amount */
} shapes[] = {
    {3, {3, 3, 4}, "23456789", " -."},
    {4, {1, 3, 3, 4}, "1", " -."},
    {3, {3, 3, 3}, "6789", " -"},
    {4, {3, 2, 2, 2}, "6789", " -"},
    {4, {2, 3, 2, 2}, "89", " -"},
    {5, {2, 2, 2, 2, 2}, "0", " -."},
    {3, {3, 4, 4}, "0", " -"},
    {3, {5, 3, 3}, "0", " -"},
    {2, {3, 7}, "0", " -"},
    {2, {3, 8}, "0", " -"},
    {2, {4, 6}, "0", " -"},
    {2, {4, 7}, "0", " -"},
    {2, {5, 6}, "0", " -"},
    {3, {4, 3, 4}, "0", " -"},
};

static size_t phone_here(struct str s, size_t i)
{
    struct groups g;

    if (!read_groups(&g, s, i) || is_word(at(s, g.end)))
        return 0;
    if (g.separator && g.separator != ' ' && at(s, g.end) == g.separator && is_digit(at(s, g.end + 1)))
        return 0;
    for (size_t k = 0; k < ARRAY_LEN(shapes); k++) {
        const struct shape *shape = &shapes[k];
        if (g.n == shape->n && memcmp(g.lengths, shape->lengths, g.n * sizeof *g.lengths) == 0 &&
            strchr(shape->first, s.p[g.first[0]]) && (!g.separator || strchr(shape->separators, g.separator)))
            return g.end - i;
    }
    return 0;
}

static size_t phone(struct str s, size_t i)
{
    if (s.p[i] == '+')
        return phone_abroad(s, i);
    size_t n = s.p[i] == '0' && at(s, i + 1) == '0' ? phone_abroad(s, i) : 0;
    return n ? n : phone_here(s, i);
}

/* Shapes of keys: what they begin with, and how much has to follow at least. */
static const struct secret {
    const char *head;
    size_t rest;
    bool digit; /* one has to be in it: "sk-learn-is-a-library-name" is no key */
} secrets[] = {
    {"sk-", 16, true},     {"sk_live_", 16, false}, {"sk_test_", 16, false},    {"rk_live_", 16, false},
    {"pk-lf-", 16, false}, {"AKIA", 16, false},     {"ASIA", 16, false},        {"AIza", 30, false},
    {"ghp_", 20, false},   {"gho_", 20, false},     {"ghs_", 20, false},        {"ghu_", 20, false},
    {"glpat-", 16, false}, {"hf_", 20, true},       {"github_pat_", 20, false}, {"xoxb-", 16, false},
    {"xoxp-", 16, false},  {"xoxa-", 16, false},    {"gsk_", 20, false},        {"npm_", 20, true},
};

static size_t run_of_key(struct str s, size_t i, bool *digit)
{
    size_t end = i;

    for (; is_key(at(s, end)); end++)
        *digit = *digit || is_digit(s.p[end]);
    return end - i;
}

/* Three parts of base64 with dots between, the first a JSON object: a JSON web token. */
static size_t web_token(struct str s, size_t i)
{
    size_t end = i;
    bool digit = false;

    if (s.n - i < 3 || memcmp(s.p + i, "eyJ", 3) != 0)
        return 0;
    for (int part = 0; part < 3; part++) {
        size_t n = run_of_key(s, end, &digit);
        if (n < 8 || (part < 2 && at(s, end + n) != '.'))
            return 0;
        end += n + (part < 2);
    }
    return end - i;
}

static size_t key(struct str s, size_t i)
{
    for (size_t k = 0; k < ARRAY_LEN(secrets); k++) {
        size_t n = strlen(secrets[k].head);
        bool digit = false;
        if (s.n - i <= n || memcmp(s.p + i, secrets[k].head, n) != 0)
            continue;
        size_t rest = run_of_key(s, i + n, &digit);
        return rest >= secrets[k].rest && (digit || !secrets[k].digit) ? n + rest : 0;
    }
    return web_token(s, i);
}

/* To the end of the word, dots within included. */
static size_t with_prefix(const struct redact *r, struct str s, size_t i)
{
    for (size_t k = 0; k < r->n_prefixes; k++) {
        struct str p = r->prefixes[k];
        size_t end = i + p.n;
        if (s.n - i < p.n || memcmp(s.p + i, p.p, p.n) != 0)
            continue;
        while (is_key(at(s, end)) || (at(s, end) == '.' && is_key(at(s, end + 1))))
            end++;
        return end - i;
    }
    return 0;
}

/* What begins at i: its length and its word. Each kind looks at a run of bytes once at most, where it begins. */
static size_t find(const struct redact *r, struct str s, size_t i, const char **word)
{
    size_t n = 0;
    char c = s.p[i];

    if (!is_key(before(s, i, 1)) || i == 0) {
        *word = "[redacted]";
        n = with_prefix(r, s, i);
        if (n == 0 && (r->kinds & REDACT_KEY) && is_letter(c)) {
            *word = "[key]";
            n = key(s, i);
        }
    }
    if (n == 0 && (r->kinds & REDACT_EMAIL) && starts_address(s, i)) {
        *word = "[email]";
        n = email(s, i);
    }
    bool number = n == 0 && (is_digit(c) || c == '+' || c == '(') && !continues_number(s, i);
    if (number && (r->kinds & REDACT_CARD)) {
        *word = "[card]";
        n = card(s, i);
    }
    if (n == 0 && number && (r->kinds & REDACT_PHONE)) {
        *word = "[phone]";
        n = phone(s, i);
    }
    return n;
}

void redact_text(const struct redact *r, struct buf *out, struct str s)
{
    size_t done = 0;

    for (size_t i = 0; i < s.n;) {
        const char *word = "";
        size_t n = find(r, s, i, &word);
        if (n == 0) {
            i++;
            continue;
        }
        buf_append(out, s.p + done, i - done);
        buf_puts(out, word);
        i += n;
        done = i;
    }
    buf_append(out, s.p + done, s.n - done);
}

/* A value as its source, unless something has been taken out: then as a string. */
static void redact_value(void *arg, struct buf *out, const struct jsonwalk_value *v)
{
    struct buf clean = BUF_INIT(RECORD_BYTES_MAX);

    redact_text(arg, &clean, v->text);
    out->failed = out->failed || clean.failed;
    if (clean.len == v->text.n && (clean.len == 0 || memcmp(clean.data, v->text.p, clean.len) == 0))
        buf_append(out, v->source.p, v->source.n);
    else
        json_str(out, clean.data, clean.len);
    buf_free(&clean);
}

void redact_json(const struct redact *r, struct buf *out, struct str json)
{
    struct redact copy = *r;

    jsonwalk(out, json, redact_value, &copy);
}

/* Cuts the next item off a list with commas; blanks around it do not count. */
static struct str next_item(const char **rest)
{
    struct str item = {*rest + strspn(*rest, " \t"), 0};

    item.n = strcspn(item.p, ",");
    *rest = item.p + item.n;
    *rest += **rest == ',';
    while (item.n && (item.p[item.n - 1] == ' ' || item.p[item.n - 1] == '\t'))
        item.n--;
    return item;
}

int redact_init(struct redact *r, const char *kinds, const char *prefixes)
{
    static const char *const names[] = {"email", "card", "phone", "key"};

    *r = (struct redact){0};
    while (*kinds) {
        struct str item = next_item(&kinds);
        unsigned kind = 0;
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            kind |= str_eq(item, names[i]) ? 1u << i : 0;
        if (!kind)
            return -EINVAL;
        r->kinds |= kind;
    }
    while (*prefixes) {
        struct str item = next_item(&prefixes);
        if (item.n == 0 || r->n_prefixes == REDACT_PREFIXES_MAX)
            return -EINVAL;
        r->prefixes[r->n_prefixes++] = item;
    }
    return 0;
}

bool redact_is_off(const struct redact *r)
{
    return r->kinds == 0 && r->n_prefixes == 0;
}
