/*
 * caller.h - who asks, and under which name
 *
 * Purpose  what the log, the events and the answer of one request have in common. `endpoint` and `method` are bounded,
 *          for labels.
 * Owner    copied by value; endpoint and method are static strings.
 */
#ifndef ATALAYA_GATEWAY_CALLER_H
#define ATALAYA_GATEWAY_CALLER_H

#include <stdint.h>

#include "common/base/limits.h"
#include "gateway/forwarded.h"
#include "gateway/tokens.h"

struct caller {
    char request_id[REQUEST_ID_MAX + 1]; /* the client's own where it is sane */
    char address[CLIENT_ADDRESS_SIZE];
    char token[TOKEN_NAME_SIZE]; /* the name of its token; "" = it has none, or needs none */
    const char *endpoint;        /* the route, "other" for unknown paths */
    const char *method;
    int64_t start_us; /* clock_us() */
};

#endif
