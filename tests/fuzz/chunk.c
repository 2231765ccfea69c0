/* Each line is the data of an event. Whatever they say, the message that they make is JSON. */
#include <stdlib.h>

#include "common/base/jsonscan.h"
#include "common/base/mem.h"
#include "llm-worker/assembly.h"
#include "llm-worker/openai.h"
#include "tests/fuzz/fuzz.h"

static void check(const struct chunk *c)
{
    fuzz_touch(c->part.content);
    fuzz_touch(c->part.model);
    fuzz_touch(c->refusal);
    fuzz_touch(c->tool_calls);
    fuzz_touch(c->finish_reason);
    assert(!c->finish_reason.n || c->has_choices);
    assert(strlen(c->error.code) < OPENAI_CODE_MAX && strlen(c->error.type) < OPENAI_CODE_MAX);
}

static void add_line(struct assembly *a, struct str line)
{
    struct chunk c;
    char *copy = xmalloc(line.n);

    memcpy(copy, line.p, line.n);
    if (openai_read_chunk((struct str){copy, line.n}, &c) == 0) {
        check(&c);
        assembly_add(a, &c);
        openai_free_chunk(&c);
    }
    free(copy);
}

static void check_message(const struct assembly *a, size_t n)
{
    static const char *const keys[] = {"role", "content", "tool_calls", NULL};
    struct buf out = BUF_INIT(8 * n + 256 * (a->n + 1));
    struct jsonscan j;

    assembly_write(a, &out);
    assert(!out.failed && jsonscan_object(&j, buf_str(&out), keys));
    assert(str_eq(jsonscan_text(&j, "role"), "assistant") && jsonscan_get(&j, "content"));
    assert((a->n > 0) == (jsonscan_source(&j, "tool_calls", VALUE_ARRAY).n > 0));
    jsonscan_free(&j);
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *p = (const char *)data, *end = p + n;
    struct assembly a;

    assembly_init(&a);
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((lf ? lf : end) - p);
        add_line(&a, (struct str){p, len});
        p += len + (lf != NULL);
    }
    check_message(&a, n);
    assembly_free(&a);
    return 0;
}
