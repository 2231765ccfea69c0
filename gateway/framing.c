#include "gateway/framing.h"

#include <string.h>
#include <strings.h>

#include "common/base/ascii.h"
#include "common/base/attr.h"
#include "common/base/limits.h"

#define POISON   '\1'
#define STAND_IN "MKCOL"

#define BLANKS_MAX      16
#define EMPTY_LINES_MAX 8

/* field-vchar, SP and HTAB of RFC 9110 5.5 */
static bool is_value_char(char c)
{
    return (unsigned char)c >= 0x20 ? c != 0x7f : c == '\t';
}

void framing_refuse(struct framing *f, int status, const char *why)
{
    if (f->state == FRAMING_REFUSED)
        return;
    f->state = FRAMING_REFUSED;
    f->status = status;
    f->why = why;
}

static void malformed(struct framing *f, const char *why)
{
    framing_refuse(f, 400, why);
}

/* Keeps a word as far as it can matter: a longer one is none that is looked for. */
static void keep(struct framing *f, char c)
{
    if (f->n < FRAMING_WORD_SIZE - 1)
        f->word[f->n] = c;
    f->n++;
}

static bool word_is(const struct framing *f, const char *word)
{
    return f->n == strlen(word) && strncasecmp(f->word, word, f->n) == 0;
}

/* civetweb refuses methods that it has not heard of, which is not its business: whatever is none of these becomes
 * STAND_IN, which no route takes either. */
static bool method_is_known(const struct framing *f)
{
    static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"};

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (f->n == strlen(known[i]) && memcmp(f->word, known[i], f->n) == 0)
            return true;
    return false;
}

/* To be let through before the byte that is being looked at. */
static void insert(struct framing *f, const char *text, size_t n)
{
    memcpy(f->insert + f->inserts, text, n);
    f->inserts += n;
}

static void begin_request(struct framing *f)
{
    f->empty_lines = 0;
    f->head = 0;
    f->fields = f->hosts = f->n = 0;
    f->one_zero = f->has_length = f->chunked = f->expects = false;
    f->length = f->left = 0;
    f->state = FRAMING_METHOD;
}

static void end_request(struct framing *f)
{
    f->complete++;
    f->state = FRAMING_START;
}

static void end_method(struct framing *f)
{
    if (f->n == 0) {
        malformed(f, "the request line does not begin with a method");
        return;
    }
    f->options = word_is(f, "OPTIONS");
    if (method_is_known(f))
        insert(f, f->word, f->n);
    else
        insert(f, STAND_IN, strlen(STAND_IN));
    f->state = FRAMING_TARGET_FIRST;
}

static void end_version(struct framing *f)
{
    if (word_is(f, "HTTP/1.1") || word_is(f, "HTTP/1.0")) {
        f->one_zero = f->word[7] == '0';
        f->state = FRAMING_LINE_LF;
    } else if (f->n == 8 && memcmp(f->word, "HTTP/", 5) == 0 && ascii_is_digit(f->word[5]) &&
               f->word[6] == '.' && ascii_is_digit(f->word[7])) {
        framing_refuse(f, 505, "the HTTP version is not 1.0 or 1.1");
    } else {
        malformed(f, "the request line does not end with an HTTP version");
    }
}

static enum framing_field field_of(const struct framing *f)
{
    return word_is(f, "Host")                ? FIELD_HOST
           : word_is(f, "Content-Length")    ? FIELD_LENGTH
           : word_is(f, "Transfer-Encoding") ? FIELD_CODING
           : word_is(f, "Expect")            ? FIELD_EXPECT
                                             : FIELD_OTHER;
}

static void end_field_name(struct framing *f)
{
    f->field = field_of(f);
    f->n = 0;
    f->blanks = 0;
    f->state = FRAMING_FIELD_BLANK;
    if (++f->fields > HTTP_FIELDS_MAX)
        framing_refuse(f, 431, "too many header fields");
    else if (f->field == FIELD_LENGTH && f->has_length)
        malformed(f, "two Content-Length fields");
    else if (f->field == FIELD_CODING && f->chunked)
        malformed(f, "two Transfer-Encoding fields");
    else if (f->field == FIELD_HOST && ++f->hosts > 1)
        malformed(f, "two Host fields");
}

static void end_length(struct framing *f)
{
    f->has_length = true;
    if (f->n == 0)
        malformed(f, "Content-Length is no number");
    else if (f->n > HTTP_LENGTH_DIGITS_MAX)
        framing_refuse(f, 413, "Request body too large");
}

/* The value without the blanks at its end, which keep() has not counted. */
static void end_field(struct framing *f)
{
    f->state = FRAMING_FIELD_LF;
    switch (f->field) {
    case FIELD_LENGTH:
        end_length(f);
        break;
    case FIELD_CODING:
        f->chunked = true;
        if (!word_is(f, "chunked"))
            framing_refuse(f, 501, "the only transfer coding known is chunked");
        break;
    case FIELD_EXPECT:
        f->expects = true;
        if (!word_is(f, "100-continue"))
            framing_refuse(f, 417, "the only expectation known is 100-continue");
        break;
    case FIELD_HOST:
    case FIELD_OTHER:
        break;
    }
}

static void end_head(struct framing *f)
{
    if (f->chunked && f->has_length)
        malformed(f, "both Content-Length and Transfer-Encoding");
    else if (f->chunked && f->one_zero)
        malformed(f, "Transfer-Encoding in an HTTP/1.0 request");
    else if (f->hosts == 0 && !f->one_zero)
        malformed(f, "no Host field");
    else if (f->chunked)
        f->state = FRAMING_CHUNK_FIRST;
    else if ((f->left = f->length) > 0)
        f->state = FRAMING_BODY;
    else
        end_request(f);
    f->n = 0;
}

static void value_char(struct framing *f, char c)
{
    bool inner_blank = f->blanks > 0 && f->n > 0;

    switch (f->field) {
    case FIELD_OTHER:
        break;
    case FIELD_HOST:
        f->n++;
        if (inner_blank)
            malformed(f, "Host is no name");
        break;
    case FIELD_LENGTH:
        if (inner_blank || !ascii_is_digit(c))
            malformed(f, "Content-Length is no number");
        else if (f->n++ < HTTP_LENGTH_DIGITS_MAX)
            f->length = f->length * 10 + (uint64_t)(c - '0');
        break;
    case FIELD_CODING:
    case FIELD_EXPECT:
        if (inner_blank)
            keep(f, ' ');
        keep(f, c);
        break;
    }
}

/* Blanks are held back until something follows them: those around a value do not belong to it (RFC 9110 5.5), and
 * civetweb keeps the ones at its end. A run of more than BLANKS_MAX is shortened. */
static bool value_or_blank(struct framing *f, char c)
{
    static const char blanks[BLANKS_MAX] = "                ";

    if (c == ' ' || c == '\t') {
        f->blanks++;
        return false;
    }
    if (f->state == FRAMING_FIELD_BLANK) {
        f->blanks = 1; /* one behind the colon */
        f->state = FRAMING_FIELD_VALUE;
    }
    if (c == '\r') {
        end_field(f);
        return true;
    }
    if (!is_value_char(c)) {
        malformed(f, c == '\n' ? "a line that ends with LF alone" : "a control character in a header");
        return true;
    }
    value_char(f, c);
    insert(f, blanks, f->blanks < BLANKS_MAX ? f->blanks : BLANKS_MAX);
    f->blanks = 0;
    return true;
}

static void first_of_target(struct framing *f, char *c)
{
    f->n = 1;
    if (*c == '/') {
        f->state = FRAMING_TARGET;
    } else if (*c == '*' && f->options) {
        *c = '/'; /* the server as a whole; we have nothing to say about it */
        f->state = FRAMING_ASTERISK;
    } else if (ascii_is_alpha(*c)) {
        f->state = FRAMING_SCHEME;
        f->word[0] = *c;
    } else {
        malformed(f, "the request's target is neither a path nor a URL");
    }
}

static void begin_authority(struct framing *f)
{
    f->state = FRAMING_AUTHORITY;
    f->n = 0;
}

/* http:// and the authority are left out: what remains is the path. */
static void scheme_char(struct framing *f, char c)
{
    keep(f, c);
    if ((f->n == 7 && word_is(f, "http://")) || (f->n == 8 && word_is(f, "https://")))
        begin_authority(f);
    else if (f->n >= 8 || !(ascii_is_alpha(c) || c == ':' || c == '/'))
        malformed(f, "the request's target is neither a path nor a URL");
}

static void target_char(struct framing *f, char c)
{
    if (c == ' ') {
        f->state = FRAMING_VERSION;
        f->n = 0;
    } else if (c <= 0x20 || c >= 0x7f) {
        malformed(f, c == '\r' ? "the request line does not end with an HTTP version"
                               : "the request's target holds a character that must be percent-encoded");
    } else if (++f->n > HTTP_TARGET_MAX) {
        framing_refuse(f, 414, "URI Too Long");
    }
}

/* Without a path it is that of the root (RFC 9112 3.2.1). */
static void authority_char(struct framing *f, char c)
{
    bool end = c == '/' || c == '?' || c == ' ';

    if (end && f->n == 0)
        malformed(f, "the request's URL has no host");
    else if (!end)
        target_char(f, c);
    if (!end || f->state == FRAMING_REFUSED)
        return;
    f->state = FRAMING_TARGET;
    if (c != '/') {
        insert(f, "/", 1);
        target_char(f, c);
    }
}

static void asterisk_char(struct framing *f, char c)
{
    f->state = FRAMING_TARGET;
    if (c == ' ')
        target_char(f, c);
    else
        malformed(f, "the request's target is neither a path nor a URL");
}

static void chunk_size(struct framing *f, char c)
{
    int v = ascii_hex(c);

    if (v >= 0) {
        f->left = f->left << 4 | (uint64_t)v;
        if (++f->n > HTTP_LENGTH_DIGITS_MAX - 4)
            malformed(f, "a chunk's size is too long");
    } else if (c == '\r') {
        f->state = FRAMING_CHUNK_LF;
    } else if (c == ';') {
        f->state = FRAMING_CHUNK_EXTENSION;
    } else {
        malformed(f, "a chunk's size is no hexadecimal number");
    }
}

static bool expect(struct framing *f, char c, char wanted, enum framing_state next, const char *why)
{
    if (c == wanted)
        f->state = next;
    else
        malformed(f, why);
    return c == wanted;
}

/* A line of extensions or trailers that nobody reads. */
static void ignored_char(struct framing *f, char c, enum framing_state at_end)
{
    if (c == '\r')
        f->state = at_end;
    else if (!is_value_char(c))
        malformed(f, "a control character in a chunk's extension or trailer");
    else if (++f->n > HTTP_CHUNK_LINE_MAX)
        framing_refuse(f, 431, "chunk extensions or trailers too long");
}

/* The request line, up to its CR. */
static bool line_char(struct framing *f, char *c)
{
    switch (f->state) {
    case FRAMING_METHOD:
        if (*c == ' ')
            end_method(f);
        else if (ascii_is_token(*c))
            keep(f, *c);
        else
            malformed(f, "the request line does not begin with a method");
        return f->state != FRAMING_METHOD; /* it is written when it is complete */
    case FRAMING_TARGET_FIRST:
        first_of_target(f, c);
        return f->state != FRAMING_SCHEME;
    case FRAMING_SCHEME:
        scheme_char(f, *c);
        return f->state == FRAMING_REFUSED;
    case FRAMING_AUTHORITY:
        authority_char(f, *c);
        return f->state != FRAMING_AUTHORITY;
    case FRAMING_ASTERISK:
        asterisk_char(f, *c);
        return true;
    case FRAMING_TARGET:
        target_char(f, *c);
        return true;
    default: /* FRAMING_VERSION */
        if (*c == '\r')
            end_version(f);
        else if (*c == '\n')
            malformed(f, "a line that ends with LF alone");
        else if (f->n < FRAMING_WORD_SIZE)
            keep(f, *c);
        else
            malformed(f, "the request line does not end with an HTTP version");
        return true;
    }
}

static void name_char(struct framing *f, char c)
{
    if (c == ':' && f->n > 0)
        end_field_name(f);
    else if (ascii_is_token(c))
        keep(f, c);
    else
        malformed(f, "a header's name is no token, or not followed by a colon");
}

static void first_of_field(struct framing *f, char c)
{
    f->n = 0;
    if (c == '\r') {
        f->state = FRAMING_HEAD_LF;
    } else if (c == ' ' || c == '\t') {
        malformed(f, "a header line that begins with a blank");
    } else {
        f->state = FRAMING_FIELD_NAME;
        name_char(f, c);
    }
}

/* The fields, from the LF of the request line to the end of the head. */
static bool field_char(struct framing *f, char c)
{
    switch (f->state) {
    case FRAMING_LINE_LF:
    case FRAMING_FIELD_LF:
        expect(f, c, '\n', FRAMING_FIELD_FIRST, "a CR that no LF follows");
        return true;
    case FRAMING_FIELD_FIRST:
        first_of_field(f, c);
        return true;
    case FRAMING_FIELD_NAME:
        name_char(f, c);
        return true;
    case FRAMING_FIELD_BLANK:
    case FRAMING_FIELD_VALUE:
        return value_or_blank(f, c);
    default: /* FRAMING_HEAD_LF */
        if (expect(f, c, '\n', FRAMING_HEAD_LF, "a CR that no LF follows"))
            end_head(f);
        return true;
    }
}

/* One byte of a head; false when civetweb shall not see it. *c may be changed. */
static bool head_char(struct framing *f, char *c)
{
    if (++f->head > HTTP_HEADERS_MAX) {
        framing_refuse(f, 431, "Request header fields too large");
        return true;
    }
    if (f->state <= FRAMING_VERSION)
        return line_char(f, c);
    return field_char(f, *c);
}

/* One byte of a body's framing. */
static bool chunk_char(struct framing *f, char c)
{
    switch (f->state) {
    case FRAMING_CHUNK_FIRST:
        f->n = f->left = 0;
        f->state = FRAMING_CHUNK_SIZE;
        if (ascii_hex(c) < 0)
            malformed(f, "a chunk's size is no hexadecimal number");
        else
            chunk_size(f, c);
        return true;
    case FRAMING_CHUNK_SIZE:
        chunk_size(f, c);
        return f->state != FRAMING_CHUNK_EXTENSION;
    case FRAMING_CHUNK_EXTENSION:
        ignored_char(f, c, FRAMING_CHUNK_LF);
        return f->state != FRAMING_CHUNK_EXTENSION;
    case FRAMING_CHUNK_LF:
        expect(f, c, '\n', f->left ? FRAMING_CHUNK_DATA : FRAMING_TRAILER_FIRST, "a CR that no LF follows");
        f->n = 0;
        return true;
    case FRAMING_CHUNK_DATA_CR:
        expect(f, c, '\r', FRAMING_CHUNK_DATA_LF, "a chunk that is longer than its size");
        return true;
    case FRAMING_CHUNK_DATA_LF:
        expect(f, c, '\n', FRAMING_CHUNK_FIRST, "a chunk that is longer than its size");
        return true;
    case FRAMING_TRAILER_FIRST:
        if (c == '\r') {
            f->state = FRAMING_END_LF;
            return true;
        }
        f->state = FRAMING_TRAILER;
        /* fall through */
    case FRAMING_TRAILER:
        ignored_char(f, c, FRAMING_TRAILER_LF);
        return f->state == FRAMING_REFUSED;
    case FRAMING_TRAILER_LF:
        return !expect(f, c, '\n', FRAMING_TRAILER_FIRST, "a CR that no LF follows");
    default: /* FRAMING_END_LF */
        if (expect(f, c, '\n', FRAMING_END_LF, "a CR that no LF follows"))
            end_request(f);
        return true;
    }
}

/* Empty lines before a request are allowed (RFC 9112 2.2) and dropped. */
static bool start_char(struct framing *f, char *c)
{
    if (f->state == FRAMING_START_LF) {
        bool bad = !expect(f, *c, '\n', FRAMING_START, "a CR that no LF follows");
        return bad;
    }
    if (*c == '\r') {
        f->state = FRAMING_START_LF;
        if (++f->empty_lines > EMPTY_LINES_MAX)
            malformed(f, "too many empty lines before a request");
        return f->state == FRAMING_REFUSED;
    }
    begin_request(f);
    return head_char(f, c);
}

/* Body bytes pass as they are. Returns how many of n did. */
static size_t pass(struct framing *f, size_t n)
{
    size_t k = f->left < n ? (size_t)f->left : n;

    f->left -= k;
    if (f->left == 0) {
        if (f->state == FRAMING_BODY)
            end_request(f);
        else
            f->state = FRAMING_CHUNK_DATA_CR;
    }
    return k;
}

size_t framing_filter(struct framing *f, char *out, const char *in, size_t n)
{
    size_t len = 0, begin = 0; /* begin: of the request that is coming in, in what is let through */

    for (size_t i = 0; i < n && f->state != FRAMING_REFUSED;) {
        if (f->state == FRAMING_BODY || f->state == FRAMING_CHUNK_DATA) {
            size_t k = pass(f, n - i);
            if (out + len != in + i)
                memmove(out + len, in + i, k);
            len += k;
            i += k;
            continue;
        }
        char c = in[i++];
        bool stays;
        if (f->state == FRAMING_START || f->state == FRAMING_START_LF) {
            begin = len;
            stays = start_char(f, &c);
        } else if (f->state >= FRAMING_CHUNK_FIRST) {
            stays = chunk_char(f, c);
            begin = len; /* an offence here is seen at its own place */
        } else {
            stays = head_char(f, &c);
        }
        memcpy(out + len, f->insert, f->inserts);
        len += f->inserts;
        f->inserts = 0;
        if (stays)
            out[len++] = c;
    }
    if (f->state != FRAMING_REFUSED)
        return len;
    out[begin] = POISON;
    return begin + 1;
}

bool framing_in_head(const struct framing *f)
{
    return f->state > FRAMING_START_LF && f->state < FRAMING_BODY;
}

bool framing_inside(const struct framing *f)
{
    return f->state > FRAMING_START_LF && f->state != FRAMING_REFUSED;
}
