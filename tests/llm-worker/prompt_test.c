#include "llm-worker/prompt.h"

#include <criterion/criterion.h>

/* The request that the Python service's client sends (tests/golden/golden-ask.jsonl, upstream_request). */
Test(prompt, is_the_one_of_the_contract)
{
    struct buf out = {.max = 4096};

    prompt_write(&out, "gpt-4o-mini", str_of("¿Qué \"es\"\n?"));
    cr_assert_str_eq(
        out.data,
        "{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"system\",\"content\":\"Eres un asistente "
        "breve, preciso y en español.\"},{\"role\":\"user\",\"content\":\"¿Qué \\\"es\\\"\\n?\"}],"
        "\"temperature\":0.2}");
    buf_free(&out);
}
