/* Proves P8 (docs/promises.md) at its source: whose environment a secret can reach. */
#include <criterion/criterion.h>

#include "common/base/attr.h"
#include "supervisor/table.h"

#define T (1u << ROLE_TELEMETRY)
#define W (1u << ROLE_LLM_WORKER)
#define G (1u << ROLE_GATEWAY)

static const struct {
    const char *variable;
    unsigned roles;
} expected[] = {
    {"NOTIFY_SOCKET=/run/systemd/notify", 0},
    {"WATCHDOG_USEC=1", 0},
    {"CREDENTIALS_DIRECTORY=/run/credentials", 0},
    {"JOURNAL_STREAM=8:1", T | W | G},
    {"OPENAI_API_KEY=x", W},
    {"OPENAI_API_KEY_FILE=x", W},
    {"OPENAI_BASE_URL", W},
    {"LLM_SLOTS", W},
    {"GUARDRAIL_WORDS", W},
    {"LANGFUSE_PUBLIC_KEY", T},
    {"LANGFUSE_SECRET_KEY", T},
    {"LANGFUSE_SECRET_KEY_FILE=/x", T},
    {"LANGFUSE_HOST", T},
    {"OTEL_EXPORTER_OTLP_HEADERS", T},
    {"SPOOL_MAX_BYTES", T},
    {"CAPTURE_INPUT", T},
    {"TELEMETRY_PORT", T},
    {"TELEMETRY_ACK=async", T | G},
    {"TELEMETRY_ACK_TIMEOUT_MS", T | G},
    {"https_proxy", T | W},
    {"NO_PROXY", T | W},
    {"SSL_CERT_FILE", T | W},
    {"PORT=8000", G},
    {"PORTABLE=8000", 0},
    {"HOST", G},
    {"GATEWAY_THREADS", G},
    {"CORS_ORIGINS", G},
    {"RATE_LIMIT_RPS", G},
    {"REQUEST_TIMEOUT_MS", G},
    {"LOG_USER_ID=hashed", G},
    {"LOG_USER_ID_KEY=x", G},
    {"LOG_USER_ID_KEY_FILE=/x", G},
    {"GUARDRAIL_MAX_WORDS", W | G},
    {"NO_COLOR=1", T | W | G},
    {"PATH", T | W | G},
    {"LOG_LEVEL=DEBUG", T | W | G},
    {"DRAIN_TIMEOUT_MS", T | W | G},
    {"ATALAYA_JOBS_ENDPOINT", T | W | G},
    {"ASAN_OPTIONS", T | W | G},
    {"ATALAYA_READY_FD=9", 0},
    {"ATALAYA_RUN_DIR=x", 0}, /* passed as resolved, see spawn_env() */
    {"LD_PRELOAD", 0},
    {"AWS_SECRET_ACCESS_KEY", 0},
    {"OPENAI", 0},
    {"XOPENAI_API_KEY", 0},
    {"", 0},
    {"=", 0},
};

Test(table, gives_each_variable_to_its_roles_only)
{
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        unsigned got = 0;

        for (int role = 0; role < ROLES; role++)
            got |= kind_gets(&kinds[role], expected[i].variable) ? 1u << role : 0;
        cr_expect_eq(got, expected[i].roles, "%s: %x, not %x", expected[i].variable, got, expected[i].roles);
    }
}

Test(table, knows_the_roles_by_name)
{
    cr_expect_eq(role_parse("gateway"), ROLE_GATEWAY);
    cr_expect_eq(role_parse("llm-worker"), ROLE_LLM_WORKER);
    cr_expect_eq(role_parse("telemetry"), ROLE_TELEMETRY);
    cr_expect_eq(role_parse("llm_worker"), -1);
    cr_expect_eq(role_parse(""), -1);
}
