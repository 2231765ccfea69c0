#include "llm-worker/prompt.h"

#include <criterion/criterion.h>

/* The request that the Python service's client sends (tests/golden/golden-ask.jsonl, upstream_request). */
Test(prompt, is_the_one_of_the_contract)
{
    struct buf out = {.max = 4096};

    prompt_write(&out, "gpt-4o-mini", str_of("¿Qué \"es\"\n?"), false, true);
    cr_assert_str_eq(
        out.data,
        "{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"system\",\"content\":\"Eres un asistente "
        "breve, preciso y en español.\"},{\"role\":\"user\",\"content\":\"¿Qué \\\"es\\\"\\n?\"}],"
        "\"temperature\":0.2}");
    buf_free(&out);
}

Test(prompt, a_stream_is_counted_and_not_padded)
{
    struct buf out = {.max = 4096};

    prompt_write(&out, "m", str_of("q"), true, true);
    cr_assert(strstr(out.data, "\"temperature\":0.2,\"stream\":true,"
                               "\"stream_options\":{\"include_usage\":true,\"include_obfuscation\":false}}"));
    buf_free(&out);
}

/* For a server that refuses the options. */
Test(prompt, a_bare_stream)
{
    struct buf out = {.max = 4096};

    prompt_write(&out, "m", str_of("q"), true, false);
    cr_assert(strstr(out.data, "\"temperature\":0.2,\"stream\":true}"), "%s", out.data);
    buf_free(&out);
}
