#include "tests/fuzz/fuzz.h"
#include "tests/llm-worker/wordcut_property.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    int64_t max_words = (int64_t)fuzz_take(&text, 1) % 40 - 8;
    uint32_t cuts = fuzz_take(&text, 2);

    assert(!wordcut_property(text, max_words, cuts));
    return 0;
}
