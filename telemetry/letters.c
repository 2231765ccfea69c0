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

#define LOOK_EVERY_MS 1000
#define EXIT_NOTHING  1 /* no such letter */

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

static void print_letter(const struct spool_letter *l)
{
    char since[CLOCK_RFC3339_SIZE];
    struct buf line = BUF_INIT(16 * KIB);

    clock_rfc3339(since, l->since_us);
    buf_printf(&line, "%-8" PRId64 " %.19sZ  %.*s  %s  ", l->record.seq, since, (int)l->record.trace_id.n,
               l->record.trace_id.p, l->wanted ? "replay " : "refused");
    visible_put(&line, l->reason.p, l->reason.n, "");
    puts(line.data);
    buf_free(&line);
}

int letters_print(void)
{
    struct spool_letter l;
    struct spool *s;
    int64_t n = 0;
    int code = look(&s), rc = 0;

    if (code != EXIT_DONE)
        return code;
    rc = spool_scan_letters(s, 1, INT64_MAX);
    for (; rc == 0 && (rc = spool_next_letter(s, &l)) > 0; rc = 0) {
        if (n++ == 0)
            printf("%-8s %-20s  %-32s  %-7s  %s\n", "ID", "SINCE", "TRACE", "STATE", "REASON");
        print_letter(&l);
    }
    spool_scan_letters_end(s);
    if (n == 0 && rc == 0)
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
        printf("%" PRId64 " dead letter%s will be sent again\n", total, total == 1 ? "" : "s");
    return fflush(stdout) != 0 ? EXIT_ENVIRONMENT : code;
}

static void look_again(struct letters *l)
{
    loop_timer_set(l->loop, &l->timer, clock_ms() + LOOK_EVERY_MS);
}

static void on_timer(void *arg)
{
    struct letters *l = arg;
    int64_t n = 0;

    look_again(l);
    if (spool_letters(l->spool) == 0)
        return;
    int rc = spool_begin(l->spool);
    if (rc == 0)
        rc = spool_revive(l->spool, &n);
    if (rc == 0)
        rc = spool_commit(l->spool);
    if (rc < 0) {
        spool_rollback(l->spool);
        l->broken(l->arg, rc);
    } else if (n > 0) {
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
