/* Paths, methods, keys and statistics. */
#include <stdio.h>

#include "tests/fakes/openai.h"

#include <strings.h>

static struct api_error refusal(int status, const char *code)
{
    return (struct api_error){.status = status, .type = "invalid_request_error", .code = code};
}

static bool has_prefix(struct str s, const char *prefix)
{
    size_t n = strlen(prefix);

    return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

static void no_key(struct api_error *e)
{
    *e = refusal(401, NULL);
    snprintf(e->message, sizeof e->message,
             "You didn't provide an API key. You need to provide your API key in an Authorization header "
             "using Bearer "
             "auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if "
             "you're "
             "accessing the API from your browser and are prompted for a username and password. You can "
             "obtain an API "
             "key from https://platform.openai.com/account/api-keys.");
}

static void wrong_key(struct api_error *e, struct str key)
{
    size_t show = key.n >= 12 ? 4 : 0;

    *e = refusal(401, "invalid_api_key");
    snprintf(e->message, sizeof e->message,
             "Incorrect API key provided: %.*s****%.*s. You can find your API key at "
             "https://platform.openai.com/account/api-keys.",
             (int)(show ? 7 : 0), key.p, (int)show, key.p + key.n - show);
}

static bool find_key(const struct openai *o, const struct exchange *x, struct str *key)
{
    struct str v = http_field(x, o->style == STYLE_AZURE ? "api-key" : "authorization");

    *key = v;
    if (o->style == STYLE_AZURE)
        return v.n > 0 && x->head.query.n > 12 && strncmp(x->head.query.p, "api-version=", 12) == 0;
    if (v.n < 8 || strncasecmp(v.p, "bearer ", 7) != 0)
        return false;
    *key = (struct str){v.p + 7, v.n - 7};
    return true;
}

static bool authorized(const struct openai *o, const struct exchange *x, struct api_error *e)
{
    struct str key;

    if (o->style == STYLE_NONE)
        return true;
    if (!find_key(o, x, &key)) {
        no_key(e);
        return false;
    }
    for (size_t i = 0; i < o->n_keys; i++)
        if (str_eq(key, o->keys[i]))
            return true;
    if (o->n_keys == 0)
        return true;
    wrong_key(e, key);
    return false;
}

static bool is_json(struct str type)
{
    static const char json[] = "application/json";
    size_t n = sizeof json - 1;

    return type.n >= n && strncasecmp(type.p, json, n) == 0 &&
           (type.n == n || type.p[n] == ';' || type.p[n] == ' ');
}

static bool check_type(const struct exchange *x, struct api_error *e)
{
    struct str type = http_field(x, "content-type");

    if (is_json(type))
        return true;
    int n = type.n < 100 ? (int)type.n : 100;
    *e = refusal(400, "unsupported_content_type");
    snprintf(
        e->message, sizeof e->message,
        "Unsupported content type: '%.*s'. This API method only accepts 'application/json' requests, but you "
        "specified the header 'Content-Type: %.*s'. Please try again with a supported content type.",
        n, n ? type.p : "", n, n ? type.p : "");
    return false;
}

static bool check_method(const struct exchange *x, const char *method, struct api_error *e)
{
    if (str_eq(x->head.method, method))
        return true;
    *e = refusal(405, "method_not_supported");
    snprintf(e->message, sizeof e->message,
             "Not allowed to %.*s on %.*s (HINT: Perhaps you meant to use a different HTTP method?)",
             (int)(x->head.method.n < 20 ? x->head.method.n : 20), x->head.method.p,
             (int)(x->head.path.n < 200 ? x->head.path.n : 200), x->head.path.p);
    return false;
}

static void refuse(struct openai *o, struct exchange *x, const struct api_error *e)
{
    o->refused++;
    reply_error(o, x, e, e->status == 405 ? "allow: POST\r\n" : NULL);
}

static void chat_completions(struct openai *o, struct exchange *x)
{
    struct api_error e;

    if (!authorized(o, x, &e) || !check_method(x, "POST", &e) || !check_type(x, &e)) {
        refuse(o, x, &e);
        return;
    }
    struct chat *c = chat_parse(o, x->body, &e);
    if (c)
        call_start(o, x, c);
    else
        refuse(o, x, &e);
}

static void models(struct openai *o, struct exchange *x)
{
    static const size_t prefix = sizeof "/v1/models" - 1;
    struct api_error e;
    char id[128] = "";

    if (x->head.path.n > prefix + 1)
        snprintf(id, sizeof id, "%.*s", (int)(x->head.path.n - prefix - 1), x->head.path.p + prefix + 1);
    if (!authorized(o, x, &e) || !check_method(x, "GET", &e)) {
        refuse(o, x, &e);
        return;
    }
    if (*id && !model_known(o, id)) {
        e = refusal(404, "model_not_found");
        snprintf(e.param, sizeof e.param, "model");
        snprintf(e.message, sizeof e.message, "The model '%s' does not exist", id);
        refuse(o, x, &e);
        return;
    }
    buf_reset(&o->body);
    if (*id)
        write_model(&o->body, id);
    else
        write_models(o, &o->body);
    write_headers(o, 1, NULL);
    http_answer(x, 200, "application/json", buf_str(&o->headers), buf_str(&o->body));
}

static void unknown(struct openai *o, struct exchange *x)
{
    struct api_error e = refusal(404, "unknown_url");

    snprintf(e.message, sizeof e.message,
             "Unknown request URL: %.*s %.*s. Please check the URL for typos, or see the docs at "
             "https://platform.openai.com/docs/api-reference/.",
             (int)(x->head.method.n < 20 ? x->head.method.n : 20), x->head.method.p,
             (int)(x->head.path.n < 200 ? x->head.path.n : 200), x->head.path.p);
    refuse(o, x, &e);
}

void route_request(void *arg, struct exchange *x)
{
    struct openai *o = arg;
    struct str path = x->head.path;

    if (has_prefix(path, "/_admin/")) {
        admin_request(o, x);
        return;
    }
    o->requests++;
    if (++o->in_flight > o->max_in_flight)
        o->max_in_flight = o->in_flight;
    x->tag = reqlog_add(o->log, x, o->in_flight);
    if (str_eq(path, "/v1/chat/completions"))
        chat_completions(o, x);
    else if (str_eq(path, "/v1/models") || has_prefix(path, "/v1/models/"))
        models(o, x);
    else
        unknown(o, x);
}

void route_done(void *arg, struct exchange *x, enum httpd_end end)
{
    struct openai *o = arg;

    if (x->tag == 0)
        return; /* an admin call */
    call_done(o, x);
    o->in_flight--;
    if (end == HTTPD_GONE)
        o->client_left++;
    if (x->status > 0 && x->status < (int)ARRAY_LEN(o->by_status))
        o->by_status[x->status]++;
    reqlog_end(o->log, x->tag, x->status, end);
}

/* What is in flight stays counted. */
void stats_reset(struct openai *o)
{
    o->requests = o->client_left = o->refused = 0;
    o->max_in_flight = o->in_flight;
    memset(o->by_status, 0, sizeof o->by_status);
    memset(o->acts, 0, sizeof o->acts);
}
