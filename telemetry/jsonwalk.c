#include "telemetry/jsonwalk.h"

#include "common/base/jsonscan.h"
#include "common/base/limits.h"
#include "telemetry/text.h"

/* With its quotes. */
static size_t string_length(struct str s)
{
    size_t i = 1;

    while (i < s.n && s.p[i] != '"')
        i += s.p[i] == '\\' ? 2 : 1;
    return i < s.n ? i + 1 : s.n;
}

/* Of a number, NaN and Infinity included; 0: it is something else. */
static size_t number_length(struct str s)
{
    size_t i = *s.p == '-';

    if (i < s.n && (s.p[i] == 'N' || s.p[i] == 'I'))
        while (i < s.n && ((s.p[i] | 0x20) >= 'a' && (s.p[i] | 0x20) <= 'z'))
            i++;
    else if (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
        while (i < s.n && s.p[i] && strchr("0123456789+-.eE", s.p[i]))
            i++;
    return i;
}

static bool is_key(struct str json, size_t i)
{
    while (i < json.n && json.p[i] && strchr(" \t\r\n", json.p[i]))
        i++;
    return i < json.n && json.p[i] == ':';
}

static void put_string(struct buf *out, struct jsonwalk_value *v, jsonwalk_fn *fn, void *arg)
{
    struct buf decoded = BUF_INIT(RECORD_BYTES_MAX);

    v->text = (struct str){v->source.p + 1, v->source.n - 2};
    if (memchr(v->text.p, '\\', v->text.n)) {
        char *to = buf_reserve(&decoded, v->source.n);
        out->failed = out->failed || !to;
        v->text = to ? (struct str){to, jsonscan_decode(v->source, to)} : str_of("");
    }
    fn(arg, out, v);
    buf_free(&decoded);
}

void jsonwalk(struct buf *out, struct str json, jsonwalk_fn *fn, void *arg)
{
    size_t i = 0, done = 0;

    while (i < json.n) {
        struct str rest = {json.p + i, json.n - i};
        bool string = *rest.p == '"';
        size_t n = string ? string_length(rest) : number_length(rest);
        if (n) {
            struct jsonwalk_value v = {.source = {rest.p, n}, .text = {rest.p, n}};
            buf_append(out, json.p + done, i - done);
            v.key = string && is_key(json, i + n);
            if (string)
                put_string(out, &v, fn, arg);
            else
                fn(arg, out, &v);
            done = i + n;
        }
        i += n ? n : 1;
    }
    buf_append(out, json.p + done, json.n - done);
}

static bool has_only_json(struct str json)
{
    for (size_t i = 0; i < json.n;) {
        if (json.p[i] == 'N' || json.p[i] == 'I')
            return false;
        i += json.p[i] == '"' ? string_length((struct str){json.p + i, json.n - i}) : 1;
    }
    return true;
}

bool jsonwalk_reads(struct str json)
{
    static const char *const none[] = {NULL};
    struct buf copy = BUF_INIT(RECORD_BYTES_MAX);
    struct jsonscan j;

    /* jsonscan() takes UTF-16 and a byte order mark too. */
    if (json.n == 0 || !text_is_clean(json) || (unsigned char)*json.p == 0xef)
        return false;
    buf_append(&copy, json.p, json.n); /* jsonscan() looks for a NUL behind the text */
    bool ok = false;
    if (!copy.failed) {
        ok = jsonscan(&j, buf_str(&copy), none) == JSONSCAN_OK;
        jsonscan_free(&j);
    }
    buf_free(&copy);
    return ok;
}

bool jsonwalk_can(struct str json)
{
    return jsonwalk_reads(json) && has_only_json(json);
}
