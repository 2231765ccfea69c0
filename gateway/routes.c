#include "gateway/routes.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "gateway/validate.h"

enum { GET = 1, POST = 2 };

/* One request while its handler runs. */
struct visit {
    struct routes *routes;
    struct http_request *q;
    struct note note;
};

struct route {
    const char *path;
    int methods;
    const char *allow;
    void (*handle)(struct visit *v);
};

static void answer(struct visit *v, struct reply r)
{
    r.request_id = str_of(v->note.request_id);
    http_answer(v->q, &r);
    v->note.status = r.status;
    dispatch_note(v->routes->dispatch, &v->note);
}

static void answer_detail(struct visit *v, int status, const char *detail, const char *allow, int retry_after)
{
    struct buf body = BUF_INIT(4 * KIB);
    struct reply r = reply_detail(&body, status, detail);

    r.allow = allow;
    r.retry_after = retry_after;
    answer(v, r);
    buf_free(&body);
}

static void submit(struct visit *v, const struct ask_input *in)
{
    struct dispatch *d = v->routes->dispatch;
    struct ask *a = ask_new(d, in, v->q->start_us);

    memcpy(a->request_id, v->note.request_id, sizeof a->request_id);
    a->promise = http_later(v->q, dispatch_gone, a);
    dispatch_submit(d, a);
}

static void ask(struct visit *v)
{
    struct admission *admission = v->routes->admission;
    struct jsonscan hold;
    struct ask_input in;
    struct buf error = BUF_INIT(16 * REQUEST_BODY_MAX);

    if (v->q->body_too_large) {
        answer_detail(v, 413, "Request body too large", NULL, 0);
        return;
    }
    int status = validate_ask(v->q->body, http_header(v->q, "Content-Type"), &hold, &in, &error);
    if (status != 200) {
        answer(v, (struct reply){.status = status, .body = buf_str(&error)});
    } else {
        switch (admission_enter(admission)) {
        case ADMITTED:
            submit(v, &in);
            break;
        case REFUSED_FULL:
            answer_detail(v, 503, "Too many questions in flight", NULL, admission_retry_after(admission));
            break;
        case REFUSED_DRAINING:
            answer_detail(v, 503, "Shutting down", NULL, 1);
            break;
        }
    }
    jsonscan_free(&hold);
    buf_free(&error);
}

static void health(struct visit *v)
{
    struct dispatch_facts f = dispatch_facts(v->routes->dispatch);
    struct buf body = BUF_INIT(4 * KIB);

    buf_putc(&body, '{');
    json_field_str(&body, "status", str_of("ok"));
    json_field_bool(&body, "openai_configured", f.openai_configured);
    json_field_bool(&body, "langfuse_enabled", f.langfuse_enabled);
    json_field_int(&body, "workers", f.workers);
    json_field_bool(&body, "telemetry", f.telemetry);
    json_field_str(&body, "version", str_of(ATALAYA_VERSION));
    json_field_int(&body, "uptime_seconds", (clock_ms() - v->routes->start_ms) / 1000);
    buf_putc(&body, '}');
    answer(v, (struct reply){.status = 200, .body = buf_str(&body)});
    buf_free(&body);
}

static void no_gone(void *arg)
{
    (void)arg; /* the promise of a scrape is kept within its deadline in any case */
}

static void metrics(struct visit *v)
{
    dispatch_scrape(v->routes->dispatch, http_later(v->q, no_gone, NULL), &v->note);
}

static const struct route routes[] = {
    {"/ask", POST, "POST", ask},
    {"/health", GET, "GET, HEAD", health},
    {"/metrics", GET, "GET, HEAD", metrics},
};

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

static const struct route *find(struct str path)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (str_eq(path, routes[i].path))
            return &routes[i];
    return NULL;
}

void routes_handle(void *arg, struct http_request *q)
{
    struct visit v = {.routes = arg, .q = q};
    const struct route *r = find(q->path);
    int method = str_eq(q->method, "POST")                               ? POST
                 : str_eq(q->method, "GET") || str_eq(q->method, "HEAD") ? GET
                                                                         : 0;

    dispatch_begin(v.routes->dispatch);
    v.note = (struct note){
        .endpoint = r ? r->path : "other",
        .method = known_method(q->method),
        .start_us = q->start_us,
    };
    id_uuid(v.note.request_id);
    if (!r)
        answer_detail(&v, 404, "Not Found", NULL, 0);
    else if (!(r->methods & method))
        answer_detail(&v, 405, "Method Not Allowed", r->allow, 0);
    else
        r->handle(&v);
}
