/* A client's chat completion request: of a stream the provider gets it with one option that holds. */
#include "llm-worker/chat.h"

#include "tests/fuzz/fuzz.h"

static void check_stream(struct str written, const struct chat *c)
{
    struct chat again;
    bool is_object = !c->options.n || str_eq(c->options, "null") || *c->options.p == '{';

    assert(chat_read(&again, written) == 0);
    assert(again.wants_usage == is_object);
    assert(again.model.n == c->model.n &&
           (!c->model.n || memcmp(again.model.p, c->model.p, c->model.n) == 0));
    chat_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf out = BUF_INIT(2 * n + 256);
    struct chat c;

    if (chat_read(&c, (struct str){(const char *)data, n}) == 0) {
        chat_write(&out, &c);
        check_stream(buf_str(&out), &c);
    }
    chat_free(&c);
    buf_free(&out);
    return 0;
}
