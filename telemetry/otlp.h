/*
 * otlp.h - writes an OTLP export of spans
 *
 * Purpose  the only file that includes the generated protobuf code. A span is written between otlp_begin() and
 *          otlp_end(); nothing is allocated for it but the bytes of the export.
 * Owner    texts are read at otlp_end(): they must live until then and end with a NUL. Those of otlp_new() are read at
 *          once.
 * Limits   otlp_bytes() says how large the export is so far; the caller decides when to stop.
 * Source   https://github.com/open-telemetry/opentelemetry-proto/tree/v1.5.0/docs/specification.md
 */
#ifndef ATALAYA_TELEMETRY_OTLP_H
#define ATALAYA_TELEMETRY_OTLP_H

#include "common/base/buf.h"

#define OTLP_PARTS 2

struct otlp;

struct otlp_pair {
    const char *key, *value;
};

/* Of each export: its scope, and its resource's attributes, of which empty ones are left out. */
struct otlp *otlp_new(const char *scope, const char *version, const struct otlp_pair *resource, size_t n);
void otlp_free(struct otlp *o);
void otlp_reset(struct otlp *o);
size_t otlp_bytes(const struct otlp *o);
size_t otlp_spans(const struct otlp *o);

/* Ids in hex digits; one that is none is left out, so that the server refuses the span instead of hiding it under
 * zeroes. */
void otlp_begin(struct otlp *o, const char *name, struct str trace_id, struct str span_id);
void otlp_parent(struct otlp *o, struct str span_id);
void otlp_times(struct otlp *o, int64_t start_us, int64_t duration_us);
void otlp_error(struct otlp *o, const char *message);
void otlp_text(struct otlp *o, const char *key, const char *value); /* NULL or empty: nothing */
void otlp_int(struct otlp *o, const char *key, int64_t value);
void otlp_double(struct otlp *o, const char *key, double value);
void otlp_bool(struct otlp *o, const char *key, bool value);
void otlp_list(struct otlp *o, const char *key, struct str items); /* texts with commas between */
void otlp_event(struct otlp *o, const char *name, int64_t at_us);  /* what follows belongs to it */
void otlp_end(struct otlp *o);

/* The ExportTraceServiceRequest, in pieces that belong in a row; borrowed until otlp_reset(). */
void otlp_export(struct otlp *o, struct str parts[OTLP_PARTS]);

/* How many spans of an export the server says it has not kept, in the body of its answer; `why` is borrowed until the
 * next call. A body that cannot be read says none. */
int64_t otlp_rejected(struct otlp *o, struct str body, struct str *why);

#endif
