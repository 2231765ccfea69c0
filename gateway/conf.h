/*
 * conf.h - the gateway's configuration (common/base/conf.h)
 */
#ifndef ATALAYA_GATEWAY_CONF_H
#define ATALAYA_GATEWAY_CONF_H

#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/conf.h"
#include "gateway/cors.h"
#include "gateway/forwarded.h"
#include "gateway/userhash.h"

extern const struct conf_table gateway_conf_table;

enum telemetry_ack { TELEMETRY_ACK_ASYNC, TELEMETRY_ACK_BEFORE_ANSWER };

struct gateway_conf {
    char *host;
    int64_t port;
    int64_t threads;
    int64_t max_in_flight;
    int64_t request_timeout_ms, queue_timeout_ms, drain_timeout_ms, heartbeat_ms;
    int64_t cache_bytes, cache_age_ms;
    bool single_flight;
    int64_t body_max, chat_body_max;
    int64_t head_timeout_ms, body_timeout_ms, keep_alive_ms;
    char *tokens_file;
    int64_t rate_user, rate_token, rate_address, rate_burst;
    char *trusted_proxies;
    struct proxies *proxies; /* the same, parsed */
    struct cors_conf cors;
    struct cors *allowed; /* the same */
    int64_t max_words;
    int log_user_id;
    char *log_user_id_key;
    struct userhash users; /* the same */
    char *jobs_endpoint;
    char *events_endpoint;
    int telemetry_ack; /* enum telemetry_ack */
    int64_t telemetry_ack_timeout_ms;
};

int gateway_conf_load(struct gateway_conf *c) NODISCARD; /* 0 or -EINVAL, having said why */
void gateway_conf_free(struct gateway_conf *c);

#endif
