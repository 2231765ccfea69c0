/*
 * routes.h - which path and method leads where
 *
 * Purpose  the order in which a request is looked at: its ids, CORS preflight, path, method, token and limits, body.
 *          Whatever the answer, it carries X-Request-ID and the CORS lines, and is counted and logged once.
 * Threads  routes_handle(), routes_refused(): the connections' threads; `routes` is read-only after its birth but for
 *          what its members guard themselves.
 */
#ifndef ATALAYA_GATEWAY_ROUTES_H
#define ATALAYA_GATEWAY_ROUTES_H

#include <stdint.h>

#include "gateway/admission.h"
#include "gateway/dispatch.h"
#include "gateway/guard.h"
#include "gateway/http.h"
#include "gateway/openapi.h"

struct routes {
    const struct gateway_conf *conf;
    struct dispatch *dispatch;
    struct admission *admission;
    struct guard *guard;
    struct openapi *openapi;
    int64_t start_ms; /* clock_ms() of the gateway's birth, for uptime */
};

void routes_handle(void *routes, struct http_request *q);                         /* an http_handler */
void routes_refused(void *routes, int status, const char *why, const char *peer); /* an http_refused */

#endif
