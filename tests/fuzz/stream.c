/* What a provider streams, as an answer and as a chat completion: what is given away and what is told of it at the end
 * do not depend on where it was cut. */
#include "llm-worker/stream.h"

#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/mem.h"
#include "tests/fuzz/fuzz.h"

struct run {
    struct buf text, bytes, told;
    enum outcome outcome;
};

static void collect(void *arg, struct str text, struct str bytes)
{
    struct run *r = arg;

    fuzz_touch(text);
    buf_append(&r->text, text.p, text.n);
    buf_append(&r->bytes, bytes.p, bytes.n);
}

static void tell(struct run *r, struct stream *s)
{
    struct stream_summary sum = stream_summary(s);
    struct str message = stream_message(s);

    fuzz_touch(message);
    buf_printf(&r->told, "%d %d %llu %llu %llu %s ", stream_is_whole(s), sum.truncated,
               (unsigned long long)sum.whole.total_tokens, (unsigned long long)sum.said.pieces,
               (unsigned long long)sum.said.twelfths, sum.error->code);
    buf_append(&r->told, sum.whole.content.p, sum.whole.content.n);
    buf_append(&r->told, sum.whole.model.p, sum.whole.model.n);
    buf_append(&r->told, message.p, message.n);
}

static void feed(struct run *r, const struct stream_conf *conf, struct str in, uint32_t cuts)
{
    struct stream *s = stream_new(conf, collect, r);
    size_t max = 64 * in.n + 4096;
    bool more = true;

    r->text = r->bytes = r->told = BUF_INIT(max);
    for (size_t n; in.n > 0 && more; in.p += n, in.n -= n) {
        n = cuts ? fuzz_piece(&cuts, in.n) : in.n;
        char *copy = xmemdup(in.p, n);
        more = stream_feed(s, (struct str){copy, n});
        free(copy);
    }
    r->outcome = stream_end(s, OUTCOME_OK);
    tell(r, s);
    stream_free(s);
    assert(!r->text.failed && !r->bytes.failed && !r->told.failed);
}

static bool same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static void run_free(struct run *r)
{
    buf_free(&r->text);
    buf_free(&r->bytes);
    buf_free(&r->told);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str in = {(const char *)data, n};
    uint32_t cuts = fuzz_take(&in, 2) + 1;
    uint32_t max_words = fuzz_take(&in, 1);
    struct stream_conf conf = {.max_words = max_words < 16 ? (int64_t)max_words - 4 : INT64_MAX};

    for (int chat = 0; chat < 2; chat++) {
        struct run whole, pieces;
        conf.chat = chat;
        feed(&whole, &conf, in, 0);
        feed(&pieces, &conf, in, cuts);
        assert(whole.outcome == pieces.outcome && same(&whole.text, &pieces.text));
        assert(same(&whole.bytes, &pieces.bytes) && same(&whole.told, &pieces.told));
        run_free(&whole);
        run_free(&pieces);
    }
    return 0;
}
