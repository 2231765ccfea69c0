/* What comes out of a stream does not depend on where it was cut. */
#include "llm-worker/sse.h"

#include <stdlib.h>

#include "common/base/mem.h"
#include "tests/fuzz/fuzz.h"

static bool note(void *arg, struct str event, struct str data)
{
    struct buf *seen = arg;

    fuzz_touch((struct str){data.p, data.n + 1}); /* one byte behind it may be read */
    buf_append(seen, event.p, event.n);
    buf_append(seen, "\r=", 2);
    buf_append(seen, data.p, data.n);
    buf_append(seen, "\r;", 2);
    return data.n != 7;
}

static enum sse_result in_pieces(struct sse *s, struct str stream, uint32_t cuts, struct buf *seen)
{
    enum sse_result result = SSE_OK;

    for (size_t n; stream.n > 0; stream.p += n, stream.n -= n) {
        n = fuzz_piece(&cuts, stream.n);
        char *copy = xmemdup(stream.p, n);
        enum sse_result now = sse_feed(s, (struct str){copy, n}, note, seen);
        assert(result == SSE_OK || now == result);
        result = now;
        free(copy);
    }
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str stream = {(const char *)data, n};
    uint32_t cuts = fuzz_take(&stream, 2);
    size_t max_event = 16 + 4 * fuzz_take(&stream, 1);
    struct buf whole = BUF_INIT(4 * n + 1), pieces = BUF_INIT(4 * n + 1);
    struct sse s;

    sse_init(&s, max_event);
    enum sse_result result = sse_feed(&s, stream, note, &whole);
    sse_reset(&s);
    enum sse_result other = in_pieces(&s, stream, cuts, &pieces);
    assert(other == result && whole.len == pieces.len && !whole.failed);
    assert(whole.len == 0 || memcmp(whole.data, pieces.data, whole.len) == 0);
    assert(s.data.n + s.event.n <= max_event && s.line.len <= max_event);
    sse_free(&s);
    buf_free(&whole);
    buf_free(&pieces);
    return 0;
}
