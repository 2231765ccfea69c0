/* What REDACT takes out, and what it must leave alone. Numbers of cards are the brands' own test numbers. */
#include "telemetry/redact.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/utf8.h"
#include "telemetry/jsonwalk.h"

struct example {
    const char *in, *out; /* NULL: stays as it is */
};

static void check(const char *kinds, const char *prefixes, const struct example *cases, size_t n)
{
    struct redact r;

    cr_assert_eq(redact_init(&r, kinds, prefixes), 0);
    for (size_t i = 0; i < n; i++) {
        const char *want = cases[i].out ? cases[i].out : cases[i].in;
        struct buf out = BUF_INIT(MIB);
        redact_text(&r, &out, str_of(cases[i].in));
        cr_expect_str_eq(out.data, want, "%s: %s", cases[i].in, out.data);
        buf_free(&out);
    }
}

#define CHECK(kinds, prefixes, ...)                                                                          \
    check(kinds, prefixes, (const struct example[]){__VA_ARGS__},                                            \
          sizeof((const struct example[]){__VA_ARGS__}) / sizeof(struct example))

Test(redact, email)
{
    CHECK("email", "", {"write to ana.lopez+x@mail.example.com, please", "write to [email], please"},
          {"a@b.co", "[email]"}, {"<maría@correo.es>", "<[email]>"}, {"bob@example.com.", "[email]."},
          {"a@b.co c@d.org", "[email] [email]"}, {"请联系bob@example.com谢谢", "请联系[email]谢谢"},
          {"https://u:p@host.example.com/", "https://u:[email]/"}, {"señor_ñandú@señal.ar!", "[email]!"},
          {"x,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.ana@b.co",
           "x,[email]"},
          {"你ñññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññññn@b.co!", "你[email]!"},
          {"a @ b", NULL}, {"@handle", NULL}, {"user@localhost", NULL}, {"3 @ 2.50 EUR", NULL},
          {"pkg@1.2.3", NULL}, {"a@b.c", NULL}, {"a@.com", NULL}, {"", NULL}, {"@", NULL}, {"a@", NULL});
}

Test(redact, card)
{
    CHECK("card", "", {"4111111111111111", "[card]"}, {"pay 4111 1111 1111 1111 12/26", "pay [card] 12/26"},
          {"4111-1111-1111-1111.", "[card]."}, {"378282246310005", "[card]"}, {"3782 822463 10005", "[card]"},
          {"5555555555554444", "[card]"}, {"2223003122003222", "[card]"}, {"6011111111111117", "[card]"},
          {"30569309025904", "[card]"}, {"3530111333300000", "[card]"}, {"6200000000000005", "[card]"},
          {"order 12 4111 1111 1111 1111", "order 12 [card]"}, {"(4222222222222)", "([card])"},
          {"4111111111111112", NULL}, {"9111111111111111", NULL}, {"0000000000000000", NULL},
          {"order 1234567890123456", NULL}, {"41111111111111111111111", NULL}, {"x4111111111111111", NULL},
          {"4111111111111111x", NULL}, {"0.4111111111111111", NULL}, {"2026-11-24 10:29:14", NULL},
          {"1700000000000000000", NULL}, {"#4111111111111111", NULL}, {"411111111111", NULL});
}

Test(redact, phone)
{
    CHECK("phone", "", {"+34 612 345 678", "[phone]"}, {"+34612345678.", "[phone]."},
          {"call +1 (415) 555-2671 now", "call [phone] now"}, {"0034 612 345 678", "[phone]"},
          {"(415) 555-2671", "[phone]"}, {"415-555-2671", "[phone]"}, {"1-415-555-2671", "[phone]"},
          {"415.555.2671", "[phone]"}, {"612 345 678", "[phone]"}, {"91 234 56 78", "[phone]"},
          {"06 12 34 56 78", "[phone]"}, {"020 7946 0958", "[phone]"}, {"030 12345678", "[phone]"},
          {"tel:+4930123456", "tel:[phone]"}, {"Tel. 612 345 678, gracias", "Tel. [phone], gracias"},
          {"2026-11-24", NULL}, {"24-11-2026", NULL}, {"2026-11-24T10:29:14Z", NULL}, {"24.11.2026", NULL},
          {"order 4155552671", NULL}, {"order 100-200-300", NULL}, {"192.168.100.200", NULL},
          {"10.0.0.1", NULL}, {"612.345.678 EUR", NULL}, {"123456789", NULL}, {"1 2 3 4 5", NULL},
          {"2 + 2345678", NULL}, {"x+34612345678", NULL}, {"+34 612", NULL}, {"978-3-16-148410-0", NULL},
          {"0001234567", NULL}, {"123-4567890-1234567", NULL}, {"078-05-1120", NULL}, {"10:20:30", NULL},
          {"3.14159265", NULL}, {"(12)", NULL}, {"(", NULL}, {"+", NULL}, {"00", NULL});
}

Test(redact, key)
{
    CHECK("key", "", {"my key is sk-proj-abcDEF1234567890abcd!", "my key is [key]!"},
          {"OPENAI_API_KEY=sk-1234567890abcdefghij", "OPENAI_API_KEY=[key]"},
          {"AKIAIOSFODNN7EXAMPLE", "[key]"}, {"ghp_16C7e42F292c6912E7710c838347Ae178B4a", "[key]"},
          {"\"xoxb-123456789012-abcdef\"", "\"[key]\""},
          {"Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjMifQ.dozjgNryP4J3jVmNHl0w5N", "Bearer [key]"},
          {"pk-lf-12345678-90ab-cdef", "[key]"}, {"sk-learn-is-a-library-name", NULL}, {"sk-123", NULL},
          {"task-list-of-important-thing5", NULL}, {"AKIA", NULL}, {"eyJ.eyJ.eyJ", NULL},
          {"hf_transformers_docs_here", NULL});
}

Test(redact, own_prefixes)
{
    CHECK("", "acme_, ACME-", {"acme_1 and ACME-x.y.", "[redacted] and [redacted]."}, {"xacme_1", NULL},
          {"acme", NULL});
    CHECK("key", "sk-", {"sk-1", "[redacted]"});
}

Test(redact, kinds_are_taken_one_by_one)
{
    const char *all = "a@b.co 4111111111111111 +34612345678 sk-1234567890abcdefghij";

    CHECK("email", "", {all, "[email] 4111111111111111 +34612345678 sk-1234567890abcdefghij"});
    CHECK("card,phone", "", {all, "a@b.co [card] [phone] sk-1234567890abcdefghij"});
    CHECK("email, card, phone, key", "", {all, "[email] [card] [phone] [key]"});
    CHECK("", "", {all, NULL});
}

Test(redact, configuration)
{
    struct redact r;

    cr_expect_eq(redact_init(&r, "", ""), 0);
    cr_expect(redact_is_off(&r));
    cr_expect_eq(redact_init(&r, "email,iban", ""), -EINVAL);
    cr_expect_eq(redact_init(&r, "email,,card", ""), -EINVAL);
    cr_expect_eq(redact_init(&r, "", "a,,b"), -EINVAL);
    cr_expect_eq(redact_init(&r, "", "a"), 0);
    cr_expect_not(redact_is_off(&r));
}

Test(redact, json)
{
    static const struct example cases[] = {
        {"[{\"role\":\"user\",\"content\":\"soy\\nana@b.co\"}]",
         "[{\"role\":\"user\",\"content\":\"soy\\n[email]\"}]"},
        {"{\"ana@b.co\":1,\"n\":4111111111111111}", "{\"[email]\":1,\"n\":\"[card]\"}"},
        {"{\"a\":-4111111111111111}", "{\"a\":\"-[card]\"}"},
        {"\"\\u0061\\u0040b.co \\\"q\\\"\"", "\"[email] \\\"q\\\"\""},
        {"{ \"a\" : [ 1.50, true, null, \"\\u00e9\" ] }", NULL},
        {"\"\"", NULL},
        {"[1700000000000, \"\\ud800\"]", NULL},
    };
    static const struct example python[] = {
        {"[NaN,-Infinity,{\"NaN\":\"a\\nana\\u0040b.co\"}, Infinity ]",
         "[NaN,-Infinity,{\"NaN\":\"a\\n[email]\"}, Infinity ]"},
    };
    struct redact r;

    cr_assert_eq(redact_init(&r, "email,card,phone,key", ""), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = BUF_INIT(MIB);
        redact_json(&r, &out, str_of(cases[i].in));
        cr_expect_str_eq(out.data, cases[i].out ? cases[i].out : cases[i].in);
        cr_expect(jsonwalk_can(buf_str(&out)), "%s", out.data);
        buf_free(&out);
    }
    for (size_t i = 0; i < ARRAY_LEN(python); i++) {
        struct buf out = BUF_INIT(MIB);
        cr_assert(jsonwalk_reads(str_of(python[i].in)) && !jsonwalk_can(str_of(python[i].in)));
        redact_json(&r, &out, str_of(python[i].in));
        cr_expect_str_eq(out.data, python[i].out);
        buf_free(&out);
    }
}

/* Random texts of the bytes that matter: UTF-8 stays UTF-8, JSON stays JSON, and a second pass finds nothing new. */
Test(redact, anything)
{
    static const char *const pieces[] = {"@",   "a",        ".",
                                         "co",  "1",        "4111",
                                         " ",   "-",        "+",
                                         "(",   ")",        "\\\"",
                                         "\\n", "\xc3\xa9", "\xe4\xbd\xa0",
                                         "sk-", "eyJ",      "00",
                                         "_",   "\\u0040",  "\\ud83d\\ude00"};
    struct redact r;
    uint32_t x = 1;

    cr_assert_eq(redact_init(&r, "email,card,phone,key", "acme_"), 0);
    for (int round = 0; round < 20000; round++) {
        struct buf in = BUF_INIT(KIB), out = BUF_INIT(16 * KIB);
        buf_puts(&in, "[\"");
        for (int i = 0; i < 24; i++) {
            x = x * 1664525 + 1013904223;
            buf_puts(&in, pieces[(x >> 16) % ARRAY_LEN(pieces)]);
        }
        buf_puts(&in, "\"]");
        redact_json(&r, &out, buf_str(&in));
        cr_assert(jsonwalk_can(buf_str(&out)), "%s -> %s", in.data, out.data);
        cr_assert_eq(out.data[0], '[');
        buf_reset(&out);
        redact_text(&r, &out, buf_str(&in));
        for (size_t i = 0; i < out.len;) {
            uint32_t cp;
            int n = utf8_next(out.data + i, out.len - i, &cp);
            cr_assert_gt(n, 0, "%s -> %s", in.data, out.data);
            i += (size_t)n;
        }
        buf_free(&in);
        buf_free(&out);
    }
}

/* Texts made to be looked at again and again: four times the length takes about four times as long. */
/* Of this thread: the machine may have other things to do. */
static int64_t cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

Test(redact, linear)
{
    static const char *const evil[] = {"a", "a.", "a@", "ña",   "ñ你", "sk-", "sk-a1.", "eyJaaaaaaaa.",
                                       "1", "1 ", "+1", "(1) ", "00 ", "0 0-"};
    struct redact r;

    cr_assert_eq(redact_init(&r, "email,card,phone,key", "a,1"), 0);
    for (size_t i = 0; i < ARRAY_LEN(evil); i++) {
        int64_t took[2];
        for (int big = 0; big < 2; big++) {
            struct buf in = BUF_INIT(16 * MIB), out = BUF_INIT(64 * MIB);
            while (in.len < (big ? 8 : 1) * 256 * KIB)
                buf_puts(&in, evil[i]);
            int64_t from = cpu_us();
            redact_text(&r, &out, buf_str(&in));
            took[big] = cpu_us() - from;
            buf_free(&in);
            buf_free(&out);
        }
        cr_expect_lt(took[1], 30 * took[0] + 100000, "'%s': %lld us, %lld us", evil[i], (long long)took[0],
                     (long long)took[1]);
    }
}
