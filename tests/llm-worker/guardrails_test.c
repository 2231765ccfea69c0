#include "llm-worker/guardrails.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/utf8.h"

static struct wordlist *words;

static void setup(void)
{
    cr_assert_eq(wordlist_new(&words, "estúpido,idiota,odiar,matar"), 0);
}

static void teardown(void)
{
    wordlist_free(words);
}

TestSuite(guardrails, .init = setup, .fini = teardown);

/* Recorded from the Python service; `ours` where we differ on purpose. */
Test(guardrails, golden_scores)
{
    char path[1024];
    char *line = NULL;
    size_t cap = 0, n = 0;

    snprintf(path, sizeof path, "%s/tests/golden/golden-scores.jsonl", getenv("ATALAYA_SOURCE"));
    FILE *f = fopen(path, "r");
    cr_assert_not_null(f, "%s", path);
    while (getline(&line, &cap, f) > 0) {
        json_t *pair = json_loads(line, JSON_ALLOW_NUL, NULL);
        const json_t *answer = json_object_get(pair, "answer");
        const json_t *toxicity = json_object_get(json_object_get(pair, "ours"), "toxicity_safe");
        struct str text = {json_string_value(answer), json_string_length(answer)};
        if (!toxicity)
            toxicity = json_object_get(pair, "toxicity_safe");
        cr_assert(json_is_string(answer) && json_is_number(toxicity), "%s", line);
        cr_expect_eq(guardrails_toxicity_safe(words, text), json_number_value(toxicity), "%s", line);
        cr_expect_eq(guardrails_non_empty(text), json_number_value(json_object_get(pair, "non_empty_answer")),
                     "%s", line);
        json_decref(pair);
        n++;
    }
    free(line);
    fclose(f);
    cr_assert_gt(n, 20);
}

Test(guardrails, the_word_limit_is_a_python_slice)
{
    static const struct {
        const char *text;
        int64_t limit;
        const char *want;
    } table[] = {
        {"uno dos tres", 3, "uno dos tres"},
        {"  uno\t dos \n tres  ", 3, "  uno\t dos \n tres  "},
        {"  uno\t dos \n tres  ", 2, "uno dos…"},
        {"uno\u00a0dos\u3000tres\x1c"
         "cuatro",
         3, "uno dos tres…"},
        {"uno\u200bdos tres", 1, "uno\u200bdos…"},
        {"uno dos tres", 0, "…"},
        {"uno dos tres", -1, "uno dos…"},
        {"uno dos tres", -3, "…"},
        {"uno dos tres", INT64_MIN + 1, "…"},
        {"", 0, ""},
        {"   ", 0, "   "},
        {"", -1, "…"},
        {"uno", INT64_MAX, "uno"},
    };
    struct buf hold = {.max = 4096};

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct str got = guardrails_limit(str_of(table[i].text), table[i].limit, &hold);
        cr_expect(str_eq(got, table[i].want), "%s | %lld: %.*s", table[i].text, (long long)table[i].limit,
                  (int)got.n, got.p);
    }
    buf_free(&hold);
}

/* The short way and utf8proc's give the same: every code point that takes the short way is its own NFC. */
Test(guardrails, what_skips_normalisation_is_normal)
{
    static const char *const prefix = "estu\u0301pido "; /* forces the long way */

    for (uint32_t cp = 1; cp < 0x30000; cp++) {
        char text[64];
        if (cp >= 0xd800 && cp <= 0xdfff)
            continue;
        size_t n = utf8_encode(text, cp);
        memcpy(text + n, "MATAR", 6);
        cr_assert_eq(guardrails_toxicity_safe(words, str_of(text)), 0.8, "U+%04X", cp);
        char longer[128];
        snprintf(longer, sizeof longer, "%s%.*s", prefix, (int)(n + 5), text);
        cr_assert_eq(guardrails_toxicity_safe(words, str_of(longer)), 0.6, "U+%04X", cp);
    }
}

static double score(const char *setting, const char *text)
{
    struct wordlist *l;

    cr_assert_eq(wordlist_new(&l, setting), 0, "%s", setting);
    double d = guardrails_toxicity_safe(l, str_of(text));
    wordlist_free(l);
    return d;
}

/* Words are folded as the text is, and each counts once. */
Test(guardrails, words_of_ones_own)
{
    cr_expect_eq(score("FEO", "qué feo, feo"), 0.8);
    cr_expect_eq(score(" feo , malo,, feo ,", "feo y malo"), 0.6);
    cr_expect_eq(score("ESTU\u0301PIDO", "estúpido"), 0.8);
    cr_expect_eq(score("mala idea", "una MALA IDEA"), 0.8);
    cr_expect_eq(score("ΟΔΟΣ", "οδος"), 0.8);
    cr_expect_eq(score("feo", "bonito"), 1.0);
    cr_expect_eq(score(",", "bonito"), 1.0);
    cr_expect_eq(score("a,b,c,d,e,f", "fedcba"), 0.0);
    cr_expect_eq(score("ab,abc,b", "abc"), 1.0 - 0.2 * 3);
    cr_expect_eq(score("abc", "ab"), 1.0);
}

static void write_file(char *path, const char *text, size_t n)
{
    int fd = mkstemp(path);

    cr_assert(fd >= 0 && write(fd, text, n) == (ssize_t)n);
    close(fd);
}

Test(guardrails, words_of_a_file)
{
    static const char text[] = "\xef\xbb\xbf# lo feo\r\n\r\n  Feo \r\n#malo\nmala idea\n\nhorrible";
    char path[] = "/tmp/atalaya-words-XXXXXX";

    write_file(path, text, sizeof text - 1);
    cr_expect_eq(score(path, "feo"), 0.8);
    cr_expect_eq(score(path, "malo, # lo"), 1.0);
    cr_expect_eq(score(path, "mala idea, horrible"), 0.6);
    unlink(path);
}

static char said[256];

static void keep(enum log_level level, const char *msg)
{
    cr_expect_eq(level, LOG_ERROR);
    snprintf(said, sizeof said, "%s", msg);
}

static void expect_refusal(const char *setting, const char *words_of_it)
{
    struct wordlist *l;

    said[0] = '\0';
    cr_expect_eq(wordlist_new(&l, setting), -EINVAL, "%s", setting);
    cr_expect_null(l);
    cr_expect(strncmp(said, "GUARDRAIL_WORDS", 15) == 0 && strstr(said, words_of_it), "%s: %s", setting,
              said);
}

/* A bad list stops the start, and says where it is bad. */
Test(guardrails, bad_lists)
{
    char path[] = "/tmp/atalaya-words-XXXXXX", crowd[] = "/tmp/atalaya-words-XXXXXX";
    char longword[GUARDRAIL_WORD_MAX + 2];
    struct buf many = BUF_INIT(64 * KIB);
    struct wordlist *l;
    size_t fits = 0;

    log_divert(keep);
    expect_refusal("/nowhere/at/all", "=/nowhere/at/all: cannot read this file: No such file");
    expect_refusal("./", "Is a directory");
    expect_refusal("bien,\xff", "no UTF-8");
    memset(longword, 'a', sizeof longword - 1);
    longword[sizeof longword - 1] = '\0';
    expect_refusal(longword, "longer than 200 bytes");
    write_file(path, "uno\n#\n\xc3\n", 8);
    expect_refusal(path, ", line 3: this is no UTF-8");
    for (int i = 0; i <= GUARDRAIL_WORDS_MAX; i++) {
        fits = many.len;
        buf_printf(&many, "%d\n", i);
    }
    write_file(crowd, many.data, many.len);
    expect_refusal(crowd, ", line 1001: there are more than 1000 words");
    cr_expect_eq(truncate(crowd, (off_t)fits), 0);
    cr_expect_eq(wordlist_new(&l, crowd), 0);
    wordlist_free(l);
    log_divert(NULL);
    unlink(path);
    unlink(crowd);
    buf_free(&many);
}
