/* A message of a peer on either wire. What is read and written again is the same when it is read once more. */
#include "common/wire/pack.h"

#include "common/base/limits.h"
#include "common/wire/event.h"
#include "common/wire/job.h"
#include "tests/fuzz/fuzz.h"

static void touch(const struct fields *f, const void *entry)
{
    for (size_t i = 0; i < f->n; i++) {
        const void *v = (const char *)entry + f->rows[i].offset;
        const struct list *list = v;
        if (f->rows[i].type == FIELD_STR)
            fuzz_touch(*(const struct str *)v);
        for (size_t e = 0; f->rows[i].type == FIELD_LIST && e < list->n; e++)
            touch(f->rows[i].sub, (const char *)list->items + e * f->rows[i].sub->size);
    }
}

/* All entries up to the first that is broken, written again. */
static void again(struct str message, const struct fields *f, struct buf *out)
{
    union {
        struct job job;
        struct event event;
    } entry;
    struct pack_reader *r;

    pack_begin(out);
    if (pack_open(&r, message.p, message.n) < 0)
        return;
    while (pack_next(r, f, &entry) == 1) {
        touch(f, &entry);
        pack_put(out, f, &entry);
    }
    pack_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct fields *tables[] = {&job_fields, &event_fields};

    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        struct buf once = BUF_INIT(MIB + 16 * n), twice = BUF_INIT(MIB + 16 * n);
        again((struct str){(const char *)data, n}, tables[i], &once);
        again(buf_str(&once), tables[i], &twice);
        assert(!once.failed && once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
        buf_free(&once);
        buf_free(&twice);
    }
    return 0;
}
