#include <errno.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/proc/child.h"
#include "common/proc/daemon.h"
#include "gateway/admission.h"
#include "gateway/conf.h"
#include "gateway/dispatch.h"
#include "gateway/http.h"
#include "gateway/routes.h"

struct gateway {
    struct daemon daemon;
    struct gateway_conf conf;
    struct admission admission;
    struct guard guard;
    struct dispatch *dispatch;
    struct openapi *openapi;
    struct routes routes;
    struct http *http;
};

#define LAST_EVENTS_MS 700 /* below the second that the supervisor waits beyond DRAIN_TIMEOUT_MS */

static int configure(void *self)
{
    struct gateway *g = self;
    int rc = gateway_conf_load(&g->conf);

    g->daemon.drain_ms = g->conf.drain_timeout_ms + LAST_EVENTS_MS;
    return guard_init(&g->guard, &g->conf) < 0 ? -EINVAL : rc;
}

static void describe_api(struct gateway *g)
{
    g->openapi = openapi_new(&(struct openapi_conf){
        .version = ATALAYA_VERSION,
        .max_words = g->conf.max_words,
        .body_max = g->conf.body_max,
        .chat_body_max = g->conf.chat_body_max,
        .tokens = *g->conf.tokens_file != '\0',
    });
}

static int init(void *self, struct loop *loop)
{
    struct gateway *g = self;

    admission_init(&g->admission, (int)g->conf.max_in_flight);
    if (dispatch_new(&g->dispatch, loop, &g->conf, &g->admission) < 0)
        return EXIT_ENVIRONMENT;
    describe_api(g);
    g->routes = (struct routes){
        .conf = &g->conf,
        .dispatch = g->dispatch,
        .admission = &g->admission,
        .guard = &g->guard,
        .openapi = g->openapi,
        .start_ms = clock_ms(),
    };
    struct http_conf http = {
        .host = g->conf.host,
        .port = (int)g->conf.port,
        .threads = (int)g->conf.threads,
        .request_ms = g->conf.request_timeout_ms,
        .head_ms = g->conf.head_timeout_ms,
        .body_ms = g->conf.body_timeout_ms,
        .keep_alive_ms = g->conf.keep_alive_ms,
        .slow_ms = HTTP_SLOW_MS,
        .handler = routes_handle,
        .refused = routes_refused,
        .arg = &g->routes,
    };
    if (http_start(&g->http, loop, &http) < 0)
        return EXIT_ENVIRONMENT;
    log_event(LOG_INFO, LOG_FIELDS(LOG_CSTR("host", g->conf.host), LOG_INT("port", g->conf.port)),
              "listening on http://%s:%d", g->conf.host, (int)g->conf.port);
    return 0;
}

static void reload(void *self)
{
    struct gateway *g = self;

    guard_reload(&g->guard);
}

static void recorded(void *arg)
{
    daemon_drained(arg);
}

/* What has been answered last is to be recorded too. */
static void quiet(void *arg)
{
    struct gateway *g = arg;

    dispatch_drain(g->dispatch, clock_ms() + g->conf.drain_timeout_ms, recorded, &g->daemon);
}

/* Every question is answered: slow readers and scrapes get the rest of theirs. */
static void drained(void *arg)
{
    struct gateway *g = arg;

    http_when_quiet(g->http, quiet, g);
}

static void drain(void *self)
{
    struct gateway *g = self;

    admission_close(&g->admission);
    dispatch_drain(g->dispatch, clock_ms() + g->conf.drain_timeout_ms, drained, g);
}

static void fini(void *self)
{
    struct gateway *g = self;

    admission_close(&g->admission);
    if (g->dispatch)
        dispatch_give_up(g->dispatch);
    http_stop(g->http);
    dispatch_free(g->dispatch);
    http_free(g->http);
    openapi_free(g->openapi);
    guard_free(&g->guard);
    gateway_conf_free(&g->conf);
}

int main(int argc, char **argv)
{
    struct gateway g = {.daemon = {
                            .name = "gateway",
                            .program = "atalaya-gateway",
                            .purpose = "takes questions over HTTP and gives them to the llm-workers",
                            .conf = &gateway_conf_table,
                            .configure = configure,
                            .init = init,
                            .drain = drain,
                            .reload = reload,
                            .fini = fini,
                        }};

    g.daemon.self = &g;
    return daemon_run(&g.daemon, argc, argv);
}
