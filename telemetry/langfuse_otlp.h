/*
 * langfuse_otlp.h - records as OTLP spans with Langfuse's attributes
 *
 * Purpose  one root span a record, of type generation, and one child span an attempt when there was more than
 *          one. The only file that includes the generated protobuf code.
 * Promise  P3: span ids depend on the record alone, so an export that is sent again is merged with the first.
 * Owner    a record's texts are read during otlp_add() only; they end with a NUL behind their last byte.
 * Limits   otlp_bytes() says how large the export is so far; the caller decides when to stop.
 * Source   https://github.com/open-telemetry/opentelemetry-proto/tree/v1.5.0/docs/specification.md
 *          https://langfuse.com/integrations/native/opentelemetry
 */
#ifndef ATALAYA_TELEMETRY_LANGFUSE_OTLP_H
#define ATALAYA_TELEMETRY_LANGFUSE_OTLP_H

#include "common/base/buf.h"
#include "telemetry/record.h"

#define OTLP_PARTS 2

struct otlp;

struct otlp *otlp_new(const char *environment, const char *release); /* kept, not copied; "" = none */
void otlp_free(struct otlp *o);
void otlp_reset(struct otlp *o);
void otlp_add(struct otlp *o, const struct record *r);
size_t otlp_bytes(const struct otlp *o);
size_t otlp_spans(const struct otlp *o);

/* The ExportTraceServiceRequest, in pieces that belong in a row; borrowed until otlp_reset(). */
void otlp_export(struct otlp *o, struct str parts[OTLP_PARTS]);

#endif
