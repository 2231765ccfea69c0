#include "llm-worker/sse.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "common/base/limits.h"
#include "common/base/mem.h"

/* Events as one line of text: name=data; with \n for LF. */
struct seen {
    struct buf text;
    size_t events, stop_at;
};

static bool note(void *arg, struct str event, struct str data)
{
    struct seen *seen = arg;

    buf_append(&seen->text, event.p, event.n);
    buf_putc(&seen->text, '=');
    for (size_t i = 0; i < data.n; i++)
        buf_append(&seen->text, data.p[i] == '\n' ? "\\n" : data.p + i, data.p[i] == '\n' ? 2 : 1);
    buf_putc(&seen->text, ';');
    cr_assert(data.n == 0 || data.p[data.n] == '\n' || data.p[data.n] == '\r' || data.p[data.n] == '\0');
    return ++seen->events != seen->stop_at;
}

/* In pieces of `piece` bytes, the first one shorter; each in memory of its own, so that what is read beyond it or kept
 * of it shows. */
static enum sse_result feed(struct sse *s, struct str text, size_t first, size_t piece, struct seen *seen)
{
    enum sse_result result = SSE_OK;

    for (size_t i = 0, n = first; i < text.n; i += n, n = piece) {
        if (n > text.n - i)
            n = text.n - i;
        char *copy = xmalloc(n);
        memcpy(copy, text.p + i, n);
        result = sse_feed(s, (struct str){copy, n}, note, seen);
        memset(copy, 'x', n);
        free(copy);
    }
    return result;
}

/* However it is cut. */
static void expect(struct str text, size_t max_event, const char *want, enum sse_result result)
{
    struct sse s;

    sse_init(&s, max_event);
    for (size_t piece = 1; piece <= text.n + 1; piece++)
        for (size_t first = 1; first <= piece; first++) {
            struct seen seen = {.text = BUF_INIT(MIB)};
            buf_puts(&seen.text, "");
            cr_expect_eq(feed(&s, text, first, piece, &seen), result, "%s by %zu", text.p, piece);
            cr_expect_str_eq(seen.text.data, want, "%s by %zu", text.p, piece);
            buf_free(&seen.text);
            sse_reset(&s);
        }
    sse_free(&s);
}

Test(sse, events)
{
    static const struct {
        const char *text, *want;
    } table[] = {
        {"", ""},
        {"\n\n\r\n\r", ""},
        {"data: a\n\n", "=a;"},
        {"data: a\r\n\r\n", "=a;"},
        {"data: a\r\r", "=a;"},
        {"data: a\r\n\rdata: b\r\n\n", "=a;=b;"},
        {"data: a\n\r\ndata: b\n\r", "=a;=b;"},
        {"data: a\n\ndata: b\n\n", "=a;=b;"},
        /* the examples of the specification */
        {"data: YHOO\ndata: +2\ndata: 10\n\n", "=YHOO\\n+2\\n10;"},
        {": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
         "=first event;=second event;= third event;"},
        {"data\n\ndata\ndata\n\ndata:", "=;=\\n;"},
        {"data:test\n\ndata: test\n\n", "=test;=test;"},
        /* the end without an empty line */
        {"data: a", ""},
        {"data: a\n", ""},
        {"data: a\n\ndata: b\n", "=a;"},
        /* empty data joined */
        {"data:\ndata: a\n\n", "=\\na;"},
        {"data: a\ndata:\n\n", "=a\\n;"},
        {"data: a\ndata\ndata\ndata: b\n\n", "=a\\n\\n\\nb;"},
        {"data:\r\r\n\n", "=;"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        expect(str_of(table[i].text), 100, table[i].want, SSE_OK);
}

Test(sse, names_and_what_is_not_for_us)
{
    static const struct {
        const char *text, *want;
    } table[] = {
        {"event: add\ndata: 1\n\ndata: 2\n\n", "add=1;=2;"},
        {"data: 1\nevent: add\n\n", "add=1;"},
        {"event: a\nevent: b\ndata: 1\n\n", "b=1;"},
        {"event: a\nevent\ndata: 1\n\n", "=1;"},
        {"event: a\n\ndata: 1\n\n", "=1;"},
        {"event: a\r\ndata: 1\r\ndata: 2\r\n\r\n", "a=1\\n2;"},
        {":\n: data: a\n:data: b\n\n", ""},
        {"id: 7\nretry: 10\ndata: a\nx: y\nz\n\n", "=a;"},
        {"Data: a\n data: a\ndata : a\nxdata: a\ndata\t: a\n\n", ""},
        {"data: a: b\n\n", "=a: b;"},
        {"data:\ta\n\n", "=\ta;"},
        /* a byte order mark: the first only, and whole */
        {"\xef\xbb\xbf"
         "data: a\n\n",
         "=a;"},
        {"\xef\xbb\xbf\n\ndata: a\n\n", "=a;"},
        {"\xef\xbb\xbf\xef\xbb\xbf"
         "data: a\n\n",
         ""},
        {"\n\xef\xbb\xbf"
         "data: a\n\n",
         ""},
        {"\xef\xbb"
         "data: a\n\n",
         ""},
        {"data: \xef\xbb\xbf\n\n", "=\xef\xbb\xbf;"},
        /* bytes are left alone */
        {"data: \xff\xc3\n\n", "=\xff\xc3;"},
        {"data: ¡Hola, señor 日本!\n\n", "=¡Hola, señor 日本!;"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        expect(str_of(table[i].text), 100, table[i].want, SSE_OK);
}

Test(sse, a_zero_byte_is_a_byte_like_others)
{
    static const char text[] = "data: a\0b\n\n";
    struct seen seen = {.text = BUF_INIT(MIB)};
    struct sse s;

    sse_init(&s, 100);
    cr_expect_eq(feed(&s, (struct str){text, sizeof text - 1}, 3, 3, &seen), SSE_OK);
    cr_expect(seen.text.len == 5 && memcmp(seen.text.data, "=a\0b;", 5) == 0);
    buf_free(&seen.text);
    sse_free(&s);
}

Test(sse, what_is_too_large)
{
    static const struct {
        const char *text, *want;
        enum sse_result result;
    } table[] = {
        {"data: 3456789012\ndata: a\n\ndata: b\n\n", "=3456789012\\na;=b;", SSE_OK},
        {"data: 0\n\ndata: 345678901234567\n\ndata: b\n\n", "=0;", SSE_TOO_LARGE},
        {"data: 0\n\n: 345678901234567890", "=0;", SSE_TOO_LARGE},
        {": 34567890123456\n: 34567890123456\ndata: 0\n\n", "=0;", SSE_OK},
        {"data: 5678\ndata: 0123456\n\n", "=5678\\n0123456;", SSE_OK},
        {"data: 5678901234\ndata: 67890\n\n", "=5678901234\\n67890;", SSE_OK},
        {"data: 5678901234\ndata: 678901\n\n", "", SSE_TOO_LARGE},
        {"event: 12345678\ndata: 12345678\n\n", "12345678=12345678;", SSE_OK},
        {"event: 12345678\ndata: 123456789\n\n", "", SSE_TOO_LARGE},
        {"data: 123456789\nevent: 12345678\n\n", "", SSE_TOO_LARGE},
        {"event: 12345678\nevent: 1\ndata: 123456789\n\n", "1=123456789;", SSE_OK},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        expect(str_of(table[i].text), 16, table[i].want, table[i].result);
}

Test(sse, stopped_until_reset)
{
    struct seen seen = {.text = BUF_INIT(MIB), .stop_at = 2};
    struct sse s;
    struct str text = str_of("data: a\n\ndata: b\n\ndata: c\n\nda");

    sse_init(&s, 100);
    cr_expect_eq(sse_feed(&s, text, note, &seen), SSE_STOPPED);
    cr_expect_eq(sse_feed(&s, text, note, &seen), SSE_STOPPED);
    cr_expect_eq(sse_feed(&s, (struct str){NULL, 0}, note, &seen), SSE_STOPPED);
    cr_expect_str_eq(seen.text.data, "=a;=b;");
    sse_reset(&s);
    cr_expect_eq(sse_feed(&s, str_of("data: d\n\nda"), note, &seen), SSE_OK);
    sse_reset(&s);
    cr_expect_eq(sse_feed(&s, str_of("ta: x\n\ndata: e\n\n"), note, &seen), SSE_OK);
    cr_expect_str_eq(seen.text.data, "=a;=b;=d;=e;");
    buf_free(&seen.text);
    sse_free(&s);
}

Test(sse, free_may_come_twice_or_early)
{
    struct sse s = {.max_event = 0};

    sse_free(&s);
    sse_init(&s, 10);
    sse_free(&s);
    sse_free(&s);
}
