/*
 * conf.h - configuration from the environment, one row a variable
 *
 * Purpose  a row parses, checks, prints and documents its variable. An empty value counts as unset. A
 *          secret may also come from a file: NAME_FILE holds its path (trailing newline dropped).
 * Owner    strings in the filled struct are owned by it until conf_free().
 * Threads  before any thread starts.
 * Errors   conf_load() logs every bad variable (name, value unless secret, allowed range) and returns
 *          -EINVAL.
 * Units    as the row says; CONF_SECONDS reads decimal seconds ("0.5") into int64_t milliseconds.
 */
#ifndef ATALAYA_CONF_CONF_H
#define ATALAYA_CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"

enum conf_type {
    CONF_STR,     /* char * */
    CONF_INT,     /* int64_t */
    CONF_BOOL,    /* bool: 1 0 true false yes no on off, any case */
    CONF_SECONDS, /* int64_t milliseconds; min and max in milliseconds too */
    CONF_LEVEL,   /* enum log_level */
};

#define CONF_SECRET 1u /* masked wherever it is shown */

struct conf_row {
    const char *name;
    enum conf_type type;
    size_t offset;
    const char *def;  /* as it would be written; NULL or "" = empty */
    int64_t min, max; /* CONF_INT, CONF_SECONDS; for CONF_STR max = greatest length, 0 = 4096 */
    unsigned flags;
    const char *unit; /* "ms", "bytes"; NULL */
    const char *doc;  /* one sentence */
};

int conf_load(const struct conf_row *rows, size_t n, void *out) NODISCARD;
void conf_free(const struct conf_row *rows, size_t n, void *out);
/* The base URL of an API: http or https, without user and password, which would end in logs; slashes at its end are
 * taken off. 0 or -EINVAL, having logged why. */
int conf_check_url(const char *name, char *url) NODISCARD;

void conf_print_names(const struct conf_row *rows,
                      size_t n); /* one name a line, with NAME_FILE for secrets */

#endif
