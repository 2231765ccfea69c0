/* Every variable that a shipped daemon reads is on its role's list; no list but its own lets a secret through
 * (P8). And what the shipped programs say together when they are asked. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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
        {"LOG_USER_ID_KEY", ROLE_GATEWAY},
        {"LOG_USER_ID_KEY_FILE", ROLE_GATEWAY},
        {"GATEWAY_TOKENS_FILE", ROLE_GATEWAY},
    };

    for (size_t i = 0; i < ARRAY_LEN(secrets); i++) {
        for (int role = 0; role < ROLES; role++)
            cr_expect_eq(kind_gets(&kinds[role], secrets[i].name), role == (int)secrets[i].role, "%s",
                         secrets[i].name);
    }
}

static char said[65536], nowhere[64];

static int check_all(const char *environment)
{
    char command[1200];

    snprintf(nowhere, sizeof nowhere, "/tmp/atalaya-check-%d", (int)getpid());
    snprintf(
        command, sizeof command,
        "env -i PATH=/bin:/usr/bin ATALAYA_ENV_FILE=/dev/null ATALAYA_RUN_DIR=%s ATALAYA_STATE_DIR=%s %s "
        "%s/atalaya check 2>&1",
        nowhere, nowhere, environment, getenv("ATALAYA_BIN"));
    FILE *f = popen(command, "r");
    cr_assert_not_null(f);
    size_t n = fread(said, 1, sizeof said - 1, f);
    said[n] = '\0';
    int status = pclose(f);
    cr_expect_neq(access(nowhere, F_OK), 0, "a check makes no folder");
    return WEXITSTATUS(status);
}

static void expect(const char *text)
{
    cr_expect_not_null(strstr(said, text), "'%s' is not in:\n%s", text, said);
}

Test(variables, the_defaults_are_good)
{
    cr_expect_eq(check_all(""), 0, "%s", said);
    expect("\ngateway     PORT ");
    expect("\nllm-worker  OPENAI_MODEL ");
    expect("\ntelemetry   LANGFUSE_HOST ");
    expect("\nsupervisor  LLM_WORKERS ");
    expect("\ngood (errors: 0, warnings: 0)\n");
}

Test(variables, what_is_wrong_anywhere_is_told)
{
    cr_expect_eq(
        check_all(
            "PORT=99999 LANGFUSE_TIMEOUT=x OPENAI_BASE_URL=example OPENAI_API_KEY=sk-hidden LLM_WORKERS=0 "
            "LANGFUSE_HSOT=hidden LOG_LEVEL=LOUD"),
        78, "%s", said);
    expect("\nerror: PORT=99999: expected a whole number from 1 to 65535. ");
    expect("\nerror: LANGFUSE_TIMEOUT=x: expected seconds from 0.1 to 600. ");
    expect("\nerror: OPENAI_BASE_URL=example: expected a URL that begins with http:// or https://");
    expect("\nerror: LLM_WORKERS=0: expected a whole number of processes from 1 to 64. ");
    expect("\nerror: LOG_LEVEL=LOUD: expected DEBUG, INFO, WARNING or ERROR. ");
    expect("\nwarning: LANGFUSE_HSOT is read by no program; did you mean LANGFUSE_HOST?\n");
    expect("\nbad (errors: 5, warnings: 1)\n");
    expect("(set, 9 bytes)");
    cr_expect_null(strstr(said, "hidden"), "%s", said);
}
