/*
 * conf.h - the llm-worker's configuration (common/base/conf.h)
 */
#ifndef ATALAYA_LLM_WORKER_CONF_H
#define ATALAYA_LLM_WORKER_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/conf.h"
#include "llm-worker/guardrails.h"
#include "llm-worker/prices.h"
#include "llm-worker/roster.h"

extern const struct conf_table worker_conf_table;

struct worker_conf {
    char *api_key;
    char *base_url;
    char *model;
    char *demo_base_url;
    char *upstreams_file;
    struct roster *roster; /* made of them; NULL: there is nobody to ask */
    char *ca_file;
    char *ssl_cert_file;
    int64_t slots;
    int64_t attempts;
    int64_t retry_after_ms;
    int64_t retry_budget;
    int64_t breaker_failures;
    bool hedge;
    int64_t connect_timeout_ms;
    int64_t first_byte_timeout_ms;
    int64_t stall_timeout_ms;
    int64_t call_timeout_ms;
    int64_t drain_timeout_ms;
    char *guardrail_words;
    struct wordlist *wordlist; /* made of them */
    char *prices_file;
    struct prices *prices; /* made of it; NULL: nothing has a price */
    char *jobs_endpoint;
};

int worker_conf_load(struct worker_conf *c) NODISCARD; /* 0 or -EINVAL, having said why */
void worker_conf_free(struct worker_conf *c);

bool worker_conf_is_demo(const struct worker_conf *c);
const char *worker_conf_ca_file(const struct worker_conf *c); /* of authorities; "": the system's */

#endif
