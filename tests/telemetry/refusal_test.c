/* What of a server's words is shown, and to whom (P8). */
#include "telemetry/refusal.h"

#include <criterion/criterion.h>

#include "common/base/attr.h"
#include "common/base/limits.h"

Test(refusal, phrases_are_ours)
{
    static const char *const cases[][2] = {
        {"{\"error\":\"Failed to parse OTel Protobuf Trace\"}", "Failed to parse"},
        {"<html>\r\n<head><title>413 Request Entity Too Large</title></head>", "Too Large"},
        {"INGESTION SUSPENDED: USAGE THRESHOLD EXCEEDED", "Usage threshold exceeded"},
        {"the secret is sk-lf-1 and the question was how are you", NULL},
        {"", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *got = refusal_phrase(str_of(cases[i][0]));
        cr_expect(cases[i][1] ? got && strcmp(got, cases[i][1]) == 0 : !got, "%s: %s", cases[i][0], got);
    }
}

Test(refusal, keys_are_taken_out)
{
    static const char *const cases[][2] = {
        {"bad key sk-1234, or 'sk-1234'", "bad key [key], or '[key]'"},
        {"sk-12345", "[key]"}, /* the longer of two */
        {"sk-123", "sk-123"},
        {"abc is too short to be one", "abc is too short to be one"},
        {"", ""},
    };
    static const char *const secrets[] = {"sk-1234", "sk-12345", "abc", ""};
    struct str all[ARRAY_LEN(secrets)];

    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        all[i] = str_of(secrets[i]);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = BUF_INIT(MIB);
        refusal_clean(&out, str_of(cases[i][0]), all, ARRAY_LEN(all));
        cr_expect(str_eq(buf_str(&out), cases[i][1]), "%s", out.data);
        buf_free(&out);
    }
}

Test(refusal, words_of_the_record_are_not_shown)
{
    static const char *const cases[][2] = {
        {"400 value \"¿Cuándo llega José?\" at 3", "400 value \"¿… … …?\" at 3"},
        {"near 'uándo' or \\nllega\\u0020José", "near '…' or \\n…\\u0020…"},
        {"“llega” «José»、llega，", "“…” «…»、…，"},
        {"sin año", "sin año"},
        {"\\", "\\"},
        {"\\u00", "\\u00"},
    };
    const struct str texts[] = {str_of("¿Cuándo llega José?"), str_of(""), {NULL, 0}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = BUF_INIT(MIB);
        refusal_show(&out, str_of(cases[i][0]), texts, ARRAY_LEN(texts));
        cr_expect_str_eq(out.data, cases[i][1], "%s", out.data);
        buf_free(&out);
    }
}
