#include "llm-worker/guardrails.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/utf8.h"

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
        cr_expect_eq(guardrails_toxicity_safe(text), json_number_value(toxicity), "%s", line);
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
        cr_assert_eq(guardrails_toxicity_safe(str_of(text)), 0.8, "U+%04X", cp);
        char longer[128];
        snprintf(longer, sizeof longer, "%s%.*s", prefix, (int)(n + 5), text);
        cr_assert_eq(guardrails_toxicity_safe(str_of(longer)), 0.6, "U+%04X", cp);
    }
}
