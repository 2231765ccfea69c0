#include <errno.h>
#include <zlib.h>

#include "tests/fakes/langfuse.h"

#define STEP (64 * KIB)

int gunzip(struct str in, struct buf *out)
{
    z_stream z = {0};
    int rc = -EINVAL;

    buf_reset(out);
    if (in.n == 0 || inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
        return -EINVAL;
    z.next_in = (Bytef *)(uintptr_t)in.p;
    z.avail_in = (uInt)in.n;
    for (;;) {
        char *at = buf_reserve(out, STEP);
        if (!at) {
            rc = -EFBIG;
            break;
        }
        z.next_out = (Bytef *)at;
        z.avail_out = STEP;
        int got = inflate(&z, Z_NO_FLUSH);
        out->len += STEP - z.avail_out;
        out->data[out->len] = '\0';
        if (got == Z_STREAM_END) {
            rc = z.avail_in ? -EINVAL : 0;
            break;
        }
        if (got != Z_OK)
            break;
    }
    inflateEnd(&z);
    return rc;
}
