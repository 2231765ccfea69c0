#include <stdlib.h>

#include "common/base/clock.h"
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
    struct dispatch *dispatch;
    struct routes routes;
    struct http *http;
};

#define LAST_EVENTS_MS      700   /* below the second that the supervisor waits beyond DRAIN_TIMEOUT_MS */
#define KEEP_ALIVE_SPARE_MS 15000 /* civetweb's keep-alive timeout also runs while an answer is owed */

static int init(void *self, struct loop *loop)
{
    struct gateway *g = self;

    if (gateway_conf_load(&g->conf) < 0)
        return EXIT_CONFIG;
    g->daemon.drain_ms = g->conf.drain_timeout_ms + LAST_EVENTS_MS;
    admission_init(&g->admission, (int)g->conf.max_in_flight);
    if (dispatch_new(&g->dispatch, loop, &g->conf, &g->admission) < 0)
        return EXIT_ENVIRONMENT;
    g->routes = (struct routes){.dispatch = g->dispatch, .admission = &g->admission, .start_ms = clock_ms()};
    struct http_conf http = {
        .host = g->conf.host,
        .port = (int)g->conf.port,
        .threads = (int)g->conf.threads,
        .keep_alive_ms = (int)g->conf.request_timeout_ms + KEEP_ALIVE_SPARE_MS,
    };
    if (http_start(&g->http, loop, &http, routes_handle, &g->routes) < 0)
        return EXIT_ENVIRONMENT;
    log_event(LOG_INFO, LOG_FIELDS(LOG_CSTR("host", g->conf.host), LOG_INT("port", g->conf.port)),
              "listening on http://%s:%d", g->conf.host, (int)g->conf.port);
    return 0;
}

static void drained(void *arg)
{
    daemon_drained(arg);
}

static void drain(void *self)
{
    struct gateway *g = self;

    admission_close(&g->admission);
    dispatch_drain(g->dispatch, clock_ms() + g->conf.drain_timeout_ms, drained, &g->daemon);
}

static void fini(void *self)
{
    struct gateway *g = self;

    admission_close(&g->admission);
    if (g->dispatch)
        dispatch_give_up(g->dispatch);
    http_stop(g->http);
    dispatch_free(g->dispatch);
    gateway_conf_free(&g->conf);
}

int main(int argc, char **argv)
{
    struct gateway g = {.daemon = {
                            .name = "gateway",
                            .program = "atalaya-gateway",
                            .purpose = "takes questions over HTTP and gives them to the llm-workers",
                            .init = init,
                            .drain = drain,
                            .fini = fini,
                            .variables = gateway_conf_names,
                        }};

    g.daemon.self = &g;
    return daemon_run(&g.daemon, argc, argv);
}
