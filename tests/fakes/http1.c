#include "tests/fakes/http1.h"

#include <string.h>
#include <strings.h>

#include "common/base/limits.h"

#define CHUNK_LINE_MAX 1024 /* a chunk's size line, a trailer line */

static bool is_token(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool all_tokens(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_token((unsigned char)s.p[i]))
            return false;
    return s.n > 0;
}

static struct str trim(struct str s)
{
    while (s.n && (*s.p == ' ' || *s.p == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

static bool same(struct str a, const char *b)
{
    return a.n == strlen(b) && strncasecmp(a.p, b, a.n) == 0;
}

/* Cuts the next line off *rest; false when there is none or it ends in a bare LF. */
static bool next_line(struct str *rest, struct str *line)
{
    const char *lf = rest->n ? memchr(rest->p, '\n', rest->n) : NULL;

    if (!lf || lf == rest->p || lf[-1] != '\r')
        return false;
    *line = (struct str){rest->p, (size_t)(lf - rest->p) - 1};
    rest->n -= line->n + 2;
    rest->p = lf + 1;
    return true;
}

static bool split_field(struct str line, struct str *name, struct str *value)
{
    const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;

    if (!colon)
        return false;
    *name = (struct str){line.p, (size_t)(colon - line.p)};
    *value = trim((struct str){colon + 1, line.n - name->n - 1});
    return true;
}

static int parse_target(struct str target, struct http1_head *out)
{
    if (target.n > 7 && strncasecmp(target.p, "http://", 7) == 0) {
        const char *slash = memchr(target.p + 7, '/', target.n - 7);
        if (!slash)
            return -400;
        target = (struct str){slash, target.n - (size_t)(slash - target.p)};
    }
    if (target.n == 0 || target.p[0] != '/')
        return -400;
    for (size_t i = 0; i < target.n; i++)
        if ((unsigned char)target.p[i] <= ' ' || target.p[i] == 0x7f || target.p[i] == '#')
            return -400;
    const char *mark = memchr(target.p, '?', target.n);
    out->path = target;
    if (mark) {
        out->path.n = (size_t)(mark - target.p);
        out->query = (struct str){mark + 1, target.n - out->path.n - 1};
    }
    return 0;
}

static int parse_request_line(struct str line, struct http1_head *out)
{
    const char *a = memchr(line.p, ' ', line.n);
    const char *b = a ? memchr(a + 1, ' ', line.n - (size_t)(a + 1 - line.p)) : NULL;

    if (!b)
        return -400;
    struct str version = {b + 1, line.n - (size_t)(b + 1 - line.p)};
    out->method = (struct str){line.p, (size_t)(a - line.p)};
    if (!all_tokens(out->method) || version.n != 8 || memcmp(version.p, "HTTP/", 5) != 0)
        return -400;
    if (str_eq(version, "HTTP/1.0"))
        out->http10 = true;
    else if (!str_eq(version, "HTTP/1.1"))
        return -505;
    out->keep_alive = !out->http10;
    return parse_target((struct str){a + 1, (size_t)(b - a) - 1}, out);
}

static int parse_length(struct str v, uint64_t *out)
{
    uint64_t n = 0;

    if (v.n == 0 || v.n > 18)
        return -400;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return -400;
        n = n * 10 + (uint64_t)(v.p[i] - '0');
    }
    *out = n;
    return 0;
}

/* Is `word` one of the comma-separated words of v? */
static bool lists(struct str v, const char *word)
{
    while (v.n) {
        const char *comma = memchr(v.p, ',', v.n);
        size_t n = comma ? (size_t)(comma - v.p) : v.n;
        if (same(trim((struct str){v.p, n}), word))
            return true;
        v.p += comma ? n + 1 : n;
        v.n -= comma ? n + 1 : n;
    }
    return false;
}

struct seen {
    bool host, length;
};

static int one_field(struct str name, struct str value, struct http1_head *out, struct seen *seen)
{
    if (same(name, "host")) {
        if (seen->host)
            return -400;
        seen->host = true;
    } else if (same(name, "content-length")) {
        uint64_t n;
        if (parse_length(value, &n) < 0 || (seen->length && n != out->length))
            return -400;
        seen->length = true;
        out->length = n;
    } else if (same(name, "transfer-encoding")) {
        if (out->chunked)
            return -400;
        if (!same(value, "chunked"))
            return -501;
        out->chunked = true;
    } else if (same(name, "connection")) {
        if (lists(value, "close"))
            out->keep_alive = false;
        else if (lists(value, "keep-alive"))
            out->keep_alive = true;
    } else if (same(name, "expect")) {
        if (!same(value, "100-continue"))
            return -417;
        out->expects_continue = !out->http10;
    }
    return 0;
}

static int parse_fields(struct http1_head *out)
{
    struct str rest = out->fields, line, name, value;
    struct seen seen = {0};

    while (rest.n) {
        if (!next_line(&rest, &line) || !split_field(line, &name, &value) || !all_tokens(name))
            return -400;
        for (size_t i = 0; i < value.n; i++)
            if (((unsigned char)value.p[i] < ' ' && value.p[i] != '\t') || value.p[i] == 0x7f)
                return -400;
        int rc = one_field(name, value, out, &seen);
        if (rc < 0)
            return rc;
    }
    if (!seen.host && !out->http10)
        return -400;
    if (out->chunked && (seen.length || out->http10))
        return -400;
    return out->length > FAKE_BODY_MAX ? -413 : 0;
}

int http1_parse_head(const char *p, size_t n, struct http1_head *out)
{
    size_t blank = 0; /* one empty line before a request is tolerated, as the RFC asks */

    *out = (struct http1_head){0};
    if (n >= 2 && p[0] == '\r' && p[1] == '\n')
        blank = 2;
    const char *end = n > blank ? memmem(p + blank, n - blank, "\r\n\r\n", 4) : NULL;
    if (!end) {
        /* What can no longer become a request is refused at once: nobody waits for the rest of garbage. */
        if (n > FAKE_HEAD_MAX)
            return -431;
        if (n > blank && !is_token((unsigned char)p[blank]) && p[blank] != '\r')
            return -400;
        return 0;
    }
    size_t head = (size_t)(end - p) + 4;
    if (head > FAKE_HEAD_MAX)
        return -431;
    struct str rest = {p + blank, head - blank - 2}, line;
    if (!next_line(&rest, &line))
        return -400;
    int rc = parse_request_line(line, out);
    if (rc < 0)
        return rc;
    out->fields = rest;
    rc = parse_fields(out);
    return rc < 0 ? rc : (int)head;
}

struct str http1_field(struct str fields, const char *name)
{
    size_t n = strlen(name);

    while (fields.n > n) {
        if (fields.p[n] == ':' && strncasecmp(fields.p, name, n) == 0) {
            struct str line, key, value;
            if (next_line(&fields, &line) && split_field(line, &key, &value))
                return value;
        }
        const char *lf = memchr(fields.p, '\n', fields.n);
        if (!lf)
            break;
        fields.n -= (size_t)(lf + 1 - fields.p);
        fields.p = lf + 1;
    }
    return (struct str){0};
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}

static int chunk_size(struct str line, uint64_t *out)
{
    uint64_t n = 0;
    size_t i = 0;

    for (; i < line.n && hex(line.p[i]) >= 0; i++) {
        if (i == 8)
            return -400;
        n = n * 16 + (uint64_t)hex(line.p[i]);
    }
    if (i == 0 || (i < line.n && line.p[i] != ';' && line.p[i] != ' ' && line.p[i] != '\t'))
        return -400;
    *out = n;
    return 0;
}

/* One line of the framing: 1 taken, 0 more needed. */
static int chunk_line(struct http1_chunks *c, char *body, size_t n, struct str *line)
{
    struct str rest = {body + c->raw, n - c->raw};

    if (next_line(&rest, line)) {
        c->raw = (size_t)(rest.p - body);
        return 1;
    }
    if (rest.n > CHUNK_LINE_MAX || (rest.n && memchr(rest.p, '\n', rest.n)))
        return -400;
    return 0;
}

static void chunk_data(struct http1_chunks *c, char *body, size_t n)
{
    size_t take = n - c->raw < c->left ? n - c->raw : (size_t)c->left;

    memmove(body + c->body, body + c->raw, take);
    c->raw += take;
    c->body += take;
    c->left -= take;
}

int http1_dechunk(struct http1_chunks *c, char *body, size_t n)
{
    struct str line;

    for (;;) {
        if (c->state == CHUNK_DATA) {
            chunk_data(c, body, n);
            if (c->left > 0)
                return 0;
            c->state = CHUNK_DATA_END;
        }
        int rc = chunk_line(c, body, n, &line);
        if (rc <= 0)
            return rc;
        if (c->state == CHUNK_DATA_END) {
            if (line.n)
                return -400;
            c->state = CHUNK_SIZE;
        } else if (c->state == CHUNK_SIZE) {
            rc = chunk_size(line, &c->left);
            if (rc < 0)
                return rc;
            if (c->left > FAKE_BODY_MAX - c->body)
                return -413;
            c->state = c->left ? CHUNK_DATA : CHUNK_TRAILER;
        } else if (line.n == 0) {
            return 1;
        }
    }
}

const char *http1_reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {204, "No Content"},
        {207, "Multi-Status"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Payload Too Large"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Entity"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };

    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Unknown";
}
