/*
 * pack.h - msgpack bodies of our wires, driven by a table of fields
 *
 * Purpose  one codec for jobs and events. A body is the version (an unsigned integer) followed by any
 *          number of entries; an entry is a map from small integers to values. A field that is zero, false
 *          or empty is not sent; a key that is not in the table is skipped, so that old and new processes
 *          understand each other.
 *
 *              body  = version entry*          version = positive fixint
 *              entry = map { key: value, … }   value   = uint | int | float64 | bool | str | array of entries
 *
 * Owner    decoded strings and lists are borrowed from the reader (strings from the message itself): they
 *          live until pack_close(), and the message must too.
 * Threads  one thread per buffer or reader.
 * Errors   -EBADMSG: no msgpack, a wrong type, a length above the field's max, an unknown version.
 * Limits   PACK_VALUES_MAX in an entry, PACK_DEPTH_MAX below each other, WIRE_ENTRIES_MAX in a body: whatever
 *          lengths a peer announces, an entry is walked over before anything is allocated for it.
 * Source   https://github.com/msgpack/msgpack/blob/master/spec.md
 */
#ifndef ATALAYA_WIRE_PACK_H
#define ATALAYA_WIRE_PACK_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/buf.h"
#include "common/base/str.h"

enum field_type {
    FIELD_U64,  /* uint64_t */
    FIELD_I64,  /* int64_t */
    FIELD_F64,  /* double */
    FIELD_BOOL, /* bool */
    FIELD_STR,  /* struct str, at most max bytes */
    FIELD_LIST, /* struct list of sub->size objects, at most max of them */
};

struct list {
    void *items;
    size_t n;
};

struct field {
    uint8_t key;
    enum field_type type;
    size_t offset;
    size_t max;
    const struct fields *sub;
    const char *name; /* for messages of tests */
};

/* The table of one entry type. size is that of the C struct. */
struct fields {
    const struct field *rows;
    size_t n;
    size_t size;
};

#define PACK_VERSION 1

void pack_begin(struct buf *out);
void pack_put(struct buf *out, const struct fields *f, const void *entry);

struct pack_reader;
int pack_open(struct pack_reader **out, const void *data, size_t n) NODISCARD;
int pack_next(struct pack_reader *r, const struct fields *f,
              void *entry) NODISCARD; /* 1 entry, 0 end, -EBADMSG */
void pack_close(struct pack_reader *r);

#endif
