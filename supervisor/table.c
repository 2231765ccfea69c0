#include "supervisor/table.h"

#include <string.h>

#define PROXIES                                                                                              \
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"

static const char *const everybody[] = {"PATH",
                                        "HOME",
                                        "TZ",
                                        "LANG",
                                        "LC_ALL",
                                        "TMPDIR",
                                        "LOG_LEVEL",
                                        "LOG_FORMAT",
                                        "JOURNAL_STREAM",
                                        "NO_COLOR",
                                        "TERM",
                                        "APP_ENV",
                                        "DRAIN_TIMEOUT_MS",
                                        "ATALAYA_JOBS_ENDPOINT",
                                        "ATALAYA_EVENTS_ENDPOINT",
                                        "ASAN_OPTIONS",
                                        "UBSAN_OPTIONS",
                                        "TSAN_OPTIONS",
                                        "LSAN_OPTIONS",
                                        "GCOV_PREFIX",
                                        "GCOV_PREFIX_STRIP",
                                        NULL};

static const char *const for_telemetry[] = {"LANGFUSE_*",   "TELEMETRY_*",     "SPOOL_*", "CAPTURE_*",
                                            "REDACT",       "REDACT_PREFIXES", "OTEL_*",  "SSL_CERT_FILE",
                                            "SSL_CERT_DIR", PROXIES,           NULL};

static const char *const for_llm_worker[] = {"OPENAI_*",      "LLM_*", "GUARDRAIL_*",
                                             "SSL_CERT_FILE", PROXIES, NULL};

static const char *const for_gateway[] = {"PORT",
                                          "HOST",
                                          "GATEWAY_*",
                                          "CORS_*",
                                          "RATE_LIMIT_*",
                                          "REQUEST_TIMEOUT_MS",
                                          "LOG_USER_ID",
                                          "LOG_USER_ID_KEY",
                                          "LOG_USER_ID_KEY_FILE",
                                          "GUARDRAIL_MAX_WORDS",
                                          "TELEMETRY_ACK",
                                          "TELEMETRY_ACK_TIMEOUT_MS",
                                          NULL};

const struct kind kinds[ROLES] = {
    [ROLE_TELEMETRY] = {"telemetry", "atalaya-telemetry", for_telemetry},
    [ROLE_LLM_WORKER] = {"llm-worker", "atalaya-llm-worker", for_llm_worker},
    [ROLE_GATEWAY] = {"gateway", "atalaya-gateway", for_gateway},
};

int role_parse(const char *name)
{
    for (int i = 0; i < ROLES; i++) {
        if (strcmp(kinds[i].role, name) == 0)
            return i;
    }
    return -1;
}

static bool is_prefix(const char *pattern)
{
    return pattern[strlen(pattern) - 1] == '*';
}

static bool matches(const char *pattern, const char *variable, size_t n)
{
    size_t len = strlen(pattern);

    if (is_prefix(pattern))
        return n >= len - 1 && memcmp(pattern, variable, len - 1) == 0;
    return n == len && memcmp(pattern, variable, len) == 0;
}

static bool any_matches(const char *const *list, const char *variable, size_t n)
{
    for (; *list; list++) {
        if (matches(*list, variable, n))
            return true;
    }
    return false;
}

bool kind_gets(const struct kind *k, const char *variable)
{
    size_t n = strcspn(variable, "=");

    return any_matches(everybody, variable, n) || any_matches(k->variables, variable, n);
}

static bool on_a_list(const char *variable, bool by_prefix)
{
    size_t n = strcspn(variable, "=");

    for (int i = -1; i < ROLES; i++) {
        for (const char *const *p = i < 0 ? everybody : kinds[i].variables; *p; p++) {
            if (is_prefix(*p) == by_prefix && matches(*p, variable, n))
                return true;
        }
    }
    return false;
}

bool table_has_name(const char *variable)
{
    return on_a_list(variable, false);
}

bool table_has_prefix(const char *variable)
{
    return on_a_list(variable, true);
}
