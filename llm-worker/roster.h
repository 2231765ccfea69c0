/*
 * roster.h - the upstreams that are configured
 *
 * Purpose  one by OPENAI_* alone, or those that LLM_UPSTREAMS_FILE lists, as JSON:
 *            {"upstreams": [{"name": "azure", "base_url": "https://x.openai.azure.com/openai/deployments/mini",
 *              "query": "api-version=2024-10-21", "auth": "api-key", "key": "LLM_KEY_AZURE", "model": "gpt-4o-mini",
 *              "priority": 0, "weight": 3, "max_concurrency": 200, "ca_file": "/etc/ssl/ours.pem",
 *              "stream_options": true}, …]}
 *          The list holds no key but the name of the variable that does.
 * Owner    the roster, until roster_free(), which takes NULL.
 * Threads  constant once it is made.
 * Errors   roster_new(): 0 or -EINVAL, having said all that is wrong.
 * Limits   UPSTREAMS_MAX
 */
#ifndef ATALAYA_LLM_WORKER_ROSTER_H
#define ATALAYA_LLM_WORKER_ROSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"

enum auth {
    AUTH_BEARER,  /* Authorization: Bearer KEY */
    AUTH_API_KEY, /* api-key: KEY, as Azure wants it */
    AUTH_NONE,    /* a server of one's own */
};

struct target {
    char *name; /* letters, digits, - _ . */
    char *base_url;
    char *query; /* behind the path's ?; may be empty */
    enum auth auth;
    char *key;
    char *key_name; /* of the variable that it comes from; empty without a key */
    char *model;
    char *ca_file;           /* authorities that it is verified by; empty: those of all */
    int64_t priority;        /* the lowest number is asked first */
    int64_t weight;          /* share among those of the same priority */
    int64_t max_concurrency; /* calls at once from all workers together; 0: no limit of its own */
    bool direct;             /* no proxy */
    bool bare_streams;       /* it refuses stream_options, so what a stream used is an estimate */
};

struct roster {
    struct target *targets;
    size_t n;
};

int roster_new(struct roster **out, const char *path, const char *default_model) NODISCARD;
/* The only one; the texts are copied. */
struct roster *roster_of_one(const struct target *t);
void roster_free(struct roster *r);

/* Is it what the base URL ends before, .../chat/completions? */
bool roster_url_is_endpoint(const char *url);

#endif
