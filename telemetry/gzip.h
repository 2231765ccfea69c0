/*
 * gzip.h - compresses request bodies
 *
 * Purpose  the only file that includes zlib.h. Level 1: JSON keys and attribute names repeat so much that more
 *          effort costs time and saves little.
 * Owner    one compressor is made once and used for every body.
 * Errors   the output buf's `failed`.
 */
#ifndef ATALAYA_TELEMETRY_GZIP_H
#define ATALAYA_TELEMETRY_GZIP_H

#include "common/base/buf.h"

struct gzip;

struct gzip *gzip_new(void);
void gzip_free(struct gzip *z);
void gzip_pack(struct gzip *z, struct buf *out, const struct str *parts, size_t n); /* parts in a row */

#endif
