/*
 * harness.h - a whole Atalaya for one test: the shipped programs and both fakes, in a folder of their own
 *
 * Purpose  a test reads like a story: e2e_new(), e2e_env()…, e2e_start(), questions, e2e_end().
 * Promise  e2e_end() checks what every test must leave behind: exit 0 after TERM, no process, no
 *          sanitizer report, no failed assertion, no secret and no question in the logs, and no request
 *          that the real Langfuse would have refused. A failed test shows the tails of all logs.
 * Owner    the harness keeps every instance and ends it even when the test fails (e2e_cleanup, in every
 *          TestSuite).
 * Threads  the test's main thread.
 * Errors   fail the test.
 * Units    seconds for waits (all of them upper bounds), as named otherwise.
 */
#ifndef ATALAYA_TESTS_HARNESS_H
#define ATALAYA_TESTS_HARNESS_H

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/clock.h"
#include "tests/e2e/http_client.h"
#include "tests/e2e/process.h"

/* What the tests give as secrets, and what must therefore show up nowhere else. */
#define E2E_OPENAI_KEY   "sk-e2e-provider-5f0c9d1b7a"
#define E2E_LF_PUBLIC    "pk-lf-e2e-2b61e0aa"
#define E2E_LF_SECRET    "sk-lf-e2e-91d47c3e08"
#define E2E_CANARY       "azafran-7d41" /* in every question that e2e_ask() sends */
#define E2E_WAIT_SECONDS 20

/* Polls until condition holds; fails the test after `seconds`. */
#define E2E_WAIT(seconds, condition)                                                                         \
    do {                                                                                                     \
        int64_t wait_end_ = clock_ms() + (int64_t)(seconds)*1000;                                            \
        while (!(condition)) {                                                                               \
            cr_assert(clock_ms() < wait_end_, "waited %d s for: %s", (int)(seconds), #condition);            \
            e2e_nap();                                                                                       \
        }                                                                                                    \
    } while (0)

struct e2e_fake {
    pid_t pid;
    uint16_t port;
    char out[128], err[128];
};

struct e2e {
    char dir[64];
    char run_dir[96], state_dir[96];
    char out[96], err[96]; /* logs of the supervisor and its children */
    uint16_t port, telemetry_port;
    struct e2e_fake openai, langfuse;
    struct e2e_fake other; /* a second provider, for those who start it */
    pid_t nginx;           /* nginx, for those who start one (nginx.h) */
    pid_t supervisor;      /* 0 when it does not run */
    struct buf env;        /* NAME=value, each ended by NUL */
};

struct e2e *e2e_new(void); /* folder, ports, both fakes, all keys; nothing of Atalaya runs yet */
void e2e_env(struct e2e *e, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4); /* NULL fmt: unset */
void e2e_start(struct e2e *e); /* atalaya run; returns when every child is up, the workers with the gateway */
pid_t e2e_launch(struct e2e *e, const char *const argv[]); /* atalaya ARGV…, no waiting */
int e2e_stop(struct e2e *e);                               /* TERM; the exit code; nothing is left running */
void e2e_end(struct e2e *e);
void e2e_cleanup(void); /* .fini of every suite */
void e2e_nap(void);

/* Fakes may go away and come back on the same port. */
void e2e_fake_stop(struct e2e_fake *f);
void e2e_openai_start(struct e2e *e);
void e2e_other_start(struct e2e *e, const char *auth); /* of fake-openai --auth */
void e2e_langfuse_start(struct e2e *e);

/* Admin calls of the fakes. The JSON is the caller's (json_decref). */
json_t *e2e_admin(const struct e2e_fake *f, const char *method, const char *path, const char *json);
void e2e_tell(const struct e2e_fake *f, const char *path, const char *json);
int64_t e2e_stat(const struct e2e_fake *f, const char *name); /* a number of /_admin/stats */

/* What Langfuse has. The JSON is the caller's. */
json_t *e2e_traces(const struct e2e *e);                      /* object: trace id -> trace */
json_t *e2e_trace(const struct e2e *e, const char *trace_id); /* waits for it */
int64_t e2e_raw(const json_t *trace); /* arrivals of its observations, repetitions included */

/* Children, as the status file lists them. */
struct e2e_child {
    char role[24];
    int index;
    pid_t pid;
    char state[24];
    int64_t restarts;
};
#define E2E_CHILDREN_MAX 32
size_t e2e_children(const struct e2e *e, struct e2e_child out[E2E_CHILDREN_MAX]);
pid_t e2e_pid(const struct e2e *e, const char *role, int index); /* 0: it is not up */
bool e2e_all_up(const struct e2e *e);
size_t e2e_survivors(const struct e2e *e, struct buf *who); /* processes that nobody looks after */

/* HTTP. The reply is the caller's. */
struct http_reply e2e_get(uint16_t port, const char *path);
struct http_reply e2e_post(uint16_t port, const char *path, const char *json);
struct http_reply e2e_ask(const struct e2e *e, const char *user, const char *question, const char *max_words);
json_t *e2e_json(const struct http_reply *r); /* the body; fails the test when it is no JSON */
const char *e2e_string(const json_t *object, const char *key);

/* A sample of the exposition, e.g. app_requests_total{endpoint="/ask",method="POST",status="200"}; -1: not
 * there. */
double e2e_metric(uint16_t port, const char *series);

bool e2e_file_contains(const char *path, const char *text);
bool e2e_tree_contains(const char *folder, const char *text); /* any file below */

#endif
