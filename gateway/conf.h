/*
 * conf.h - the gateway's configuration (common/conf/conf.h)
 */
#ifndef ATALAYA_GATEWAY_CONF_H
#define ATALAYA_GATEWAY_CONF_H

#include <stdint.h>

#include "common/base/attr.h"

struct gateway_conf {
    char *host;
    int64_t port;
    int64_t threads;
    int64_t max_in_flight;
    int64_t request_timeout_ms;
    int64_t queue_timeout_ms;
    int64_t drain_timeout_ms;
    char *jobs_endpoint;
    char *events_endpoint;
};

int gateway_conf_load(struct gateway_conf *c) NODISCARD; /* 0 or -EINVAL, having said why */
void gateway_conf_free(struct gateway_conf *c);
void gateway_conf_names(void);

#endif
