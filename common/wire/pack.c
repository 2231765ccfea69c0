#include "common/wire/pack.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <msgpack.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/utf8.h"

static const void *at(const struct field *f, const void *entry)
{
    return (const char *)entry + f->offset;
}

static bool is_empty(const struct field *f, const void *v)
{
    switch (f->type) {
    case FIELD_U64:
        return *(const uint64_t *)v == 0;
    case FIELD_I64:
        return *(const int64_t *)v == 0;
    case FIELD_F64:
        return *(const double *)v == 0.0;
    case FIELD_BOOL:
        return !*(const bool *)v;
    case FIELD_STR:
        return ((const struct str *)v)->n == 0;
    case FIELD_LIST:
        return ((const struct list *)v)->n == 0;
    }
    return true;
}

static int write_buf(void *out, const char *p, size_t n)
{
    struct buf *b = out;

    buf_append(b, p, n);
    return b->failed ? -1 : 0;
}

static void put_entry(msgpack_packer *pk, const struct fields *f, const void *entry);

static void put_value(msgpack_packer *pk, const struct field *f, const void *v)
{
    switch (f->type) {
    case FIELD_U64:
        msgpack_pack_uint64(pk, *(const uint64_t *)v);
        break;
    case FIELD_I64:
        msgpack_pack_int64(pk, *(const int64_t *)v);
        break;
    case FIELD_F64:
        msgpack_pack_double(pk, *(const double *)v);
        break;
    case FIELD_BOOL:
        *(const bool *)v ? msgpack_pack_true(pk) : msgpack_pack_false(pk);
        break;
    case FIELD_STR: {
        const struct str *s = v;
        size_t n = utf8_clip(s->p, s->n, f->max); /* the receiver would refuse more */
        msgpack_pack_str(pk, n);
        msgpack_pack_str_body(pk, s->p, n);
        break;
    }
    case FIELD_LIST: {
        const struct list *l = v;
        size_t n = l->n < f->max ? l->n : f->max;
        msgpack_pack_array(pk, n);
        for (size_t i = 0; i < n; i++)
            put_entry(pk, f->sub, (const char *)l->items + i * f->sub->size);
        break;
    }
    }
}

static void put_entry(msgpack_packer *pk, const struct fields *f, const void *entry)
{
    size_t n = 0;

    for (size_t i = 0; i < f->n; i++)
        n += !is_empty(&f->rows[i], at(&f->rows[i], entry));
    msgpack_pack_map(pk, n);
    for (size_t i = 0; i < f->n; i++) {
        const void *v = at(&f->rows[i], entry);
        if (is_empty(&f->rows[i], v))
            continue;
        msgpack_pack_uint8(pk, f->rows[i].key);
        put_value(pk, &f->rows[i], v);
    }
}

void pack_begin(struct buf *out)
{
    buf_putc(out, PACK_VERSION); /* a positive fixint is its own encoding */
}

void pack_put(struct buf *out, const struct fields *f, const void *entry)
{
    msgpack_packer pk;

    msgpack_packer_init(&pk, out, write_buf);
    put_entry(&pk, f, entry);
}

struct pack_reader {
    const char *data;
    size_t n, off;
    msgpack_zone zone;
    bool broken;
};

int pack_open(struct pack_reader **out, const void *data, size_t n)
{
    if (n == 0 || *(const unsigned char *)data != PACK_VERSION)
        return -EBADMSG;
    struct pack_reader *r = xcalloc(1, sizeof *r);
    r->data = data;
    r->n = n;
    r->off = 1;
    if (!msgpack_zone_init(&r->zone, 4096))
        abort();
    *out = r;
    return 0;
}

void pack_close(struct pack_reader *r)
{
    if (!r)
        return;
    msgpack_zone_destroy(&r->zone);
    free(r);
}

static const struct field *find(const struct fields *f, uint64_t key)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->rows[i].key == key)
            return &f->rows[i];
    return NULL;
}

static int get_entry(struct pack_reader *r, const struct fields *f, const msgpack_object *o, void *entry);

static int get_list(struct pack_reader *r, const struct field *f, const msgpack_object *o, struct list *out)
{
    if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size > f->max)
        return -EBADMSG;
    size_t n = o->via.array.size;
    char *items = msgpack_zone_malloc(&r->zone, n * f->sub->size + 1);
    if (!items)
        abort();
    for (size_t i = 0; i < n; i++)
        if (get_entry(r, f->sub, &o->via.array.ptr[i], items + i * f->sub->size) < 0)
            return -EBADMSG;
    *out = (struct list){items, n};
    return 0;
}

static int get_value(struct pack_reader *r, const struct field *f, const msgpack_object *o, void *v)
{
    bool positive = o->type == MSGPACK_OBJECT_POSITIVE_INTEGER;

    switch (f->type) {
    case FIELD_U64:
        if (!positive)
            return -EBADMSG;
        *(uint64_t *)v = o->via.u64;
        return 0;
    case FIELD_I64:
        if ((!positive && o->type != MSGPACK_OBJECT_NEGATIVE_INTEGER) || (positive && o->via.u64 > INT64_MAX))
            return -EBADMSG;
        *(int64_t *)v = o->via.i64;
        return 0;
    case FIELD_F64:
        if ((o->type != MSGPACK_OBJECT_FLOAT64 && o->type != MSGPACK_OBJECT_FLOAT32) || !isfinite(o->via.f64))
            return -EBADMSG;
        *(double *)v = o->via.f64;
        return 0;
    case FIELD_BOOL:
        if (o->type != MSGPACK_OBJECT_BOOLEAN)
            return -EBADMSG;
        *(bool *)v = o->via.boolean;
        return 0;
    case FIELD_STR:
        if (o->type != MSGPACK_OBJECT_STR || o->via.str.size > f->max)
            return -EBADMSG;
        *(struct str *)v = (struct str){o->via.str.ptr, o->via.str.size};
        return 0;
    case FIELD_LIST:
        return get_list(r, f, o, v);
    }
    return -EBADMSG;
}

static int get_entry(struct pack_reader *r, const struct fields *f, const msgpack_object *o, void *entry)
{
    if (o->type != MSGPACK_OBJECT_MAP)
        return -EBADMSG;
    memset(entry, 0, f->size);
    for (uint32_t i = 0; i < o->via.map.size; i++) {
        const msgpack_object_kv *kv = &o->via.map.ptr[i];
        if (kv->key.type != MSGPACK_OBJECT_POSITIVE_INTEGER)
            return -EBADMSG;
        const struct field *row = find(f, kv->key.via.u64);
        if (row && get_value(r, row, &kv->val, (char *)entry + row->offset) < 0)
            return -EBADMSG;
    }
    return 0;
}

/* A number in n bytes, the first one the highest. */
static uint64_t number(const unsigned char *p, size_t n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

/* One value is there as a whole. msgpack-c makes room for all the elements that a container says it has before it looks
 * for them: five bytes could have it ask for a hundred gigabytes. */
static bool is_whole(const unsigned char *p, size_t n)
{
    /* Of the types 0xc0 to 0xdf: bytes that follow, and how many of a length before these. */
    static const unsigned char fixed[] = {0, 0, 0, 0, 0, 0, 0, 1, 1,  1, 4, 8, 1, 2, 4, 8,
                                          1, 2, 4, 8, 2, 3, 5, 9, 17, 0, 0, 0, 0, 0, 0, 0};
    static const unsigned char lengths[] = {0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 0, 0, 0, 0, 0, 0,
                                            0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4};
    uint64_t due = 1, skip; /* values, each of a byte at least */

    for (size_t i = 0; due > 0; i += (size_t)skip) {
        if (due > n - i)
            return false;
        unsigned char type = p[i++];
        due--;
        skip = 0;
        if (type >= 0x80 && type < 0xa0) {
            due += (type & 15u) * (type < 0x90 ? 2 : 1);
        } else if (type >= 0xa0 && type < 0xc0) {
            skip = type & 31u;
        } else if (type >= 0xc0 && type < 0xe0) {
            size_t width = lengths[type - 0xc0];
            uint64_t length = width <= n - i ? number(p + i, width) : 0;
            skip = width + fixed[type - 0xc0] + (type < 0xdc ? length : 0);
            due += type < 0xdc ? 0 : type < 0xde ? length : 2 * length;
        }
        if (skip > n - i)
            return false;
    }
    return true;
}

int pack_next(struct pack_reader *r, const struct fields *f, void *entry)
{
    msgpack_object o;

    if (r->broken)
        return -EBADMSG;
    if (r->off == r->n)
        return 0;
    r->broken = true;
    if (!is_whole((const unsigned char *)r->data + r->off, r->n - r->off))
        return -EBADMSG;
    msgpack_unpack_return got = msgpack_unpack(r->data, r->n, &r->off, &r->zone, &o);
    if (got != MSGPACK_UNPACK_SUCCESS && got != MSGPACK_UNPACK_EXTRA_BYTES)
        return -EBADMSG;
    if (get_entry(r, f, &o, entry) < 0)
        return -EBADMSG;
    r->broken = false;
    return 1;
}
