/* What telemetry makes of its environment. */
#include "telemetry/conf.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "common/base/attr.h"

Test(conf, environment)
{
    static const char *const cases[][2] = {
        {"dev", "dev"},
        {"Prod_EU-1", "prod_eu-1"},
        {"langfuse-prod", "prod"},
        {"Langfuse_langfuse-x", "x"},
        {"langfuse", ""},
        {"pre prod", ""},
        {"producción", ""},
        {"", ""},
        {"abcdefghijklmnopqrstuvwxyz0123456789_-abcdef", "abcdefghijklmnopqrstuvwxyz0123456789_-ab"},
    };
    char out[ENVIRONMENT_MAX + 1];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        environment_clean(out, cases[i][0]);
        cr_expect_str_eq(out, cases[i][1]);
    }
}

static void clear(void)
{
    static const char *const names[] = {"LANGFUSE_PUBLIC_KEY",
                                        "LANGFUSE_SECRET_KEY",
                                        "LANGFUSE_HOST",
                                        "LANGFUSE_BASE_URL",
                                        "LANGFUSE_FLUSH_AT",
                                        "LANGFUSE_FLUSH_INTERVAL",
                                        "LANGFUSE_TRACING_ENVIRONMENT",
                                        "APP_ENV",
                                        "TELEMETRY_PORT",
                                        "TELEMETRY_HOST",
                                        "SPOOL_MAX_BYTES",
                                        "LANGFUSE_SAMPLE_RATE",
                                        "LANGFUSE_PROMPT_NAME",
                                        "LANGFUSE_PROMPT_VERSION",
                                        "CAPTURE_CONTENT",
                                        "CAPTURE_HASH_KEY",
                                        "REDACT",
                                        "REDACT_PREFIXES",
                                        "OTEL_EXPORTER_OTLP_ENDPOINT",
                                        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                                        "OTEL_EXPORTER_OTLP_HEADERS",
                                        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
                                        "OTEL_RESOURCE_ATTRIBUTES",
                                        "OTEL_SERVICE_NAME"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unsetenv(names[i]);
    setenv("ATALAYA_EVENTS_ENDPOINT", "ipc:///tmp/unused.sock", 1);
}

Test(conf, defaults, .init = clear)
{
    struct telemetry_conf c = {0};

    cr_assert_eq(telemetry_conf_load(&c), 0);
    cr_expect_eq(c.port, 9464);
    cr_expect_str_eq(c.host, "0.0.0.0");
    cr_expect_eq(c.flush_at, 512);
    cr_expect_eq(c.flush_interval_ms, 1000);
    cr_expect_eq(c.timeout_ms, 10000);
    cr_expect_eq(c.spool_max_bytes, 1073741824);
    cr_expect_str_eq(c.langfuse_url, "https://cloud.langfuse.com");
    cr_expect_str_eq(c.environment, "dev");
    cr_expect_not(c.langfuse_enabled);
    telemetry_conf_free(&c);
}

Test(conf, langfuse, .init = clear)
{
    struct telemetry_conf c = {0};

    setenv("LANGFUSE_PUBLIC_KEY", "pk", 1);
    setenv("LANGFUSE_HOST", "http://one:3000//", 1);
    setenv("LANGFUSE_FLUSH_INTERVAL", "0.25", 1);
    setenv("APP_ENV", "prod", 1);
    cr_assert_eq(telemetry_conf_load(&c), 0);
    cr_expect_not(c.langfuse_enabled, "half a pair of keys");
    cr_expect_str_eq(c.langfuse_url, "http://one:3000");
    cr_expect_eq(c.flush_interval_ms, 250);
    cr_expect_str_eq(c.environment, "prod");
    telemetry_conf_free(&c);

    setenv("LANGFUSE_SECRET_KEY", "sk", 1);
    setenv("LANGFUSE_BASE_URL", "https://two", 1);
    setenv("LANGFUSE_TRACING_ENVIRONMENT", "canary", 1);
    c = (struct telemetry_conf){0};
    cr_assert_eq(telemetry_conf_load(&c), 0);
    cr_expect(c.langfuse_enabled);
    cr_expect_str_eq(c.langfuse_url, "https://two");
    cr_expect_str_eq(c.environment, "canary");
    telemetry_conf_free(&c);

    setenv("LANGFUSE_BASE_URL", "two", 1);
    c = (struct telemetry_conf){0};
    cr_expect_eq(telemetry_conf_load(&c), -EINVAL);
    telemetry_conf_free(&c);
}

Test(conf, out_of_range, .init = clear)
{
    static const char *const cases[][2] = {{"LANGFUSE_FLUSH_AT", "0"},
                                           {"SPOOL_MAX_BYTES", "1000"},
                                           {"TELEMETRY_PORT", "65536"},
                                           {"LANGFUSE_FLUSH_INTERVAL", "-1"}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct telemetry_conf c = {0};
        setenv(cases[i][0], cases[i][1], 1);
        cr_expect_eq(telemetry_conf_load(&c), -EINVAL, "%s", cases[i][0]);
        telemetry_conf_free(&c);
        unsetenv(cases[i][0]);
    }
}

/* What these say together, as the SDKs and OpenTelemetry have it. */
Test(conf, otlp_backend, .init = clear)
{
    struct telemetry_conf c = {0};

    cr_assert_eq(telemetry_conf_load(&c), 0);
    cr_expect_null(c.otel_url);
    telemetry_conf_free(&c);
    setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/", 1);
    setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20eDp5,x-tenant=a", 1);
    setenv("OTEL_RESOURCE_ATTRIBUTES", "team=a%2Cb", 1);
    cr_assert_eq(telemetry_conf_load(&c), 0);
    cr_expect_str_eq(c.otel_url, "http://collector:4318/base/v1/traces");
    cr_assert_eq(c.n_headers, 2);
    cr_expect_str_eq(c.headers[0].value, "Basic eDp5");
    cr_assert_eq(c.n_attributes, 1);
    cr_expect_str_eq(c.attributes[0].value, "a,b");
    telemetry_conf_free(&c);
    setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://tempo/in", 1);
    setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x=1", 1);
    cr_assert_eq(telemetry_conf_load(&c), 0);
    cr_expect_str_eq(c.otel_url, "https://tempo/in");
    cr_expect_eq(c.n_headers, 1);
    telemetry_conf_free(&c);
}

Test(conf, what_cannot_be_is_refused, .init = clear)
{
    static const char *const bad[][2] = {
        {"LANGFUSE_SAMPLE_RATE", "1.5"},
        {"LANGFUSE_SAMPLE_RATE", "half"},
        {"LANGFUSE_SAMPLE_RATE", "-0.1"},
        {"LANGFUSE_SAMPLE_RATE", "nan"},
        {"LANGFUSE_PROMPT_NAME", "qa"},
        {"LANGFUSE_PROMPT_VERSION", "3"},
        {"CAPTURE_CONTENT", "some"},
        {"CAPTURE_CONTENT", "hashed"},
        {"REDACT", "email;card"},
        {"REDACT_PREFIXES", "a,,b"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"},
        {"OTEL_EXPORTER_OTLP_HEADERS", "authorization"},
        {"OTEL_EXPORTER_OTLP_HEADERS", "a b=c"},
        {"OTEL_RESOURCE_ATTRIBUTES", "team=%"},
        {"OTEL_RESOURCE_ATTRIBUTES", "team=se%F1or"},
        {"OTEL_RESOURCE_ATTRIBUTES", "se\xf1or=team"},
        {"LANGFUSE_RELEASE", "v\xe9"},
        {"LANGFUSE_TRACING_ENVIRONMENT", "pr\xc3"},
        {"APP_ENV", "\xed\xa0\x80"},
        {"OTEL_SERVICE_NAME", "\xc0\xaf"},
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct telemetry_conf c = {0};
        setenv(bad[i][0], bad[i][1], 1);
        cr_expect_eq(telemetry_conf_load(&c), -EINVAL, "%s=%s", bad[i][0], bad[i][1]);
        telemetry_conf_free(&c);
        unsetenv(bad[i][0]);
    }
}
