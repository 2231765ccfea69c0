#include "common/wire/pack.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <msgpack.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/limits.h"
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
    msgpack_zone values; /* of the entry at hand */
    msgpack_zone lists;  /* of all of them */
    size_t entries;
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
    if (!msgpack_zone_init(&r->values, 4096) || !msgpack_zone_init(&r->lists, 4096))
        abort();
    *out = r;
    return 0;
}

void pack_close(struct pack_reader *r)
{
    if (!r)
        return;
    msgpack_zone_destroy(&r->values);
    msgpack_zone_destroy(&r->lists);
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
    char *items = msgpack_zone_malloc(&r->lists, n * f->sub->size + 1);
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

/* What a value's first byte says: it is `head` bytes long, `body` more are its own (a text's), `values` follow. */
struct extent {
    size_t head;
    uint64_t body, values;
};

static uint64_t big_endian(const unsigned char *p, size_t n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

/* Of 0xc0 to 0xdf; length: bytes that say how long it is. */
static const struct shape {
    uint8_t length, body, times; /* body: always; times: values for each of the length; 0: bytes */
} shapes[32] = {
    [0x04] = {1, 0, 0},  [0x05] = {2, 0, 0}, [0x06] = {4, 0, 0},                     /* bin */
    [0x07] = {1, 1, 0},  [0x08] = {2, 1, 0}, [0x09] = {4, 1, 0},                     /* ext: a type first */
    [0x0a] = {0, 4, 0},  [0x0b] = {0, 8, 0},                                         /* float */
    [0x0c] = {0, 1, 0},  [0x0d] = {0, 2, 0}, [0x0e] = {0, 4, 0}, [0x0f] = {0, 8, 0}, /* uint */
    [0x10] = {0, 1, 0},  [0x11] = {0, 2, 0}, [0x12] = {0, 4, 0}, [0x13] = {0, 8, 0}, /* int */
    [0x14] = {0, 2, 0},  [0x15] = {0, 3, 0}, [0x16] = {0, 5, 0}, [0x17] = {0, 9, 0}, /* fixext */
    [0x18] = {0, 17, 0},                                                             /* fixext 16 */
    [0x19] = {1, 0, 0},  [0x1a] = {2, 0, 0}, [0x1b] = {4, 0, 0},                     /* str */
    [0x1c] = {2, 0, 1},  [0x1d] = {4, 0, 1},                                         /* array */
    [0x1e] = {2, 0, 2},  [0x1f] = {4, 0, 2},                                         /* map */
};

static int extent_of(const unsigned char *p, size_t n, struct extent *x)
{
    unsigned char c = *p;

    *x = (struct extent){.head = 1};
    if (c < 0xc0) {
        x->body = c >= 0xa0 ? c & 0x1f : 0;
        x->values = c < 0x80 || c >= 0xa0 ? 0 : c < 0x90 ? 2 * (c & 0x0fu) : c & 0x0fu;
        return 0;
    }
    if (c >= 0xe0)
        return 0;
    const struct shape *s = &shapes[c & 0x1f];
    if (n <= s->length)
        return -EBADMSG;
    uint64_t length = big_endian(p + 1, s->length);
    x->head += s->length;
    x->body = s->body + (s->times ? 0 : length);
    x->values = s->times * length;
    return 0;
}

/* 0: the entry is all there and within the limits. The library would allocate for every length that
 * is announced, before it looks whether so much has come. */
static int check_entry(const char *data, size_t n)
{
    uint64_t open[PACK_DEPTH_MAX] = {1}; /* values that are still to come, on each level */
    size_t depth = 0, off = 0, count = 0;

    for (;;) {
        struct extent x;
        while (open[depth] == 0)
            if (depth-- == 0)
                return 0;
        open[depth]--;
        if (off == n || extent_of((const unsigned char *)data + off, n - off, &x) < 0)
            return -EBADMSG;
        off += x.head;
        if (x.body > n - off || x.values > n - off || ++count + x.values > PACK_VALUES_MAX)
            return -EBADMSG;
        off += (size_t)x.body;
        if (x.values && ++depth == PACK_DEPTH_MAX)
            return -EBADMSG;
        if (x.values)
            open[depth] = x.values;
    }
}

int pack_next(struct pack_reader *r, const struct fields *f, void *entry)
{
    msgpack_object o;

    if (r->broken)
        return -EBADMSG;
    if (r->off == r->n)
        return 0;
    r->broken = true;
    if (++r->entries > WIRE_ENTRIES_MAX || check_entry(r->data + r->off, r->n - r->off) < 0)
        return -EBADMSG;
    msgpack_zone_clear(&r->values);
    msgpack_unpack_return got = msgpack_unpack(r->data, r->n, &r->off, &r->values, &o);
    if (got != MSGPACK_UNPACK_SUCCESS && got != MSGPACK_UNPACK_EXTRA_BYTES)
        return -EBADMSG;
    if (get_entry(r, f, &o, entry) < 0)
        return -EBADMSG;
    r->broken = false;
    return 1;
}
