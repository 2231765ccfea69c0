/*
 * reserve.h - bytes of the disk put aside for when it is full
 *
 * Purpose  SQLite needs room to move its write-ahead log into the file before anything can be deleted. A file of no
 *          content keeps that room; when the disk is full it goes, when there is space again it comes back.
 * Threads  any; one at a time for each path.
 * Errors   0 or -errno.
 */
#ifndef ATALAYA_TELEMETRY_RESERVE_H
#define ATALAYA_TELEMETRY_RESERVE_H

#include <stdint.h>

#include "common/base/attr.h"

/* The file is there with that size, or it is not there. */
int reserve_make(const char *path, int64_t bytes) NODISCARD;
void reserve_release(const char *path);

/* What the disk of that path still has for us; -1: nobody knows. */
int64_t reserve_space(const char *path);

#endif
