#include "telemetry/letters.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/visible.h"
#include "common/proc/child.h"
#include "common/proc/dirs.h"
#include "telemetry/refusal.h"
#include "telemetry/upload.h"

#define LOOK_EVERY_MS 1000
#define EXIT_NOTHING  1   /* no such letter */
#define PAGE          100 /* letters that are read at a time */

/* 0: *s is open, or NULL when there is no spool yet. */
static int look(struct spool **s)
{
    char dir[DIRS_PATH_MAX];
    const char *what = "";

    *s = NULL;
    log_init("telemetry", LOG_INFO);
    dirs_probe();
    int rc = dirs_state(dir, &what);
    if (rc < 0) {
        fprintf(stderr, "%s: the folder cannot be used: %s\n", what, strerror(-rc));
        return EXIT_ENVIRONMENT;
    }
    rc = spool_look(s, dir);
    if (rc == -ENOENT)
        fprintf(stderr, "there is no spool in %s: is ATALAYA_STATE_DIR the service's?\n", dir);
    else if (rc < 0)
        fprintf(stderr, "the spool in %s cannot be read: %s\n", dir,
                rc == -EPROTO ? "it is of another version" : strerror(-rc));
    return rc < 0 ? EXIT_ENVIRONMENT : EXIT_DONE;
}

/* Who has refused it: what it lacks. */
static const char *refused_by(int64_t stage)
{
    bool langfuse = (stage & RECORD_IN_LANGFUSE) != RECORD_IN_LANGFUSE, otlp = !(stage & RECORD_EXPORTED);

    return langfuse && otlp ? "both" : langfuse ? UPLOAD_LANGFUSE : UPLOAD_OTLP;
}

static void put_letter(struct buf *page, const struct spool_letter *l)
{
    const struct record *r = &l->record;
    const struct str texts[] = {r->question,   r->answer,  r->metadata,
                                r->error_text, r->comment, r->score_text};
    char since[CLOCK_RFC3339_SIZE];
    struct buf reason = BUF_INIT(MIB);

    clock_rfc3339(since, l->since_us);
    buf_printf(page, "%-8" PRId64 " %.19sZ  %.*s  %-8s  %s  ", r->seq, since, (int)r->trace_id.n,
               r->trace_id.p, refused_by(r->stage), l->wanted ? "replay " : "refused");
    refusal_show(&reason, l->reason, texts, ARRAY_LEN(texts));
    visible_put(page, reason.data, reason.len, "");
    buf_putc(page, '\n');
    buf_free(&reason);
}

/* The next ones, in one reading that ends before anybody may have to wait for who reads us. 1: there may be more. */
static int print_page(struct spool *s, int64_t *after)
{
    struct buf page = BUF_INIT(4 * MIB);
    struct spool_letter l;
    int64_t n = 0;
    int rc = spool_scan_letters(s, *after, PAGE);

    if (rc == 0 && *after == 0)
        buf_printf(&page, "%-8s %-20s  %-32s  %-8s  %-7s  %s\n", "ID", "SINCE", "TRACE", "BY", "STATE",
                   "REASON");
    for (; rc == 0 && (rc = spool_next_letter(s, &l)) > 0; rc = 0) {
        put_letter(&page, &l);
        *after = l.place;
        n++;
    }
    spool_scan_letters_end(s);
    if (n > 0 && fputs(page.data, stdout) < 0)
        rc = -EIO;
    buf_free(&page);
    return rc < 0 ? rc : n == PAGE;
}

int letters_print(void)
{
    struct spool *s;
    int64_t after = 0;
    int code = look(&s), rc = 1;

    if (code != EXIT_DONE)
        return code;
    while (rc > 0)
        rc = print_page(s, &after);
    if (after == 0 && rc == 0)
        puts("no dead letters");
    spool_free(s);
    return rc < 0 || fflush(stdout) != 0 ? EXIT_ENVIRONMENT : EXIT_DONE;
}

static int want(struct spool *s, int64_t first, int64_t last, int64_t *n)
{
    int rc = spool_begin(s);

    if (rc == 0)
        rc = spool_want(s, first, last, n);
    if (rc == 0)
        rc = spool_commit(s);
    if (rc < 0)
        spool_rollback(s);
    return rc;
}

static bool read_id(const char *text, int64_t *id)
{
    char *end;

    errno = 0;
    *id = strtoll(text, &end, 10);
    return *text >= '1' && *text <= '9' && *end == '\0' && errno == 0;
}

/* Each id by itself: the others are wanted although one is not there. */
static int want_ids(struct spool *s, int n, char *const *ids, int64_t *total)
{
    int code = EXIT_DONE;

    for (int i = 0; i < n; i++) {
        int64_t id = 0, one = 0;
        (void)read_id(ids[i], &id);
        if (want(s, id, id, &one) < 0)
            return EXIT_ENVIRONMENT;
        if (one == 0) {
            fprintf(stderr, "there is no dead letter %s\n", ids[i]);
            code = EXIT_NOTHING;
        }
        *total += one;
    }
    return code;
}

int letters_replay(int n, char *const *ids)
{
    bool all = n == 1 && strcmp(ids[0], "--all") == 0;
    int64_t total = 0, id;
    struct spool *s;

    for (int i = 0; !all && i < n; i++)
        if (!read_id(ids[i], &id)) {
            fprintf(stderr, "'%s' is no number of a dead letter\n", ids[i]);
            return EXIT_USAGE;
        }
    if (n == 0) {
        fputs("which dead letters? Numbers as `atalaya telemetry dead-letters` shows them, or --all\n",
              stderr);
        return EXIT_USAGE;
    }
    int code = look(&s);
    if (code == EXIT_DONE && all)
        code = want(s, 1, INT64_MAX, &total) < 0 ? EXIT_ENVIRONMENT : EXIT_DONE;
    else if (code == EXIT_DONE && !all)
        code = want_ids(s, n, ids, &total);
    spool_free(s);
    if (code != EXIT_ENVIRONMENT)
        printf("%" PRId64 " dead letter%s will be sent again, if who has refused %s is still configured\n",
               total, total == 1 ? "" : "s", total == 1 ? "it" : "them");
    return fflush(stdout) != 0 ? EXIT_ENVIRONMENT : code;
}

static void look_again(struct letters *l)
{
    loop_timer_set(l->loop, &l->timer, clock_ms() + LOOK_EVERY_MS);
}

static void on_timer(void *arg)
{
    struct letters *l = arg;
    int64_t n = 0, idle = 0;

    look_again(l);
    if (spool_letters(l->spool) == 0)
        return;
    int rc = spool_begin(l->spool);
    if (rc == 0)
        rc = spool_revive(l->spool, l->needed, &n, &idle);
    if (rc == 0)
        rc = spool_commit(l->spool);
    if (rc < 0) {
        spool_rollback(l->spool);
        l->broken(l->arg, rc);
        return;
    }
    if (idle > 0)
        log_event(LOG_WARNING, LOG_FIELDS(LOG_INT("records", idle)),
                  "dead letters stay: the destination that has refused them is not configured any more");
    if (n > 0) {
        log_event(LOG_INFO, LOG_FIELDS(LOG_INT("records", n)), "dead letters are sent again");
        l->revived(l->arg);
    }
}

void letters_watch(struct letters *l)
{
    l->timer = (struct loop_timer){.fn = on_timer, .arg = l};
    look_again(l);
}

void letters_stop(struct letters *l)
{
    if (l->loop)
        loop_timer_clear(l->loop, &l->timer);
}
