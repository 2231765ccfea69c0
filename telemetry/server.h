/*
 * server.h - which Langfuse it is, and in which form it takes traces
 *
 * Purpose  Langfuse 2 and 3 before 3.63 take traces in their ingestion batch only, later ones as OTLP, and 4 nothing
 *          else. /api/public/health tells the version; it is asked before the first upload, after failures and every
 *          hour, and the server may turn into another one under way: what refuses a batch of traces gets no more of
 *          them from then on. Nobody waits for ever for that answer: without one it is OTLP.
 * Threads  pure; the owner asks.
 * Units    milliseconds on the monotonic clock.
 * Source   https://langfuse.com/self-hosting/upgrade/versioning
 */
#ifndef ATALAYA_TELEMETRY_SERVER_H
#define ATALAYA_TELEMETRY_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#define SERVER_VERSION_SIZE 32

enum server_form { SERVER_OTLP, SERVER_BATCH };

struct server {
    char version[SERVER_VERSION_SIZE]; /* the last that it told; empty: none yet */
    enum server_form form;
    bool refuses_batch; /* whatever its version says */
    bool asked, failed;
    int64_t asked_ms;
};

/* What a version like "3.62.1" takes; OTLP when it cannot be read. */
enum server_form server_form_of(const char *version);

bool server_is_due(const struct server *s, int64_t now); /* it should be asked for its version */
void server_ask(struct server *s, int64_t now);          /* that has been done */
bool server_told(struct server *s,
                 const char *version); /* its answer, "" for none; true: it is another one now */
void server_failed(struct server *s);  /* an upload did */
void server_refused_batch(struct server *s);

#endif
