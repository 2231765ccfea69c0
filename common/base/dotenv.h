/*
 * dotenv.h - reads a .env file into the environment
 *
 * Purpose  NAME=value lines as python-dotenv reads them: `export ` prefix, # comments, single quotes
 *          (literal; \' and \\ escape), double quotes (\n \t \r \" \\ escape), both of which may span lines;
 *          unquoted values end at " #" and are trimmed of Unicode's white space. A variable that is already in the
 *          environment wins. On purpose different: $ is not expanded (a key may hold one), a line that is no
 *          assignment is an error and not passed over, a name is not quoted, a byte order mark is no part of the
 *          first name.
 * Threads  before any thread starts (setenv).
 * Errors   0 (also when the file does not exist) or -errno; -EINVAL and *bad_line (from 1) for the first
 *          line that is no assignment; lines before it are set. Nothing of a value is ever printed.
 * Limits   DOTENV_FILE_MAX
 */
#ifndef ATALAYA_BASE_DOTENV_H
#define ATALAYA_BASE_DOTENV_H

#include "common/base/attr.h"

int dotenv_load(const char *path, int *bad_line) NODISCARD;

#endif
