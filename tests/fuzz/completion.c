/* An answer of a provider, as a completion, as an error, and as the request that it may be. */
#include <errno.h>

#include "llm-worker/estimate.h"
#include "llm-worker/openai.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str body = {(const char *)data, n};
    struct openai_error e;
    struct completion c;
    int rc = openai_read_completion(body, &c);

    assert(rc == 0 || rc == -EBADMSG || rc == -ENODATA);
    if (rc == 0) {
        assert(*c.message.p == '{' && (c.has_usage || !c.total_tokens));
        fuzz_touch(c.message);
        fuzz_touch(c.content);
        fuzz_touch(c.model);
        openai_free(&c);
    }
    openai_read_error(body, &e);
    assert(strlen(e.code) < OPENAI_CODE_MAX && strlen(e.type) < OPENAI_CODE_MAX);
    assert(estimate_prompt(body) >= 3);
    return 0;
}
