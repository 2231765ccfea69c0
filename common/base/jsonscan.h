/*
 * jsonscan.h - reads a request body as Python's json.loads() does
 *
 * Purpose  the contract's 422s carry Python's words and positions, which no C library reports, and bodies
 *          in UTF-16 and UTF-32 are accepted. Checks the whole text; keeps of a top-level object only the
 *          members asked for, as spans of the source, so that memory does not grow with what a client
 *          invents. Python's laxness is kept: NaN, Infinity, integers of any size, duplicate keys (the last
 *          one wins).
 * Owner    jsonscan_free() releases all; the strings of members live until then, and so must the body,
 *          which has a NUL behind its last byte.
 * Threads  any; nothing recurses, so a civetweb thread's small stack is enough.
 * Errors   JSONSCAN_BROKEN with Python's message and position (code points of the decoded text);
 *          JSONSCAN_UNREADABLE where Python fails otherwise: no UTF-8 (UTF-16, UTF-32), nested deeper than
 *          JSONSCAN_DEPTH_MAX, an integer of more than JSONSCAN_DIGITS_MAX digits.
 * Source   https://docs.python.org/3/library/json.html, RFC 4627 chapter 3 (encodings)
 */
#ifndef ATALAYA_BASE_JSONSCAN_H
#define ATALAYA_BASE_JSONSCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/attr.h"
#include "common/base/buf.h"

#define JSONSCAN_DEPTH_MAX  966  /* Python 3.11 under uvicorn and FastAPI: 965 to 967, as the stack has it */
#define JSONSCAN_DIGITS_MAX 4300 /* sys.int_info.default_max_str_digits */

#define JSONSCAN_MEMBERS_MAX 8

enum jsonscan_result { JSONSCAN_OK, JSONSCAN_BROKEN, JSONSCAN_UNREADABLE };

enum value_type {
    VALUE_NULL,
    VALUE_TRUE,
    VALUE_FALSE,
    VALUE_INT,
    VALUE_FLOAT,
    VALUE_STRING,
    VALUE_ARRAY,
    VALUE_OBJECT
};

struct value {
    enum value_type type;
    struct str source; /* as written, UTF-8 */
    struct str text;   /* VALUE_STRING: decoded; lone surrogates as three bytes (WTF-8) */
    bool surrogate;    /* VALUE_STRING: holds a lone surrogate */
};

struct member {
    const char *key;
    bool present;
    struct value value;
    char *decoded; /* owned, for strings with escapes */
};

struct jsonscan {
    struct value top;
    char *top_decoded;
    struct member members[JSONSCAN_MEMBERS_MAX]; /* of a top-level object: those that were asked for */
    size_t n;
    const char *error; /* JSONSCAN_BROKEN: Python's words */
    size_t position;
    struct buf text;  /* a body in UTF-16 or UTF-32, as UTF-8 */
    bool beyond_json; /* holds NaN or Infinity */
};

/* keys: what to keep of a top-level object, ending with NULL; kept, not copied. */
enum jsonscan_result jsonscan(struct jsonscan *j, struct str body, const char *const *keys) NODISCARD;
void jsonscan_free(struct jsonscan *j);

/* NULL when the object has no such member. */
const struct value *jsonscan_get(const struct jsonscan *j, const char *key);

/* For nested values: as jsonscan(), of an object's source; false when it is none, or empty. *j is to be freed in any
 * case. */
bool jsonscan_object(struct jsonscan *j, struct str source, const char *const *keys);

/* A member's source, and the text of one that is a string; empty when there is none of that type. */
struct str jsonscan_source(const struct jsonscan *j, const char *key, enum value_type type);
struct str jsonscan_text(const struct jsonscan *j, const char *key);

/* The element of an array at *at, which then is the next one's; an empty source when there is none. `array` is a
 * VALUE_ARRAY's source, *at 0 for the first. */
struct str jsonscan_next(struct str array, size_t *at);

/* The text of a string inside a value, given its source with the quotes, into `to`, which has room for
 * source.n bytes. Its length. */
size_t jsonscan_decode(struct str source, char *to);

#endif
