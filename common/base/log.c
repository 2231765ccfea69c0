#include "common/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/utf8.h"
#include "common/base/visible.h"

#define LINE_END_MAX 64 /* what every line has room for behind its fields */

static const char *const level_names[] = {"DEBUG", "INFO", "WARNING", "ERROR"};
static const char *const priorities[] = {"<7>", "<6>", "<4>", "<3>"}; /* syslog's */

static const char *process = "atalaya";
static enum log_level least = LOG_INFO;
static enum log_format format = LOG_JSON;
static bool colour;
static bool journal;
static void (*diverted)(enum log_level, const char *);
static atomic_uint lost;

/* Everything below is under this lock; pending is only looked at without it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_limit *limits;
static atomic_uint pending; /* limits that have left something out */
static char last_error[LOG_SAID_MAX];

/* JOURNAL_STREAM is "device:inode" of the journal's socket; it is handed down also to who writes elsewhere. */
static bool is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char ours[64];
    struct stat st;

    if (!stream || fstat(STDOUT_FILENO, &st) < 0)
        return false;
    snprintf(ours, sizeof ours, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(stream, ours) == 0;
}

void log_init(const char *name, enum log_level level)
{
    process = name;
    least = level;
    journal = is_journal();
}

void log_set_level(enum log_level level)
{
    least = level;
}

void log_set_format(enum log_format f)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");

    format = f;
    colour =
        !(no_color && *no_color) && !(term && str_eq(str_of(term), "dumb")) && isatty(STDOUT_FILENO) == 1;
}

bool log_level_parse(const char *text, enum log_level *out)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
        if (strcasecmp(text, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    if (strcasecmp(text, "WARN") == 0) {
        *out = LOG_WARNING;
        return true;
    }
    return false;
}

static bool log_enabled(enum log_level level)
{
    return level >= least;
}

void log_divert(void (*fn)(enum log_level level, const char *msg))
{
    diverted = fn;
}

static void remember(const char *msg)
{
    pthread_mutex_lock(&lock);
    size_t n = utf8_clip(msg, strlen(msg), sizeof last_error - 1);
    memcpy(last_error, msg, n);
    last_error[n] = '\0';
    pthread_mutex_unlock(&lock);
}

void log_last_error(char out[LOG_SAID_MAX])
{
    pthread_mutex_lock(&lock);
    memcpy(out, last_error, LOG_SAID_MAX);
    pthread_mutex_unlock(&lock);
}

/* Whole lines only: a pipe that says it is writable takes PIPE_BUF bytes at once, and LOG_LINE_MAX is no more. */
static bool write_line(const char *p, size_t n)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};

    if (poll(&out, 1, 0) != 1 || !(out.revents & POLLOUT))
        return false;
    while (n > 0) {
        ssize_t put = write(STDOUT_FILENO, p, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        p += put;
        n -= (size_t)put;
    }
    return true;
}

static struct str clip(struct str v, size_t room)
{
    return (struct str){v.p, utf8_clip(v.p, v.n, room)};
}

static void put_quoted(struct buf *b, struct str v)
{
    buf_putc(b, '"');
    visible_put(b, v.p, v.n, VISIBLE_IN_QUOTES);
    buf_putc(b, '"');
}

static void json_begin(struct buf *b, enum log_level level, const char *ts, const char *msg)
{
    buf_printf(b,
               "{\"ts\":\"%s\",\"level\":\"%s\",\"name\":\"app\",\"process\":\"%s\",\"pid\":%ld,\"msg\":", ts,
               level_names[level], process, (long)getpid());
    put_quoted(b, str_of(msg));
}

static void paint(struct buf *b, const char *code)
{
    if (colour)
        buf_puts(b, code);
}

#define PLAIN "\x1b[0m"
#define DIM   "\x1b[2m"

static void text_begin(struct buf *b, enum log_level level, const char *ts, const char *msg)
{
    static const char *const shades[] = {DIM, "", "\x1b[33m", "\x1b[1;31m"};

    if (!journal) {
        paint(b, DIM);
        buf_puts(b, ts);
        paint(b, PLAIN);
        buf_putc(b, ' ');
    }
    paint(b, shades[level]);
    buf_printf(b, "%-7s ", level_names[level]);
    paint(b, PLAIN);
    buf_printf(b, "%s[%ld] ", process, (long)getpid());
    visible_put(b, msg, strlen(msg), "");
}

static bool is_bare(struct str v)
{
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] <= ' ' || v.p[i] > '~' || strchr("\"=\\", v.p[i]))
            return false;
    return v.n > 0;
}

static void put_key(struct buf *b, const char *key)
{
    if (format == LOG_JSON) {
        json_key(b, key);
        return;
    }
    buf_putc(b, ' ');
    paint(b, DIM);
    buf_puts(b, key);
    buf_putc(b, '=');
    paint(b, PLAIN);
}

static void put_field(struct buf *b, const struct log_field *f)
{
    struct str v = clip(f->str, LOG_LINE_MAX / 16);

    if ((f->type == LOG_FIELD_STR && !f->str.n) || (f->type == LOG_FIELD_REAL && isnan(f->real)))
        return;
    put_key(b, f->key);
    if (f->type == LOG_FIELD_INT)
        buf_printf(b, "%" PRId64, f->num);
    else if (f->type == LOG_FIELD_BOOL)
        buf_puts(b, f->num ? "true" : "false");
    else if (f->type == LOG_FIELD_REAL)
        json_double(b, f->real);
    else if (format == LOG_TEXT && is_bare(v))
        buf_append(b, v.p, v.n);
    else
        put_quoted(b, v);
}

static void write_event(enum log_level level, const struct log_field *fields, const char *msg)
{
    char ts[CLOCK_RFC3339_SIZE];
    char room[LOG_LINE_MAX + 1]; /* the supervisor allocates nothing once it runs, so neither does its log */
    struct buf line = {.data = room, .cap = sizeof room, .max = LOG_LINE_MAX};

    clock_rfc3339(ts, wall_us());
    if (journal)
        buf_puts(&line, priorities[level]);
    if (format == LOG_JSON)
        json_begin(&line, level, ts, msg);
    else
        text_begin(&line, level, ts, msg);
    for (; fields && fields->key; fields++) {
        size_t before = line.len;
        put_field(&line, fields);
        if (line.failed || line.len > LOG_LINE_MAX - LINE_END_MAX) { /* it does not fit: leave it out */
            line.failed = false;
            line.len = before;
        }
    }
    unsigned missing = atomic_exchange(&lost, 0);
    if (missing)
        put_field(&line, &(struct log_field)LOG_INT("lines_lost_before", missing));
    buf_puts(&line, format == LOG_JSON ? "}\n" : "\n");
    if (!write_line(line.data, line.len))
        atomic_fetch_add(&lost, missing + 1);
}

static void report(enum log_level level, const char *what, unsigned n)
{
    char msg[LOG_LINE_MAX / 8];

    snprintf(msg, sizeof msg, "%u lines were left out: %s", n, what);
    write_event(level, LOG_FIELDS(LOG_INT("suppressed", n)), msg);
}

static unsigned take_left_out(struct log_limit *l)
{
    unsigned n = l->left_out;

    l->left_out = 0;
    if (n)
        atomic_fetch_sub(&pending, 1);
    return n;
}

/* One limit that has left something out and whose time is over, or any. */
static bool report_one(bool any)
{
    int64_t now = clock_ms();
    unsigned n = 0;

    pthread_mutex_lock(&lock);
    struct log_limit *l = limits;
    while (l && (l->left_out == 0 || !(any || now - l->since >= l->per_ms)))
        l = l->next;
    if (l)
        n = take_left_out(l);
    pthread_mutex_unlock(&lock);
    if (l)
        report(l->level, l->what, n);
    return l;
}

void log_limits_report(void)
{
    while (report_one(true))
        ;
}

bool log_allowed(enum log_level level, struct log_limit *l)
{
    int64_t now = clock_ms();
    unsigned untold = 0;

    if (!log_enabled(level))
        return false;
    pthread_mutex_lock(&lock);
    if (!l->listed) {
        l->listed = true;
        l->next = limits;
        limits = l;
    }
    if (l->written == 0 || now - l->since >= l->per_ms) {
        l->since = now;
        l->written = 0;
        untold = take_left_out(l);
    }
    bool allowed = l->written < l->lines;
    l->level = level;
    if (allowed)
        l->written++;
    else if (l->left_out++ == 0)
        atomic_fetch_add(&pending, 1);
    pthread_mutex_unlock(&lock);
    if (untold)
        report(level, l->what, untold);
    return allowed;
}

void log_event(enum log_level level, const struct log_field *fields, const char *fmt, ...)
{
    char msg[LOG_LINE_MAX / 8];
    va_list ap;

    if (level < least)
        return;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    if (diverted) {
        diverted(level, msg);
        return;
    }
    if (level == LOG_ERROR)
        remember(msg);
    if (atomic_load_explicit(&pending, memory_order_relaxed))
        while (report_one(false))
            ;
    write_event(level, fields, msg);
}
