/*
 * conf.h - configuration from the environment, one row a variable
 *
 * Purpose  a row parses, checks, prints and documents its variable; each process has one table of them, and
 *          LOG_LEVEL and LOG_FORMAT belong to every table by themselves. An empty value counts as unset. A secret
 *          may also come from a file: NAME_FILE holds its path (newlines at its end are dropped); to set both is an
 *          error, because one of the two would silently not count.
 * Owner    strings in the filled struct are owned by it until conf_free().
 * Threads  before any thread starts.
 * Errors   conf_load() logs every bad variable (name, value unless secret, what is allowed, what it is for) and
 *          returns -EINVAL. Of a text that is no UTF-8 they name the byte, counted from 1.
 * Units    as the row says; CONF_SECONDS reads decimal seconds ("0.5") into int64_t milliseconds.
 * Limits   a value has 4096 bytes at most.
 */
#ifndef ATALAYA_BASE_CONF_H
#define ATALAYA_BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/attr.h"

enum conf_type {
    CONF_STR,     /* char *: one line of UTF-8 text */
    CONF_URL,     /* char *: http or https, without user and password; slashes at the end are taken off */
    CONF_IPV4,    /* char *: an IPv4 address */
    CONF_INT,     /* int64_t */
    CONF_SECONDS, /* int64_t milliseconds; min and max in milliseconds too */
    CONF_BOOL,    /* bool: 1 0 true false yes no on off, any case */
    CONF_CHOICE,  /* int: the place in choices, any case */
    CONF_LEVEL,   /* enum log_level */
};

#define CONF_SECRET     1u /* masked wherever it is shown */
#define CONF_RELOADABLE 2u /* read again on HUP */

/* Where in .env.example: only what a user is likely to set is there. */
enum conf_example {
    CONF_NO_EXAMPLE,
    CONF_PROVIDER,
    CONF_LANGFUSE,
    CONF_DEPLOYMENT,
    CONF_CLIENTS, /* who may ask, and how often */
    CONF_LIMITS,
    CONF_FOLDERS,
};

struct conf_row {
    const char *name;
    enum conf_type type;
    size_t offset;
    const char *def;     /* as it would be written; NULL or "" = empty */
    int64_t min, max;    /* CONF_INT, CONF_SECONDS; for texts max = greatest length, 0 = 4096 */
    const char *choices; /* CONF_CHOICE: "hashed|plain|none" */
    unsigned flags;
    const char *unit;  /* "milliseconds", "bytes"; NULL */
    const char *empty; /* what empty means, in words: "APP_ENV"; NULL */
    enum conf_example example;
    const char *doc; /* one sentence */
};

struct conf_table {
    const struct conf_row *rows;
    size_t n;
};

/* Fills out and sets the log's level and format. */
int conf_load(const struct conf_row *rows, size_t n, void *out) NODISCARD;
int conf_load_more(const struct conf_row *rows, size_t n, void *out) NODISCARD; /* those rows only */
void conf_free(const struct conf_row *rows, size_t n, void *out);

/* Until conf_end_check(), conf_load() writes down what holds, and what is logged at WARNING or ERROR is written down
 * instead, as lines of fields with a tab between:
 *     variable NAME VALUE ORIGIN   a secret's value is masked; origin: default, environment, file PATH
 *     name NAME                    read too, in place of another one: NAME_FILE
 *     warning TEXT
 *     error TEXT */
void conf_begin_check(FILE *to);
void conf_end_check(void);

/* One more "variable" line of a check, about what a file says; nothing when nobody checks. */
void conf_tell(const char *name, const char *value, const char *origin);

bool conf_is_url(const char *text); /* what CONF_URL takes */

/* Names, one a line, with NAME_FILE for secrets. */
void conf_print_names(const struct conf_row *rows, size_t n);

/* One variable a line, nine fields with a tab between: name, type, default, allowed, unit, secret or not, reloadable or
 * not, section of .env.example or 0, sentence. */
void conf_print_rows(const struct conf_row *rows, size_t n);

#endif
