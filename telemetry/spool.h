/*
 * spool.h - the records on disk, and beside them the counters and the senders
 *
 * Purpose  SQLite in WAL mode; the only file that includes sqlite3.h. A person can read the file:
 *
 *              sqlite3 spool.db "select seq, datetime(start_us/1e6,'unixepoch'), user_id, status from record"
 *
 * Promise  P2: what spool_commit() has returned for survives kill -9 of any process; with SPOOL_SYNC_POWER also
 *          the loss of power, with SPOOL_SYNC_PROCESS the file is whole after that, its last second may be missing.
 *          P4: records and dead letters never hold more than `max_bytes`, nor are they older than `max_age_us`;
 *          the oldest go first. A letter's age counts from the day it became one; a record's is looked at in the
 *          order in which they came. The file keeps its greatest size, the write-ahead log stays small.
 *          A full disk: the oldest records go for new ones, never without one coming in their place.
 * Owner    one process: a lock beside the file keeps a second one away; others may look, and ask for dead
 *          letters. The texts of spool_next() and spool_next_letter() live until the next call on the spool.
 * Threads  one.
 * Errors   0 or -errno: -ENOSPC disk full, -EUCLEAN damaged file, -EBUSY locked by somebody's tool, -EIO.
 *          spool_open() also -EAGAIN: another telemetry process uses this folder. All are logged here.
 *          A damaged file, one of another program or of a newer version is moved aside to spool.db.damaged-TIME,
 *          .foreign- or .newer-, with its -wal and -shm, never deleted. One of an older version goes on, its schema
 *          brought forward.
 * Limits   SPOOL_MAX_BYTES of record.h's bytes; EVENT_SENDERS_MAX senders.
 */
#ifndef ATALAYA_TELEMETRY_SPOOL_H
#define ATALAYA_TELEMETRY_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "telemetry/record.h"

struct spool;

/* A series of a counter or a histogram, as it is kept. */
struct spool_series {
    struct str metric;
    struct str labels;  /* the values, U+001F between them */
    double created;     /* seconds since 1970 */
    double value;       /* counter; sum of a histogram */
    struct str buckets; /* "0.1:3 +Inf:1": not cumulated, zeroes left out */
};

/* A record that a destination has refused for good: kept for a person to look at, and to send again. */
struct spool_letter {
    struct record record;
    struct str reason;
    int64_t since_us;
    bool wanted;   /* goes back among the records soon */
    int64_t place; /* in the order of burial */
};

/* What a trim has dropped. */
struct spool_trimmed {
    int64_t records;     /* for their bytes */
    int64_t old_records; /* for their age */
    int64_t letters;
};

enum spool_sync { SPOOL_SYNC_PROCESS, SPOOL_SYNC_POWER }; /* named by whose death a commit survives */

struct spool_conf {
    const char *dir;
    int64_t max_bytes;
    int64_t max_age_us; /* 0: none */
    enum spool_sync sync;
};

int spool_open(struct spool **out, const struct spool_conf *c) NODISCARD;
/* Beside a telemetry that runs or does not: for scans and spool_want() only. -ENOENT no spool, -EPROTO one of
 * another version. */
int spool_look(struct spool **out, const char *dir) NODISCARD;
void spool_free(struct spool *s);

/* One transaction: what a loop turn has brought, or what an upload has settled. */
int spool_begin(struct spool *s) NODISCARD;
int spool_put(struct spool *s, const struct record *r) NODISCARD;
int spool_put_sender(struct spool *s, uint64_t epoch, uint64_t seq, int64_t seen_us) NODISCARD;
int spool_put_series(struct spool *s, const struct spool_series *v) NODISCARD;
int spool_trim(struct spool *s, int64_t now_us, struct spool_trimmed *t) NODISCARD; /* to the bounds */
bool spool_expired(struct spool *s, int64_t now_us); /* a trim would drop something for its age */
/* The disk is full: the oldest go, a tenth of all or more, for `bytes` that come in the same transaction. */
int spool_squeeze(struct spool *s, int64_t bytes, struct spool_trimmed *t) NODISCARD;
int spool_delete(struct spool *s, int64_t first, int64_t last, int64_t *count) NODISCARD;
/* Adds `done` to the stage of rows; those that have all of `needed` go. *count: how many were still there. */
int spool_settle(struct spool *s, int64_t first, int64_t last, int64_t done, int64_t needed,
                 int64_t *count) NODISCARD;
/* Rows go that have all of `needed` (0: none does) because it has become less: a destination is not configured any
 * more. Reads all rows. */
int spool_sweep(struct spool *s, int64_t needed, int64_t *count) NODISCARD;
/* Copies rows to the dead letters, where they have another stage: what is not in it is to be done when they come back.
 * They keep the number that they had; what comes back gets a new one, as if it had just been put. */
int spool_bury(struct spool *s, int64_t first, int64_t last, int64_t stage, struct str reason) NODISCARD;
int spool_want(struct spool *s, int64_t first, int64_t last, int64_t *count) NODISCARD;
/* Those that are wanted and lack some of `needed`; *idle: how many were wanted in vain, and are so no more, for who has
 * refused them is not configured. Cheap when none is wanted. */
int spool_revive(struct spool *s, int64_t needed, int64_t *count, int64_t *idle) NODISCARD;
int spool_commit(struct spool *s) NODISCARD;
void spool_rollback(struct spool *s);

/* After a failed transaction. -ENOSPC: frees what can be freed without a loss. -EUCLEAN: replaces the file; sequence
 * numbers go on from where they were. 0: worth another try, with spool_squeeze() when it is -ENOSPC again. */
int spool_repair(struct spool *s, int error) NODISCARD;
void spool_relax(struct spool *s); /* is there space again? Cheap: ask every few seconds */

/* Rows with first <= seq <= last, in order. spool_next(): 1 a row, 0 the end. */
int spool_scan(struct spool *s, int64_t first, int64_t last) NODISCARD;
int spool_scan_open(struct spool *s, int64_t first, int64_t last,
                    int64_t done) NODISCARD; /* those that lack some of `done` */
int spool_next(struct spool *s, struct record *r) NODISCARD;
void spool_scan_end(struct spool *s);

/* The same for n dead letters at most, the one that was buried first comes first: those behind the place `after`, 0 for
 * the first. Until its end the log cannot be moved into the file: who looks page by page does not make it grow. */
int spool_scan_letters(struct spool *s, int64_t after, int64_t n) NODISCARD;
int spool_next_letter(struct spool *s, struct spool_letter *l) NODISCARD;
void spool_scan_letters_end(struct spool *s);

/* Senders that were heard longest ago come first. */
int spool_each_sender(struct spool *s, void (*fn)(void *arg, uint64_t epoch, uint64_t seq, int64_t seen_us),
                      void *arg) NODISCARD;
int spool_each_series(struct spool *s, void (*fn)(void *arg, const struct spool_series *v),
                      void *arg) NODISCARD;

int64_t spool_records(const struct spool *s);
int64_t spool_bytes(const struct spool *s); /* of the records, without dead letters */
int64_t spool_letters(const struct spool *s);
int64_t spool_last(const struct spool *s); /* greatest seq that is committed; 0 = none yet */
int64_t spool_waiting(const struct spool *s, int64_t after); /* rows with seq > after, at most */
int64_t spool_oldest_us(struct spool *s);                    /* start of the oldest record; 0 = empty */
uint64_t spool_replaced(const struct spool *s);              /* files moved aside in this life */
int64_t spool_lost(const struct spool *s); /* records in them, if anybody could still count them */
bool spool_full(const struct spool *s);    /* the disk is */

#endif
