/*
 * jsonwalk.h - copies a JSON text with other values in it
 *
 * Purpose  each string and number goes through a function that writes what stands there instead; the rest is copied
 *          byte for byte. Nothing recurses and no tree is built.
 * Errors   the buf's `failed`. jsonwalk() must be given what jsonwalk_reads() says yes to.
 * Threads  pure.
 */
#ifndef ATALAYA_TELEMETRY_JSONWALK_H
#define ATALAYA_TELEMETRY_JSONWALK_H

#include <stdbool.h>

#include "common/base/buf.h"

struct jsonwalk_value {
    struct str source; /* as written; a string with its quotes */
    struct str text;   /* decoded */
    bool key;          /* of an object's member */
};

typedef void jsonwalk_fn(void *arg, struct buf *out, const struct jsonwalk_value *v);

void jsonwalk(struct buf *out, struct str json, jsonwalk_fn *fn, void *arg);
bool jsonwalk_can(struct str json); /* it is JSON, not nested deeper than JSONSCAN_DEPTH_MAX */
/* The same with NaN and Infinity, which Python writes and takes for numbers. */
bool jsonwalk_reads(struct str json);

#endif
