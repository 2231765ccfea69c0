/* Which variables look like a misspelt one of ours. */
#include "supervisor/unknown.h"

#include <criterion/criterion.h>
#include <string.h>

#include "common/base/attr.h"

static const char *const known[] = {
    "PORT",      "HOST",           "LANGFUSE_HOST",   "LANGFUSE_SECRET_KEY", "LANGFUSE_SECRET_KEY_FILE",
    "LOG_LEVEL", "OPENAI_API_KEY", "ATALAYA_RUN_DIR", "RATE_LIMIT_BURST"};

static const struct {
    const char *name;
    bool in_environment, in_file; /* suspicious there */
    const char *meant;
} table[] = {
    {"LANGFUSE_HSOT", true, true, "LANGFUSE_HOST"},
    {"LANGFUSE_SECRETKEY_FILE", true, true, "LANGFUSE_SECRET_KEY_FILE"},
    {"langfuse_host", true, true, "LANGFUSE_HOST"},
    {"OPENAI_API_KEYS", true, true, "OPENAI_API_KEY"},
    {"OPENAI_KEY", false, true, NULL},
    {"OPENAI_ORGANIZATION", false, true, NULL},
    {"PROT", true, true, "PORT"},
    {"PORT0", true, true, "PORT"},
    {"RATE_LIMIT", false, true, "RATE_LIMIT_BURST"},
    {"RATE_LIM", false, false, NULL},
    {"SECRET_KEY", false, true, "LANGFUSE_SECRET_KEY"},
    {"ECRET_KEY", false, false, NULL},
    {"PART1", false, false, NULL}, /* two errors in four letters */
    {"LOG_LEVL", true, true, "LOG_LEVEL"},
    {"LOG_FILE", false, true, NULL},
    {"ATALAYA_RUNDIR", true, true, "ATALAYA_RUN_DIR"},
    {"ATALAYA_NICE_LEVEL", true, true, NULL},
    {"ATALAYA_GATEWAY_SERVICE_HOST", false, true, NULL}, /* Kubernetes */
    {"ATALAYA_PORT_8000_TCP_ADDR", false, true, NULL},
    /* read by somebody */
    {"PORT", false, false, NULL},
    {"LANGFUSE_SECRET_KEY_FILE", false, false, NULL},
    {"HOME", false, false, NULL},
    {"https_proxy", false, false, NULL},
    {"ATALAYA_READY_FD", false, false, NULL},
    /* nobody's business of ours */
    {"HOSTNAME", false, false, NULL},
    {"USER", false, false, NULL},
    {"PWD", false, false, NULL},
    {"OLDPWD", false, false, NULL},
    {"SHELL", false, false, NULL},
    {"LS_COLORS", false, false, NULL},
    {"_", false, false, NULL},
    {"DEBIAN_FRONTEND", false, false, NULL},
    {"PROMETHEUS_PORT", false, false, NULL},
    {"POSTGRES_PASSWORD", false, false, NULL},
};

Test(unknown, what_looks_like_ours)
{
    for (size_t i = 0; i < 2 * ARRAY_LEN(table); i++) {
        bool in_file = i % 2;
        bool wanted = in_file ? table[i / 2].in_file : table[i / 2].in_environment;
        const char *name = table[i / 2].name, *meant = NULL;

        cr_expect_eq(unknown_suspicious(name, in_file, known, ARRAY_LEN(known), &meant), wanted, "%s", name);
        if (wanted && table[i / 2].meant)
            cr_expect(meant && strcmp(meant, table[i / 2].meant) == 0, "%s: %s", name,
                      meant ? meant : "nothing");
        else if (wanted)
            cr_expect_null(meant, "%s: %s", name, meant);
    }
}
