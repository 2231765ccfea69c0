/* Keys, paths, methods, and the server's bad days. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "common/base/json.h"
#include "common/base/mem.h"
#include "tests/fakes/langfuse.h"

#define JSON_TYPE  "application/json; charset=utf-8"
#define WRONG_KEYS "Invalid credentials. Confirm that you've configured the correct host."

enum { READS = 1, WRITES = 2, NEEDS_SECRET = 4, OPEN = 8 };

static const struct path {
    const char *path;
    enum route route;
    const char *method;
    unsigned flags;
} paths[] = {
    {"/api/public/health", R_HEALTH, "GET", OPEN},
    {"/api/public/ready", R_READY, "GET", OPEN},
    {"/api/public/projects", R_PROJECTS, "GET", NEEDS_SECRET},
    {"/api/public/ingestion", R_INGESTION, "POST", WRITES},
    {"/api/public/otel/v1/traces", R_OTEL, "POST", WRITES | NEEDS_SECRET},
    {"/api/public/scores", R_SCORES, "POST", WRITES},
    {"/api/public/v2/observations", R_READ, "GET", NEEDS_SECRET | READS},
    {"/api/public/v3/scores", R_READ, "GET", NEEDS_SECRET | READS},
};

const char *route_name(enum route r)
{
    static const char *const names[] = {"health", "ready",  "projects", "ingestion",
                                        "otel",   "scores", "read",     "other"};

    return r < R_COUNT ? names[r] : "all";
}

void violation(struct langfuse *l, const char *fmt, ...)
{
    char text[sizeof l->violations[0].text];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    l->violations_seen++;
    for (size_t i = 0; i < l->n_violations; i++)
        if (strcmp(l->violations[i].text, text) == 0) {
            l->violations[i].times++;
            return;
        }
    if (l->n_violations < FAKE_VIOLATIONS_MAX) {
        struct violation *v = &l->violations[l->n_violations++];
        memcpy(v->text, text, sizeof text);
        v->times = 1;
    }
}

/* An answer that waits for its time. */
struct late {
    struct langfuse *l;
    struct exchange *x;
    int status;
    char *type, *headers, *body;
    size_t body_n;
};

static void late_free(struct late *late)
{
    if (!late)
        return;
    free(late->type);
    free(late->headers);
    free(late->body);
    free(late);
}

static void answer_late(void *arg)
{
    struct late *late = arg;

    http_answer(late->x, late->status, late->type, str_of(late->headers),
                (struct str){late->body, late->body_n});
}

static bool applies(const struct langfuse *l, const struct exchange *x)
{
    enum route r = (enum route)(x->tag >> 56);

    return l->behaviour.only == R_COUNT ? r == R_INGESTION || r == R_OTEL || r == R_SCORES
                                        : l->behaviour.only == r;
}

static void behaviour_used(struct langfuse *l)
{
    if (l->behaviour.count && --l->behaviour.count == 0)
        l->behaviour = (struct behaviour){.retry_after = -1, .only = R_COUNT};
}

/* With blanks behind it, when a test wants a long answer. */
static void answer(struct langfuse *l, struct exchange *x, int status, const char *type, const char *headers,
                   struct str body)
{
    size_t blanks = applies(l, x) ? (size_t)l->behaviour.padding : 0;
    struct buf padded = BUF_INIT(2 * FAKE_BODY_MAX);
    char *at = blanks ? buf_reserve(&padded, body.n + blanks) : NULL;

    if (at) {
        memcpy(at, body.p, body.n);
        memset(at + body.n, ' ', blanks);
        body = (struct str){at, body.n + blanks};
    }
    http_answer(x, status, type, str_of(headers), body);
    buf_free(&padded);
}

void reply(struct langfuse *l, struct exchange *x, int status, const char *type, const char *headers,
           struct str body)
{
    bool cut = l->behaviour.cut && applies(l, x);

    if (status == 400)
        violation(l, "refused with 400 on %s", route_name((enum route)(x->tag >> 56)));
    int64_t slow = applies(l, x) ? l->behaviour.slow_ms : 0;

    if (cut || slow)
        behaviour_used(l);
    if (cut) {
        http_drop(x);
        return;
    }
    if (!slow) {
        answer(l, x, status, type, headers, body);
        if (!cut && l->behaviour.padding && applies(l, x))
            behaviour_used(l);
        return;
    }
    struct late *late = xcalloc(1, sizeof *late);
    *late = (struct late){.l = l, .x = x, .status = status, .body_n = body.n};
    late->type = xstrdup(type);
    late->headers = xstrdup(headers ? headers : "");
    late->body = xmemdup(body.p ? body.p : "", body.n);
    x->user = late;
    x->timer.fn = answer_late;
    x->timer.arg = late;
    loop_timer_set(l->loop, &x->timer, loop_now(l->loop) + slow);
}

void reply_json(struct langfuse *l, struct exchange *x, int status, const char *json)
{
    reply(l, x, status, JSON_TYPE, NULL, str_of(json));
}

static const char *refusal_body(const struct langfuse *l, enum route r, int status, const char **type)
{
    *type = JSON_TYPE;
    if (*l->behaviour.says)
        return l->behaviour.says;
    switch (status) {
    case 207: /* says nothing about any event */
        return "{\"successes\":[],\"errors\":[]}";
    case 400:
    case 422:
        return "{\"message\":\"Invalid request data\",\"errors\":[\"refused by order\"]}";
    case 401:
        return "{\"error\":\"UnauthorizedError\",\"message\":\"" WRONG_KEYS "\"}";
    case 403:
        return "{\"error\":\"ForbiddenError\",\"message\":\"Ingestion suspended: Usage threshold exceeded. "
               "Please upgrade "
               "your plan.\"}";
    case 429:
        if (l->major >= 4)
            return "{\"error\":\"Rate limit exceeded\",\"message\":\"429 - rate limit exceeded\"}";
        *type = "text/plain; charset=utf-8";
        return "429 - rate limit exceeded";
    case 500:
        if (r == R_INGESTION)
            return "{\"message\":\"Invalid request data\",\"errors\":[\"Failed to upload events to blob "
                   "storage, aborting "
                   "event processing\"]}";
        return "{\"error\":\"Internal Server Error\"}";
    case 413:
        *type = "text/plain; charset=utf-8";
        return "Body exceeded 4.5mb limit";
    default:
        *type = "text/html";
        return "<html><body>refused by a proxy</body></html>";
    }
}

static void refuse(struct langfuse *l, struct exchange *x, enum route r, int status)
{
    char headers[200] = "";
    const char *type;
    const char *body = refusal_body(l, r, status, &type);
    size_t n = 0;

    if (l->behaviour.retry_after >= 0)
        n = (size_t)snprintf(headers, sizeof headers, "retry-after: %g\r\n", l->behaviour.retry_after);
    if (status == 429)
        snprintf(headers + n, sizeof headers - n,
                 "x-ratelimit-limit: 1000\r\nx-ratelimit-remaining: 0\r\nx-ratelimit-reset: %g\r\n",
                 l->behaviour.retry_after >= 0 ? l->behaviour.retry_after : 60);
    answer(l, x, status, type, headers, str_of(body));
}

/* Unpacked where it is packed. */
static bool contains(struct langfuse *l, const struct exchange *x, const char *words)
{
    struct str body = gunzip(x->body, &l->unpacked) == 0 ? buf_str(&l->unpacked) : x->body;

    return body.n && memmem(body.p, body.n, words, strlen(words));
}

/* The same lots in each run. */
static bool has_lot(double share)
{
    static uint32_t seed = 1;

    seed = seed * 1664525 + 1013904223;
    return share == 0 || seed < share * UINT32_MAX;
}

/* True when the request was answered, or will never be, by the behaviour that a test has asked for. */
static bool misbehave(struct langfuse *l, struct exchange *x, enum route r)
{
    const struct behaviour *b = &l->behaviour;

    if (b->down) {
        behaviour_used(l);
        http_drop(x);
        return true;
    }
    if (!applies(l, x))
        return false;
    if (b->stall) {
        behaviour_used(l);
        return true;
    }
    bool large = b->max_body && x->body.n > (size_t)b->max_body;
    bool refused = b->status && (!*b->containing || contains(l, x, b->containing)) && has_lot(b->share);
    if (refused || large) {
        refuse(l, x, r, large ? 413 : b->status);
        behaviour_used(l);
        return true;
    }
    return false;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool base64(struct str in, char *out, size_t size)
{
    uint32_t bits = 0;
    size_t n = 0;
    int have = 0;

    for (size_t i = 0; i < in.n && in.p[i] != '='; i++) {
        int d = base64_digit(in.p[i]);
        if (d < 0 || n + 1 >= size)
            return false;
        bits = bits << 6 | (uint32_t)d;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (char)(bits >> have & 0xff);
        }
    }
    out[n] = '\0';
    return true;
}

enum scope { SCOPE_NONE, SCOPE_ABSENT, SCOPE_SCORES, SCOPE_ALL };

static enum scope key_scope(struct langfuse *l, const struct exchange *x)
{
    struct str v = http_field(x, "authorization");
    char pair[512];

    if (!v.p)
        return SCOPE_ABSENT;
    if (v.n > 7 && strncmp(v.p, "Bearer ", 7) == 0)
        return !l->public_key || str_eq((struct str){v.p + 7, v.n - 7}, l->public_key) ? SCOPE_SCORES
                                                                                       : SCOPE_NONE;
    if (v.n <= 6 || strncmp(v.p, "Basic ", 6) != 0 ||
        !base64((struct str){v.p + 6, v.n - 6}, pair, sizeof pair))
        return SCOPE_NONE;
    char *secret = strchr(pair, ':');
    if (!secret)
        return SCOPE_NONE;
    *secret++ = '\0';
    secret[strcspn(secret, ":")] = '\0'; /* the rest is not looked at */
    if (!*pair || !*secret || (l->secret_key && strcmp(secret, l->secret_key) != 0))
        return SCOPE_NONE;
    if (l->public_key && strcmp(pair, l->public_key) != 0)
        violation(l, "the public key does not belong to the secret key");
    return SCOPE_ALL;
}

static bool let_in(struct langfuse *l, struct exchange *x, const struct path *p, enum scope scope)
{
    if (p->flags & OPEN)
        return true;
    if (scope == SCOPE_ABSENT && p->route != R_INGESTION) {
        reply_json(l, x, 401, "{\"message\":\"No authorization header\"}");
        return false;
    }
    if (scope == SCOPE_ABSENT || scope == SCOPE_NONE) {
        reply_json(l, x, 401,
                   p->route == R_INGESTION ? "{\"error\":\"UnauthorizedError\",\"message\":\"" WRONG_KEYS
                                             "\"}"
                                           : "{\"message\":\"" WRONG_KEYS "\"}");
        return false;
    }
    if (scope == SCOPE_SCORES && (p->flags & NEEDS_SECRET)) {
        reply_json(l, x, 403, "{\"message\":\"Access denied - need to use basic auth with secret key\"}");
        return false;
    }
    return true;
}

static void health(struct langfuse *l, struct exchange *x)
{
    char text[80];

    snprintf(text, sizeof text, "{\"status\":\"OK\",\"version\":\"%s\"}", l->version);
    reply_json(l, x, 200, text);
}

static void projects(struct langfuse *l, struct exchange *x)
{
    reply_json(
        l, x, 200,
        l->major < 3
            ? "{\"data\":[{\"id\":\"project-fake\",\"name\":\"fake\"}]}"
            : "{\"data\":[{\"id\":\"project-fake\",\"name\":\"fake\",\"organization\":{\"id\":\"org-fake\","
              "\"name\":\"fake\"},\"metadata\":{}}]}");
}

static void dispatch(struct langfuse *l, struct exchange *x, const struct path *p, enum scope scope)
{
    switch (p->route) {
    case R_HEALTH:
    case R_READY:
        health(l, x);
        break;
    case R_PROJECTS:
        projects(l, x);
        break;
    case R_INGESTION:
        batch_ingest(l, x, scope == SCOPE_SCORES);
        break;
    case R_OTEL:
        otlp_export(l, x);
        break;
    case R_SCORES:
        score_post(l, x);
        break;
    default:
        if (strstr(p->path, "scores"))
            read_scores(l, x);
        else
            read_observations(l, x);
    }
}

static void unknown(struct langfuse *l, struct exchange *x)
{
    static const char *const legacy[] = {
        "/api/public/traces",      "/api/public/observations", "/api/public/v2/scores", "/api/public/spans",
        "/api/public/generations", "/api/public/events",       "/api/public/sessions"};

    for (size_t i = 0; i < ARRAY_LEN(legacy); i++) {
        size_t n = strlen(legacy[i]);
        if (l->major >= 4 && l->mode == MODE_EVENTS_ONLY && x->head.path.n >= n &&
            memcmp(x->head.path.p, legacy[i], n) == 0) {
            reply_json(l, x, 404,
                       "{\"error\":\"NotFoundError\",\"message\":\"This API is not available on deployments "
                       "running in "
                       "Langfuse v4 events_only mode\"}");
            return;
        }
    }
    reply(l, x, 404, "text/html; charset=utf-8", NULL,
          str_of("<!DOCTYPE html><title>404: This page could not be found.</title>"));
}

static const struct path *find_path(const struct langfuse *l, const struct exchange *x)
{
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        if (str_eq(x->head.path, paths[i].path))
            return l->major < 3 && (paths[i].flags & READS) ? NULL : &paths[i];
    return NULL;
}

void route_request(void *arg, struct exchange *x)
{
    struct langfuse *l = arg;

    if (x->head.path.n >= 8 && memcmp(x->head.path.p, "/_admin/", 8) == 0) {
        admin_request(l, x);
        return;
    }
    const struct path *p = find_path(l, x);
    enum route r = p ? p->route : R_OTHER;
    l->requests++;
    if (++l->in_flight > l->max_in_flight)
        l->max_in_flight = l->in_flight;
    x->tag = reqlog_add(l->log, x, l->in_flight) | (uint64_t)r << 56;
    if (misbehave(l, x, r))
        return;
    if (!p) {
        unknown(l, x);
        return;
    }
    if (!str_eq(x->head.method, p->method)) {
        reply_json(l, x, 405, "{\"message\":\"Method not allowed\"}");
        return;
    }
    enum scope scope = key_scope(l, x);
    if (let_in(l, x, p, scope))
        dispatch(l, x, p, scope);
}

void route_done(void *arg, struct exchange *x, enum httpd_end end)
{
    struct langfuse *l = arg;

    if (x->tag == 0)
        return;
    late_free(x->user);
    l->in_flight--;
    if (end == HTTPD_GONE)
        l->client_left++;
    if (x->status > 0 && x->status < (int)ARRAY_LEN(l->by_route[0]))
        l->by_route[x->tag >> 56][x->status]++;
    reqlog_end(l->log, x->tag << 8 >> 8, x->status, end);
}
