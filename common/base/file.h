/*
 * file.h - a small file of settings, read at once
 *
 * Owner    the bytes are out's, whose max is the longest file that is taken.
 * Threads  any.
 * Errors   -errno; -EFBIG: longer than out may be.
 */
#ifndef ATALAYA_BASE_FILE_H
#define ATALAYA_BASE_FILE_H

#include "common/base/attr.h"
#include "common/base/buf.h"

int file_read(const char *path, struct buf *out) NODISCARD;

#endif
