#include "tests/fakes/admin_json.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/json.h"
#include "common/base/limits.h"

void admin_answer(struct exchange *x, int status, const struct buf *json)
{
    http_answer(x, status, "application/json", (struct str){0}, buf_str(json));
}

void admin_ok(struct exchange *x)
{
    http_answer(x, 200, "application/json", (struct str){0}, str_of("{\"ok\":true}"));
}

void admin_refuse(struct exchange *x, int status, const char *message)
{
    struct buf b = BUF_INIT(4 * KIB);

    buf_putc(&b, '{');
    json_field_str(&b, "error", str_of(message));
    buf_putc(&b, '}');
    admin_answer(x, status, &b);
    buf_free(&b);
}

json_t *admin_body(struct exchange *x)
{
    json_error_t why;
    char message[256];

    if (x->body.n == 0)
        return json_object();
    json_t *v = json_loadb(x->body.p, x->body.n, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &why);
    if (!v) {
        snprintf(message, sizeof message, "the body is no JSON: %s", why.text);
        admin_refuse(x, 400, message);
    }
    return v;
}

int admin_only(struct admin_reader *a, const char *const *keys)
{
    const char *key;
    json_t *v;

    json_object_foreach(a->object, key, v)
    {
        const char *const *known = keys;
        while (*known && strcmp(*known, key) != 0)
            known++;
        if (!*known) {
            snprintf(a->error, sizeof a->error, "unknown key \"%.100s\"", key);
            return -1;
        }
    }
    return 0;
}

int admin_int(struct admin_reader *a, const char *key, int64_t min, int64_t max, int64_t *out)
{
    const json_t *v = json_object_get(a->object, key);

    if (!v)
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max) {
        snprintf(a->error, sizeof a->error, "\"%s\" must be an integer from %lld to %lld", key,
                 (long long)min, (long long)max);
        return -1;
    }
    *out = json_integer_value(v);
    return 1;
}

int admin_double(struct admin_reader *a, const char *key, double min, double max, double *out)
{
    const json_t *v = json_object_get(a->object, key);

    if (!v)
        return 0;
    double d = json_number_value(v);
    if (!json_is_number(v) || d < min || d > max) {
        snprintf(a->error, sizeof a->error, "\"%s\" must be a number from %g to %g", key, min, max);
        return -1;
    }
    *out = d;
    return 1;
}

int admin_bool(struct admin_reader *a, const char *key, bool *out)
{
    const json_t *v = json_object_get(a->object, key);

    if (!v)
        return 0;
    if (!json_is_boolean(v)) {
        snprintf(a->error, sizeof a->error, "\"%s\" must be true or false", key);
        return -1;
    }
    *out = json_is_true(v);
    return 1;
}

int admin_text(struct admin_reader *a, const char *key, const char **out, size_t *n)
{
    const json_t *v = json_object_get(a->object, key);

    if (!v)
        return 0;
    if (!json_is_string(v)) {
        snprintf(a->error, sizeof a->error, "\"%s\" must be a string", key);
        return -1;
    }
    *out = json_string_value(v);
    *n = json_string_length(v);
    return 1;
}

uint64_t admin_query(const struct exchange *x, const char *name, uint64_t otherwise)
{
    struct str q = x->head.query;
    size_t n = strlen(name);

    while (q.n) {
        const char *amp = memchr(q.p, '&', q.n);
        size_t len = amp ? (size_t)(amp - q.p) : q.n;
        if (len > n && memcmp(q.p, name, n) == 0 && q.p[n] == '=')
            return strtoull(q.p + n + 1, NULL, 10);
        q.p += amp ? len + 1 : len;
        q.n -= amp ? len + 1 : len;
    }
    return otherwise;
}
