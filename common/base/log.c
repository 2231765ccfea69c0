#include "common/base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/utf8.h"

static const char *const level_names[] = {"DEBUG", "INFO", "WARNING", "ERROR"};

static const char *process = "atalaya";
static enum log_level least = LOG_INFO;
static atomic_uint lost;

void log_init(const char *name, enum log_level level)
{
    process = name;
    least = level;
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

bool log_enabled(enum log_level level)
{
    return level >= least;
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

static void put_str(struct buf *b, const char *key, struct str v, size_t room)
{
    json_field_str(b, key, (struct str){v.p, utf8_clip(v.p, v.n, room)});
}

static void put_field(struct buf *b, const struct log_field *f)
{
    switch (f->type) {
    case LOG_FIELD_STR:
        if (f->str.n)
            put_str(b, f->key, f->str, LOG_LINE_MAX / 16);
        break;
    case LOG_FIELD_INT:
        json_field_int(b, f->key, f->num);
        break;
    case LOG_FIELD_BOOL:
        json_field_bool(b, f->key, f->num != 0);
        break;
    }
}

void log_event(enum log_level level, const struct log_field *fields, const char *fmt, ...)
{
    char msg[LOG_LINE_MAX / 8];
    char ts[CLOCK_RFC3339_SIZE];
    char room[LOG_LINE_MAX + 1]; /* the supervisor allocates nothing once it runs, so neither does its log */
    struct buf line = {.data = room, .cap = sizeof room, .max = LOG_LINE_MAX};
    va_list ap;

    if (level < least)
        return;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    clock_rfc3339(ts, wall_us());

    buf_putc(&line, '{');
    json_field_str(&line, "ts", str_of(ts));
    json_field_str(&line, "level", str_of(level_names[level]));
    json_field_str(&line, "name", str_of(process));
    json_field_int(&line, "pid", getpid());
    put_str(&line, "msg", str_of(msg), sizeof msg);
    for (; fields && fields->key; fields++) {
        size_t before = line.len;
        put_field(&line, fields);
        if (line.failed || line.len > LOG_LINE_MAX - 64) { /* the field does not fit: leave it out */
            line.failed = false;
            line.len = before;
        }
    }
    unsigned missing = atomic_exchange(&lost, 0);
    if (missing)
        json_field_int(&line, "lines_lost_before", missing);
    buf_puts(&line, "}\n");
    if (!write_line(line.data, line.len))
        atomic_fetch_add(&lost, missing + 1);
}
