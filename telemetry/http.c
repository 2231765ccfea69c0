#include "telemetry/http.h"

#include <civetweb.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/proc/door.h"

#define JSON_TYPE "application/json"

struct http {
    struct mg_context *mg;
    struct exposition *exposition;
    const char *host; /* the configuration's */
    int port;
};

static void answer(struct mg_connection *c, const char *status, const char *type, const char *more,
                   struct str body)
{
    bool head = strcmp(mg_get_request_info(c)->request_method, "HEAD") == 0;
    struct buf out = BUF_INIT(METRIC_PAGE_MAX + 4 * KIB);

    buf_printf(&out, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%sConnection: close\r\n\r\n",
               status, type, body.n, more);
    if (!head)
        buf_append(&out, body.p, body.n);
    mg_write(c, out.data, out.len);
    buf_free(&out);
}

static void answer_detail(struct mg_connection *c, const char *status, const char *more, const char *json)
{
    answer(c, status, JSON_TYPE, more, str_of(json));
}

static void answer_page(struct mg_connection *c, unsigned which, const char *type, const char *more)
{
    struct http *h = mg_get_user_data(mg_get_context(c));
    struct buf page = BUF_INIT(METRIC_PAGE_MAX);

    if (exposition_get(h->exposition, which, &page) < 0)
        answer_detail(c, "503 Service Unavailable", "", "{\"detail\":\"telemetry is busy or stopping\"}");
    else
        answer(c, "200 OK", type, more, buf_str(&page));
    buf_free(&page);
}

static void metrics(struct mg_connection *c)
{
    enum metrics_format format = accept_metrics(mg_get_header(c, "Accept"));

    answer_page(c, format, metrics_type(format), "Vary: Accept\r\n");
}

static void health(struct mg_connection *c)
{
    answer_page(c, EXPOSITION_HEALTH, JSON_TYPE, "");
}

static const struct route {
    const char *path;
    void (*handle)(struct mg_connection *c);
} routes[] = {
    {"/metrics", metrics},
    {"/health", health},
};

static int on_request(struct mg_connection *c)
{
    const struct mg_request_info *q = mg_get_request_info(c);
    bool get = strcmp(q->request_method, "GET") == 0 || strcmp(q->request_method, "HEAD") == 0;

    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (strcmp(q->local_uri, routes[i].path) != 0)
            continue;
        if (get)
            routes[i].handle(c);
        else
            answer_detail(c, "405 Method Not Allowed", "Allow: GET, HEAD\r\n",
                          "{\"detail\":\"Method Not Allowed\"}");
        return 1;
    }
    answer_detail(c, "404 Not Found", "", "{\"detail\":\"Not Found\"}");
    return 1;
}

static int on_log(const struct mg_connection *c, const char *text)
{
    (void)c;
    log_debug("civetweb: %s", text);
    return 1;
}

int http_start(struct http **out, const char *host, int port, struct exposition *x)
{
    char ports[96];
    const char *options[] = {"listening_ports",
                             ports,
                             "num_threads",
                             "8",
                             "request_timeout_ms",
                             "10000",
                             "enable_keep_alive",
                             "no",
                             "enable_auth_domain_check",
                             "no",
                             NULL};
    struct mg_callbacks callbacks = {.begin_request = on_request, .log_message = on_log};
    int rc = door_check(host, port, "TELEMETRY_HOST", "TELEMETRY_PORT");

    if (rc < 0)
        return rc;
    snprintf(ports, sizeof ports, "%s:%d", host, port);
    struct http *h = xcalloc(1, sizeof *h);
    h->exposition = x;
    h->host = host;
    h->port = port;
    mg_init_library(0);
    h->mg = mg_start(&callbacks, h, options);
    if (!h->mg) {
        log_error("the HTTP server does not start on %s; choose another port with TELEMETRY_PORT", ports);
        mg_exit_library();
        free(h);
        return -EADDRINUSE;
    }
    *out = h;
    return 0;
}

void http_stop(struct http *h)
{
    if (!h)
        return;
    struct knock *k = door_knock(h->host, h->port);
    mg_stop(h->mg);
    door_answered(k);
    mg_exit_library();
    free(h);
}
