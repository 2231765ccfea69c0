/* The spool: what is committed stays (P2), the bound holds and the oldest go (P4), a bad file is moved aside. */
#include "telemetry/spool.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "tests/telemetry/support.h"

#define PLENTY (1024 * (int64_t)MIB)

static unsigned number_of(const struct record *r)
{
    unsigned n = 0;

    cr_assert_eq(sscanf(r->question.p, "question %u", &n), 1);
    return n;
}

/* Reads everything; the numbers must rise. Returns how many there are. */
static unsigned read_all(struct spool *s, unsigned *first, unsigned *last)
{
    struct record r;
    unsigned n = 0;
    int rc;

    *first = *last = 0;
    cr_assert_eq(spool_scan(s, 1, INT64_MAX), 0);
    while ((rc = spool_next(s, &r)) > 0) {
        unsigned k = number_of(&r);
        cr_expect_gt(k, *last);
        *first = n++ ? *first : k;
        *last = k;
    }
    cr_assert_eq(rc, 0);
    spool_scan_end(s);
    return n;
}

static size_t count_files(const char *dir, const char *prefix)
{
    char command[256], line[256];
    size_t n = 0;

    snprintf(command, sizeof command, "ls %s", dir);
    FILE *f = popen(command, "r");
    cr_assert(f);
    while (fgets(line, sizeof line, f))
        n += strncmp(line, prefix, strlen(prefix)) == 0;
    pclose(f);
    return n;
}

static int revive(struct spool *s, int64_t *n)
{
    int64_t idle = 0;

    return spool_revive(s, RECORD_EVERYWHERE, n, &idle);
}

static void bury(struct spool *s, int64_t first, int64_t last, const char *reason, int64_t want)
{
    int64_t n = 0;

    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_bury(s, first, last, RECORD_NEW, str_of(reason)), 0);
    cr_assert_eq(spool_delete(s, first, last, &n), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_assert_eq(n, want);
}

Test(spool, a_record_comes_back_whole)
{
    char dir[SUPPORT_DIR_SIZE];
    struct record r;

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    support_put(s, 3, 3);
    spool_free(s);
    s = support_spool(dir, PLENTY);
    cr_assert_eq(spool_records(s), 1);
    cr_assert_eq(spool_scan(s, 1, 99), 0);
    cr_assert_eq(spool_next(s, &r), 1);
    cr_expect_eq(r.seq, 1);
    cr_expect_eq(r.stage, RECORD_NEW);
    cr_expect_eq(r.bytes, spool_bytes(s));
    cr_expect(str_eq(r.trace_id, "00000000000000000000000000000003"));
    cr_expect(str_eq(r.generation_id, "0000000000000003"));
    cr_expect(str_eq(r.parent_id, ""));
    cr_expect(str_eq(r.request_id, "request-3"));
    cr_expect(str_eq(r.user_id, "user-3"));
    cr_expect(str_eq(r.question, "question 3"));
    cr_expect(str_eq(r.answer, "una respuesta"));
    cr_expect(str_eq(r.model, "gpt-4o-mini"));
    cr_expect(str_eq(r.error, "") && str_eq(r.error_text, ""));
    cr_expect_eq(r.status, 200);
    cr_expect_eq(r.start_us, 1700000000000000);
    cr_expect_eq(r.duration_us, 750000);
    cr_expect_eq(r.queue_us, 1000);
    cr_expect_eq(r.worker_us, 700000);
    cr_expect_eq(r.dispatches, 1);
    cr_expect_eq(r.tries, 1);
    cr_expect_not(r.truncated);
    cr_expect(r.has_usage && r.has_cost && r.has_scores);
    cr_expect_eq(r.cached_tokens, 5);
    cr_expect_eq(r.reasoning_tokens, 10);
    cr_expect_eq(r.cost_usd, 0.00002);
    cr_expect_eq(r.prompt_tokens, 20);
    cr_expect_eq(r.completion_tokens, 30);
    cr_expect_eq(r.total_tokens, 50);
    cr_expect_float_eq(r.toxicity_safe, 0.8, 1e-12);
    cr_expect_eq(spool_next(s, &r), 0);
    spool_scan_end(s);
    spool_free(s);
}

Test(spool, streams_and_chats_come_back_whole)
{
    char dir[SUPPORT_DIR_SIZE];
    struct event e = support_event(1);
    struct record r;

    e.session_id = str_of("session-1");
    e.tags = str_of("a,b");
    e.metadata = str_of("{\"k\":1}");
    e.cache = str_of("hit");
    e.chat = e.usage_estimated = true;
    e.first_token_us = 120000;
    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    support_put_event(s, &e);
    e = support_event(2);
    e.stream = true;
    support_put_event(s, &e);
    cr_assert_eq(spool_scan(s, 1, 2), 0);
    cr_assert_eq(spool_next(s, &r), 1);
    cr_expect(str_eq(r.session_id, "session-1") && str_eq(r.tags, "a,b"));
    cr_expect(str_eq(r.metadata, "{\"k\":1}") && str_eq(r.cache, "hit"));
    cr_expect(r.chat && !r.stream && r.usage_estimated && !r.truncated && r.first_token_us == 120000);
    cr_assert_eq(spool_next(s, &r), 1);
    cr_expect(!r.session_id.n && !r.tags.n && !r.metadata.n && !r.cache.n);
    cr_expect(!r.chat && r.stream && !r.usage_estimated && r.first_token_us == 0);
    spool_scan_end(s);
    spool_free(s);
}

static void expect_feedback(struct spool *s, int64_t seq, const char *text)
{
    struct record r;

    cr_assert_eq(spool_scan(s, seq, seq), 0);
    cr_assert_eq(spool_next(s, &r), 1);
    cr_expect_eq(r.seq, seq);
    cr_expect(record_is_feedback(&r));
    cr_expect_eq(r.stage, RECORD_TRACE_SENT, "it has no trace of its own to send");
    cr_expect(str_eq(r.trace_id, "00000000000000000000000000000005"));
    cr_expect(str_eq(r.request_id, "request-of-feedback"));
    cr_expect(str_eq(r.score_id, "00000000-0000-4000-8000-000000000005"));
    cr_expect(str_eq(r.score_name, "user-feedback-5"));
    cr_expect(str_eq(r.score_type, "NUMERIC"));
    cr_expect_float_eq(r.score_value, 0.5, 0);
    cr_expect(str_eq(r.score_text, text));
    cr_expect(str_eq(r.comment, "muy bien"));
    cr_expect_eq(r.start_us, 1700000001000000);
    cr_expect_not(r.has_usage || r.has_cost || r.has_scores);
    spool_scan_end(s);
}

static void put_feedback(struct spool *s, const char *text)
{
    struct event e = support_feedback(5);

    e.score_text = str_of(text);
    e.comment = str_of("muy bien");
    support_put_event(s, &e);
}

Test(spool, feedback_comes_back_whole)
{
    char dir[SUPPORT_DIR_SIZE];
    struct record r;

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    support_put(s, 1, 1);
    put_feedback(s, "a text");
    support_put(s, 2, 2);
    spool_free(s);
    s = support_spool(dir, PLENTY);
    cr_expect_eq(spool_records(s), 3);
    expect_feedback(s, 2, "a text");
    cr_assert_eq(spool_scan(s, 3, 3), 0);
    cr_assert_eq(spool_next(s, &r), 1);
    cr_expect_not(record_is_feedback(&r));
    cr_expect_eq(r.stage, RECORD_NEW);
    spool_scan_end(s);
    spool_free(s);
}

/* The bound counts a comment, and feedback goes with the others, the oldest first. */
Test(spool, feedback_is_bounded_too)
{
    char dir[SUPPORT_DIR_SIZE];
    static char comment[4000];
    struct spool_trimmed dropped;

    support_dir(dir);
    memset(comment, 'x', sizeof comment);
    struct spool *s = support_spool(dir, 20000);
    support_put(s, 1, 1);
    for (unsigned n = 2; n <= 6; n++) {
        struct event e = support_feedback(n);
        e.comment = (struct str){comment, sizeof comment};
        support_put_event(s, &e);
    }
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_trim(s, 0, &dropped), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_expect_eq(dropped.records, 2);
    cr_expect_eq(spool_records(s), 4);
    spool_free(s);
}

/* A file as version 0.1.0 made it: its schema, to the letter, with a record of each stage and a counter. */
static const char version_1[] =
    "CREATE TABLE record("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " stage INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL,"
    " start_us INTEGER NOT NULL, duration_us INTEGER NOT NULL,"
    " queue_us INTEGER NOT NULL, worker_us INTEGER NOT NULL,"
    " status INTEGER NOT NULL, dispatches INTEGER NOT NULL, tries INTEGER NOT NULL,"
    " truncated INTEGER NOT NULL,"
    " prompt_tokens INTEGER, completion_tokens INTEGER, total_tokens INTEGER,"
    " non_empty_answer REAL, toxicity_safe REAL,"
    " request_id TEXT NOT NULL, trace_id TEXT NOT NULL, generation_id TEXT NOT NULL,"
    " parent_id TEXT NOT NULL,"
    " model TEXT NOT NULL, error TEXT NOT NULL, error_text TEXT NOT NULL, attempts TEXT NOT NULL,"
    " user_id TEXT NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL);"
    "CREATE TABLE sender("
    " epoch INTEGER PRIMARY KEY, seq INTEGER NOT NULL, seen_us INTEGER NOT NULL);"
    "CREATE TABLE series("
    " metric TEXT NOT NULL, labels TEXT NOT NULL, created REAL NOT NULL, value REAL NOT NULL,"
    " buckets TEXT NOT NULL, PRIMARY KEY(metric, labels)) WITHOUT ROWID;"
    "PRAGMA journal_mode=WAL; PRAGMA application_id=1098148985; PRAGMA user_version=1;"
    "INSERT INTO record VALUES(41,1,300, 1700000000000000,750000, 1000,700000, 200,1,1, 0, 20,30,50, 1.0,0.8,"
    " 'request-1','00000000000000000000000000000001','0000000000000001','', 'gpt-4o-mini','','','[]',"
    " 'user-1','question 1','una respuesta');"
    "INSERT INTO record VALUES(42,0,301, 1700000000000000,750000, 1000,700000, 502,1,1, 0, NULL,NULL,NULL,"
    " NULL,NULL, 'request-2','00000000000000000000000000000002','0000000000000002','00f067aa0ba902b7',"
    " 'gpt-4o-mini','timeout','','[]', 'user-2','question 2','');"
    "INSERT INTO sender VALUES(77, 8, 9);"
    "INSERT INTO series VALUES('app_requests_total', '/ask' || char(31) || 'POST' || char(31) || '200', 5.0, "
    "7.0,"
    " '');";

/* What the version with feedback, schema 2, made of such a file. */
static const char version_2[] =
    "ALTER TABLE record ADD COLUMN score_id TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE record ADD COLUMN score_name TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE record ADD COLUMN score_type TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE record ADD COLUMN score_value REAL;"
    "ALTER TABLE record ADD COLUMN score_text TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE record ADD COLUMN comment TEXT NOT NULL DEFAULT '';"
    "PRAGMA user_version=2;"
    "INSERT INTO record VALUES(43,1,302, 1700000001000000,0, 0,0, 0,0,0, 0, NULL,NULL,NULL, NULL,NULL,"
    " 'request-of-feedback','00000000000000000000000000000005','','', '','','','[]', '','','',"
    " '00000000-0000-4000-8000-000000000005','user-feedback-5','NUMERIC',0.5,'','muy bien');";

/* With costs, schema 3, and with dead letters, schema 4. */
static const char version_3[] =
    "ALTER TABLE record ADD COLUMN cached_tokens INTEGER;"
    "ALTER TABLE record ADD COLUMN reasoning_tokens INTEGER;"
    "ALTER TABLE record ADD COLUMN cost_usd REAL;"
    "PRAGMA user_version=3;"
    "INSERT INTO record VALUES(44,0,303, 1700000000000000,750000, 1000,700000, 200,1,1, 0, 20,30,50, 1.0,0.8,"
    " 'request-4','00000000000000000000000000000004','0000000000000004','', 'gpt-4o-mini','','','[]',"
    " 'user-4','question 4','una respuesta', '','','',NULL,'','', 5,10,0.00002);";

static const char version_4[] =
    "CREATE TABLE dead_letter AS SELECT * FROM record WHERE 0;"
    "ALTER TABLE dead_letter ADD COLUMN reason TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE dead_letter ADD COLUMN since_us INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE dead_letter ADD COLUMN wanted INTEGER NOT NULL DEFAULT 0;"
    "CREATE UNIQUE INDEX dead_letter_seq ON dead_letter(seq);"
    "CREATE INDEX dead_letter_wanted ON dead_letter(wanted) WHERE wanted=1;"
    "PRAGMA user_version=4;"
    "INSERT INTO dead_letter SELECT *, 'refused', 1700000002000000, 1 FROM record WHERE seq=44;"
    "DELETE FROM record WHERE seq=44;";

static void old_file(const char *dir, const char *sql)
{
    char path[SUPPORT_DIR_SIZE + 16];
    sqlite3 *db;

    snprintf(path, sizeof path, "%s/spool.db", dir);
    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
    cr_assert_eq(sqlite3_close(db), SQLITE_OK);
}

static void expect_old_records(struct spool *s)
{
    struct record r;

    cr_assert_eq(spool_scan(s, 1, 42), 0);
    cr_assert_eq(spool_next(s, &r), 1);
    cr_expect_eq(r.seq, 41);
    cr_expect_eq(r.stage, RECORD_TRACE_SENT);
    cr_expect_not(record_is_feedback(&r), "sent, and still a question");
    cr_expect(r.has_scores && str_eq(r.answer, "una respuesta") && str_eq(r.comment, ""));
    cr_expect(r.has_usage && r.prompt_tokens == 20 && r.cached_tokens == 0 && r.reasoning_tokens == 0);
    cr_expect_not(r.has_cost, "nobody knows any more");
    cr_assert_eq(spool_next(s, &r), 1);
    cr_expect_eq(r.stage, RECORD_NEW);
    cr_expect_not(r.has_scores || record_is_feedback(&r));
    cr_expect(str_eq(r.question, "question 2") && str_eq(r.parent_id, "00f067aa0ba902b7"));
    cr_assert_eq(spool_next(s, &r), 0);
    spool_scan_end(s);
}

static void note_sender(void *arg, uint64_t epoch, uint64_t seq, int64_t seen_us)
{
    bool *there = arg;

    *there = epoch == 77 && seq == 8 && seen_us == 9;
}

static void note_series(void *arg, const struct spool_series *v)
{
    bool *there = arg;

    *there = str_eq(v->metric, "app_requests_total") && v->value == 7;
}

Test(spool, an_older_file_goes_on)
{
    char dir[SUPPORT_DIR_SIZE];
    bool sender = false, series = false;

    support_dir(dir);
    old_file(dir, version_1);
    for (int life = 0; life < 2; life++) {
        struct spool *s = support_spool(dir, PLENTY);
        cr_expect_eq(spool_replaced(s), 0);
        cr_expect_eq(spool_records(s), 2 + life);
        cr_expect_eq(spool_bytes(s) > 601, life);
        expect_old_records(s);
        if (life == 0)
            put_feedback(s, "");
        expect_feedback(s, 43, "");
        cr_assert_eq(spool_each_sender(s, note_sender, &sender), 0);
        cr_assert_eq(spool_each_series(s, note_series, &series), 0);
        cr_expect(sender && series);
        spool_free(s);
    }
}

/* Whatever the file's age: everything that is in it, and what a record of today has. */
static void expect_goes_on(const char *dir, int64_t records, int64_t letters)
{
    struct event e = support_event(5);
    struct record r;
    int64_t n;

    e.session_id = str_of("session-5");
    e.stream = true;
    for (int life = 0; life < 2; life++) {
        struct spool *s = support_spool(dir, PLENTY);
        cr_expect_eq(spool_replaced(s), 0);
        cr_expect_eq(spool_records(s), records + life);
        cr_expect_eq(spool_letters(s), letters);
        expect_old_records(s);
        expect_feedback(s, 43, "");
        if (life == 0)
            support_put_event(s, &e);
        cr_assert_eq(spool_scan(s, spool_last(s), spool_last(s)), 0);
        cr_assert_eq(spool_next(s, &r), 1);
        cr_expect(r.has_cost && r.cost_usd == 0.00002 && r.cached_tokens == 5 && r.reasoning_tokens == 10);
        cr_expect(str_eq(r.session_id, "session-5") && r.stream && !r.chat);
        spool_scan_end(s);
        spool_free(s);
    }
    struct spool *s = support_spool(dir, PLENTY);
    bury(s, spool_last(s), spool_last(s), "refused", 1);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_want(s, 1, INT64_MAX, &n), 0);
    cr_assert_eq(revive(s, &n), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_expect_eq(n, letters + 1);
    cr_assert_eq(spool_scan(s, spool_last(s), spool_last(s)), 0);
    cr_assert_eq(spool_next(s, &r), 1);
    cr_expect(str_eq(r.session_id, "session-5") && r.stream && r.cost_usd == 0.00002);
    spool_scan_end(s);
    spool_free(s);
}

Test(spool, a_file_of_any_version_before_goes_on)
{
    static const char *const versions[] = {version_1, version_2, version_3, version_4};

    for (size_t version = 2; version <= ARRAY_LEN(versions); version++) {
        char dir[SUPPORT_DIR_SIZE];
        support_dir(dir);
        for (size_t i = 0; i < version; i++)
            old_file(dir, versions[i]);
        expect_goes_on(dir, version == 3 ? 4 : 3, version == 4);
    }
}

/* The command that spool.h names, while telemetry has the file open. */
Test(spool, the_sqlite3_command_reads_it)
{
    char dir[SUPPORT_DIR_SIZE], command[512], line[256];

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    support_put(s, 1, 2);
    bury(s, 1, 1, "no such project", 1);
    snprintf(command, sizeof command,
             "sqlite3 %s/spool.db \"select seq, datetime(start_us/1e6,'unixepoch'), user_id, status from "
             "record; select seq, user_id, reason from dead_letter\"",
             dir);
    FILE *f = popen(command, "r");
    cr_assert(f && fgets(line, sizeof line, f), "is Debian's sqlite3 there?");
    cr_expect_str_eq(line, "2|2023-11-14 22:13:20|user-2|200\n");
    cr_assert(fgets(line, sizeof line, f));
    cr_expect_str_eq(line, "1|user-1|no such project\n");
    cr_expect_null(fgets(line, sizeof line, f));
    cr_expect_eq(pclose(f), 0);
    support_put(s, 3, 3);
    spool_free(s);
}

/* With plain SQLite, as the operator's tool sees it: under names that say what they hold, and NULL for unknown. */
Test(spool, costs_are_there_for_sqlite3)
{
    char dir[SUPPORT_DIR_SIZE], path[SUPPORT_DIR_SIZE + 16];
    struct event e = support_event(2);
    sqlite3 *db;
    sqlite3_stmt *st;

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    support_put(s, 1, 1);
    e.has_cost = false;
    support_put_event(s, &e);
    spool_free(s);
    snprintf(path, sizeof path, "%s/spool.db", dir);
    cr_assert_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_prepare_v2(db,
                                    "SELECT total(cost_usd), count(cost_usd), sum(cached_tokens),"
                                    " sum(reasoning_tokens) FROM record",
                                    -1, &st, NULL),
                 SQLITE_OK);
    cr_assert_eq(sqlite3_step(st), SQLITE_ROW);
    cr_expect_eq(sqlite3_column_double(st, 0), 0.00002);
    cr_expect_eq(sqlite3_column_int(st, 1), 1);
    cr_expect_eq(sqlite3_column_int(st, 2), 10);
    cr_expect_eq(sqlite3_column_int(st, 3), 20);
    sqlite3_finalize(st);
    sqlite3_close(db);
}

/* Who goes back to an older program loses nothing but sight of it: the same rule, seen from that side. */
Test(spool, a_newer_file_is_moved_aside)
{
    char dir[SUPPORT_DIR_SIZE];

    support_dir(dir);
    old_file(dir, version_1);
    old_file(dir, "PRAGMA user_version=99");
    struct spool *s = support_spool(dir, PLENTY);
    cr_expect_eq(spool_replaced(s), 1);
    cr_expect_eq(spool_records(s), 0);
    cr_expect_eq(count_files(dir, "spool.db.newer-"), 1);
    cr_expect_eq(spool_lost(s), 2, "they will not be uploaded by us");
    spool_free(s);
}

Test(spool, unknown_is_not_zero)
{
    char dir[SUPPORT_DIR_SIZE];
    struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct event e = support_event(1);
    struct record r;

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    e.has_usage = e.has_cost = e.has_scores = false;
    record_of_event(&r, &e, &scratch);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_put(s, &r), 0);
    cr_assert_eq(spool_commit(s), 0);
    support_put(s, 2, 2);
    cr_assert_eq(spool_scan(s, 1, 2), 0);
    cr_assert_eq(spool_next(s, &r), 1);
    cr_expect_not(r.has_usage || r.has_cost || r.has_scores);
    cr_assert_eq(spool_next(s, &r), 1);
    cr_expect(r.has_usage && r.has_cost && r.has_scores, "what the last row had bound is not left over");
    spool_scan_end(s);
    spool_free(s);
    buf_free(&scratch);
}

Test(spool, rollback_leaves_no_trace)
{
    char dir[SUPPORT_DIR_SIZE];
    struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct event e = support_event(2);
    struct record r;
    int64_t gone;
    unsigned first, last;

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    support_put(s, 1, 1);
    int64_t bytes = spool_bytes(s);
    record_of_event(&r, &e, &scratch);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_put(s, &r), 0);
    cr_assert_eq(spool_delete(s, 1, 1, &gone), 0);
    spool_rollback(s);
    cr_expect_eq(spool_records(s), 1);
    cr_expect_eq(spool_bytes(s), bytes);
    cr_expect_eq(read_all(s, &first, &last), 1);
    cr_expect_eq(first, 1);
    support_put(s, 3, 3);
    cr_expect_eq(read_all(s, &first, &last), 2);
    spool_free(s);
    buf_free(&scratch);
}

Test(spool, stages_and_deletion)
{
    char dir[SUPPORT_DIR_SIZE];
    struct record r;
    int64_t gone;
    unsigned first, last;

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    support_put(s, 1, 10);
    cr_expect_eq(spool_waiting(s, 0), 10);
    cr_expect_eq(spool_waiting(s, 4), 6);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_settle(s, 4, 6, RECORD_TRACE_SENT, RECORD_IN_LANGFUSE, &gone), 0);
    cr_expect_eq(gone, 3);
    cr_assert_eq(spool_delete(s, 1, 3, &gone), 0);
    cr_expect_eq(gone, 3);
    cr_assert_eq(spool_delete(s, 8, 8, &gone), 0);
    cr_assert_eq(spool_delete(s, 50, 60, &gone), 0);
    cr_expect_eq(gone, 0, "only what was there");
    cr_assert_eq(spool_commit(s), 0);
    cr_expect_eq(spool_records(s), 6);
    cr_expect_eq(spool_waiting(s, 0), 7, "at most so many");
    cr_expect_eq(spool_last(s), 10);
    spool_free(s);
    s = support_spool(dir, PLENTY);
    cr_expect_eq(spool_records(s), 6);
    cr_assert_eq(spool_scan(s, 5, 7), 0);
    for (int64_t seq = 5; seq <= 7; seq++) {
        cr_assert_eq(spool_next(s, &r), 1);
        cr_expect_eq(r.seq, seq);
        cr_expect_eq(r.stage, seq < 7 ? RECORD_TRACE_SENT : RECORD_NEW);
    }
    spool_scan_end(s);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_delete(s, 1, 10, &gone), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_expect_eq(spool_records(s), 0);
    cr_expect_eq(spool_bytes(s), 0);
    cr_expect_eq(spool_waiting(s, 0), 0);
    cr_expect_eq(spool_oldest_us(s), 0);
    spool_free(s);
    s = support_spool(dir, PLENTY);
    support_put(s, 20, 20);
    cr_expect_eq(spool_last(s), 11, "numbers are not used twice");
    cr_expect_eq(read_all(s, &first, &last), 1);
    spool_free(s);
}

Test(spool, what_nobody_waits_for_goes)
{
    char dir[SUPPORT_DIR_SIZE];
    int64_t gone;
    unsigned first, last;

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    support_put(s, 1, 10);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_settle(s, 1, 4, RECORD_IN_LANGFUSE, RECORD_EVERYWHERE, &gone), 0);
    cr_assert_eq(spool_settle(s, 8, 8, RECORD_TRACE_SENT, RECORD_EVERYWHERE, &gone), 0);
    cr_assert_eq(spool_sweep(s, RECORD_EVERYWHERE, &gone), 0);
    cr_expect_eq(gone, 0);
    cr_assert_eq(spool_sweep(s, 0, &gone), 0);
    cr_expect_eq(gone, 0, "without a destination all is kept");
    cr_assert_eq(spool_sweep(s, RECORD_IN_LANGFUSE, &gone), 0);
    cr_expect_eq(gone, 4);
    cr_assert_eq(spool_commit(s), 0);
    cr_expect_eq(spool_records(s), 6);
    cr_expect_eq(read_all(s, &first, &last), 6);
    cr_expect_eq(spool_waiting(s, 0), 6);
    spool_free(s);
}

Test(spool, the_bound_holds)
{
    char dir[SUPPORT_DIR_SIZE];
    unsigned first, last;
    struct spool_trimmed dropped;
    int64_t sum = 0;
    const int64_t bound = 20000;

    support_dir(dir);
    struct spool *s = support_spool(dir, bound);
    for (unsigned n = 1; n <= 300; n += 10) {
        support_put(s, n, n + 9);
        cr_assert_eq(spool_begin(s), 0);
        cr_assert_eq(spool_trim(s, 0, &dropped), 0);
        cr_assert_eq(spool_commit(s), 0);
        sum += dropped.records;
        cr_expect_leq(spool_bytes(s), bound);
    }
    unsigned left = read_all(s, &first, &last);
    cr_expect_eq(last, 300, "the newest stay");
    cr_expect_eq(first, 300 - left + 1);
    cr_expect_eq(sum + left, 300, "each is kept or counted");
    cr_expect_eq(left, spool_records(s));
    cr_expect_gt(left, 20);
    spool_free(s);
}

static void expect_sender(void *arg, uint64_t epoch, uint64_t seq, int64_t seen_us)
{
    uint64_t *n = arg;

    cr_expect_eq(seq, epoch - UINT64_MAX / 2);
    cr_expect_eq(seen_us, (int64_t)seq);
    cr_expect_gt(seq, *n, "longest silent first");
    *n = seq;
}

static void expect_letter(struct spool *s, int64_t seq, unsigned number, const char *reason, bool wanted)
{
    struct spool_letter l;

    cr_assert_eq(spool_next_letter(s, &l), 1);
    cr_expect_eq(l.record.seq, seq);
    cr_expect_eq(number_of(&l.record), number);
    cr_expect(l.record.has_cost && l.record.cost_usd == 0.00002 && l.record.tries == 1);
    cr_expect(str_eq(l.reason, reason));
    cr_expect_gt(l.since_us, l.record.start_us);
    cr_expect_eq(l.wanted, wanted);
}

/* Somebody looks and asks while telemetry runs; telemetry takes them back under new numbers. */
Test(spool, dead_letters_come_back)
{
    char dir[SUPPORT_DIR_SIZE];
    struct spool *tool = NULL;
    struct spool_letter l;
    unsigned first, last;
    int64_t n;

    support_dir(dir);
    cr_expect_eq(spool_look(&tool, dir), -ENOENT);
    struct spool *s = support_spool(dir, PLENTY);
    support_put(s, 1, 6);
    int64_t bytes = spool_bytes(s);
    bury(s, 4, 5, "no such project", 2);
    bury(s, 1, 1, "model: too long", 1);
    bury(s, 1, 1, "twice", 0);
    cr_expect(spool_records(s) == 3 && spool_letters(s) == 3 && spool_bytes(s) < bytes);
    cr_expect_eq(read_all(s, &first, &last), 3);
    cr_expect_eq(first, 2);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(revive(s, &n), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_expect_eq(n, 0, "nobody has asked for any");

    cr_assert_eq(spool_look(&tool, dir), 0);
    cr_assert_eq(spool_begin(tool), 0);
    cr_assert_eq(spool_want(tool, 5, 99, &n), 0);
    cr_assert_eq(spool_commit(tool), 0);
    cr_expect_eq(n, 1);
    cr_assert_eq(spool_scan_letters(tool, 0, 99), 0);
    expect_letter(tool, 4, 4, "no such project", false);
    expect_letter(tool, 5, 5, "no such project", true);
    expect_letter(tool, 1, 1, "model: too long", false);
    cr_expect_eq(spool_next_letter(tool, &l), 0);
    spool_scan_letters_end(tool);
    spool_free(tool);

    spool_free(s); /* the wish and the letters outlive a life of telemetry */
    s = support_spool(dir, PLENTY);
    cr_expect(spool_records(s) == 3 && spool_letters(s) == 3);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(revive(s, &n), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_expect(n == 1 && spool_records(s) == 4 && spool_letters(s) == 2 && spool_last(s) == 7);
    struct record r;
    cr_assert_eq(spool_scan(s, 7, 7), 0);
    cr_assert_eq(spool_next(s, &r), 1);
    cr_expect_eq(number_of(&r), 5);
    spool_scan_end(s);
    spool_free(s);
}

/* Who looks page by page holds up nobody: the log can be moved into the file between two of them. */
Test(spool, dead_letters_are_read_in_pages)
{
    char dir[SUPPORT_DIR_SIZE];
    struct spool *tool = NULL;
    struct spool_letter l;
    int64_t after = 0, n = 0;

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    support_put(s, 1, 10);
    bury(s, 6, 10, "late ones first", 5);
    bury(s, 1, 5, "then the others", 5);
    cr_assert_eq(spool_look(&tool, dir), 0);
    for (int page = 0; page < 4; page++) {
        cr_assert_eq(spool_scan_letters(tool, after, 3), 0);
        for (; spool_next_letter(tool, &l) == 1; n++) {
            support_put(s, 11, 11);
            cr_expect_eq(support_tidy(dir), 1, "it is being read");
            cr_expect_eq(l.record.seq, n < 5 ? 6 + n : n - 4);
            after = l.place;
        }
        spool_scan_letters_end(tool);
        cr_expect_eq(n, page < 3 ? 3 * (page + 1) : 10);
        cr_expect_eq(support_tidy(dir), 0, "page %d", page);
    }
    spool_free(tool);
    spool_free(s);
}

/* For whom they are: what nobody that is there would take stays, and is not wanted any more. */
Test(spool, dead_letters_of_who_is_gone_stay)
{
    static const int64_t stages[] = {RECORD_IN_LANGFUSE, RECORD_EXPORTED, RECORD_NEW};
    char dir[SUPPORT_DIR_SIZE];
    int64_t n, idle;
    struct spool_letter l;

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    support_put(s, 1, 3);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(spool_begin(s), 0);
        cr_assert_eq(spool_bury(s, i + 1, i + 1, stages[i], str_of("refused")), 0);
        cr_assert_eq(spool_delete(s, i + 1, i + 1, &n), 0);
        cr_assert_eq(spool_want(s, i + 1, i + 1, &n), 0);
        cr_assert_eq(spool_commit(s), 0);
    }
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_revive(s, RECORD_IN_LANGFUSE, &n, &idle), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_expect(n == 2 && idle == 1 && spool_records(s) == 2 && spool_letters(s) == 1);
    cr_assert_eq(spool_scan_letters(s, 0, 9), 0);
    cr_assert_eq(spool_next_letter(s, &l), 1);
    cr_expect(l.record.seq == 1 && !l.wanted);
    spool_scan_letters_end(s);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_want(s, 1, 1, &n), 0);
    cr_assert_eq(spool_revive(s, 0, &n, &idle), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_expect(n == 0 && idle == 1 && spool_letters(s) == 1, "nobody at all is there");
    spool_free(s);
}

/* Into an empty table too, and a rollback undoes all of it. */
Test(spool, the_dead_are_in_the_transaction)
{
    char dir[SUPPORT_DIR_SIZE];
    unsigned first, last;
    int64_t n;

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    support_put(s, 1, 3);
    int64_t bytes = spool_bytes(s);
    bury(s, 1, 3, "refused", 3);
    cr_expect(spool_records(s) == 0 && spool_bytes(s) == 0);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_want(s, 1, 3, &n), 0);
    cr_assert_eq(revive(s, &n), 0);
    cr_expect(n == 3 && spool_letters(s) == 0);
    spool_rollback(s);
    cr_expect(spool_letters(s) == 3 && spool_records(s) == 0);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_want(s, 2, 3, &n), 0);
    cr_assert_eq(revive(s, &n), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_expect_eq(read_all(s, &first, &last), 2);
    cr_expect_eq(first, 2);
    cr_expect_eq(spool_waiting(s, 3), 2, "an uploader that has seen 3 finds them");
    bury(s, 1, 99, "again", 2);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_want(s, 1, INT64_MAX, &n), 0);
    cr_assert_eq(revive(s, &n), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_expect(n == 3 && spool_bytes(s) == bytes && spool_letters(s) == 0);
    spool_free(s);
}

/* P4: they count against the bound, and go before any record does. */
Test(spool, dead_letters_are_bounded_too)
{
    char dir[SUPPORT_DIR_SIZE];
    struct spool_trimmed t;
    unsigned first, last;

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    support_put(s, 1, 100);
    int64_t each = spool_bytes(s) / 100;
    bury(s, 41, 100, "refused", 60);
    spool_free(s);
    s = support_spool(dir, 50 * each);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_trim(s, 0, &t), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_expect(t.records == 0 && t.letters >= 49 && t.letters <= 52, "%d", (int)t.letters);
    cr_expect_eq(spool_letters(s), 60 - t.letters);
    cr_expect_eq(read_all(s, &first, &last), 40);
    spool_free(s);
    s = support_spool(dir, 20 * each);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_trim(s, 0, &t), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_expect(t.records >= 19 && t.records <= 22 && spool_letters(s) == 0);
    cr_expect_eq(read_all(s, &first, &last), 40 - t.records);
    cr_expect_eq(last, 40);
    spool_free(s);
}

Test(spool, senders_are_remembered_and_pruned)
{
    char dir[SUPPORT_DIR_SIZE];
    uint64_t n = 0;

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    cr_assert_eq(spool_begin(s), 0);
    for (uint64_t i = 1; i <= EVENT_SENDERS_MAX + 20; i++) /* half of the epochs do not fit into int64_t */
        cr_assert_eq(spool_put_sender(s, UINT64_MAX / 2 + i, i, (int64_t)i), 0);
    cr_assert_eq(spool_commit(s), 0);
    spool_free(s);
    s = support_spool(dir, PLENTY);
    n = 20;
    cr_assert_eq(spool_each_sender(s, expect_sender, &n), 0);
    cr_expect_eq(n, EVENT_SENDERS_MAX + 20);
    spool_free(s);
}

static void write_at(const char *dir, const char *bytes, size_t n, off_t at, bool truncate)
{
    char path[SUPPORT_DIR_SIZE + 16];

    snprintf(path, sizeof path, "%s/spool.db", dir);
    int fd = open(path, O_WRONLY | O_CREAT | (truncate ? O_TRUNC : 0), 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(pwrite(fd, bytes, n, at), (ssize_t)n);
    close(fd);
}

Test(spool, what_is_no_database_is_moved_aside)
{
    char dir[SUPPORT_DIR_SIZE];
    static const char text[] =
        "this is a text file, and somebody may still want it; it is longer than a header is";

    support_dir(dir);
    write_at(dir, text, sizeof text, 0, true);
    struct spool *s = support_spool(dir, PLENTY);
    cr_expect_eq(spool_replaced(s), 1);
    cr_expect_eq(count_files(dir, "spool.db.damaged-"), 1);
    support_put(s, 1, 5);
    spool_free(s);
    s = support_spool(dir, PLENTY);
    cr_expect_eq(spool_replaced(s), 0);
    cr_expect_eq(spool_records(s), 5);
    spool_free(s);
}

Test(spool, a_database_of_somebody_else_is_moved_aside_unchanged)
{
    char dir[SUPPORT_DIR_SIZE], path[SUPPORT_DIR_SIZE + 16];
    sqlite3 *db;

    support_dir(dir);
    snprintf(path, sizeof path, "%s/spool.db", dir);
    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, "CREATE TABLE record(x); INSERT INTO record VALUES(1)", NULL, NULL, NULL),
                 SQLITE_OK);
    sqlite3_close(db);
    struct spool *s = support_spool(dir, PLENTY);
    cr_expect_eq(spool_replaced(s), 1);
    cr_expect_eq(count_files(dir, "spool.db.foreign-"), 1, "no -wal: it has not been touched");
    cr_expect_eq(spool_records(s), 0);
    spool_free(s);
}

Test(spool, a_damaged_file_is_moved_aside)
{
    char dir[SUPPORT_DIR_SIZE];
    static char garbage[64 * KIB];

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    support_put(s, 1, 1000);
    spool_free(s); /* checkpoints: everything is in the main file */
    memset(garbage, 0x5a, sizeof garbage);
    write_at(dir, garbage, sizeof garbage, 4096 * 40, false); /* in the middle of the records */
    s = support_spool(dir, PLENTY);
    cr_expect_eq(spool_replaced(s), 1);
    cr_expect_eq(count_files(dir, "spool.db.damaged-"), 1);
    cr_expect_eq(spool_lost(s), 1000);
    support_put(s, 1, 3);
    cr_expect_eq(spool_records(s), 3);
    spool_free(s);
}

/* Uploads under way name rows by their numbers: a new file must not give them to other records. */
Test(spool, numbers_go_on_when_a_file_is_replaced_in_use)
{
    char dir[SUPPORT_DIR_SIZE];

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    support_put(s, 1, 40);
    cr_assert_eq(spool_repair(s, -EUCLEAN), 0);
    cr_expect_eq(spool_replaced(s), 1);
    cr_expect_eq(spool_lost(s), 40);
    cr_expect_eq(spool_records(s), 0);
    cr_expect_eq(spool_waiting(s, 20), 0);
    support_put(s, 1, 1);
    cr_expect_eq(spool_last(s), 41);
    cr_expect_eq(spool_waiting(s, 20), 1);
    spool_free(s);
}

/* P4: by age too. Records are as old as their start, dead letters as their burial; what is undone is undone. */
Test(spool, what_is_too_old_goes)
{
    char dir[SUPPORT_DIR_SIZE];
    const int64_t born = 1700000000000000, age = 3600000000;
    struct spool *s = NULL;
    struct spool_trimmed t;
    unsigned first, last;

    support_dir(dir);
    cr_assert_eq(spool_open(&s, &(struct spool_conf){.dir = dir, .max_bytes = PLENTY, .max_age_us = age}), 0);
    support_put(s, 1, 200);
    struct event young = support_event(201);
    young.start_us = born + 5;
    support_put_event(s, &young);
    bury(s, 1, 1, "refused", 1);
    cr_expect_not(spool_expired(s, born + age));
    cr_expect(spool_expired(s, born + age + 1));
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_trim(s, born + age, &t), 0);
    cr_expect_eq(t.old_records, 0);
    cr_assert_eq(spool_trim(s, born + age + 1, &t), 0);
    cr_expect(t.old_records == 199 && t.records == 0 && t.letters == 0);
    spool_rollback(s);
    cr_expect_eq(spool_records(s), 200);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_trim(s, born + age + 1, &t), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_expect_eq(read_all(s, &first, &last), 1);
    cr_expect_eq(last, 201);
    cr_expect_eq(spool_letters(s), 1);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_trim(s, wall_us() + age + 1, &t), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_expect(t.old_records == 1 && t.letters == 1 && spool_records(s) == 0 && spool_letters(s) == 0);
    cr_expect_not(spool_expired(s, INT64_MAX));
    spool_free(s);
}

/* Old ones go for new ones only, in one transaction with them. */
Test(spool, room_is_made_by_the_oldest)
{
    char dir[SUPPORT_DIR_SIZE];
    struct spool_trimmed t;
    unsigned first, last;

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    support_put(s, 1, 100);
    int64_t each = spool_bytes(s) / 100;
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_squeeze(s, 0, &t), 0);
    spool_rollback(s);
    cr_expect_eq(spool_records(s), 100);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_squeeze(s, 0, &t), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_expect(t.records >= 9 && t.records <= 12, "%d", (int)t.records);
    cr_expect_eq(read_all(s, &first, &last), 100 - t.records);
    cr_expect_eq(first, t.records + 1);
    cr_assert_eq(spool_begin(s), 0);
    cr_assert_eq(spool_squeeze(s, 50 * each, &t), 0);
    cr_assert_eq(spool_commit(s), 0);
    cr_expect(t.records >= 48 && t.records <= 52, "as much as is needed: %d", (int)t.records);
    spool_free(s);
}

Test(spool, one_process_a_folder)
{
    char dir[SUPPORT_DIR_SIZE];
    struct spool *second = NULL;

    support_dir(dir);
    struct spool *s = support_spool(dir, PLENTY);
    cr_expect_eq(spool_open(&second, &(struct spool_conf){.dir = dir, .max_bytes = PLENTY}), -EAGAIN);
    spool_free(s);
    s = support_spool(dir, PLENTY);
    spool_free(s);
    struct spool_conf nowhere = {.dir = "/nonexistent/folder", .max_bytes = PLENTY};
    cr_expect_eq(spool_open(&second, &nowhere), -ENOENT);
}

/* A child commits record after record and says so; it is killed with -9 at any moment. */
static void commit_for_ever(const char *dir, int out)
{
    struct spool *s = support_spool(dir, PLENTY);

    for (unsigned n = (unsigned)spool_last(s) + 1;; n++) {
        support_put(s, n, n);
        if (write(out, &n, sizeof n) != sizeof n)
            _exit(1);
    }
}

Test(spool, kill_9_loses_nothing_that_was_acknowledged, .timeout = 60)
{
    char dir[SUPPORT_DIR_SIZE];

    support_dir(dir);
    unsigned acknowledged = 0;
    for (int round = 0; round < 20; round++) {
        int pipe_fd[2];
        unsigned n, first, last;
        cr_assert_eq(pipe(pipe_fd), 0);
        pid_t pid = fork();
        cr_assert_geq(pid, 0);
        if (pid == 0)
            commit_for_ever(dir, pipe_fd[1]);
        close(pipe_fd[1]);
        for (int i = 0; i < 5 + 13 * round && read(pipe_fd[0], &n, sizeof n) == sizeof n; i++)
            acknowledged = n;
        kill(pid, SIGKILL);
        while (read(pipe_fd[0], &n, sizeof n) == sizeof n)
            acknowledged = n;
        close(pipe_fd[0]);
        cr_assert_eq(waitpid(pid, NULL, 0), pid);

        struct spool *s = support_spool(dir, PLENTY);
        cr_expect_eq(spool_replaced(s), 0);
        unsigned count = read_all(s, &first, &last);
        cr_expect_eq(first, 1);
        cr_expect_eq(count, last);
        cr_expect(last == acknowledged || last == acknowledged + 1, "%u said, %u there", acknowledged, last);
        spool_free(s);
    }
    cr_expect_gt(acknowledged, 1000);
}
