/*
 * routes.h - which path and method leads where
 *
 * Threads  routes_handle() on the connections' threads; `routes` is read-only after its birth but for its
 *          atomics.
 */
#ifndef ATALAYA_GATEWAY_ROUTES_H
#define ATALAYA_GATEWAY_ROUTES_H

#include <stdint.h>

#include "gateway/admission.h"
#include "gateway/dispatch.h"
#include "gateway/http.h"

struct routes {
    struct dispatch *dispatch;
    struct admission *admission;
    int64_t start_ms; /* clock_ms() of the gateway's birth, for uptime */
};

void routes_handle(void *routes, struct http_request *q); /* an http_handler */

#endif
