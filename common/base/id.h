/*
 * id.h - random identifiers
 *
 * Purpose  trace ids (16 bytes, 32 hex digits), span ids (8 bytes, 16 hex digits), as W3C Trace Context and
 *          OpenTelemetry want them: never all zero; request ids as UUID version 4 (RFC 9562).
 * Threads  any: the pool of random bytes is per thread and refilled from getrandom(2), also after a fork.
 */
#ifndef ATALAYA_BASE_ID_H
#define ATALAYA_BASE_ID_H

#include <stddef.h>
#include <stdint.h>

#define ID_TRACE_SIZE 33
#define ID_SPAN_SIZE  17
#define ID_UUID_SIZE  37

void id_random(void *out, size_t n);
uint64_t id_u64(void);
uint32_t id_u32(void);
void id_trace(char out[ID_TRACE_SIZE]);
void id_span(char out[ID_SPAN_SIZE]);
void id_uuid(char out[ID_UUID_SIZE]);

#endif
