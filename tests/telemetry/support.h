/*
 * support.h - what the tests of telemetry share: a folder, a sample event, a loop that does not wait for ever
 *
 * Errors   fail the test.
 */
#ifndef ATALAYA_TESTS_TELEMETRY_SUPPORT_H
#define ATALAYA_TESTS_TELEMETRY_SUPPORT_H

#include "common/proc/loop.h"
#include "common/wire/event.h"
#include "telemetry/spool.h"

#define SUPPORT_PATIENCE_MS 20000
#define SUPPORT_DIR_SIZE    64

void support_dir(char out[SUPPORT_DIR_SIZE]); /* a new folder below /tmp; removed when the test ends */

/* A finished question with every field set. Number n (from 1) is in its ids, user and question. */
struct event support_event(unsigned n);

/* A score that a client has given to the trace of event number n: numeric, 0.5, "user-feedback-n". */
struct event support_feedback(unsigned n);

struct spool *support_spool(const char *dir, int64_t max_bytes);
/* Moves the spool's log into its file. 0: it is empty now; 1: somebody reads what is in it. */
int support_tidy(const char *dir);

/* Puts one event, or events number first..last, in one transaction. */
void support_put_event(struct spool *s, const struct event *e);
void support_put(struct spool *s, unsigned first, unsigned last);

/* Runs the loop until done(arg) or, failing the test, for SUPPORT_PATIENCE_MS. */
void support_run(struct loop *l, bool (*done)(void *arg), void *arg);

#endif
