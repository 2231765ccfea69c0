/* A body of a client. Of what is taken every part can be taken alone; but Python takes lone surrogates in UTF-16 and
 * UTF-32, and in what they become here there can be none. */
#include "common/base/jsonscan.h"

#include <stdlib.h>

#include "common/base/mem.h"
#include "tests/fuzz/fuzz.h"

static const char *const keys[] = {"user_id", "question", "max_words", "a", "", NULL};

static void check_value(const struct value *v, bool surrogates)
{
    struct jsonscan j;
    struct str element;

    fuzz_touch(v->text);
    assert(v->source.n > 0);
    enum jsonscan_result result = jsonscan(&j, v->source, keys);
    if (result == JSONSCAN_UNREADABLE && surrogates) {
        jsonscan_free(&j);
        return;
    }
    assert(result == JSONSCAN_OK);
    assert(j.top.type == v->type && j.top.text.n == v->text.n);
    jsonscan_free(&j);
    for (size_t at = 0; v->type == VALUE_ARRAY && (element = jsonscan_next(v->source, &at)).n > 0;) {
        result = jsonscan(&j, element, keys);
        assert(result == JSONSCAN_OK && j.top.source.n == element.n);
        jsonscan_free(&j);
    }
    if (v->type == VALUE_STRING) {
        char *text = xmalloc(v->source.n);
        assert(jsonscan_decode(v->source, text) == v->text.n && memcmp(text, v->text.p, v->text.n) == 0);
        free(text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct jsonscan j;

    switch (jsonscan(&j, (struct str){(const char *)data, n}, keys)) {
    case JSONSCAN_OK:
        check_value(&j.top, j.text.len > 0);
        for (size_t i = 0; i < j.n; i++)
            if (j.members[i].present)
                check_value(&j.members[i].value, j.text.len > 0);
        break;
    case JSONSCAN_BROKEN:
        assert(j.error && j.position <= n);
        break;
    case JSONSCAN_UNREADABLE:
        break;
    }
    jsonscan_free(&j);
    return 0;
}
