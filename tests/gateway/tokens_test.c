#include "gateway/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "common/base/buf.h"

/* printf %s NAME-token | sha256sum */
#define ANA "fdb19af2cd8f3f7de8c00cbdd4c4838366cbe4fa2e7ae38ba7f5847e75ad4bb5"
#define BEA "20657c55309f33ca7a42bcb6fbab434cc2e712807384b133a587170b7c22223e"
#define EVA "3c8c11b549da3334dcdf59597c1df511b22d220c8efc4a64157d30cb287e31ab"

static char path[] = "/tmp/atalaya-tokens-XXXXXX";

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");

    cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void setup(void)
{
    int fd = mkstemp(path);

    cr_assert_geq(fd, 0);
    close(fd);
}

static void teardown(void)
{
    unlink(path);
}

TestSuite(tokens, .init = setup, .fini = teardown);

static struct token_store *opened(const char *text)
{
    struct token_store *s;

    write_file(text);
    cr_assert_eq(tokens_open(&s, path), 0);
    return s;
}

static enum token_check check(struct token_store *s, const char *authorization, const char *name)
{
    char got[TOKEN_NAME_SIZE];
    enum token_check result = tokens_check(s, authorization, got);

    cr_expect_str_eq(got, name);
    return result;
}

Test(tokens, several_in_a_file_each_with_its_name)
{
    struct token_store *s = opened("# clients\n\n" ANA "  ana\n  " BEA " \t bea's laptop \r\n" EVA "  ana");

    cr_expect_eq(check(s, "Bearer ana-token", "ana"), TOKEN_OK);
    cr_expect_eq(check(s, "bEARER   bea-token", "bea's laptop"), TOKEN_OK);
    cr_expect_eq(check(s, "Bearer eva-token", "ana"), TOKEN_OK);
    cr_expect_eq(check(s, "Bearer ana-tokem", ""), TOKEN_WRONG);
    cr_expect_eq(check(s, "Bearer ana-token=", ""), TOKEN_WRONG);
    cr_expect_eq(check(s, "Bearer " ANA, ""), TOKEN_WRONG, "the hash is no token");
    tokens_free(s);
}

Test(tokens, no_bearer_token_is_missing_and_a_malformed_one_is_wrong)
{
    static const char *const missing[] = {NULL,         "",          "Bearer",
                                          "Bearer ",    "Bearer   ", "Bearerana-token",
                                          "Basic YTpi", "ana-token", "Bearer\tana-token",
                                          "B"};
    static const char *const wrong[] = {"Bearer ana-token ", "Bearer ana token",   "Bearer \"ana-token\"",
                                        "Bearer =",          "Bearer ana-token,x", "Bearer a=b",
                                        "Bearer \xc3\xa9",   "Bearer \tana-token"};
    struct token_store *s = opened(ANA "  ana\n");

    for (size_t i = 0; i < ARRAY_LEN(missing); i++)
        cr_expect_eq(check(s, missing[i], ""), TOKEN_MISSING, "%s", missing[i] ? missing[i] : "NULL");
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        cr_expect_eq(check(s, wrong[i], ""), TOKEN_WRONG, "%s", wrong[i]);
    tokens_free(s);
}

Test(tokens, what_is_no_token_in_form_is_wrong_though_its_hash_is_listed)
{
    struct token_store *s =
        opened("42144f3939c3ffbbf0bf8b1f12affb5c23a4c5bd41e0ff672d54a5754f062058  of "
               "a=b\n380918b946a526640a40df5dced6516794f3d97bbd9e6bb553d037c4439f31c3  of =\n");

    cr_expect_eq(check(s, "Bearer a=b", ""), TOKEN_WRONG);
    cr_expect_eq(check(s, "Bearer =", ""), TOKEN_WRONG);
    tokens_free(s);
}

Test(tokens, a_token_has_a_greatest_length)
{
    /* of 4096 and 4097 x */
    struct token_store *s =
        opened("a2e659dacb4691e887ac0139f8893d04764ee197d70fb73d3190d56113d18e3e  "
               "long\n3e97197f4b8d46a893067c94ab15e195e3d97fb5f24eede5ef047b571240d92b  longer\n");
    char header[TOKEN_LENGTH_MAX + 9] = "Bearer ";

    memset(header + 7, 'x', TOKEN_LENGTH_MAX);
    header[7 + TOKEN_LENGTH_MAX] = '\0';
    cr_expect_eq(check(s, header, "long"), TOKEN_OK);
    header[7 + TOKEN_LENGTH_MAX] = 'x';
    header[8 + TOKEN_LENGTH_MAX] = '\0';
    cr_expect_eq(check(s, header, ""), TOKEN_WRONG);
    tokens_free(s);
}

Test(tokens, a_bad_file_is_refused)
{
    static const char *const bad[] = {
        "",
        "# only a comment\n",
        "ana-token\n",
        ANA "\n",
        ANA "  \n",
        ANA "  -\n",
        ANA "ana\n",
        ANA "0  ana\n",
        "0" ANA "  ana\n",
        ANA "  ana\nx\n",
        ANA "  an\xc3\xa9\n",
        ANA "  an\ta\n",
        ANA "  ana\n" ANA "  ana\n",
        ANA "  ana\n" BEA "  bea\n" ANA "  eva\n",
        ANA "  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", /* 65 */
        ANA
        "  ana\n#                                                                                         "
        "                                                                                               "
        "                                                                               long line\n",
    };
    struct token_store *s;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        write_file(bad[i]);
        cr_expect_lt(tokens_open(&s, path), 0, "%zu: %s", i, bad[i]);
        cr_expect_null(s);
    }
    cr_expect_lt(tokens_open(&s, "/nonexistent/tokens"), 0);
    cr_expect_lt(tokens_open(&s, "/tmp"), 0);
    cr_expect_lt(tokens_open(&s, "/dev/zero"), 0);
}

Test(tokens, a_pipe_is_refused_at_once)
{
    struct token_store *s;

    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_assert_lt(tokens_open(&s, path), 0);
}

static void write_many(int n)
{
    FILE *f = fopen(path, "w");

    cr_assert_not_null(f);
    for (int i = 0; i < n; i++)
        fprintf(f, "%064x  client %d\n", i, i);
    fprintf(f, ANA "  ana\n");
    cr_assert_eq(fclose(f), 0);
}

Test(tokens, so_many_and_no_more)
{
    struct token_store *s;

    write_many(TOKENS_MAX - 1);
    cr_assert_eq(tokens_open(&s, path), 0);
    cr_expect_eq(check(s, "Bearer ana-token", "ana"), TOKEN_OK);
    tokens_free(s);
    write_many(TOKENS_MAX);
    cr_assert_lt(tokens_open(&s, path), 0);
}

Test(tokens, reading_again_revokes_and_admits)
{
    struct token_store *s = opened(ANA "  ana\n" BEA "  bea\n");

    write_file(BEA "  beatrice\n" EVA "  eva\n");
    cr_expect_eq(check(s, "Bearer ana-token", "ana"), TOKEN_OK, "not before it is read");
    cr_assert_eq(tokens_reload(s), 0);
    cr_expect_eq(check(s, "Bearer ana-token", ""), TOKEN_WRONG);
    cr_expect_eq(check(s, "Bearer bea-token", "beatrice"), TOKEN_OK);
    cr_expect_eq(check(s, "Bearer eva-token", "eva"), TOKEN_OK);
    tokens_free(s);
}

Test(tokens, a_bad_file_leaves_the_old_tokens)
{
    struct token_store *s = opened(ANA "  ana\n");

    write_file(BEA "  bea\nrubbish\n");
    cr_assert_lt(tokens_reload(s), 0);
    cr_expect_eq(check(s, "Bearer ana-token", "ana"), TOKEN_OK);
    cr_expect_eq(check(s, "Bearer bea-token", ""), TOKEN_WRONG);
    cr_assert_eq(unlink(path), 0);
    cr_assert_lt(tokens_reload(s), 0);
    cr_expect_eq(check(s, "Bearer ana-token", "ana"), TOKEN_OK);
    tokens_free(s);
}

/* A file mounted into a container keeps its bytes when another one takes its place outside. */
Test(tokens, a_file_that_was_replaced_behind_a_mount_is_told)
{
    char mounted[64];
    struct token_store *s = opened(ANA "  ana\n");
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    cr_assert_geq(fd, 0);
    tokens_free(s);
    snprintf(mounted, sizeof mounted, "/proc/self/fd/%d", fd);
    cr_assert_eq(tokens_open(&s, mounted), 0);
    cr_assert_eq(unlink(path), 0);
    cr_expect_eq(tokens_reload(s), -ESTALE);
    cr_expect_eq(check(s, "Bearer ana-token", "ana"), TOKEN_OK);
    tokens_free(s);
    close(fd);
}

static FILE *capture;

static const char *logged(void)
{
    static char text[8192];

    rewind(capture);
    size_t n = fread(text, 1, sizeof text - 1, capture);
    text[n] = '\0';
    return text;
}

Test(tokens, the_log_names_who_came_and_went_and_no_token)
{
    struct token_store *s = opened(ANA "  ana\n" BEA "  bea\n");
    struct token_store *none;

    capture = tmpfile();
    cr_assert(capture && dup2(fileno(capture), STDOUT_FILENO) >= 0);
    write_file(BEA "  bea\n" EVA "  eva\n");
    cr_assert_eq(tokens_reload(s), 0);
    cr_expect(strstr(logged(), "\"added\":\"eva\",\"removed\":\"ana\""), "%s", logged());
    cr_expect_not(strstr(logged(), "bea"));
    write_file(ANA "  ana\nsecret-token-by-mistake  bea\n");
    cr_assert_lt(tokens_open(&none, path), 0);
    cr_expect(strstr(logged(), path), "%s", logged());
    cr_expect(strstr(logged(), "line 2"));
    cr_expect_not(strstr(logged(), "secret"));
    cr_expect_not(strstr(logged(), "fdb19af2"));
    cr_expect_not(strstr(logged(), "3c8c11b5"));
    tokens_free(s);
}

Test(tokens, a_file_that_everybody_can_write_is_warned_about)
{
    struct token_store *s;

    write_file(ANA "  ana\n");
    capture = tmpfile();
    cr_assert(capture && dup2(fileno(capture), STDOUT_FILENO) >= 0);
    cr_assert_eq(chmod(path, 0664), 0);
    cr_assert_eq(tokens_open(&s, path), 0);
    cr_expect_str_eq(logged(), "");
    tokens_free(s);
    cr_assert_eq(chmod(path, 0666), 0);
    cr_assert_eq(tokens_open(&s, path), 0);
    cr_expect(strstr(logged(), "chmod o-w"));
    tokens_free(s);
}

static atomic_bool stop;

/* bea is in both files: she must never be refused. */
static void *check_without_end(void *arg)
{
    char name[TOKEN_NAME_SIZE];
    uintptr_t refused = 0;

    while (!atomic_load(&stop))
        refused += tokens_check(arg, "Bearer bea-token", name) != TOKEN_OK || strcmp(name, "bea") != 0;
    return (void *)refused;
}

Test(tokens, checks_go_on_while_the_file_is_read_again)
{
    struct token_store *s = opened(ANA "  ana\n" BEA "  bea\n");
    pthread_t thread[3];

    for (size_t i = 0; i < ARRAY_LEN(thread); i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, check_without_end, s), 0);
    for (int i = 0; i < 100; i++) {
        write_file(i % 2 ? ANA "  ana\n" BEA "  bea\n" : EVA "  eva\n" BEA "  bea\n");
        cr_assert_eq(tokens_reload(s), 0);
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < ARRAY_LEN(thread); i++) {
        void *refused;
        cr_assert_eq(pthread_join(thread[i], &refused), 0);
        cr_expect_null(refused);
    }
    tokens_free(s);
}
