/*
 * log.h - one event, one JSON line on stdout
 *
 * Purpose  what people and log shippers read: {"ts","level","name","msg","pid", fields…}. Never a question,
 *          an answer or a key: the caller passes only what may be read by anybody.
 * Promise  P5: a reader that stalls never stalls us. A line that the pipe cannot take at once is dropped
 *          and counted; the next line that goes through says how many were lost.
 * Threads  any: a line is one write(2).
 * Errors   none.
 * Limits   LOG_LINE_MAX; long texts are clipped, and a field that does not fit is left out.
 */
#ifndef ATALAYA_BASE_LOG_H
#define ATALAYA_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

enum log_field_type { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_BOOL };

struct log_field {
    const char *key;
    enum log_field_type type;
    struct str str;
    int64_t num;
};

/* name is the process as people call it ("gateway"); kept, not copied. */
void log_init(const char *name, enum log_level least);
bool log_level_parse(const char *text, enum log_level *out); /* DEBUG INFO WARNING (WARN) ERROR, any case */
bool log_enabled(enum log_level level);

/* fields ends with an entry whose key is NULL; may be NULL. Empty strings are left out. */
void log_event(enum log_level level, const struct log_field *fields, const char *fmt, ...) PRINTF_LIKE(3, 4);

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

/* log_event(LOG_INFO, LOG_FIELDS(LOG_INT("status", 200)), "text %d", arg); */
#define LOG_FIELDS(...) ((const struct log_field[]){__VA_ARGS__, {.key = NULL}})

#define log_debug(...)   log_event(LOG_DEBUG, NULL, __VA_ARGS__)
#define log_info(...)    log_event(LOG_INFO, NULL, __VA_ARGS__)
#define log_warning(...) log_event(LOG_WARNING, NULL, __VA_ARGS__)
#define log_error(...)   log_event(LOG_ERROR, NULL, __VA_ARGS__)

#endif
