/*
 * genai_otlp.h - records as OTLP spans with OpenTelemetry's conventions for generative AI
 *
 * Purpose  the spans of langfuse_otlp.h for everybody else: a collector, Jaeger, Tempo… One span a record, named as the
 *          conventions want it, and one child span an attempt when there was more than one. Scores of an answer are
 *          events of its span; a client's score, which comes later, has no place in it.
 * Owner    as otlp.h and trace.h.
 * Source   https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
 */
#ifndef ATALAYA_TELEMETRY_GENAI_OTLP_H
#define ATALAYA_TELEMETRY_GENAI_OTLP_H

#include "telemetry/otlp.h"
#include "telemetry/pairs.h"
#include "telemetry/trace.h"

/* service: "" = atalaya. attributes: win over ours, but not over the service's name. */
struct otlp *genai_otlp_new(const struct trace_conf *c, const char *service, const struct pair *attributes,
                            size_t n);
void genai_otlp_add(struct otlp *o, const struct trace_conf *c, const struct record *r);

#endif
