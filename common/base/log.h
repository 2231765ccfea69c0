/*
 * log.h - one event, one line on stdout
 *
 * Purpose  what people and log shippers read. JSON: {"ts","level","name":"app","process","pid","msg", fields…};
 *          text, for a person who looks on: time, level, process[pid], message, key=value…, in colour on a terminal
 *          unless NO_COLOR is set. Where stdout is systemd's journal (JOURNAL_STREAM), a line begins with its
 *          priority, <4>, which the journal takes off, and a text without the time, which the journal has. Never a question, an answer or a key: the caller passes only what may be read by
 *          anybody.
 * Promise  P5: a reader that stalls never stalls us. A line that the pipe cannot take at once is dropped
 *          and counted; the next line that goes through says how many were lost.
 *          Whatever a peer sent breaks or forges no line, in either format (visible.h).
 * Threads  any: a line is one write(2). log_init(), log_set_…() and log_divert() before the others start.
 * Errors   none. Nothing is allocated.
 * Limits   LOG_LINE_MAX; long texts are clipped, and a field that does not fit is left out.
 */
#ifndef ATALAYA_BASE_LOG_H
#define ATALAYA_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

enum log_format { LOG_JSON, LOG_TEXT };

enum log_field_type { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_BOOL, LOG_FIELD_REAL };

struct log_field {
    const char *key; /* a plain word */
    enum log_field_type type;
    struct str str;
    int64_t num;
    double real;
};

/* process as people call it ("gateway"); kept, not copied. The format is JSON until told otherwise. */
void log_init(const char *process, enum log_level least);
void log_set_level(enum log_level least);
void log_set_format(enum log_format format);
bool log_level_parse(const char *text, enum log_level *out); /* DEBUG INFO WARNING (WARN) ERROR, any case */

/* fields ends with an entry whose key is NULL; may be NULL. Empty strings and NaN are left out. */
void log_event(enum log_level level, const struct log_field *fields, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Messages go to fn instead of stdout. NULL: to stdout again. */
void log_divert(void (*fn)(enum log_level level, const char *msg));

#define LOG_SAID_MAX 256
void log_last_error(char out[LOG_SAID_MAX]); /* the last message of level ERROR; "" when there was none */

/*
 * Lines that a peer can cause: `lines` of them each `per_ms`, from all threads together. Those beyond are counted, and
 * the first line of any kind after that time is preceded by one that says how many there were of `what`.
 *
 *     static struct log_limit limit = LOG_LIMIT(1, 1000, "unreadable messages");
 *     if (log_allowed(LOG_WARNING, &limit))
 *         log_event(LOG_WARNING, …);
 */
struct log_limit {
    unsigned lines;
    int64_t per_ms;
    const char *what;
    /* of log.c */
    enum log_level level;
    int64_t since;
    unsigned written, left_out;
    bool listed;
    struct log_limit *next;
};

#define LOG_LIMIT(n, ms, text)                                                                               \
    {                                                                                                        \
        .lines = (n), .per_ms = (ms), .what = (text)                                                         \
    }

bool log_allowed(enum log_level level, struct log_limit *limit);
void log_limits_report(void); /* what has been left out and not told yet: before the process ends */

#define LOG_STR(k, v)                                                                                        \
    {                                                                                                        \
        .key = (k), .type = LOG_FIELD_STR, .str = (v)                                                        \
    }
#define LOG_CSTR(k, v)                                                                                       \
    {                                                                                                        \
        .key = (k), .type = LOG_FIELD_STR, .str = str_of(v)                                                  \
    }
#define LOG_INT(k, v)                                                                                        \
    {                                                                                                        \
        .key = (k), .type = LOG_FIELD_INT, .num = (int64_t)(v)                                               \
    }
#define LOG_BOOL(k, v)                                                                                       \
    {                                                                                                        \
        .key = (k), .type = LOG_FIELD_BOOL, .num = (v)                                                       \
    }

#define LOG_REAL(k, v)                                                                                       \
    {                                                                                                        \
        .key = (k), .type = LOG_FIELD_REAL, .real = (v)                                                      \
    }

/* log_event(LOG_INFO, LOG_FIELDS(LOG_INT("status", 200)), "text %d", arg); */
#define LOG_FIELDS(...) ((const struct log_field[]){__VA_ARGS__, {.key = NULL}})

#define log_debug(...)   log_event(LOG_DEBUG, NULL, __VA_ARGS__)
#define log_info(...)    log_event(LOG_INFO, NULL, __VA_ARGS__)
#define log_warning(...) log_event(LOG_WARNING, NULL, __VA_ARGS__)
#define log_error(...)   log_event(LOG_ERROR, NULL, __VA_ARGS__)

#endif
