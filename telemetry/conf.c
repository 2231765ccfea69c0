#include "telemetry/conf.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/conf.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "common/wire/endpoint.h"
#include "telemetry/privacy.h"

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
     .doc =
         "Records older than this go, counted, also those that a destination has refused; 0: never for their "
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
    {.name = "LANGFUSE_SAMPLE_RATE",
     .type = CONF_STR,
     .offset = AT(sample_rate_text),
     .def = "1",
     .max = 32,
     .doc = "Share of the traces that goes to Langfuse, from 0 to 1, chosen by trace id as Langfuse's SDKs "
            "do; their "
            "scores go or stay with them."},
    {.name = "LANGFUSE_PROMPT_NAME",
     .type = CONF_STR,
     .offset = AT(prompt_name),
     .max = 200,
     .empty = "none",
     .doc = "Name of the prompt in Langfuse that questions are linked to; needs LANGFUSE_PROMPT_VERSION."},
    {.name = "LANGFUSE_PROMPT_VERSION",
     .type = CONF_INT,
     .offset = AT(prompt_version),
     .def = "0",
     .min = 0,
     .max = 1000000,
     .doc = "Version of LANGFUSE_PROMPT_NAME; 0 without a name."},
    {.name = "CAPTURE_CONTENT",
     .type = CONF_CHOICE,
     .offset = AT(capture),
     .def = "full",
     .choices = "full|hashed|none",
     .example = CONF_LANGFUSE,
     .doc = "What is kept of questions, answers, metadata and comments: all, a keyed hash by which equal "
            "ones can be "
            "found, or nothing. Decided before anything is stored or sent; clients get their answers whole."},
    {.name = "CAPTURE_HASH_KEY",
     .type = CONF_STR,
     .offset = AT(hash_key),
     .max = 256,
     .flags = CONF_SECRET,
     .doc = "Key of those hashes, at least 16 characters."},
    {.name = "REDACT",
     .type = CONF_STR,
     .offset = AT(redact),
     .max = 200,
     .empty = "nothing",
     .example = CONF_LANGFUSE,
     .doc = "What is taken out of what is kept: a list of email, card, phone and key (shapes of API keys). "
            "Looked for in "
            "questions, answers, comments, metadata and error texts; not in user and session ids, tags and "
            "names "
            "of scores, by which Langfuse finds traces."},
    {.name = "REDACT_PREFIXES",
     .type = CONF_STR,
     .offset = AT(redact_prefixes),
     .max = 2000,
     .empty = "none",
     .doc = "List of beginnings; a word that begins so is taken out too."},
    {.name = "OTEL_EXPORTER_OTLP_ENDPOINT",
     .type = CONF_URL,
     .offset = AT(otel_endpoint),
     .max = 2048,
     .empty = "no export",
     .example = CONF_LANGFUSE,
     .doc = "An OTLP/HTTP backend (collector, Jaeger, Tempo) that gets the traces too, at /v1/traces below "
            "this address."},
    {.name = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
     .type = CONF_URL,
     .offset = AT(otel_traces_endpoint),
     .max = 2048,
     .empty = "OTEL_EXPORTER_OTLP_ENDPOINT with /v1/traces",
     .doc = "The same as a whole address; wins."},
    {.name = "OTEL_EXPORTER_OTLP_HEADERS",
     .type = CONF_STR,
     .offset = AT(otel_headers),
     .flags = CONF_SECRET,
     .empty = "none",
     .doc = "Headers for it, like name=value,name2=value2 with %XX for special characters."},
    {.name = "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
     .type = CONF_STR,
     .offset = AT(otel_traces_headers),
     .flags = CONF_SECRET,
     .empty = "OTEL_EXPORTER_OTLP_HEADERS",
     .doc = "The same for traces; wins."},
    {.name = "OTEL_EXPORTER_OTLP_TIMEOUT",
     .type = CONF_INT,
     .offset = AT(otel_timeout_ms),
     .def = "10000",
     .min = 100,
     .max = 600000,
     .unit = "milliseconds",
     .doc = "Longest duration of one request to it."},
    {.name = "OTEL_EXPORTER_OTLP_COMPRESSION",
     .type = CONF_CHOICE,
     .offset = AT(otel_compression),
     .def = "gzip",
     .choices = "gzip|none",
     .doc = "How exports are compressed."},
    {.name = "OTEL_SERVICE_NAME",
     .type = CONF_STR,
     .offset = AT(otel_service),
     .max = 200,
     .empty = "service.name of OTEL_RESOURCE_ATTRIBUTES, else atalaya",
     .doc = "Name of this service in the exported spans."},
    {.name = "OTEL_RESOURCE_ATTRIBUTES",
     .type = CONF_STR,
     .offset = AT(otel_attributes),
     .empty = "none",
     .doc = "More attributes of this service, like key=value,key2=value2 with %XX for special characters."},
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

static int read_rate(struct telemetry_conf *c)
{
    char *end;

    c->sample_rate = strtod(c->sample_rate_text, &end);
    if (*end == '\0' && c->sample_rate >= 0 && c->sample_rate <= 1)
        return 0;
    log_error("LANGFUSE_SAMPLE_RATE is a number from 0 to 1, not \"%s\"", c->sample_rate_text);
    return -EINVAL;
}

static int check_prompt(const struct telemetry_conf *c)
{
    if ((*c->prompt_name != '\0') == (c->prompt_version > 0))
        return 0;
    log_error("LANGFUSE_PROMPT_NAME and LANGFUSE_PROMPT_VERSION (1 or more) go together: Langfuse loses what "
              "has one "
              "without the other");
    return -EINVAL;
}

static int check_privacy(const struct telemetry_conf *c)
{
    struct privacy_conf conf = {c->capture, c->redact, c->redact_prefixes, c->hash_key};
    struct privacy *p = NULL;
    int rc = privacy_new(&p, &conf);

    privacy_free(p);
    return rc;
}

/* Header names are tokens; a value may be anything that pairs_read() lets through. */
static bool are_headers(const struct pair *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i].key[strspn(p[i].key,
                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!#$&'*+^`|~")])
            return false;
    return true;
}

/* What %XX stands for: the variable itself has been looked at. */
static int check_attributes(const struct telemetry_conf *c)
{
    for (const struct pair *p = c->attributes; p < c->attributes + c->n_attributes; p++) {
        size_t key = strlen(p->key), value = strlen(p->value);
        size_t good = utf8_valid(p->key, key);
        if (good == key && (good = utf8_valid(p->value, value)) == value)
            continue;
        log_error(
            "OTEL_RESOURCE_ATTRIBUTES: the %s of its attribute %td is no UTF-8 at byte %zu, once %%XX is "
            "decoded",
            utf8_valid(p->key, key) < key ? "name" : "value", p - c->attributes + 1, good + 1);
        return -EINVAL;
    }
    return 0;
}

static int read_otel(struct telemetry_conf *c)
{
    bool own = *c->otel_traces_headers != '\0';
    int rc = 0;

    if (*c->otel_traces_endpoint)
        c->otel_url = xstrdup(c->otel_traces_endpoint);
    else if (*c->otel_endpoint && asprintf(&c->otel_url, "%s/v1/traces", c->otel_endpoint) < 0)
        abort();
    c->otel_texts[0] = xstrdup(c->otel_attributes);
    c->otel_texts[1] = xstrdup(own ? c->otel_traces_headers : c->otel_headers);
    if (pairs_read(c->otel_texts[0], c->attributes, OTEL_PAIRS_MAX, &c->n_attributes) < 0) {
        log_error("OTEL_RESOURCE_ATTRIBUTES is a list of at most %d like key=value,key2=value2, with %%XX "
                  "for special "
                  "characters, not \"%s\"",
                  OTEL_PAIRS_MAX, c->otel_attributes);
        rc = -EINVAL;
    } else if (check_attributes(c) < 0) {
        rc = -EINVAL;
    }
    if (pairs_read(c->otel_texts[1], c->headers, OTEL_PAIRS_MAX, &c->n_headers) < 0 ||
        !are_headers(c->headers, c->n_headers)) {
        log_error("OTEL_EXPORTER_OTLP_%sHEADERS is a list of at most %d like name=value,name2=value2, with "
                  "%%XX for "
                  "special characters",
                  own ? "TRACES_" : "", OTEL_PAIRS_MAX);
        rc = -EINVAL;
    }
    return rc;
}

static int derive(struct telemetry_conf *c)
{
    bool by_base = *c->base_url != '\0';
    int rc = 0;

    c->langfuse_url = xstrdup(by_base ? c->base_url : c->langfuse_host);
    c->langfuse_enabled = *c->public_key && *c->secret_key;
    environment_clean(c->environment, *c->tracing_environment ? c->tracing_environment : c->app_env);
    if (read_rate(c) < 0)
        rc = -EINVAL;
    if (check_prompt(c) < 0)
        rc = -EINVAL;
    if (check_privacy(c) < 0)
        rc = -EINVAL;
    if (read_otel(c) < 0)
        rc = -EINVAL;
    int other = endpoint_default(&c->events_endpoint, ENDPOINT_EVENTS);
    return rc < 0 ? rc : other;
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
    free(c->otel_url);
    free(c->otel_texts[0]);
    free(c->otel_texts[1]);
    c->langfuse_url = c->otel_url = c->otel_texts[0] = c->otel_texts[1] = NULL;
}
