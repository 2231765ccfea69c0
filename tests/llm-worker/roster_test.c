#include "llm-worker/roster.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/conf.h"
#include "common/base/log.h"

static char path[64];
static char said[4096];

static void keep(enum log_level level, const char *msg)
{
    size_t n = strlen(said);

    (void)level;
    snprintf(said + n, sizeof said - n, "%s\n", msg);
}

static void set_up(void)
{
    snprintf(path, sizeof path, "/tmp/atalaya-roster-%d", (int)getpid());
    setenv("LLM_KEY_AZURE", "sk-azure-hidden", 1);
    setenv("LLM_KEY_EMPTY", "", 1);
    log_divert(keep);
}

static void tear_down(void)
{
    unlink(path);
    log_divert(NULL);
}

TestSuite(roster, .init = set_up, .fini = tear_down);

static int load(struct roster **r, const char *json)
{
    FILE *f = fopen(path, "w");

    cr_assert(f && fputs(json, f) >= 0 && fclose(f) == 0);
    *said = '\0';
    return roster_new(r, path, "gpt-4o-mini");
}

Test(roster, reads_everything_and_has_defaults)
{
    struct roster *r;

    cr_assert_eq(load(&r,
                      "{\"upstreams\":[{\"name\":\"azure\",\"base_url\":\"https://a.example/d/mini//\","
                      "\"query\":\"api-version=2024-10-21\",\"auth\":\"api-key\",\"key\":\"LLM_KEY_AZURE\","
                      "\"model\":\"gpt-4o\",\"priority\":2,\"weight\":3,\"max_concurrency\":200,\"stream_"
                      "options\":false},"
                      "{\"name\":\"vllm\",\"base_url\":\"http://gpu:8000/v1\"},"
                      "{\"name\":\"more\",\"base_url\":\"http://b/v1\",\"key\":\"LLM_KEY_AZURE\"}]}"),
                 0, "%s", said);
    cr_assert_eq(r->n, 3);
    const struct target *a = &r->targets[0], *v = &r->targets[1];
    cr_expect_str_eq(a->name, "azure");
    cr_expect_str_eq(a->base_url, "https://a.example/d/mini");
    cr_expect_str_eq(a->query, "api-version=2024-10-21");
    cr_expect_str_eq(a->key, "sk-azure-hidden");
    cr_expect_str_eq(a->model, "gpt-4o");
    cr_expect(a->auth == AUTH_API_KEY && a->priority == 2 && a->weight == 3 && a->max_concurrency == 200 &&
              a->bare_streams);
    cr_expect_str_eq(v->model, "gpt-4o-mini");
    cr_expect_str_eq(v->key, "");
    cr_expect(v->auth == AUTH_NONE && v->priority == 0 && v->weight == 1 && v->max_concurrency == 0 &&
              !v->bare_streams);
    cr_expect_eq(r->targets[2].auth, AUTH_BEARER);
    cr_expect_null(strstr(said, "hidden"));
    roster_free(r);
}

#define ONE(more) "{\"upstreams\":[{\"name\":\"x\",\"base_url\":\"http://b/v1\"" more "}]}"

Test(roster, says_what_is_wrong)
{
    static const struct {
        const char *json, *why;
    } table[] = {
        {"", "line"},
        {"{\"upstreams\":[\n{]}", "line 2"},
        {"[]", "wanted"},
        {"{\"upstreams\":[]}", "wanted"},
        {"{\"upstreams\":[5]}", "object"},
        {"{\"upstreams\":[{\"base_url\":\"http://b\"}]}", "\"name\""},
        {"{\"upstreams\":[{\"name\":\"x\"}]}", "\"base_url\""},
        {"{\"upstreams\":[{\"name\":\"x\",\"base_url\":\"http://me:secret@b\"}]}", "\"base_url\""},
        {"{\"upstreams\":[{\"name\":\"x\",\"base_url\":\"http://b/v1/chat/completions/\"}]}",
         "ends before /chat/completions"},
        {"{\"upstreams\":[{\"name\":\"x y\",\"base_url\":\"http://b\"}]}", "\"name\""},
        {ONE(",\"weigth\":2"), "no setting \"weigth\""},
        {ONE(",\"weight\":0"), "\"weight\""},
        {ONE(",\"priority\":\"1\""), "\"priority\""},
        {ONE(",\"query\":\"?a=b\""), "\"query\""},
        {ONE(",\"query\":\"a=b c\""), "\"query\""},
        {ONE(",\"auth\":\"basic\",\"key\":\"LLM_KEY_AZURE\""), "\"auth\""},
        {ONE(",\"auth\":\"bearer\""), "\"key\" must name"},
        {ONE(",\"auth\":\"none\",\"key\":\"LLM_KEY_AZURE\""), "\"key\""},
        {ONE(",\"key\":\"sk-in-the-list\""), "LLM_KEY_"},
        {ONE(",\"key\":\"LLM_KEY_ABSENT\""), "LLM_KEY_ABSENT, which \"key\" names, is not set"},
        {ONE(",\"key\":\"LLM_KEY_EMPTY\""), "is not set"},
        {ONE(",\"name\":\"y\""), "duplicate"},
        {ONE(",\"ca_file\":\"/nonexistent\""), "\"ca_file\" /nonexistent: cannot use it: No such file"},
        {"{\"upstreams\":[{\"name\":\"x\",\"base_url\":\"http://b\"},{\"name\":\"x\",\"base_url\":\"http://"
         "c\"}]}",
         "upstream 2: its name is that of upstream 1"},
    };
    struct roster *r;

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        cr_expect_eq(load(&r, table[i].json), -EINVAL, "%s", table[i].json);
        cr_expect_null(r);
        cr_expect(strstr(said, table[i].why), "%s: %s", table[i].json, said);
        cr_expect_null(strstr(said, "sk-in-the-list"), "%s", said);
        cr_expect_null(strstr(said, "hidden"), "%s", said);
    }
    cr_expect_eq(roster_new(&r, "/nonexistent/upstreams", ""), -EINVAL);
}

/* P8: what `atalaya check` shows. */
Test(roster, is_shown_without_its_keys)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    struct roster *r;

    conf_begin_check(f);
    int rc = load(&r, ONE(",\"key\":\"LLM_KEY_AZURE\",\"max_concurrency\":5"));
    conf_end_check();
    fclose(f);
    cr_assert_eq(rc, 0, "%s", text);
    cr_expect(strstr(text, "variable\tLLM_KEY_AZURE\t(set, 15 bytes)\tenvironment\n"), "%s", text);
    cr_expect(strstr(text,
                     "variable\tupstream x\thttp://b/v1 model gpt-4o-mini, priority 0, weight 1, Bearer, "
                     "key ***, at most 5 calls at once\tLLM_UPSTREAMS_FILE\n"),
              "%s", text);
    cr_expect_null(strstr(text, "hidden"), "%s", text);
    roster_free(r);
    free(text);
}
