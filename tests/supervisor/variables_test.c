/* Every variable that a shipped daemon reads is on its role's list; no list but its own lets a secret through
 * (P8). */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/attr.h"
#include "supervisor/table.h"

/* Passed by spawn_env() itself. */
static const char *const always[] = {"ATALAYA_RUN_DIR", "ATALAYA_STATE_DIR", "ATALAYA_READY_FD",
                                     "ATALAYA_LIFELINE_FD"};

static bool is_passed(enum role role, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(always); i++) {
        if (strcmp(always[i], name) == 0)
            return true;
    }
    return kind_gets(&kinds[role], name);
}

static void check(enum role role)
{
    char command[600], name[256];
    int n = 0;

    snprintf(command, sizeof command, "%s/%s --variables", getenv("ATALAYA_BIN"), kinds[role].program);
    FILE *f = popen(command, "r");
    cr_assert_not_null(f);
    while (fscanf(f, "%255s", name) == 1) {
        cr_expect(is_passed(role, name), "%s reads %s, which the supervisor does not pass to it",
                  kinds[role].program, name);
        n++;
    }
    cr_expect_eq(pclose(f), 0, "%s", command);
    cr_expect_gt(n, 1, "%s prints nothing", command);
}

Test(variables, telemetry_gets_all_it_reads)
{
    check(ROLE_TELEMETRY);
}

Test(variables, llm_worker_gets_all_it_reads)
{
    check(ROLE_LLM_WORKER);
}

Test(variables, gateway_gets_all_it_reads)
{
    check(ROLE_GATEWAY);
}

Test(variables, a_secret_is_on_one_list_only)
{
    static const struct {
        const char *name;
        enum role role;
    } secrets[] = {
        {"OPENAI_API_KEY", ROLE_LLM_WORKER},
        {"OPENAI_API_KEY_FILE", ROLE_LLM_WORKER},
        {"LANGFUSE_PUBLIC_KEY", ROLE_TELEMETRY},
        {"LANGFUSE_PUBLIC_KEY_FILE", ROLE_TELEMETRY},
        {"LANGFUSE_SECRET_KEY", ROLE_TELEMETRY},
        {"LANGFUSE_SECRET_KEY_FILE", ROLE_TELEMETRY},
        {"OTEL_EXPORTER_OTLP_HEADERS", ROLE_TELEMETRY},
    };

    for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
        for (int role = 0; role < ROLES; role++)
            cr_expect_eq(kind_gets(&kinds[role], secrets[i].name), role == (int)secrets[i].role, "%s",
                         secrets[i].name);
    }
}
