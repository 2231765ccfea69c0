/*
 * fixture.h - starts a fake for one test and talks to it without any library between
 *
 * Owner    got_free() releases an answer. The fake is killed when the test dies.
 * Threads  the test's main thread.
 * Errors   fail the test.
 */
#ifndef ATALAYA_TESTS_FAKES_FIXTURE_H
#define ATALAYA_TESTS_FAKES_FIXTURE_H

#include <stdint.h>
#include <sys/types.h>

#include "common/base/buf.h"

#define FIXTURE_WAIT_MS 10000

struct fixture {
    pid_t pid;
    uint16_t port;
    char line[128]; /* what it said when it was ready */
};

struct got {
    int status;     /* 0: no head came */
    struct buf raw; /* all bytes until the connection ended */
    char *head;     /* into raw */
    struct str body;
    bool whole;     /* the body ended where its framing says */
    bool timed_out; /* nothing came for the time given */
};

struct fixture fixture_start(const char *program, const char *const args[]); /* args end with NULL */
void fixture_stop(struct fixture *f);                                        /* TERM must give exit 0 */

int fixture_connect(const struct fixture *f);
void fixture_send(int fd, const void *p, size_t n);
struct got fixture_read(int fd, int wait_ms); /* to the end of the connection; closes fd */

/* One request on a connection of its own. more: header lines. */
struct got fixture_call(const struct fixture *f, const char *method, const char *path, const char *more,
                        struct str body);
struct got fixture_call_wait(const struct fixture *f, const char *method, const char *path, const char *more,
                             struct str body, int wait_ms);
void got_free(struct got *g);
bool got_has(const struct got *g, const char *text); /* in the body */

#endif
