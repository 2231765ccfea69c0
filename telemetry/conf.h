/*
 * conf.h - what telemetry reads from its environment
 *
 * Owner    telemetry_conf_free() releases the strings. `langfuse_url` has no slash at its end.
 * Errors   telemetry_conf_load() logs every bad variable and returns -EINVAL.
 */
#ifndef ATALAYA_TELEMETRY_CONF_H
#define ATALAYA_TELEMETRY_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/conf.h"
#include "common/base/limits.h"
#include "telemetry/pairs.h"

#define ENVIRONMENT_MAX 40

extern const struct conf_table telemetry_conf_table;

struct telemetry_conf {
    char *host;
    int64_t port;
    char *events_endpoint;
    int64_t drain_timeout_ms;
    int64_t spool_max_bytes;
    int64_t spool_max_age_hours;
    int spool_sync; /* enum spool_sync */

    char *public_key;
    char *secret_key;
    char *base_url;
    char *langfuse_host;
    int64_t flush_at;
    int64_t flush_interval_ms;
    int64_t timeout_ms;
    char *tracing_environment;
    char *app_env;
    char *release;
    char *sample_rate_text;
    char *prompt_name;
    int64_t prompt_version;
    int capture; /* enum capture */
    char *hash_key;
    char *redact;
    char *redact_prefixes;
    char *otel_endpoint;
    char *otel_traces_endpoint;
    char *otel_headers;
    char *otel_traces_headers;
    int64_t otel_timeout_ms;
    int otel_compression; /* 0 gzip, 1 none */
    char *otel_service;
    char *otel_attributes;
    char *ca_file;
    char *ca_dir;

    bool langfuse_enabled; /* both keys are set; the host always is */
    char *langfuse_url;
    double sample_rate;
    char *otel_url; /* NULL: no export */
    struct pair attributes[OTEL_PAIRS_MAX], headers[OTEL_PAIRS_MAX];
    size_t n_attributes, n_headers;
    char *otel_texts[2];                   /* what they point into */
    char environment[ENVIRONMENT_MAX + 1]; /* empty: none was given that Langfuse would take */
};

int telemetry_conf_load(struct telemetry_conf *c) NODISCARD;
void telemetry_conf_free(struct telemetry_conf *c);

/* What every Langfuse accepts: [a-z0-9_-]{1,40}, not starting with "langfuse"; else empty. */
void environment_clean(char out[ENVIRONMENT_MAX + 1], const char *name);

#endif
