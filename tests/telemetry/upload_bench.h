/*
 * upload_bench.h - an uploader on a spool of its own against fake-langfuse
 *
 * Purpose  what the tests of the uploader share. A test starts a bench, puts events in its spool and waits for what the
 *          counters or the fake say.
 * Owner    bench_end() stops what bench_start() has started.
 * Errors   fail the test.
 */
#ifndef ATALAYA_TESTS_TELEMETRY_UPLOAD_BENCH_H
#define ATALAYA_TESTS_TELEMETRY_UPLOAD_BENCH_H

#include <jansson.h>

#include "telemetry/upload.h"
#include "tests/fakes/fixture.h"
#include "tests/telemetry/support.h"

struct bench {
    char dir[SUPPORT_DIR_SIZE], url[64], otlp_url[128];
    struct fixture fake;
    struct loop *loop;
    struct spool *spool;
    struct metrics *metrics;
    struct upload *upload;
    struct upload_conf conf;
    bool drained;
    double wanted; /* value of the counter that a wait looks at */
    const char *counter;
};

#define UPLOADED "\natalaya_uploaded_records_total "
#define EXPORTED "\natalaya_exported_records_total "
#define REJECTED(destination, reason)                                                                        \
    "\natalaya_rejected_records_total{destination=\"" destination "\",reason=\"" reason "\"} "
#define REFUSED REJECTED("langfuse", "refused")

extern const char *const bench_plain[]; /* no options */

/* args: of the fake, ending with NULL. */
struct bench *bench_start(int64_t flush_at, const char *const args[]);
void bench_restart(struct bench *b); /* another uploader, with b->conf */
void bench_end(struct bench *b);

json_t *bench_admin(struct bench *b, const char *method, const char *path, const char *body);
void bench_behave(struct bench *b, const char *json);
int64_t bench_stat(struct bench *b, const char *name);
double bench_value(const struct bench *b, const char *series);
void bench_wait(struct bench *b, const char *counter, double wanted);
void bench_wait_for_requests(struct bench *b, double n);
bool bench_spool_is_empty(void *bench);
bool bench_is_drained(void *bench);

void bench_put(struct bench *b, unsigned first, unsigned last);
void bench_put_event(struct bench *b, const struct event *e);

/* n traces with two scores each, none twice, nothing that the real server would have lost; nothing is left. */
void bench_expect_arrived(struct bench *b, int64_t n);

#endif
