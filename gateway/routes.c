#include "gateway/routes.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/utf8.h"
#include "gateway/chat.h"
#include "gateway/correlation.h"
#include "gateway/cors.h"
#include "gateway/feedback.h"
#include "gateway/openai_error.h"
#include "gateway/validate.h"

/* One request while its handler runs. */
struct visit {
    struct routes *routes;
    struct http_request *q;
    struct caller caller;
    struct allowance allowance;
    struct buf headers; /* of the answer, complete lines */
    bool openai;        /* the path is of OpenAI's API, and so are its errors */
};

enum { GET = 1, POST = 2 };

struct route {
    const char *path; /* a name in braces at its end stands for all that may follow */
    int methods;
    const char *allow;
    bool guarded; /* asks for a token where there are any */
    void (*handle)(struct visit *v);
};

static struct notes *notes(const struct visit *v)
{
    return dispatch_notes(v->routes->dispatch);
}

/* error: a machine word for the log; NULL = none. */
static void answer(struct visit *v, struct reply r, const char *error)
{
    if (v->allowance.policy)
        ratelimit_headers(&v->headers, v->allowance.policy, &v->allowance.verdict);
    r.headers = buf_str(&v->headers);
    http_answer(v->q, &r);
    notes_request(notes(v), &v->caller, r.status, error);
}

/* The body is borrowed from `hold`. */
static struct reply refusal(const struct visit *v, struct buf *hold, int status, const char *code,
                            const char *detail)
{
    if (!v->openai)
        return reply_detail(hold, status, detail);
    openai_error_write(hold, status, code, detail);
    return (struct reply){.status = status, .body = buf_str(hold)};
}

static void answer_detail(struct visit *v, int status, const char *detail, int retry_after, const char *error)
{
    struct buf body = BUF_INIT(4 * KIB);
    struct reply r = refusal(v, &body, status, error, detail);

    r.retry_after = retry_after;
    if (v->openai && retry_after > 0)
        buf_printf(&v->headers, "retry-after-ms: %d000\r\n", retry_after);
    answer(v, r, error);
    buf_free(&body);
}

/* Without a body. */
static void redirect(struct visit *v, const char *path)
{
    const char *query = v->q->query;

    buf_printf(&v->headers, "Location: %s%s%s\r\n", path, query ? "?" : "", query ? query : "");
    answer(v, (struct reply){.status = 307, .type = ""}, NULL);
}

static void answer_limited(struct visit *v)
{
    char detail[96];

    snprintf(detail, sizeof detail, "Too Many Requests: %lld in %lld s are allowed for one %s",
             (long long)v->allowance.verdict.limit, (long long)v->allowance.verdict.window_s,
             v->allowance.policy);
    answer_detail(v, 429, detail, (int)v->allowance.verdict.retry_after_s, "rate_limited");
}

static void answer_too_large(struct visit *v, int64_t max)
{
    char detail[64];

    snprintf(detail, sizeof detail, "Request body too large: at most %lld bytes", (long long)max);
    answer_detail(v, 413, detail, 0, "bad_body");
}

/* False: it has been answered. */
static bool read_body(struct visit *v, int64_t max, struct str *body)
{
    const char *why = NULL;
    int status = http_body(v->q, (size_t)max, body, &why);

    if (status == 413)
        answer_too_large(v, max);
    else if (status)
        answer_detail(v, status, why, 0, "bad_body");
    return status == 0;
}

/* POST /ask, POST /v1/chat/completions */

/* One line of printable ASCII; anything else is ignored. */
static struct str printable(const char *field, size_t max)
{
    struct str s = str_of(field);

    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] > '~')
            s.n = 0;
    return s.n <= max ? s : str_of("");
}

static void submit(struct visit *v, struct ask_input *in)
{
    struct dispatch *d = v->routes->dispatch;
    struct traceparent parent;
    bool traced = traceparent_parse(http_field_once(v->q, "traceparent"), &parent);
    const struct gateway_conf *conf = v->routes->conf;
    struct buf tags = BUF_INIT(TAGS_MAX);
    char traceparent[TRACEPARENT_SIZE];

    http_field_list(v->q, "X-Tags", &tags);
    in->tags = printable(tags.failed ? NULL : tags.data, TAGS_MAX);
    in->session_id = printable(http_field_once(v->q, "X-Session-ID"), SESSION_ID_MAX);
    struct ask *a = ask_new(d, in, &v->caller, traced ? &parent : NULL);
    buf_free(&tags);
    a->has_same = (conf->cache_bytes || conf->single_flight) && !(in->chat && in->stream);
    if (a->has_same)
        same_of(&a->same, in);

    traceparent_write(traceparent, a->trace_id, a->generation_id, TRACE_SAMPLED);
    buf_append(&a->headers, v->headers.data, v->headers.len);
    buf_printf(&a->headers, "traceparent: %s\r\n", traceparent);
    if (v->allowance.policy)
        ratelimit_headers(&a->headers, v->allowance.policy, &v->allowance.verdict);
    a->promise = http_later(v->q, dispatch_gone, a);
    dispatch_submit(d, a);
}

static void ask_or_refuse(struct visit *v, struct ask_input *in)
{
    struct admission *admission = v->routes->admission;
    bool anonymous = in->chat && !in->user_id.n;

    if (!anonymous && guard_user(v->routes->guard, in->user_id, &v->allowance) != 0) {
        answer_limited(v);
        return;
    }
    switch (admission_enter(admission)) {
    case ADMITTED:
        submit(v, in);
        break;
    case REFUSED_FULL:
        answer_detail(v, 503, "Too many questions in flight", admission_retry_after(admission), "overloaded");
        break;
    case REFUSED_DRAINING:
        answer_detail(v, 503, "Shutting down", 1, "shutting_down");
        break;
    }
}

static void ask(struct visit *v)
{
    struct jsonscan hold;
    struct ask_input in;
    struct buf error = BUF_INIT(ASK_ERROR_MAX);
    struct str body;

    if (!read_body(v, v->routes->conf->body_max, &body))
        return;
    int status =
        validate_ask(body, http_field(v->q, "Content-Type"), v->routes->conf->max_words, &hold, &in, &error);
    if (status == 200)
        ask_or_refuse(v, &in);
    else
        answer(v, (struct reply){.status = status, .body = buf_str(&error)}, "bad_request");
    jsonscan_free(&hold);
    buf_free(&error);
}

static void chat(struct visit *v)
{
    struct chat_hold hold;
    struct ask_input in;
    struct buf error = BUF_INIT(8 * KIB);
    struct str body;

    if (!read_body(v, v->routes->conf->chat_body_max, &body))
        return;
    int status = validate_chat(body, http_field(v->q, "Content-Type"), &hold, &in, &error);
    if (status == 200)
        ask_or_refuse(v, &in);
    else
        answer(v, (struct reply){.status = status, .body = buf_str(&error)}, "bad_request");
    chat_hold_free(&hold);
    buf_free(&error);
}

/* POST /feedback */

static void accept_feedback(struct visit *v, const struct feedback *f)
{
    struct buf body = BUF_INIT(4 * KIB);
    char id[ID_UUID_SIZE];

    id_uuid(id);
    notes_feedback(notes(v), &v->caller, f, id);
    buf_putc(&body, '{');
    json_field_str(&body, "id", str_of(id));
    json_field_str(&body, "trace_id", f->trace_id);
    json_field_str(&body, "request_id", str_of(v->caller.request_id));
    buf_putc(&body, '}');
    answer(v, (struct reply){.status = 202, .body = buf_str(&body)}, NULL);
    buf_free(&body);
}

static void feedback(struct visit *v)
{
    struct jsonscan hold;
    struct feedback f;
    struct buf error = BUF_INIT(FEEDBACK_ERROR_BYTES);
    struct str body;

    if (!read_body(v, v->routes->conf->body_max, &body))
        return;
    int status = validate_feedback(body, http_field(v->q, "Content-Type"), &hold, &f, &error);
    if (status == 200)
        accept_feedback(v, &f);
    else
        answer(v, (struct reply){.status = status, .body = buf_str(&error)}, "bad_request");
    jsonscan_free(&hold);
    buf_free(&error);
}

/* GET /v1/models */

static size_t fixed(const char *path)
{
    return strcspn(path, "{");
}

static void models(struct visit *v)
{
    struct buf body = BUF_INIT(MIB);

    models_write(dispatch_models(v->routes->dispatch), &body);
    answer(v, (struct reply){.status = 200, .body = buf_str(&body)}, NULL);
    buf_free(&body);
}

static void model(struct visit *v)
{
    size_t prefix = fixed(v->caller.endpoint);
    struct str id = {v->q->path.p + prefix, v->q->path.n - prefix};
    struct buf body = BUF_INIT(8 * KIB), message = BUF_INIT(KIB);
    struct reply r = {.status = 200};

    if (!models_write_one(dispatch_models(v->routes->dispatch), id, &body)) {
        buf_printf(&message, "The model '%.*s' does not exist", (int)utf8_clip(id.p, id.n, CHAT_MODEL_MAX),
                   id.p);
        r.status = 404;
        openai_error_about(&body, 404, "model", "model_not_found", message.data);
    }
    r.body = buf_str(&body);
    answer(v, r, NULL);
    buf_free(&message);
    buf_free(&body);
}

/* GET */

static void health(struct visit *v)
{
    struct dispatch_facts f = dispatch_facts(v->routes->dispatch);
    struct buf body = BUF_INIT(4 * KIB);

    buf_putc(&body, '{');
    json_field_str(&body, "status", str_of("ok"));
    json_field_bool(&body, "openai_configured", f.openai_configured);
    json_field_bool(&body, "langfuse_enabled", f.langfuse_enabled);
    json_field_bool(&body, "upstreams_failing", f.upstreams_down);
    json_field_int(&body, "workers", f.workers);
    json_field_bool(&body, "telemetry", f.telemetry);
    json_field_str(&body, "version", str_of(ATALAYA_VERSION));
    json_field_int(&body, "uptime_seconds", (clock_ms() - v->routes->start_ms) / 1000);
    buf_putc(&body, '}');
    answer(v, (struct reply){.status = 200, .body = buf_str(&body)}, NULL);
    buf_free(&body);
}

static void livez(struct visit *v)
{
    answer(v, (struct reply){.status = 200, .body = str_of("{\"status\":\"ok\"}")}, NULL);
}

static void answer_down(struct visit *v, const char *refusing)
{
    char detail[KIB];

    if (!*refusing) {
        answer_detail(v, 503, "Every provider is failing", 1, "upstream_down");
        return;
    }
    snprintf(detail, sizeof detail, "No provider can be asked; these refuse the key: %.900s", refusing);
    answer_detail(v, 503, detail, 1, "not_authorized");
}

static void answer_ready(struct visit *v, const char *refusing)
{
    struct buf body = BUF_INIT(4 * KIB);

    buf_putc(&body, '{');
    json_field_str(&body, "status", str_of("ready"));
    if (*refusing)
        json_field_str(&body, "key_refused_by", str_of(refusing));
    buf_putc(&body, '}');
    answer(v, (struct reply){.status = 200, .body = buf_str(&body)}, NULL);
    buf_free(&body);
}

static void readyz(struct visit *v)
{
    struct dispatch *d = v->routes->dispatch;
    struct dispatch_facts facts = dispatch_facts(d);
    struct buf refusing = BUF_INIT(4 * KIB);

    buf_puts(&refusing, "");
    models_refusing(dispatch_models(d), &refusing);
    if (admission_is_closed(v->routes->admission))
        answer_detail(v, 503, "Shutting down", 1, "shutting_down");
    else if (facts.workers == 0)
        answer_detail(v, 503, "No llm-worker is connected", 1, "no_worker");
    else if (facts.upstreams_down)
        answer_down(v, refusing.data);
    else
        answer_ready(v, refusing.data);
    buf_free(&refusing);
}

static void no_gone(void *arg)
{
    (void)arg; /* the promise of a scrape is kept within its deadline in any case */
}

static void metrics(struct visit *v)
{
    enum metrics_format format = accept_metrics(http_field(v->q, "Accept"));

    buf_puts(&v->headers, "Vary: Accept\r\n");
    notes_scrape(notes(v), http_later(v->q, no_gone, NULL), &v->caller, format, buf_str(&v->headers));
}

static void openapi(struct visit *v)
{
    answer(v, (struct reply){.status = 200, .body = openapi_json(v->routes->openapi)}, NULL);
}

static void docs(struct visit *v)
{
    buf_printf(
        &v->headers,
        "Content-Security-Policy: %s\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n",
        openapi_page_policy);
    answer(v,
           (struct reply){
               .status = 200, .type = "text/html; charset=utf-8", .body = openapi_page(v->routes->openapi)},
           NULL);
}

static void redoc(struct visit *v)
{
    redirect(v, "/docs");
}

static const struct route routes[] = {
    {"/ask", POST, "POST", true, ask},
    {"/v1/chat/completions", POST, "POST", true, chat},
    {"/v1/models", GET, "GET, HEAD", true, models},
    {"/v1/models/{model}", GET, "GET, HEAD", true, model},
    {"/health", GET, "GET, HEAD", false, health},
    {"/metrics", GET, "GET, HEAD", true, metrics},
    {"/livez", GET, "GET, HEAD", false, livez},
    {"/readyz", GET, "GET, HEAD", false, readyz},
    {"/feedback", POST, "POST", true, feedback},
    {"/docs", GET, "GET, HEAD", false, docs},
    {"/openapi.json", GET, "GET, HEAD", false, openapi},
    {"/redoc", GET, "GET, HEAD", false, redoc},
};

static bool leads_to(struct str path, const struct route *r)
{
    size_t n = fixed(r->path);

    if (path.n < n || memcmp(path.p, r->path, n) != 0)
        return false;
    return r->path[n] ? path.n > n : path.n == n;
}

static const struct route *find(struct str path)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (leads_to(path, &routes[i]))
            return &routes[i];
    return NULL;
}

static struct str without_slashes(struct str path)
{
    while (path.n > 0 && path.p[path.n - 1] == '/')
        path.n--;
    return path;
}

/* Bounded, for labels: the methods of RFC 9110 and RFC 5789. */
static const char *known_method(struct str m)
{
    static const char *const known[] = {"GET",   "HEAD",    "POST",  "PUT",    "DELETE",
                                        "PATCH", "OPTIONS", "TRACE", "CONNECT"};

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eq(m, known[i]))
            return known[i];
    return "other";
}

static int method_bit(struct str m)
{
    return str_eq(m, "POST") ? POST : str_eq(m, "GET") || str_eq(m, "HEAD") ? GET : 0;
}

static void find_address(struct visit *v)
{
    const struct proxies *p = v->routes->conf->proxies;
    struct buf forwarded = BUF_INIT(HTTP_HEADERS_MAX);

    if (p)
        http_field_list(v->q, "X-Forwarded-For", &forwarded);
    client_address(p, v->q->peer, forwarded.data, v->caller.address);
    buf_free(&forwarded);
}

static void identify(struct visit *v, const struct route *r)
{
    const char *id = http_field(v->q, "X-Request-ID");

    v->caller.endpoint = r ? r->path : "other";
    v->caller.method = known_method(v->q->method);
    v->caller.start_us = v->q->start_us;
    if (request_id_is_sane(id))
        memcpy(v->caller.request_id, id, strlen(id) + 1);
    else
        id_uuid(v->caller.request_id);
    find_address(v);
    buf_printf(&v->headers, "X-Request-ID: %s\r\n", v->caller.request_id);
}

/* True: it was a preflight, and has been answered. */
static bool cors(struct visit *v)
{
    const struct cors *allowed = v->routes->conf->allowed;
    char method[16], text[CORS_TEXT_SIZE];
    struct cors_question question = {
        .method = method,
        .origin = http_field(v->q, "Origin"),
        .asked_method = http_field(v->q, "Access-Control-Request-Method"),
        .asked_headers = http_field(v->q, "Access-Control-Request-Headers"),
        .has_cookie = http_field(v->q, "Cookie") != NULL,
    };

    snprintf(method, sizeof method, "%.*s", (int)v->q->method.n, v->q->method.p);
    if (!cors_is_preflight(&question)) {
        cors_headers(allowed, &question, &v->headers);
        return false;
    }
    int status = cors_preflight(allowed, &question, &v->headers, text);
    answer(v, (struct reply){.status = status, .type = REPLY_TEXT, .body = str_of(text)},
           status == 200 ? NULL : "cors");
    return true;
}

static void answer_405(struct visit *v, const struct route *r)
{
    struct buf body = BUF_INIT(4 * KIB);
    struct reply reply = refusal(v, &body, 405, "method_not_supported", "Method Not Allowed");

    reply.allow = r->allow;
    answer(v, reply, NULL);
    buf_free(&body);
}

static void answer_404(struct visit *v)
{
    struct buf body = BUF_INIT(4 * KIB);

    answer(v,
           refusal(v, &body, 404, "unknown_url",
                   v->openai ? "There is nothing at this URL: there are POST /v1/chat/completions, GET "
                               "/v1/models and GET /v1/models/{model}"
                             : "Not Found"),
           NULL);
    buf_free(&body);
}

/* False: it has been answered. */
static bool may_enter(struct visit *v)
{
    const char *error = NULL;
    int status = guard_enter(v->routes->guard, &v->caller, http_field(v->q, "Authorization"), &v->allowance,
                             &v->headers, &error);

    if (status == 401 && v->openai)
        answer_detail(v, 401, "Incorrect API key: it must be one of this gateway's tokens", 0, error);
    else if (status == 401)
        answer_detail(v, 401, "Not authenticated", 0, error);
    else if (status == 429)
        answer_limited(v);
    return status == 0;
}

void routes_handle(void *arg, struct http_request *q)
{
    struct visit v = {.routes = arg, .q = q, .headers = BUF_INIT(2 * HTTP_HEADERS_MAX)};
    const struct route *r = find(q->path);
    const struct route *bare = r ? NULL : find(without_slashes(q->path));

    v.openai = q->path.n >= 4 && memcmp(q->path.p, "/v1/", 4) == 0;
    notes_begin(notes(&v));
    identify(&v, r);
    if (cors(&v))
        ;
    else if (bare)
        redirect(&v, bare->path);
    else if (!r)
        answer_404(&v);
    else if (!(r->methods & method_bit(q->method)))
        answer_405(&v, r);
    else if (!r->guarded || may_enter(&v))
        r->handle(&v);
    buf_free(&v.headers);
}

void routes_refused(void *arg, int status, const char *why, const char *peer)
{
    static struct log_limit limit = LOG_LIMIT(10, 1000, "requests that are none");
    struct routes *r = arg;
    struct caller c = {.endpoint = "other", .method = "other", .start_us = clock_us()};

    if (log_allowed(LOG_INFO, &limit))
        log_event(LOG_INFO,
                  LOG_FIELDS(LOG_CSTR("client", peer), LOG_INT("status", status), LOG_CSTR("error", why)),
                  "refused what is no proper HTTP request");
    notes_refused(dispatch_notes(r->dispatch), &c, status);
}
