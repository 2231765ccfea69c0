/*
 * http.h - telemetry's own HTTP port: GET /metrics, GET /health
 *
 * Purpose  the only file that includes civetweb.h. Plain HTTP, no keep-alive: idle scrapers must not hold the
 *          few threads.
 * Threads  civetweb's own; all they share with the loop is the exposition.
 * Errors   0 or -errno, having logged why (-EADDRINUSE: the port is taken).
 */
#ifndef ATALAYA_TELEMETRY_HTTP_H
#define ATALAYA_TELEMETRY_HTTP_H

#include "common/base/attr.h"
#include "telemetry/exposition.h"

struct http;

int http_start(struct http **out, const char *host, int port, struct exposition *x) NODISCARD;
void http_stop(struct http *h);

#endif
