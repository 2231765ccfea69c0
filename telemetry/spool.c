#include "telemetry/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "telemetry/reserve.h"

#define APPLICATION_ID 0x41746c79 /* "Atly": file(1) and we know our own by it */
#define PATH_SIZE      4200
#define BUSY_MS        1000
#define LOG_EVERY_MS   60000
#define TRIM_ROWS      64 /* dropped at a time */
#define PAGE           4096

/* For moving the log into the file; the log is kept at half of it. */
#define RESERVE_MIN MIB
#define RESERVE_MAX (32 * MIB)

/* Small columns first: totals and updates need not read into the long texts. */
static const char first_schema[] =
    "CREATE TABLE record("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " stage INTEGER NOT NULL," /* 0 new, 1 trace sent */
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
    " buckets TEXT NOT NULL, PRIMARY KEY(metric, labels)) WITHOUT ROWID;";

/* What has been added since. */
static const char feedback[] =
    "ALTER TABLE record ADD COLUMN score_id TEXT NOT NULL DEFAULT '';" /* empty: not a client's score */
    "ALTER TABLE record ADD COLUMN score_name TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE record ADD COLUMN score_type TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE record ADD COLUMN score_value REAL;"
    "ALTER TABLE record ADD COLUMN score_text TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE record ADD COLUMN comment TEXT NOT NULL DEFAULT '';";

static const char cost[] =
    "ALTER TABLE record ADD COLUMN cached_tokens INTEGER;"    /* of prompt_tokens */
    "ALTER TABLE record ADD COLUMN reasoning_tokens INTEGER;" /* of completion_tokens */
    "ALTER TABLE record ADD COLUMN cost_usd REAL;";           /* NULL: nobody knows */

/* The columns of record: what is added there is added here too. Rows lie in the order of their burial. */
static const char dead_letters[] = "CREATE TABLE dead_letter AS SELECT * FROM record WHERE 0;"
                                   "ALTER TABLE dead_letter ADD COLUMN reason TEXT NOT NULL DEFAULT '';"
                                   "ALTER TABLE dead_letter ADD COLUMN since_us INTEGER NOT NULL DEFAULT 0;"
                                   "ALTER TABLE dead_letter ADD COLUMN wanted INTEGER NOT NULL DEFAULT 0;"
                                   "CREATE UNIQUE INDEX dead_letter_seq ON dead_letter(seq);"
                                   "CREATE INDEX dead_letter_wanted ON dead_letter(wanted) WHERE wanted=1;";

#define ADD_COLUMN(column)                                                                                   \
    "ALTER TABLE record ADD COLUMN " column ";ALTER TABLE dead_letter ADD COLUMN " column ";"

static const char streams[] = ADD_COLUMN("session_id TEXT NOT NULL DEFAULT ''") /* of a trace */
    ADD_COLUMN("tags TEXT NOT NULL DEFAULT ''")                                 /* with commas between */
    ADD_COLUMN("metadata TEXT NOT NULL DEFAULT ''") /* a JSON object, or nothing */
    ADD_COLUMN("cache TEXT NOT NULL DEFAULT ''")    /* 'hit', 'shared': nobody was asked */
    ADD_COLUMN("first_token_us INTEGER")            /* of a stream */
    ADD_COLUMN("chat INTEGER NOT NULL DEFAULT 0")   /* question and answer are JSON */
    ADD_COLUMN("stream INTEGER NOT NULL DEFAULT 0") ADD_COLUMN("usage_estimated INTEGER NOT NULL DEFAULT 0");

/* When the records cannot be walked any more, this says how many there were. */
static const char total[] = "CREATE TABLE total(records INTEGER NOT NULL);"
                            "INSERT INTO total SELECT count(*) FROM record;";

/* A file of version n has had the first n steps; none of them ever changes. */
static const char *const steps[] = {first_schema, feedback, cost, dead_letters, streams, total};
#define SCHEMA_VERSION ((int)ARRAY_LEN(steps))

enum statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    PUT,
    PUT_SENDER,
    PRUNE_SENDERS,
    SET_TOTAL,
    PUT_SERIES,
    OLDEST_ROWS,
    EXPIRED_ROWS,
    MARK,
    SUM_DONE,
    DELETE_DONE,
    SUM_RANGE,
    DELETE_RANGE,
    SCAN,
    FIRST,
    SUM_ALIVE,
    BURY,
    WANT,
    WANTED,
    REVIVE,
    DELETE_WANTED,
    UNWANT,
    OLDEST_LETTERS,
    EXPIRED_LETTERS,
    DELETE_LETTERS,
    SCAN_LETTERS,
    STATEMENTS,
};

#define COLUMNS "seq, " DATA
#define DATA    "stage, " REST
#define REST                                                                                                 \
    "bytes, start_us, duration_us, queue_us, worker_us, status, dispatches, tries, truncated, chat,"         \
    " stream, usage_estimated, request_id, trace_id, generation_id, parent_id, model, error, error_text,"    \
    " attempts, user_id, question, answer, score_id, score_name, score_type, score_text, comment,"           \
    " session_id, tags, metadata, cache, prompt_tokens, completion_tokens, total_tokens, cached_tokens,"     \
    " reasoning_tokens, cost_usd, non_empty_answer, toxicity_safe, score_value, first_token_us"

/* Parameters of PUT, one for each of DATA; a column of SCAN has the same number, for it has seq before them and
 * counts from 0. What may be NULL comes last. */
enum {
    AT_NUMBERS = 1,
    AT_PROMPT = 34, /* 9 numbers, 4 flags, 20 texts are before it */
    AT_COMPLETION,
    AT_TOTAL,
    AT_CACHED,
    AT_REASONING,
    AT_COST,
    AT_NON_EMPTY,
    AT_TOXICITY,
    AT_SCORE_VALUE,
    AT_FIRST_TOKEN,
    AT_REASON, /* of dead letters only */
};

/* By a person, and by one of the destinations. */
#define WANTED_BY "wanted=1 AND stage & ?1 <> ?1"

#define DONE "seq BETWEEN ?1 AND ?2 AND (stage | ?3) & ?4 = ?4"

#define TEN_PLACES "?,?,?,?,?,?,?,?,?,?"

#define TEXT_OF(x)  TEXT_OF2(x)
#define TEXT_OF2(x) #x

static const char *const sql[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [PUT] = "INSERT INTO record(" DATA ") VALUES(" TEN_PLACES "," TEN_PLACES "," TEN_PLACES "," TEN_PLACES
            ",?,?,?)",
    [PUT_SENDER] = "INSERT OR REPLACE INTO sender(epoch, seq, seen_us) VALUES(?,?,?)",
    [PRUNE_SENDERS] =
        "DELETE FROM sender WHERE epoch IN"
        " (SELECT epoch FROM sender ORDER BY seen_us DESC LIMIT -1 OFFSET " TEXT_OF(EVENT_SENDERS_MAX) ")",
    [SET_TOTAL] = "UPDATE total SET records=?",
    [PUT_SERIES] = "INSERT OR REPLACE INTO series(metric, labels, created, value, buckets) VALUES(?,?,?,?,?)",
    [OLDEST_ROWS] = "SELECT seq, bytes FROM record ORDER BY seq LIMIT " TEXT_OF(TRIM_ROWS),
    [EXPIRED_ROWS] = "SELECT seq, bytes, start_us < ?1 FROM record ORDER BY seq LIMIT " TEXT_OF(TRIM_ROWS),
    [MARK] = "UPDATE record SET stage = stage | ?3 WHERE seq BETWEEN ?1 AND ?2",
    [SUM_DONE] = "SELECT count(*), total(bytes) FROM record WHERE " DONE,
    [DELETE_DONE] = "DELETE FROM record WHERE " DONE,
    [SUM_RANGE] = "SELECT count(*), total(bytes) FROM record WHERE seq BETWEEN ? AND ?",
    [DELETE_RANGE] = "DELETE FROM record WHERE seq BETWEEN ? AND ?",
    [SCAN] = "SELECT " COLUMNS
             " FROM record WHERE seq BETWEEN ?1 AND ?2 AND (?3 = 0 OR stage & ?3 <> ?3) ORDER BY seq",
    [FIRST] = "SELECT seq, start_us FROM record ORDER BY seq LIMIT 1",
    [SUM_ALIVE] = "SELECT count(*), total(bytes) FROM record WHERE seq BETWEEN ? AND ?"
                  " AND seq NOT IN (SELECT seq FROM dead_letter)",
    [BURY] = "INSERT INTO dead_letter(seq, stage, " REST ", reason, since_us) SELECT seq, ?3, " REST
             ", ?4, ?5 FROM record WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq"
             " ON CONFLICT(seq) DO UPDATE SET stage = stage & excluded.stage,"
             " reason = dead_letter.reason || '; ' || excluded.reason",
    [WANT] = "UPDATE dead_letter SET wanted=1 WHERE seq BETWEEN ? AND ?",
    [WANTED] = "SELECT count(*), total(bytes) FROM dead_letter WHERE " WANTED_BY,
    [REVIVE] =
        "INSERT INTO record(" DATA ") SELECT " DATA " FROM dead_letter WHERE " WANTED_BY " ORDER BY rowid",
    [DELETE_WANTED] = "DELETE FROM dead_letter WHERE " WANTED_BY,
    [UNWANT] = "UPDATE dead_letter SET wanted=0 WHERE wanted=1",
    [OLDEST_LETTERS] = "SELECT rowid, bytes FROM dead_letter ORDER BY rowid LIMIT " TEXT_OF(TRIM_ROWS),
    [EXPIRED_LETTERS] =
        "SELECT rowid, bytes, since_us < ?1 FROM dead_letter ORDER BY rowid LIMIT " TEXT_OF(TRIM_ROWS),
    [DELETE_LETTERS] = "DELETE FROM dead_letter WHERE rowid <= ?",
    [SCAN_LETTERS] =
        "SELECT " COLUMNS
        ", reason, since_us, wanted, rowid FROM dead_letter WHERE rowid > ? ORDER BY rowid LIMIT ?",
};

struct totals {
    int64_t records, bytes;
    int64_t first, last; /* seq; first = 0: empty. last stays when rows go */
    int64_t letters, letter_bytes;
};

struct oldest {
    int64_t last; /* key of the last one */
    int64_t n, bytes;
};

struct spool {
    char path[PATH_SIZE], reserve[PATH_SIZE + 8];
    int lock;
    sqlite3 *db;
    sqlite3_stmt *st[STATEMENTS];
    int64_t max_bytes, max_age_us;
    int64_t reserve_bytes;
    enum spool_sync sync;
    bool full; /* the disk is: the file must not grow */
    struct totals now;
    struct totals before; /* of the transaction that is open */
    bool open;
    bool new_sender;
    const char *aside; /* what is wrong with the file that is moved aside */
    uint64_t replaced;
    int64_t lost;
};

static int to_errno(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EUCLEAN;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_NOMEM:
        abort();
    default:
        return -EIO;
    }
}

/* SQLite knows one full disk; a quota and a limit of the file's size are the same to us. */
static bool is_full(struct spool *s, int rc)
{
    int error = s->db && (rc & 0xff) == SQLITE_IOERR ? sqlite3_system_errno(s->db) : 0;

    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

/* SQLite's texts name tables and files, never values. */
static int fail(struct spool *s, int rc, const char *what)
{
    static struct log_limit limit = LOG_LIMIT(1, LOG_EVERY_MS, "trouble with the spool");

    if (log_allowed(LOG_ERROR, &limit))
        log_event(LOG_ERROR, LOG_FIELDS(LOG_CSTR("file", s->path)), "the spool cannot %s: %s", what,
                  s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc));
    return is_full(s, rc) ? -ENOSPC : to_errno(rc);
}

static int run(struct spool *s, enum statement which, const char *what)
{
    int rc = sqlite3_step(s->st[which]);

    sqlite3_reset(s->st[which]);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : fail(s, rc, what);
}

static int exec(struct spool *s, const char *text, const char *what)
{
    int rc = sqlite3_exec(s->db, text, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : fail(s, rc, what);
}

static int ask_number(struct spool *s, const char *text, int64_t *out)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(s->db, text, -1, &st, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    *out = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
    sqlite3_finalize(st);
    return rc == SQLITE_ROW ? 0 : fail(s, rc == SQLITE_DONE ? SQLITE_CORRUPT : rc, "be read");
}

static void close_db(struct spool *s)
{
    for (int i = 0; i < STATEMENTS; i++) {
        sqlite3_finalize(s->st[i]);
        s->st[i] = NULL;
    }
    sqlite3_close(s->db);
    s->db = NULL;
    s->open = false;
}

/* From the version that the file has to ours; a new file has version 0. */
static int upgrade(struct spool *s, int64_t version)
{
    char text[128];
    int rc = exec(s, "BEGIN IMMEDIATE", "be made");

    for (int64_t i = version; rc == 0 && i < SCHEMA_VERSION; i++)
        rc = exec(s, steps[i], "be made");
    snprintf(text, sizeof text, "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT", APPLICATION_ID,
             SCHEMA_VERSION);
    return rc < 0 ? rc : exec(s, text, "be made");
}

/* -EUCLEAN: not a file that we can use. */
static int check_identity(struct spool *s)
{
    int64_t application = 0, version = 0, tables = 0;
    int rc = ask_number(s, "SELECT count(*) FROM sqlite_master", &tables);

    if (rc == 0)
        rc = ask_number(s, "PRAGMA application_id", &application);
    if (rc == 0)
        rc = ask_number(s, "PRAGMA user_version", &version);
    if (rc < 0)
        return rc;
    if (tables == 0 && application == 0 && version == 0)
        return upgrade(s, 0);
    if (application == APPLICATION_ID && version > 0 && version <= SCHEMA_VERSION)
        return version < SCHEMA_VERSION ? upgrade(s, version) : 0;
    s->aside = application == APPLICATION_ID && version > SCHEMA_VERSION ? "newer" : "foreign";
    log_error("%s is not a spool of this version (application id %" PRId64 ", schema %" PRId64 ")", s->path,
              application, version);
    return -EUCLEAN;
}

/* Reads every row's first columns: the totals, and a check that the table can be walked. */
static int load_totals(struct spool *s)
{
    struct totals t = {0};
    int rc = ask_number(s, "SELECT count(*) FROM record", &t.records);

    if (rc == 0)
        rc = ask_number(s, "SELECT CAST(total(bytes) AS INTEGER) FROM record", &t.bytes);
    if (rc == 0)
        rc = ask_number(s, "SELECT ifnull(min(seq), 0) FROM record", &t.first);
    if (rc == 0)
        rc = ask_number(s, "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name='record'", &t.last);
    if (rc == 0)
        rc = ask_number(s, "SELECT count(*) FROM dead_letter", &t.letters);
    if (rc == 0)
        rc = ask_number(s, "SELECT CAST(total(bytes) AS INTEGER) FROM dead_letter", &t.letter_bytes);
    if (rc == 0)
        s->now = t;
    return rc;
}

static int prepare(struct spool *s)
{
    for (int i = 0; i < STATEMENTS; i++) {
        int rc = sqlite3_prepare_v3(s->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->st[i], NULL);
        if (rc != SQLITE_OK)
            return fail(s, rc, "be used") == -EBUSY ? -EBUSY : -EUCLEAN;
    }
    return 0;
}

static int try_open_db(struct spool *s)
{
    char text[256];
    int rc = sqlite3_open_v2(s->path, &s->db,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

    if (rc != SQLITE_OK)
        return fail(s, rc, "be opened");
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, BUSY_MS);
    rc = check_identity(s);
    if (rc < 0)
        return rc;
    /* A long log means that a row which is uploaded soon never reaches the main file. */
    snprintf(text, sizeof text,
             "PRAGMA journal_mode=WAL; PRAGMA synchronous=%s; PRAGMA wal_autocheckpoint=%d;"
             "PRAGMA cache_size=-8192; PRAGMA temp_store=MEMORY; PRAGMA journal_size_limit=%" PRId64,
             s->sync == SPOOL_SYNC_POWER ? "FULL" : "NORMAL", (int)(s->reserve_bytes / 2 / PAGE),
             s->reserve_bytes);
    rc = exec(s, text, "be opened");
    if (rc == 0)
        rc = load_totals(s);
    if (rc < 0)
        return rc;
    s->full = reserve_make(s->reserve, s->reserve_bytes) == -ENOSPC;
    return prepare(s);
}

/* After a failure the file is closed again: the next repair starts from nothing. */
static int open_db(struct spool *s)
{
    int rc = try_open_db(s);

    if (rc < 0)
        close_db(s);
    return rc;
}

static int move_one(const struct spool *s, const char *to, const char *suffix)
{
    char from[PATH_SIZE + 8], there[PATH_SIZE + 72];

    snprintf(from, sizeof from, "%s%s", s->path, suffix);
    snprintf(there, sizeof there, "%s%s", to, suffix);
    return rename(from, there) < 0 && errno != ENOENT ? -errno : 0;
}

static int move_aside(struct spool *s, int64_t records)
{
    char to[PATH_SIZE + 64];
    time_t now = (time_t)(wall_us() / 1000000);
    struct tm tm;

    close_db(s);
    gmtime_r(&now, &tm);
    int n = snprintf(to, sizeof to, "%s.%s-", s->path, s->aside);
    strftime(to + n, sizeof to - (size_t)n, "%Y%m%dT%H%M%SZ", &tm);
    for (int i = 1; access(to, F_OK) == 0 && i < 1000; i++)
        snprintf(to + n + 16, sizeof to - (size_t)n - 16, "-%d", i);
    int rc = move_one(s, to, "-wal");
    if (rc == 0)
        rc = move_one(s, to, "-shm");
    if (rc == 0)
        rc = move_one(s, to, "");
    if (rc < 0) {
        log_error("the %s spool %s cannot be moved to %s: %s", s->aside, s->path, to, strerror(-rc));
        return rc;
    }
    s->replaced++;
    s->lost += records;
    log_event(LOG_ERROR, LOG_FIELDS(LOG_INT("records", records)),
              "the spool cannot be used (%s file): moved to %s, a new one is made. Its records can be looked "
              "at with sqlite3 and are not uploaded",
              s->aside, to);
    return 0;
}

/* Records in a file of ours that has not been opened; 0 when nobody can say. */
static int64_t count_unopened(struct spool *s)
{
    static const char *const queries[] = {"SELECT count(*) FROM record", "SELECT records FROM total"};
    struct spool other = {.lock = -1};
    int64_t application = 0, n = 0;

    memcpy(other.path, s->path, sizeof other.path);
    if (sqlite3_open_v2(s->path, &other.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
        ask_number(&other, "PRAGMA application_id", &application) == 0 && application == APPLICATION_ID)
        for (size_t i = 0; i < ARRAY_LEN(queries) && ask_number(&other, queries[i], &n) < 0; i++)
            ;
    close_db(&other);
    return n;
}

/* Numbers are not used twice in a life: uploads under way name rows by them. */
static int replace(struct spool *s)
{
    int64_t last = s->now.last;
    char text[96];
    int rc = move_aside(s, last ? s->now.records : count_unopened(s));

    s->now = (struct totals){0};
    s->aside = "damaged";
    if (rc == 0)
        rc = open_db(s);
    if (rc < 0 || last == 0)
        return rc;
    s->now.last = last;
    snprintf(text, sizeof text, "INSERT INTO sqlite_sequence(name, seq) VALUES('record', %" PRId64 ")", last);
    return exec(s, text, "be made");
}

static int take_lock(struct spool *s, const char *dir)
{
    char path[PATH_SIZE];

    snprintf(path, sizeof path, "%s/spool.lock", dir);
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock < 0) {
        int rc = -errno;
        log_error("cannot open %s: %s; choose another folder with ATALAYA_STATE_DIR", path, strerror(-rc));
        return rc;
    }
    if (flock(s->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    log_error("another telemetry process uses %s; give each instance its own ATALAYA_STATE_DIR", dir);
    return -EAGAIN;
}

int spool_open(struct spool **out, const struct spool_conf *c)
{
    struct spool *s = xcalloc(1, sizeof *s);

    /* One thread, and nobody asks for statistics: SQLite need not lock nor count each allocation. */
    sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    s->max_bytes = c->max_bytes;
    s->max_age_us = c->max_age_us;
    s->sync = c->sync;
    s->aside = "damaged";
    s->reserve_bytes = c->max_bytes / 32;
    s->reserve_bytes = s->reserve_bytes < RESERVE_MIN ? RESERVE_MIN : s->reserve_bytes;
    s->reserve_bytes = s->reserve_bytes > RESERVE_MAX ? RESERVE_MAX : s->reserve_bytes;
    snprintf(s->path, sizeof s->path, "%s/spool.db", c->dir);
    snprintf(s->reserve, sizeof s->reserve, "%s/spool.reserve", c->dir);
    int rc = take_lock(s, c->dir);
    if (rc == 0)
        rc = open_db(s);
    if (rc == -ENOSPC) {
        reserve_release(s->reserve);
        rc = open_db(s);
    }
    if (rc == -EUCLEAN)
        rc = replace(s);
    if (rc < 0) {
        spool_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

static int look(struct spool *s)
{
    int64_t application = 0, version = 0;
    int rc = sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

    if (rc != SQLITE_OK)
        return fail(s, rc, "be opened");
    sqlite3_busy_timeout(s->db, BUSY_MS);
    rc = ask_number(s, "PRAGMA application_id", &application);
    if (rc == 0)
        rc = ask_number(s, "PRAGMA user_version", &version);
    if (rc < 0)
        return rc;
    if (application == APPLICATION_ID && version == SCHEMA_VERSION)
        return prepare(s);
    log_error("%s is not a spool of this version (application id %" PRId64 ", schema %" PRId64 ")", s->path,
              application, version);
    return -EPROTO;
}

int spool_look(struct spool **out, const char *dir)
{
    struct spool *s = xcalloc(1, sizeof *s);

    s->lock = -1;
    snprintf(s->path, sizeof s->path, "%s/spool.db", dir);
    int rc = access(s->path, F_OK) < 0 ? -errno : look(s);
    if (rc < 0) {
        spool_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void spool_free(struct spool *s)
{
    if (!s)
        return;
    spool_rollback(s);
    close_db(s);
    if (s->lock >= 0)
        close(s->lock);
    free(s);
}

int spool_begin(struct spool *s)
{
    if (!s->db)
        return -EIO;
    int rc = run(s, BEGIN, "be written");
    s->before = s->now;
    s->open = rc == 0;
    s->new_sender = false;
    return rc;
}

int spool_commit(struct spool *s)
{
    int rc = s->new_sender ? run(s, PRUNE_SENDERS, "forget old senders") : 0;

    if (rc == 0 && s->now.records != s->before.records) {
        sqlite3_bind_int64(s->st[SET_TOTAL], 1, s->now.records);
        rc = run(s, SET_TOTAL, "be written");
    }
    if (rc == 0)
        rc = run(s, COMMIT, "be written");
    if (rc == 0)
        s->open = false;
    return rc;
}

void spool_rollback(struct spool *s)
{
    if (!s->open)
        return;
    sqlite3_step(s->st[ROLLBACK]); /* an error has done it already, sometimes */
    sqlite3_reset(s->st[ROLLBACK]);
    s->now = s->before;
    s->open = false;
}

static void bind_text(sqlite3_stmt *st, int at, struct str v)
{
    sqlite3_bind_text(st, at, v.n ? v.p : "", (int)v.n, SQLITE_STATIC);
}

/* In the order of their columns; a pointer to each. */
#define NUMBERS(r)                                                                                           \
    {                                                                                                        \
        &(r)->stage, &(r)->bytes, &(r)->start_us, &(r)->duration_us, &(r)->queue_us, &(r)->worker_us,        \
            &(r)->status, &(r)->dispatches, &(r)->tries                                                      \
    }
#define FLAGS(r)                                                                                             \
    {                                                                                                        \
        &(r)->truncated, &(r)->chat, &(r)->stream, &(r)->usage_estimated                                     \
    }
#define TEXTS(r)                                                                                             \
    {                                                                                                        \
        &(r)->request_id, &(r)->trace_id, &(r)->generation_id, &(r)->parent_id, &(r)->model, &(r)->error,    \
            &(r)->error_text, &(r)->attempts, &(r)->user_id, &(r)->question, &(r)->answer, &(r)->score_id,   \
            &(r)->score_name, &(r)->score_type, &(r)->score_text, &(r)->comment, &(r)->session_id,           \
            &(r)->tags, &(r)->metadata, &(r)->cache                                                          \
    }

/* What is not bound stays NULL: unknown. */
static void bind_optional(sqlite3_stmt *st, const struct record *r)
{
    if (r->has_usage) {
        sqlite3_bind_int64(st, AT_PROMPT, r->prompt_tokens);
        sqlite3_bind_int64(st, AT_COMPLETION, r->completion_tokens);
        sqlite3_bind_int64(st, AT_TOTAL, r->total_tokens);
        sqlite3_bind_int64(st, AT_CACHED, r->cached_tokens);
        sqlite3_bind_int64(st, AT_REASONING, r->reasoning_tokens);
    }
    if (r->has_cost)
        sqlite3_bind_double(st, AT_COST, r->cost_usd);
    if (r->has_scores) {
        sqlite3_bind_double(st, AT_NON_EMPTY, r->non_empty_answer);
        sqlite3_bind_double(st, AT_TOXICITY, r->toxicity_safe);
    }
    if (record_is_feedback(r))
        sqlite3_bind_double(st, AT_SCORE_VALUE, r->score_value);
    if (r->first_token_us)
        sqlite3_bind_int64(st, AT_FIRST_TOKEN, r->first_token_us);
}

int spool_put(struct spool *s, const struct record *r)
{
    const int64_t *const numbers[] = NUMBERS(r);
    const bool *const flags[] = FLAGS(r);
    const struct str *const texts[] = TEXTS(r);
    sqlite3_stmt *st = s->st[PUT];
    int at = AT_NUMBERS;

    sqlite3_clear_bindings(st);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        sqlite3_bind_int64(st, at++, *numbers[i]);
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        sqlite3_bind_int64(st, at++, *flags[i]);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        bind_text(st, at++, *texts[i]);
    bind_optional(st, r);
    int rc = run(s, PUT, "take a record");
    if (rc < 0)
        return rc;
    s->now.last = sqlite3_last_insert_rowid(s->db);
    if (s->now.records++ == 0)
        s->now.first = s->now.last;
    s->now.bytes += r->bytes;
    return 0;
}

int spool_put_sender(struct spool *s, uint64_t epoch, uint64_t seq, int64_t seen_us)
{
    sqlite3_stmt *st = s->st[PUT_SENDER];

    sqlite3_bind_int64(st, 1, (int64_t)epoch);
    sqlite3_bind_int64(st, 2, (int64_t)seq);
    sqlite3_bind_int64(st, 3, seen_us);
    s->new_sender = true;
    return run(s, PUT_SENDER, "remember a sender");
}

int spool_put_series(struct spool *s, const struct spool_series *v)
{
    sqlite3_stmt *st = s->st[PUT_SERIES];

    bind_text(st, 1, v->metric);
    bind_text(st, 2, v->labels);
    sqlite3_bind_double(st, 3, v->created);
    sqlite3_bind_double(st, 4, v->value);
    bind_text(st, 5, v->buckets);
    return run(s, PUT_SERIES, "keep a counter");
}

static int find_first(struct spool *s)
{
    sqlite3_stmt *st = s->st[FIRST];
    int rc = sqlite3_step(st);

    s->now.first = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
    sqlite3_reset(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : fail(s, rc, "be read");
}

static void bind_range(sqlite3_stmt *st, int64_t first, int64_t last)
{
    sqlite3_bind_int64(st, 1, first);
    sqlite3_bind_int64(st, 2, last);
}

/* What a statement of the form "SELECT count(*), total(bytes)", its parameters bound, says. */
static int sum(struct spool *s, enum statement which, int64_t *n, int64_t *bytes)
{
    sqlite3_stmt *st = s->st[which];
    int rc = sqlite3_step(st);

    *n = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
    *bytes = rc == SQLITE_ROW ? sqlite3_column_int64(st, 1) : 0;
    sqlite3_reset(st);
    return rc == SQLITE_ROW ? 0 : fail(s, rc, "be read");
}

/* Deletes what the first statement has counted; both with their parameters bound. */
static int delete_summed(struct spool *s, enum statement which_sum, enum statement which, int64_t first,
                         int64_t *n)
{
    int64_t bytes;
    int rc = sum(s, which_sum, n, &bytes);

    if (rc < 0 || *n == 0)
        return rc;
    rc = run(s, which, "delete records");
    if (rc < 0)
        return rc;
    s->now.records -= *n;
    s->now.bytes -= bytes;
    return first <= s->now.first ? find_first(s) : 0;
}

int spool_delete(struct spool *s, int64_t first, int64_t last, int64_t *count)
{
    bind_range(s->st[SUM_RANGE], first, last);
    bind_range(s->st[DELETE_RANGE], first, last);
    return delete_summed(s, SUM_RANGE, DELETE_RANGE, first, count);
}

static int delete_done(struct spool *s, int64_t first, int64_t last, int64_t done, int64_t needed,
                       int64_t *count)
{
    static const enum statement both[] = {SUM_DONE, DELETE_DONE};

    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        bind_range(s->st[both[i]], first, last);
        sqlite3_bind_int64(s->st[both[i]], 3, done);
        sqlite3_bind_int64(s->st[both[i]], 4, needed);
    }
    return delete_summed(s, SUM_DONE, DELETE_DONE, first, count);
}

int spool_sweep(struct spool *s, int64_t needed, int64_t *count)
{
    *count = 0;
    return needed ? delete_done(s, s->now.first, s->now.last, 0, needed, count) : 0;
}

int spool_settle(struct spool *s, int64_t first, int64_t last, int64_t done, int64_t needed, int64_t *count)
{
    int rc = delete_done(s, first, last, done, needed, count);
    if (rc < 0 || *count == last - first + 1)
        return rc;
    bind_range(s->st[MARK], first, last);
    sqlite3_bind_int64(s->st[MARK], 3, done);
    rc = run(s, MARK, "mark records");
    *count += rc == 0 ? sqlite3_changes(s->db) : 0;
    return rc;
}

/* The last of the oldest rows, at most TRIM_ROWS, whose going frees `need` bytes. Counts them. */
static int oldest_of(struct spool *s, enum statement which, int64_t need, struct oldest *o)
{
    sqlite3_stmt *st = s->st[which];
    int rc = SQLITE_DONE;

    *o = (struct oldest){0};
    while (o->bytes < need && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        o->last = sqlite3_column_int64(st, 0);
        o->bytes += sqlite3_column_int64(st, 1);
        o->n++;
    }
    sqlite3_reset(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : fail(s, rc, "be read");
}

static int drop_letters(struct spool *s, const struct oldest *o)
{
    sqlite3_bind_int64(s->st[DELETE_LETTERS], 1, o->last);
    int rc = run(s, DELETE_LETTERS, "delete dead letters");

    if (rc < 0)
        return rc;
    s->now.letters -= o->n;
    s->now.letter_bytes -= o->bytes;
    return 0;
}

static int drop_records(struct spool *s, const struct oldest *o)
{
    int64_t n = 0;
    int rc = spool_delete(s, s->now.first, o->last, &n);

    return rc == 0 && n != o->n ? -EUCLEAN : rc;
}

/* Dead letters first: a destination has refused them, and they are counted as rejected already. */
static int trim_to(struct spool *s, int64_t most, struct spool_trimmed *t)
{
    int64_t need;
    int rc = 0;

    while (rc == 0 && (need = s->now.bytes + s->now.letter_bytes - most) > 0 &&
           s->now.records + s->now.letters > 0) {
        bool letters = s->now.letters > 0;
        struct oldest o;
        rc = oldest_of(s, letters ? OLDEST_LETTERS : OLDEST_ROWS, need, &o);
        if (rc == 0 && o.n == 0)
            rc = -EUCLEAN;
        if (rc == 0)
            rc = letters ? drop_letters(s, &o) : drop_records(s, &o);
        *(letters ? &t->letters : &t->records) += rc == 0 ? o.n : 0;
    }
    return rc;
}

/* The oldest rows, at most TRIM_ROWS, up to the first that is not older than that. */
static int expired_of(struct spool *s, enum statement which, int64_t before_us, struct oldest *o)
{
    sqlite3_stmt *st = s->st[which];
    int rc;

    *o = (struct oldest){0};
    sqlite3_bind_int64(st, 1, before_us);
    while ((rc = sqlite3_step(st)) == SQLITE_ROW && sqlite3_column_int(st, 2)) {
        o->last = sqlite3_column_int64(st, 0);
        o->bytes += sqlite3_column_int64(st, 1);
        o->n++;
    }
    sqlite3_reset(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : fail(s, rc, "be read");
}

static int drop_expired(struct spool *s, bool letters, int64_t before_us, int64_t *dropped)
{
    struct oldest o;
    int rc;

    do {
        rc = expired_of(s, letters ? EXPIRED_LETTERS : EXPIRED_ROWS, before_us, &o);
        if (rc == 0 && o.n)
            rc = letters ? drop_letters(s, &o) : drop_records(s, &o);
        *dropped += rc == 0 ? o.n : 0;
    } while (rc == 0 && o.n == TRIM_ROWS);
    return rc;
}

int spool_trim(struct spool *s, int64_t now_us, struct spool_trimmed *t)
{
    int rc = 0;

    *t = (struct spool_trimmed){0};
    if (s->max_age_us) {
        rc = drop_expired(s, false, now_us - s->max_age_us, &t->old_records);
        if (rc == 0)
            rc = drop_expired(s, true, now_us - s->max_age_us, &t->letters);
    }
    return rc < 0 ? rc : trim_to(s, s->max_bytes, t);
}

bool spool_expired(struct spool *s, int64_t now_us)
{
    struct oldest records = {0}, letters = {0};

    return s->db && s->max_age_us && expired_of(s, EXPIRED_ROWS, now_us - s->max_age_us, &records) == 0 &&
           expired_of(s, EXPIRED_LETTERS, now_us - s->max_age_us, &letters) == 0 && records.n + letters.n > 0;
}

int spool_squeeze(struct spool *s, int64_t bytes, struct spool_trimmed *t)
{
    int64_t held = s->now.bytes + s->now.letter_bytes;

    *t = (struct spool_trimmed){0};
    return trim_to(s, held - (bytes > held / 10 ? bytes : held / 10), t);
}

int spool_bury(struct spool *s, int64_t first, int64_t last, int64_t stage, struct str reason)
{
    sqlite3_stmt *st = s->st[BURY];
    int64_t n, bytes;

    bind_range(s->st[SUM_ALIVE], first, last);
    int rc = sum(s, SUM_ALIVE, &n, &bytes);
    if (rc < 0)
        return rc;
    bind_range(st, first, last);
    sqlite3_bind_int64(st, 3, stage);
    bind_text(st, 4, reason);
    sqlite3_bind_int64(st, 5, wall_us());
    rc = run(s, BURY, "bury records");
    if (rc < 0)
        return rc;
    s->now.letters += n;
    s->now.letter_bytes += bytes;
    return 0;
}

int spool_want(struct spool *s, int64_t first, int64_t last, int64_t *count)
{
    bind_range(s->st[WANT], first, last);
    int rc = run(s, WANT, "mark dead letters");
    *count = rc == 0 ? sqlite3_changes(s->db) : 0;
    return rc;
}

static int revive_wanted(struct spool *s, int64_t needed, int64_t *count)
{
    static const enum statement all[] = {WANTED, REVIVE, DELETE_WANTED};
    int64_t n, bytes;

    *count = 0;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        sqlite3_bind_int64(s->st[all[i]], 1, needed);
    int rc = sum(s, WANTED, &n, &bytes);
    if (rc < 0 || n == 0)
        return rc;
    rc = run(s, REVIVE, "take records back");
    if (rc == 0)
        s->now.last = sqlite3_last_insert_rowid(s->db);
    if (rc == 0)
        rc = run(s, DELETE_WANTED, "delete dead letters");
    if (rc < 0)
        return rc;
    *count = n;
    s->now.records += n;
    s->now.bytes += bytes;
    s->now.letters -= n;
    s->now.letter_bytes -= bytes;
    return s->now.first ? 0 : find_first(s);
}

int spool_revive(struct spool *s, int64_t needed, int64_t *count, int64_t *idle)
{
    int rc = revive_wanted(s, needed, count);

    *idle = 0;
    if (rc == 0)
        rc = run(s, UNWANT, "leave dead letters");
    if (rc == 0)
        *idle = sqlite3_changes(s->db);
    return rc;
}

/* What has been committed grows the file when the log is moved into it: that is what the reserve is for. From then on
 * the file keeps its size, so that a transaction fails rather than a later move of the log. */
static int make_room(struct spool *s)
{
    int64_t pages = 0;
    char text[64];

    reserve_release(s->reserve);
    s->full = true;
    int rc = exec(s, "PRAGMA wal_checkpoint(RESTART)", "be tidied");
    if (rc == 0)
        rc = ask_number(s, "PRAGMA page_count", &pages);
    snprintf(text, sizeof text, "PRAGMA max_page_count=%" PRId64, pages);
    return rc < 0 ? rc : exec(s, text, "be tidied");
}

void spool_relax(struct spool *s)
{
    if (!s->full || !s->db || reserve_space(s->path) < s->reserve_bytes * 3 / 2)
        return;
    if (reserve_make(s->reserve, s->reserve_bytes) < 0 ||
        exec(s, "PRAGMA max_page_count=1073741823", "grow") < 0)
        return;
    s->full = false;
    log_info("the spool's disk has space again");
}

int spool_repair(struct spool *s, int error)
{
    if (!s->db)
        return open_db(s);
    if (error == -EUCLEAN)
        return replace(s);
    if (error == -ENOSPC)
        return make_room(s);
    return error == -EBUSY ? error : 0;
}

static int begin_scan(struct spool *s, enum statement which, int64_t first, int64_t last)
{
    if (!s->db)
        return -EIO;
    sqlite3_reset(s->st[which]);
    bind_range(s->st[which], first, last);
    return 0;
}

int spool_scan(struct spool *s, int64_t first, int64_t last)
{
    return spool_scan_open(s, first, last, 0);
}

int spool_scan_open(struct spool *s, int64_t first, int64_t last, int64_t done)
{
    int rc = begin_scan(s, SCAN, first, last);

    if (rc == 0)
        sqlite3_bind_int64(s->st[SCAN], 3, done);
    return rc;
}

int spool_scan_letters(struct spool *s, int64_t after, int64_t n)
{
    return begin_scan(s, SCAN_LETTERS, after, n);
}

void spool_scan_end(struct spool *s)
{
    if (s->db)
        sqlite3_reset(s->st[SCAN]);
}

void spool_scan_letters_end(struct spool *s)
{
    if (s->db)
        sqlite3_reset(s->st[SCAN_LETTERS]);
}

static struct str column_text(sqlite3_stmt *st, int i)
{
    const unsigned char *p = sqlite3_column_text(st, i);

    return (struct str){p ? (const char *)p : "", p ? (size_t)sqlite3_column_bytes(st, i) : 0};
}

static bool is_known(sqlite3_stmt *st, int i)
{
    return sqlite3_column_type(st, i) != SQLITE_NULL;
}

static void read_optional(sqlite3_stmt *st, struct record *r)
{
    r->has_usage = is_known(st, AT_PROMPT);
    r->prompt_tokens = sqlite3_column_int64(st, AT_PROMPT);
    r->completion_tokens = sqlite3_column_int64(st, AT_COMPLETION);
    r->total_tokens = sqlite3_column_int64(st, AT_TOTAL);
    r->cached_tokens = sqlite3_column_int64(st, AT_CACHED);
    r->reasoning_tokens = sqlite3_column_int64(st, AT_REASONING);
    r->has_cost = is_known(st, AT_COST);
    r->cost_usd = sqlite3_column_double(st, AT_COST);
    r->has_scores = is_known(st, AT_NON_EMPTY);
    r->non_empty_answer = sqlite3_column_double(st, AT_NON_EMPTY);
    r->toxicity_safe = sqlite3_column_double(st, AT_TOXICITY);
    r->score_value = sqlite3_column_double(st, AT_SCORE_VALUE);
    r->first_token_us = sqlite3_column_int64(st, AT_FIRST_TOKEN);
}

/* 1: a row, read into r; 0: the end. */
static int next_row(struct spool *s, sqlite3_stmt *st, struct record *r)
{
    int64_t *const numbers[] = NUMBERS(r);
    bool *const flags[] = FLAGS(r);
    struct str *const texts[] = TEXTS(r);
    int at = AT_NUMBERS, rc = sqlite3_step(st);

    if (rc == SQLITE_DONE)
        return 0;
    if (rc != SQLITE_ROW)
        return fail(s, rc, "be read");
    r->seq = sqlite3_column_int64(st, 0);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        *numbers[i] = sqlite3_column_int64(st, at++);
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        *flags[i] = sqlite3_column_int(st, at++) != 0;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        *texts[i] = column_text(st, at++);
    read_optional(st, r);
    return 1;
}

int spool_next(struct spool *s, struct record *r)
{
    return next_row(s, s->st[SCAN], r);
}

int spool_next_letter(struct spool *s, struct spool_letter *l)
{
    sqlite3_stmt *st = s->st[SCAN_LETTERS];
    int rc = next_row(s, st, &l->record);

    if (rc <= 0)
        return rc;
    l->reason = column_text(st, AT_REASON);
    l->since_us = sqlite3_column_int64(st, AT_REASON + 1);
    l->wanted = sqlite3_column_int(st, AT_REASON + 2) != 0;
    l->place = sqlite3_column_int64(st, AT_REASON + 3);
    return 1;
}

int spool_each_sender(struct spool *s, void (*fn)(void *arg, uint64_t epoch, uint64_t seq, int64_t seen_us),
                      void *arg)
{
    sqlite3_stmt *st = NULL;
    int rc =
        sqlite3_prepare_v2(s->db, "SELECT epoch, seq, seen_us FROM sender ORDER BY seen_us", -1, &st, NULL);

    while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        fn(arg, (uint64_t)sqlite3_column_int64(st, 0), (uint64_t)sqlite3_column_int64(st, 1),
           sqlite3_column_int64(st, 2));
        rc = SQLITE_OK;
    }
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : fail(s, rc, "be read");
}

int spool_each_series(struct spool *s, void (*fn)(void *arg, const struct spool_series *v), void *arg)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(s->db, "SELECT metric, labels, created, value, buckets FROM series", -1, &st,
                                NULL);

    while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
        struct spool_series v = {
            .metric = column_text(st, 0),
            .labels = column_text(st, 1),
            .created = sqlite3_column_double(st, 2),
            .value = sqlite3_column_double(st, 3),
            .buckets = column_text(st, 4),
        };
        fn(arg, &v);
        rc = SQLITE_OK;
    }
    sqlite3_finalize(st);
    return rc == SQLITE_DONE ? 0 : fail(s, rc, "be read");
}

int64_t spool_records(const struct spool *s)
{
    return s->now.records;
}

int64_t spool_bytes(const struct spool *s)
{
    return s->now.bytes;
}

int64_t spool_letters(const struct spool *s)
{
    return s->now.letters;
}

int64_t spool_last(const struct spool *s)
{
    return s->now.last;
}

int64_t spool_waiting(const struct spool *s, int64_t after)
{
    if (s->now.records == 0 || after >= s->now.last)
        return 0;
    return s->now.last - (after >= s->now.first ? after : s->now.first - 1);
}

int64_t spool_oldest_us(struct spool *s)
{
    if (!s->db || s->now.records == 0)
        return 0;
    sqlite3_stmt *st = s->st[FIRST];
    int64_t us = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 1) : 0;
    sqlite3_reset(st);
    return us;
}

int64_t spool_lost(const struct spool *s)
{
    return s->lost;
}

bool spool_full(const struct spool *s)
{
    return s->full;
}

uint64_t spool_replaced(const struct spool *s)
{
    return s->replaced;
}
