/*
 * load.h - many clients at once, each of them counting what it got
 *
 * Purpose  `clients` threads ask `total` questions on keep-alive connections; every single outcome is
 *          kept, so that a test can say which request lost its answer or got somebody else's.
 * Owner    load_free() also waits for the clients.
 * Threads  start, look and free from the test's main thread. A client never asserts: it writes down.
 * Limits   total questions; each waits 60 s at most, so a load always ends.
 */
#ifndef ATALAYA_TESTS_LOAD_H
#define ATALAYA_TESTS_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/id.h"

/* What became of question i. Its user is "user-i", its text holds the number. */
struct load_outcome {
    int status; /* 0: no answer, see trouble */
    const char *trouble;
    char trace_id[ID_TRACE_SIZE]; /* of a 200 */
    bool answer_is_own;           /* the answer holds this question's number (the upstream must echo) */
    bool retry_after;             /* the header was there */
    int64_t took_ms;
};

struct load;

struct load *load_start(uint16_t port, size_t total, size_t clients);
bool load_finished(struct load *l);
size_t load_done(struct load *l);                         /* outcomes so far */
const struct load_outcome *load_outcomes(struct load *l); /* waits; `total` of them */
size_t load_stop(struct load *l); /* asks no more; how many have been asked, the first of the outcomes */
void load_free(struct load *l);

#endif
