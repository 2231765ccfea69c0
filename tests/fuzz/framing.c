/* What comes in on a client's connection: it does not matter how it is cut, and what is let through is let through
 * again as it is. */
#include "gateway/framing.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "tests/fuzz/fuzz.h"

/* What is let through of `in`, up to a refusal; to be freed. */
static char *filter(struct framing *f, struct str in, uint32_t cuts, size_t *len)
{
    char *all = xmalloc(2 * FRAMING_ROOM(in.n));

    *f = (struct framing){.state = FRAMING_START};
    *len = 0;
    for (size_t n; in.n > 0 && f->state != FRAMING_REFUSED; in.p += n, in.n -= n) {
        n = cuts ? fuzz_piece(&cuts, in.n) : in.n;
        char *out = xmalloc(FRAMING_ROOM(n));
        size_t got = framing_filter(f, out, in.p, n);
        assert(got <= FRAMING_ROOM(n));
        memcpy(all + *len, out, got);
        *len += got;
        free(out);
    }
    return all;
}

static void check_again(struct str through, const struct framing *f)
{
    struct framing g;
    size_t n;
    char *again = filter(&g, through, 0, &n);

    assert(g.state != FRAMING_REFUSED && g.complete == f->complete);
    assert(n == through.n && memcmp(again, through.p, n) == 0);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str in = {(const char *)data, n};
    uint32_t cuts = fuzz_take(&in, 2) + 1;
    struct framing f, g;
    size_t len, other_len;
    char *whole = filter(&f, in, 0, &len), *pieces = filter(&g, in, cuts, &other_len);

    assert(f.state == g.state && f.complete == g.complete);
    if (f.state == FRAMING_REFUSED) {
        assert(f.status == g.status && f.why == g.why);
        assert(len <= other_len &&
               memcmp(whole, pieces, len - 1) == 0); /* of a piece that is gone nothing comes back */
    } else {
        assert(len == other_len && memcmp(whole, pieces, len) == 0);
        check_again((struct str){whole, len}, &f);
    }
    free(whole);
    free(pieces);
    return 0;
}
