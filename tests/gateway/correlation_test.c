#include "gateway/correlation.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "common/base/limits.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN  "00f067aa0ba902b7"

Test(correlation, request_ids_that_need_no_quoting_are_kept)
{
    static const char *const sane[] = {
        "a",
        "3f0c7a52-7a0b-4f5e-9d5c-1d2c3b4a5f60",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "Root=1-67891233-abcdef012345678912345678",
        "user@host:8080/path+x._=",
    };
    static const char *const not_sane[] = {
        NULL,   "",    "a b", " a",  "a\"b",     "a\\b",  "a\nb",
        "a\tb", "a;b", "a,b", "a{b", "\xc3\xa9", "a\x7f", "a%41",
    };

    for (size_t i = 0; i < ARRAY_LEN(sane); i++)
        cr_expect(request_id_is_sane(sane[i]), "%s", sane[i]);
    for (size_t i = 0; i < ARRAY_LEN(not_sane); i++)
        cr_expect_not(request_id_is_sane(not_sane[i]), "%s", not_sane[i] ? not_sane[i] : "NULL");
}

Test(correlation, a_request_id_has_a_greatest_length)
{
    char id[REQUEST_ID_MAX + 2];

    memset(id, 'x', sizeof id);
    id[REQUEST_ID_MAX] = '\0';
    cr_assert(request_id_is_sane(id));
    id[REQUEST_ID_MAX] = 'x';
    id[REQUEST_ID_MAX + 1] = '\0';
    cr_assert_not(request_id_is_sane(id));
}

Test(correlation, traceparent_of_this_version_and_of_later_ones)
{
    static const struct {
        const char *header;
        int flags;
    } good[] = {
        {"00-" TRACE "-" SPAN "-01", 1},
        {"00-" TRACE "-" SPAN "-00", 0},
        {"00-" TRACE "-" SPAN "-ff", 3}, /* only flags that the specification knows */
        {"00-" TRACE "-" SPAN "-03", 3},
        {"01-" TRACE "-" SPAN "-01", 1},
        {"cc-" TRACE "-" SPAN "-01-what-the-future-will-be-like", 1},
        {"fe-" TRACE "-" SPAN "-01-", 1},
    };

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct traceparent t;
        cr_assert(traceparent_parse(good[i].header, &t), "%s", good[i].header);
        cr_expect_str_eq(t.trace_id, TRACE);
        cr_expect_str_eq(t.parent_id, SPAN);
        cr_expect_eq(t.flags, good[i].flags, "%s: %d", good[i].header, t.flags);
    }
}

Test(correlation, a_traceparent_that_breaks_a_rule_is_none)
{
    static const char *const bad[] = {
        NULL,
        "",
        "0",
        "00",
        "00-",
        "00-" TRACE,
        "00-" TRACE "-",
        "00-" TRACE "-" SPAN,
        "00-" TRACE "-" SPAN "-",
        "00-" TRACE "-" SPAN "-0",
        "00-" TRACE "-" SPAN "-01-",
        "00-" TRACE "-" SPAN "-01-x",
        "00-" TRACE "-" SPAN "-011",
        "00-" TRACE "-" SPAN "-0A",
        "00-" TRACE "-" SPAN "-0.",
        "00-" TRACE "-" SPAN "_01",
        "00-" TRACE "_" SPAN "-01",
        "00_" TRACE "-" SPAN "-01",
        "ff-" TRACE "-" SPAN "-01",
        "ff-" TRACE "-" SPAN "-01-x",
        "0A-" TRACE "-" SPAN "-01",
        "01-" TRACE "-" SPAN "-01x",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-" SPAN "-01",
        "00-4bf92f3577b34da6a3ce929d0e0e47366-" SPAN "-01",
        "00-" TRACE "-00f067aa0ba902b-01",
        "00-" TRACE "-00f067aa0ba902bg-01",
        " 00-" TRACE "-" SPAN "-01",
        "00-" TRACE "-" SPAN "-01 ",
        "00-" TRACE "-" SPAN "-01,00-" TRACE "-" SPAN "-01",
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct traceparent t;
        cr_expect_not(traceparent_parse(bad[i], &t), "%s", bad[i] ? bad[i] : "NULL");
    }
}

Test(correlation, a_traceparent_that_is_cut_anywhere_is_none)
{
    static const char whole[] = "00-" TRACE "-" SPAN "-01";
    struct traceparent t;

    for (size_t n = 0; n < sizeof whole - 1; n++) {
        char *cut = strndup(whole, n); /* ends where it ends, for the sanitizer */
        cr_expect_not(traceparent_parse(cut, &t), "%s", cut);
        free(cut);
    }
}

Test(correlation, what_is_written_reads_back)
{
    char text[TRACEPARENT_SIZE];
    struct traceparent t;

    traceparent_write(text, TRACE, SPAN, TRACE_SAMPLED);
    cr_assert_str_eq(text, "00-" TRACE "-" SPAN "-01");
    cr_assert(traceparent_parse(text, &t));
}

static const char *timing(int64_t queue, int64_t worker, int64_t upstream, int64_t total)
{
    static struct buf b;

    buf_free(&b);
    b.max = 1000;
    server_timing_write(&b, &(struct timing){queue, worker, upstream, total});
    return b.data ? b.data : "";
}

Test(correlation, server_timing_names_what_applies)
{
    cr_expect_str_eq(timing(200, 12300, 11900, 12800),
                     "Server-Timing: queue;dur=0.2, worker;dur=12.3, upstream;dur=11.9, total;dur=12.8\r\n");
    cr_expect_str_eq(timing(-1, -1, -1, 1), "Server-Timing: total;dur=0.001\r\n");
    cr_expect_str_eq(timing(0, -1, 5000000, -1), "Server-Timing: queue;dur=0, upstream;dur=5000\r\n");
    cr_expect_str_eq(timing(10, 100, 1000, 10000),
                     "Server-Timing: queue;dur=0.01, worker;dur=0.1, upstream;dur=1, total;dur=10\r\n");
    cr_expect_str_eq(timing(-1, -1, -1, -1), "");
    cr_expect_str_eq(timing(INT64_MAX, -1, -1, -1), "Server-Timing: queue;dur=9223372036854775.807\r\n");
}
