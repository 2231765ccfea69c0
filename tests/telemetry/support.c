#include "tests/telemetry/support.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/limits.h"

static char made[32][SUPPORT_DIR_SIZE];
static size_t n_made;

static void remove_folders(void)
{
    for (size_t i = 0; i < n_made; i++) {
        DIR *d = opendir(made[i]);
        struct dirent *e;
        while (d && (e = readdir(d)) != NULL) {
            char path[SUPPORT_DIR_SIZE + 600];
            if (snprintf(path, sizeof path, "%s/%s", made[i], e->d_name) < (int)sizeof path)
                unlink(path); /* fails on . and .. */
        }
        if (d)
            closedir(d);
        rmdir(made[i]);
    }
    n_made = 0;
}

void support_dir(char out[SUPPORT_DIR_SIZE])
{
    snprintf(out, SUPPORT_DIR_SIZE, "/tmp/atalaya-telemetry-test-XXXXXX");
    cr_assert(mkdtemp(out));
    cr_assert(n_made < ARRAY_LEN(made));
    if (n_made == 0)
        atexit(remove_folders);
    snprintf(made[n_made++], SUPPORT_DIR_SIZE, "%s", out);
}

struct event support_event(unsigned n)
{
    static char ids[64][5][40];
    static struct event_attempt attempt;
    char(*id)[40] = ids[n % ARRAY_LEN(ids)];

    attempt = (struct event_attempt){.start_us = 1700000000100000,
                                     .duration_us = 600000,
                                     .status = 200,
                                     .outcome = str_of("ok"),
                                     .upstream_id = str_of("req_1")};
    snprintf(id[0], sizeof id[0], "%032x", n);
    snprintf(id[1], sizeof id[1], "%016x", n);
    snprintf(id[2], sizeof id[2], "user-%u", n);
    snprintf(id[3], sizeof id[3], "question %u", n);
    snprintf(id[4], sizeof id[4], "request-%u", n);
    return (struct event){
        .kind = EVENT_REQUEST,
        .endpoint = str_of("/ask"),
        .method = str_of("POST"),
        .status = 200,
        .start_us = 1700000000000000,
        .duration_us = 750000,
        .request_id = str_of(id[4]),
        .trace_id = str_of(id[0]),
        .generation_id = str_of(id[1]),
        .user_id = str_of(id[2]),
        .question = str_of(id[3]),
        .answer = str_of("una respuesta"),
        .model = str_of("gpt-4o-mini"),
        .has_usage = true,
        .prompt_tokens = 20,
        .completion_tokens = 30,
        .total_tokens = 50,
        .cached_tokens = 5,
        .reasoning_tokens = 10,
        .has_cost = true,
        .cost_usd = 0.00002,
        .has_scores = true,
        .non_empty_answer = 1.0,
        .toxicity_safe = 0.8,
        .queue_us = 1000,
        .worker_us = 700000,
        .dispatches = 1,
        .attempts = {&attempt, 1},
    };
}

struct event support_feedback(unsigned n)
{
    static char ids[64][3][40];
    char(*id)[40] = ids[n % ARRAY_LEN(ids)];

    snprintf(id[0], sizeof id[0], "%032x", n);
    snprintf(id[1], sizeof id[1], "00000000-0000-4000-8000-%012x", n);
    snprintf(id[2], sizeof id[2], "user-feedback-%u", n);
    return (struct event){
        .kind = EVENT_FEEDBACK,
        .start_us = 1700000001000000,
        .request_id = str_of("request-of-feedback"),
        .trace_id = str_of(id[0]),
        .score_id = str_of(id[1]),
        .score_name = str_of(id[2]),
        .score_type = str_of("NUMERIC"),
        .score_value = 0.5,
    };
}

struct spool *support_spool(const char *dir, int64_t max_bytes)
{
    struct spool *s = NULL;

    cr_assert_eq(spool_open(&s, &(struct spool_conf){.dir = dir, .max_bytes = max_bytes}), 0);
    return s;
}

void support_put_event(struct spool *s, const struct event *e)
{
    struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct record r;

    record_of_event(&r, e, &scratch);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_put(s, &r), 0);
    cr_assert_eq(spool_commit(s), 0);
    buf_free(&scratch);
}

void support_put(struct spool *s, unsigned first, unsigned last)
{
    struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);

    cr_assert_eq(spool_begin(s), 0);
    for (unsigned n = first; n <= last; n++) {
        struct event e = support_event(n);
        struct record r;
        record_of_event(&r, &e, &scratch);
        cr_assert_eq(spool_put(s, &r), 0);
    }
    cr_assert_eq(spool_commit(s), 0);
    buf_free(&scratch);
}

struct waiting {
    struct loop *loop;
    bool (*done)(void *arg);
    void *arg;
    int64_t until;
    bool late;
    struct loop_timer timer;
};

static void look(void *arg)
{
    struct waiting *w = arg;

    w->late = clock_ms() > w->until;
    if (w->late || w->done(w->arg))
        loop_stop(w->loop);
    else
        loop_timer_set(w->loop, &w->timer, clock_ms() + 5);
}

void support_run(struct loop *l, bool (*done)(void *arg), void *arg)
{
    struct waiting w = {.loop = l, .done = done, .arg = arg, .until = clock_ms() + SUPPORT_PATIENCE_MS};

    w.timer = (struct loop_timer){.fn = look, .arg = &w};
    loop_timer_set(l, &w.timer, clock_ms());
    loop_run(l);
    cr_assert_not(w.late, "waited %d ms in vain", SUPPORT_PATIENCE_MS);
}

int support_tidy(const char *dir)
{
    char path[SUPPORT_DIR_SIZE + 16];
    sqlite3_stmt *st = NULL;
    sqlite3 *db = NULL;

    snprintf(path, sizeof path, "%s/spool.db", dir);
    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_prepare_v2(db, "PRAGMA wal_checkpoint(TRUNCATE)", -1, &st, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_step(st), SQLITE_ROW);
    int busy = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return busy;
}
