#include "telemetry/gzip.h"

#include <stdlib.h>
#define ZLIB_CONST
#include <zlib.h>

#include "common/base/mem.h"

#define LEVEL       1
#define GZIP_WINDOW (15 + 16) /* zlib's way to ask for gzip's framing */
#define MEMORY      9

struct gzip {
    z_stream z;
};

struct gzip *gzip_new(void)
{
    struct gzip *g = xcalloc(1, sizeof *g);

    if (deflateInit2(&g->z, LEVEL, Z_DEFLATED, GZIP_WINDOW, MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    return g;
}

void gzip_free(struct gzip *z)
{
    if (!z)
        return;
    deflateEnd(&z->z);
    free(z);
}

void gzip_pack(struct gzip *g, struct buf *out, const struct str *parts, size_t n)
{
    size_t total = 0;

    for (size_t i = 0; i < n; i++)
        total += parts[i].n;
    deflateReset(&g->z);
    size_t room = deflateBound(&g->z, total);
    char *to = buf_reserve(out, room);
    if (!to)
        return;
    g->z.next_out = (Bytef *)to;
    g->z.avail_out = (uInt)room;
    for (size_t i = 0; i < n; i++) {
        g->z.next_in = (const Bytef *)parts[i].p;
        g->z.avail_in = (uInt)parts[i].n;
        if (deflate(&g->z, i + 1 < n ? Z_NO_FLUSH : Z_FINISH) == Z_STREAM_ERROR)
            abort();
    }
    out->len += room - g->z.avail_out;
}
