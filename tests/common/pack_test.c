#include "common/wire/pack.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "common/base/id.h"
#include "common/base/limits.h"
#include "common/wire/event.h"
#include "common/wire/job.h"

Test(pack, golden_bytes_of_a_job)
{
    /* docs/protocol-jobs.md shows these bytes. */
    static const char want[] = "\x01"
                               "\x86\x01\x02\x02\xcd\x01\x02\x07\x05\x0a\xcd\xea\x60\x0c\xa4"
                               "hola"
                               "\x0d\xc3";
    struct job job = {.kind = JOB_JOB,
                      .epoch = 5,
                      .id = 258,
                      .budget_ms = 60000,
                      .question = str_of("hola"),
                      .has_max_words = true};
    struct buf b = BUF_INIT(4096);

    pack_begin(&b);
    pack_put(&b, &job_fields, &job);
    cr_assert_eq(b.len, sizeof want - 1, "%zu bytes", b.len);
    cr_assert_arr_eq(b.data, want, b.len);
    buf_free(&b);
}

static struct event sample(struct event_attempt *attempts, size_t n)
{
    return (struct event){.kind = EVENT_REQUEST,
                          .endpoint = str_of("/ask"),
                          .status = 200,
                          .start_us = -5,
                          .question = str_of("¿?"),
                          .toxicity_safe = 0.8,
                          .has_scores = true,
                          .attempts = {attempts, n}};
}

Test(pack, several_entries_come_back_as_they_went)
{
    struct event_attempt attempts[2] = {{.status = 429, .outcome = str_of("http")},
                                        {.status = 200, .outcome = str_of("ok")}};
    struct event in = sample(attempts, 2), out;
    struct buf b = BUF_INIT(4096);
    struct pack_reader *r;

    pack_begin(&b);
    pack_put(&b, &event_fields, &in);
    pack_put(&b, &event_fields, &(struct event){.kind = EVENT_ACK, .seq = UINT64_MAX});
    cr_assert_eq(pack_open(&r, b.data, b.len), 0);
    cr_assert_eq(pack_next(r, &event_fields, &out), 1);
    cr_expect(out.kind == EVENT_REQUEST && out.status == 200 && out.start_us == -5 && out.has_scores);
    cr_expect(out.toxicity_safe == 0.8 && str_eq(out.question, "¿?") && out.answer.n == 0);
    cr_assert_eq(out.attempts.n, 2);
    cr_expect(str_eq(((struct event_attempt *)out.attempts.items)[1].outcome, "ok"));
    cr_assert_eq(pack_next(r, &event_fields, &out), 1);
    cr_expect(out.kind == EVENT_ACK && out.seq == UINT64_MAX && out.status == 0);
    cr_assert_eq(pack_next(r, &event_fields, &out), 0);
    pack_close(r);
    buf_free(&b);
}

Test(pack, unknown_keys_are_skipped)
{
    /* {1: 7, 200: [1, {"x": nil}], 2: 9} */
    static const char body[] = "\x01\x83\x01\x07\xcc\xc8\x92\x01\x81\xa1x\xc0\x02\x09";
    struct pack_reader *r;
    struct job m;

    cr_assert_eq(pack_open(&r, body, sizeof body - 1), 0);
    cr_assert_eq(pack_next(r, &job_fields, &m), 1);
    cr_expect(m.kind == 7 && m.id == 9);
    pack_close(r);
}

static int read_all(const void *p, size_t n)
{
    struct pack_reader *r;
    struct event e;
    int got = pack_open(&r, p, n);

    if (got < 0)
        return got;
    while ((got = pack_next(r, &event_fields, &e)) > 0)
        ;
    pack_close(r);
    return got;
}

Test(pack, what_is_refused)
{
    static const struct {
        const char *bytes;
        size_t n;
    } table[] = {
        {"", 0},
        {"\x02\x80", 2},                             /* another version */
        {"\x01\x81\x01", 3},                         /* cut */
        {"\x01\xc1", 2},                             /* no msgpack */
        {"\x01\x93\x01\x02\x03", 5},                 /* no map */
        {"\x01\x81\xa1k\x01", 5},                    /* key is no integer */
        {"\x01\x81\x01\xa1x", 5},                    /* text where a number belongs */
        {"\x01\x81\x15\xb1-a-method-too-long-", 20}, /* longer than its field */
        {"\x01\x81\x01\xff", 4},                     /* negative for unsigned */
        {"\x01\xdf\xff\xff\xff\xff", 6},             /* lies about its length */
        {"\x01\x81\x32\xdd\xff\xff\xff\xff", 8},
        {"\x01\x81\x22\xdb\xff\xff\xff\xffx", 9},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        cr_expect_eq(read_all(table[i].bytes, table[i].n), -EBADMSG, "row %zu", i);
}

/* Lengths that are announced and do not come, or come and are absurd: refused before anything is allocated. A body is
 * a head, then `fill` again and again up to its size. */
Test(pack, a_length_costs_nothing)
{
    static const struct {
        const char *head, *fill;
        size_t head_n, fill_n;
    } table[] = {
#define CASE(head, fill) {head, fill, sizeof(head) - 1, sizeof(fill) - 1}
        CASE("\x01\x81\x32\xdd\x0f\xff\xff\xff", ""),         /* an array of 268 million attempts */
        CASE("\x01\xdf\x08\x00\x00\x00", ""),                 /* a map of 134 million fields */
        CASE("\x01\x81\x22\xdb\xff\xff\xff\xff", ""),         /* a text of 4 GiB */
        CASE("\x01\x81\xcc\xc8\xc6\xff\xff\xff\xff", ""),     /* a blob of 4 GiB under an unknown key */
        CASE("\x01\x81\xcc\xc8\xc9\xff\xff\xff\xff\x01", ""), /* an extension of 4 GiB */
        CASE("\x01\x81\xcc\xc8\xdd\x00\xff\xff\xff", "\xc0"), /* 16 million nils, all there */
        CASE("\x01\x81\xcc\xc8", "\x91"),                     /* arrays in arrays in … */
        CASE("\x01\x81\xcc\xc8", "\x81\x01"),                 /* maps in maps in … */
        CASE("\x01\x81\xcc\xc8", "\x92\xdd\x00\x00\xff\xff"), /* both at once */
        CASE("\x01", "\x80"),                                 /* 16 million empty entries */
        CASE("\x01", "\x81\xcc\xc8\xdc\x0f\xff"),             /* 4095 values each, of which none is there */
        CASE("\x01\x81\x32\xdc\x00\x41", "\x80"),             /* one attempt too many */
#undef CASE
    };
    size_t size = 16 * MIB;
    char *body = malloc(size);

    cr_assert(body);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        size_t n = table[i].head_n;
        memcpy(body, table[i].head, n);
        for (; table[i].fill_n && n + table[i].fill_n <= size; n += table[i].fill_n)
            memcpy(body + n, table[i].fill, table[i].fill_n);
        struct pack_reader *r;
        struct event e;
        int got;
        struct mallinfo2 before = mallinfo2();
        cr_assert_eq(pack_open(&r, body, n), 0);
        while ((got = pack_next(r, &event_fields, &e)) > 0)
            ;
        struct mallinfo2 after = mallinfo2();
        cr_expect_eq(got, -EBADMSG, "row %zu", i);
        cr_expect_lt(after.uordblks + after.hblkhd - before.uordblks - before.hblkhd, MIB, "row %zu", i);
        pack_close(r);
    }
    free(body);
}

static const struct {
    const char *bytes;
    size_t n;
} every_type[] = {
#define CASE(bytes)                                                                                          \
    {                                                                                                        \
        bytes, sizeof(bytes) - 1                                                                             \
    }
    CASE("\x7f"),
    CASE("\x80"),
    CASE("\x81\xa1k\x90"),
    CASE("\x93\x01\x02\x03"),
    CASE("\xa3"
         "abc"),
    CASE("\xc0"),
    CASE("\xc2"),
    CASE("\xc3"),
    CASE("\xc4\x02zz"),
    CASE("\xc5\x00\x02zz"),
    CASE("\xc6\x00\x00\x00\x02zz"),
    CASE("\xc7\x02\x05zz"),
    CASE("\xc8\x00\x02\x05zz"),
    CASE("\xc9\x00\x00\x00\x02\x05zz"),
    CASE("\xca\x3f\x80\x00\x00"),
    CASE("\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
    CASE("\xcc\xff"),
    CASE("\xcd\xff\xff"),
    CASE("\xce\xff\xff\xff\xff"),
    CASE("\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
    CASE("\xd0\x80"),
    CASE("\xd1\x80\x00"),
    CASE("\xd2\x80\x00\x00\x00"),
    CASE("\xd3\x80\x00\x00\x00\x00\x00\x00\x00"),
    CASE("\xd4\x05z"),
    CASE("\xd5\x05zz"),
    CASE("\xd6\x05zzzz"),
    CASE("\xd7\x05zzzzzzzz"),
    CASE("\xd8\x05zzzzzzzzzzzzzzzz"),
    CASE("\xd9\x02zz"),
    CASE("\xda\x00\x02zz"),
    CASE("\xdb\x00\x00\x00\x02zz"),
    CASE("\xdc\x00\x02\x01\xc0"),
    CASE("\xdd\x00\x00\x00\x02\x01\xc0"),
    CASE("\xde\x00\x01\x01\xc0"),
    CASE("\xdf\x00\x00\x00\x01\x01\xc0"),
    CASE("\xe0"),
    CASE("\xff"),
#undef CASE
};

/* Everything that msgpack has, under a key that we do not know: passed over, and what follows is found. */
Test(pack, every_type_is_passed_over)
{
    for (size_t i = 0; i < ARRAY_LEN(every_type); i++) {
        struct buf b = BUF_INIT(4096);
        struct pack_reader *r;
        struct event e;
        buf_append(&b, "\x01\x82\xcc\xc8", 4);
        buf_append(&b, every_type[i].bytes, every_type[i].n);
        buf_append(&b, "\x01\x02\x81\x01\x03", 5);
        cr_assert_eq(pack_open(&r, b.data, b.len), 0);
        cr_expect(pack_next(r, &event_fields, &e) == 1 && e.kind == EVENT_ACK, "row %zu", i);
        cr_expect(pack_next(r, &event_fields, &e) == 1 && e.kind == EVENT_REQUEST, "row %zu", i);
        cr_expect_eq(pack_next(r, &event_fields, &e), 0);
        pack_close(r);
        for (size_t n = 1; n < b.len - 3; n++) /* cut anywhere in the first entry */
            cr_expect(n == 1 ? read_all(b.data, n) == 0 : read_all(b.data, n) == -EBADMSG, "row %zu", i);
        buf_free(&b);
    }
}

/* Damaged messages end in an entry, the end or -EBADMSG: never in a crash (run under ASan by CI). */
Test(pack, damage)
{
    struct event_attempt attempts[3] = {{.status = 1}, {.status = 2}, {.outcome = str_of("timeout")}};
    struct event in = sample(attempts, 3);
    struct buf b = BUF_INIT(4096);

    pack_begin(&b);
    pack_put(&b, &event_fields, &in);
    pack_put(&b, &event_fields, &in);
    srand(7);
    for (int round = 0; round < 20000; round++) {
        char copy[512];
        size_t n = 1 + (size_t)rand() % b.len;
        memcpy(copy, b.data, n);
        for (int i = rand() % 4; i > 0; i--)
            copy[(size_t)rand() % n] = (char)rand();
        int got = read_all(copy, n);
        cr_assert(got == 0 || got == -EBADMSG);
    }
    buf_free(&b);
}

Test(pack, keys_are_unique_and_rows_are_inside_their_struct)
{
    const struct fields *tables[] = {&job_fields, &event_fields, &event_attempt_fields};

    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (size_t i = 0; i < tables[t]->n; i++) {
            cr_expect_lt(tables[t]->rows[i].offset, tables[t]->size);
            for (size_t k = 0; k < i; k++)
                cr_expect(tables[t]->rows[i].key != tables[t]->rows[k].key &&
                              tables[t]->rows[i].offset != tables[t]->rows[k].offset,
                          "%s and %s", tables[t]->rows[i].name, tables[t]->rows[k].name);
        }
}

Test(pack, a_text_beyond_its_maximum_is_cut_between_code_points)
{
    struct event e = {.kind = 1, .process = str_of("ééééééééééééééééééé")}, out;
    struct buf b = BUF_INIT(4096);
    struct pack_reader *r;

    pack_begin(&b);
    pack_put(&b, &event_fields, &e);
    cr_assert_eq(pack_open(&r, b.data, b.len), 0);
    cr_assert_eq(pack_next(r, &event_fields, &out), 1);
    cr_expect_eq(out.process.n, 32);
    pack_close(r);
    buf_free(&b);
}
