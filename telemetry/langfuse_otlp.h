/*
 * langfuse_otlp.h - records as OTLP spans with Langfuse's attributes
 *
 * Purpose  one root span a record, of type generation, and one child span an attempt when there was more than one; for
 *          Langfuse 3.63 and later.
 * Owner    as otlp.h and trace.h.
 * Source   https://langfuse.com/integrations/native/opentelemetry
 */
#ifndef ATALAYA_TELEMETRY_LANGFUSE_OTLP_H
#define ATALAYA_TELEMETRY_LANGFUSE_OTLP_H

#include "telemetry/otlp.h"
#include "telemetry/trace.h"

struct otlp *langfuse_otlp_new(const struct trace_conf *c);
void langfuse_otlp_add(struct otlp *o, const struct trace_conf *c, const struct record *r);

#endif
