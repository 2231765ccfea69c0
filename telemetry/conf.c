#include "telemetry/conf.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/conf.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/wire/endpoint.h"

#define AT(member) offsetof(struct telemetry_conf, member)

static const struct conf_row rows[] = {
    {.name = "TELEMETRY_HOST",
     .type = CONF_IPV4,
     .offset = AT(host),
     .def = "0.0.0.0",
     .example = CONF_DEPLOYMENT,
     .doc = "IPv4 address that telemetry's own /metrics listens on."},
    {.name = "TELEMETRY_PORT",
     .type = CONF_INT,
     .offset = AT(port),
     .def = "9464",
     .min = 1,
     .max = 65535,
     .example = CONF_DEPLOYMENT,
     .doc = "TCP port of telemetry's own /metrics and /health, which ask nobody for a token."},
    {.name = "ATALAYA_EVENTS_ENDPOINT",
     .type = CONF_STR,
     .offset = AT(events_endpoint),
     .max = 200,
     .empty = "ipc socket events.sock in ATALAYA_RUN_DIR",
     .doc = "ZeroMQ endpoint of the events wire: telemetry binds it, the gateway connects to it."},
    {.name = "DRAIN_TIMEOUT_MS",
     .type = CONF_INT,
     .offset = AT(drain_timeout_ms),
     .def = "10000",
     .min = 0,
     .max = 600000,
     .unit = "milliseconds",
     .example = CONF_LIMITS,
     .doc = "How long TERM waits for what is in flight."},
    {.name = "SPOOL_MAX_BYTES",
     .type = CONF_INT,
     .offset = AT(spool_max_bytes),
     .def = "1073741824",
     .min = MIB,
     .max = INT64_C(1) << 50,
     .unit = "bytes",
     .example = CONF_LIMITS,
     .doc = "Records kept on disk at most; beyond it the oldest go and are counted."},
    {.name = "SPOOL_MAX_AGE_HOURS",
     .type = CONF_INT,
     .offset = AT(spool_max_age_hours),
     .def = "720",
     .min = 0,
     .max = 87600,
     .unit = "hours",
     .example = CONF_LIMITS,
     .doc = "Records older than this go, counted, also those that Langfuse has refused; 0: never for their "
            "age."},
    {.name = "SPOOL_SYNC",
     .type = CONF_CHOICE,
     .offset = AT(spool_sync),
     .def = "process",
     .choices = "process|power",
     .example = CONF_LIMITS,
     .doc = "Whose death a record survives from the moment telemetry has taken it: that of any process, or "
            "that of "
            "the machine too, for a write to the disk in each commit."},
    {.name = "LANGFUSE_PUBLIC_KEY",
     .type = CONF_STR,
     .offset = AT(public_key),
     .max = 256,
     .flags = CONF_SECRET,
     .example = CONF_LANGFUSE,
     .doc = "Public key of the Langfuse project; without both keys nothing is uploaded."},
    {.name = "LANGFUSE_SECRET_KEY",
     .type = CONF_STR,
     .offset = AT(secret_key),
     .max = 256,
     .flags = CONF_SECRET,
     .example = CONF_LANGFUSE,
     .doc = "Secret key of the Langfuse project."},
    {.name = "LANGFUSE_BASE_URL",
     .type = CONF_URL,
     .offset = AT(base_url),
     .max = 2048,
     .empty = "LANGFUSE_HOST",
     .doc = "Where Langfuse is; wins over LANGFUSE_HOST."},
    {.name = "LANGFUSE_HOST",
     .type = CONF_URL,
     .offset = AT(langfuse_host),
     .def = "https://cloud.langfuse.com",
     .max = 2048,
     .example = CONF_LANGFUSE,
     .doc = "Where Langfuse is, under its older name."},
    {.name = "LANGFUSE_FLUSH_AT",
     .type = CONF_INT,
     .offset = AT(flush_at),
     .def = "512",
     .min = 1,
     .max = UPLOAD_BATCH_MAX,
     .unit = "records",
     .doc = "A batch is sent when this many records wait."},
    {.name = "LANGFUSE_FLUSH_INTERVAL",
     .type = CONF_SECONDS,
     .offset = AT(flush_interval_ms),
     .def = "1",
     .min = 0,
     .max = 3600000,
     .doc = "A record waits at most this long for a full batch."},
    {.name = "LANGFUSE_TIMEOUT",
     .type = CONF_SECONDS,
     .offset = AT(timeout_ms),
     .def = "10",
     .min = 100,
     .max = 600000,
     .doc = "Longest duration of one request to Langfuse."},
    {.name = "LANGFUSE_TRACING_ENVIRONMENT",
     .type = CONF_STR,
     .offset = AT(tracing_environment),
     .max = 256,
     .empty = "APP_ENV",
     .doc = "Environment shown in Langfuse."},
    {.name = "APP_ENV",
     .type = CONF_STR,
     .offset = AT(app_env),
     .def = "dev",
     .max = 256,
     .example = CONF_DEPLOYMENT,
     .doc = "Name of this deployment's environment."},
    {.name = "LANGFUSE_RELEASE",
     .type = CONF_STR,
     .offset = AT(release),
     .max = 200,
     .empty = "none",
     .doc = "Release shown in Langfuse."},
    {.name = "SSL_CERT_FILE",
     .type = CONF_STR,
     .offset = AT(ca_file),
     .empty = "the system's",
     .doc = "File of certificate authorities, in place of the system's."},
    {.name = "SSL_CERT_DIR",
     .type = CONF_STR,
     .offset = AT(ca_dir),
     .empty = "the system's",
     .doc = "Folder of certificate authorities, in place of the system's."},
};

const struct conf_table telemetry_conf_table = {rows, ARRAY_LEN(rows)};

void environment_clean(char out[ENVIRONMENT_MAX + 1], const char *name)
{
    char text[ENVIRONMENT_MAX + 1];
    size_t n = 0;

    out[0] = '\0';
    while (strncasecmp(name, "langfuse", 8) == 0) {
        name += 8;
        name += *name == '-' || *name == '_';
    }
    for (; *name && n < ENVIRONMENT_MAX; name++) {
        char c = *name >= 'A' && *name <= 'Z' ? (char)(*name - 'A' + 'a') : *name;
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789_-", c))
            return;
        text[n++] = c;
    }
    memcpy(out, text, n);
    out[n] = '\0';
}

static int derive(struct telemetry_conf *c)
{
    bool by_base = *c->base_url != '\0';

    c->langfuse_url = xstrdup(by_base ? c->base_url : c->langfuse_host);
    c->langfuse_enabled = *c->public_key && *c->secret_key;
    environment_clean(c->environment, *c->tracing_environment ? c->tracing_environment : c->app_env);
    return endpoint_default(&c->events_endpoint, ENDPOINT_EVENTS);
}

int telemetry_conf_load(struct telemetry_conf *c)
{
    if (conf_load(rows, ARRAY_LEN(rows), c) < 0)
        return -EINVAL;
    return derive(c);
}

void telemetry_conf_free(struct telemetry_conf *c)
{
    conf_free(rows, ARRAY_LEN(rows), c);
    free(c->langfuse_url);
    c->langfuse_url = NULL;
}
