/* Requests as bytes: what is a head, what is refused, and that it does not matter how the bytes arrive. */
#include "tests/fakes/http1.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "common/base/limits.h"

#define HOST "Host: a\r\n"

Test(http1, heads)
{
    static const struct {
        const char *text;
        int rc; /* 1: a head, 0: more is needed, negative: the refusal */
    } table[] = {
        {"GET / HTTP/1.1\r\n" HOST "\r\n", 1},
        {"GET / HTTP/1.0\r\n\r\n", 1},
        {"\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 1},
        {"GET http://a:1/x?y HTTP/1.1\r\n" HOST "\r\n", 1},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 1},
        {"POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n", 1},
        {"GET / HTTP/1.1\r\n" HOST, 0},
        {"GE", 0},
        {"", 0},
        {"\x16\x03\x01", -400},
        {"GET / HTTP/1.1\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\n" HOST HOST "\r\n", -400},
        {"GET / HTTP/2.0\r\n" HOST "\r\n", -505},
        {"GET  / HTTP/1.1\r\n" HOST "\r\n", -400},
        {"GET x HTTP/1.1\r\n" HOST "\r\n", -400},
        {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", -400},
        {"GET / HTTP/1.1\n" HOST "\r\n\r\n", -400},
        {"GET / HTTP/1.1\r\n" HOST "X: a\x01\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1x\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999\r\n\r\n", -413},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n", -501},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", -400},
        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", -400},
        {"POST / HTTP/1.1\r\n" HOST "Expect: 200-ok\r\n\r\n", -417},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct http1_head h;
        size_t n = strlen(table[i].text);
        int rc = http1_parse_head(table[i].text, n, &h);
        cr_expect(table[i].rc == 1 ? rc == (int)n : rc == table[i].rc, "%s: %d", table[i].text, rc);
    }
}

Test(http1, parts_of_a_head)
{
    static const char text[] = "POST /v1/x?a=1&b=2 HTTP/1.1\r\nhOsT: me\r\nX-Empty:\r\nContent-Length: 12\r\n"
                               "connection: foo, Close\r\nX-Long:   two words \t\r\n\r\nrest";
    struct http1_head h;

    cr_assert_eq(http1_parse_head(text, sizeof text - 1, &h), (int)sizeof text - 5);
    cr_expect(str_eq(h.method, "POST") && str_eq(h.path, "/v1/x") && str_eq(h.query, "a=1&b=2"));
    cr_expect(h.length == 12 && !h.chunked && !h.keep_alive && !h.http10);
    cr_expect(str_eq(http1_field(h.fields, "x-long"), "two words"));
    cr_expect(http1_field(h.fields, "x-empty").p && http1_field(h.fields, "x-empty").n == 0);
    cr_expect_null(http1_field(h.fields, "x-lon").p);
    cr_expect_null(http1_field(h.fields, "connection: foo").p);
}

Test(http1, a_head_has_a_limit)
{
    char *text = malloc(FAKE_HEAD_MAX + 100);
    struct http1_head h;

    memset(text, 'a', FAKE_HEAD_MAX + 100);
    cr_expect_eq(http1_parse_head(text, FAKE_HEAD_MAX, &h), 0);
    cr_expect_eq(http1_parse_head(text, FAKE_HEAD_MAX + 1, &h), -431);
    free(text);
}

/* Feeds the text byte by byte, so that every line is cut at every place. */
static int dechunk(const char *text, char *body, struct http1_chunks *c)
{
    size_t n = strlen(text);
    int rc = 0;

    *c = (struct http1_chunks){0};
    for (size_t i = 1; i <= n && rc == 0; i++) {
        body[i - 1] = text[i - 1];
        rc = http1_dechunk(c, body, i);
    }
    return rc;
}

Test(http1, chunks)
{
    static const struct {
        const char *text;
        int rc;
        const char *body;
    } table[] = {
        {"3\r\nabc\r\n0\r\n\r\n", 1, "abc"},
        {"1\r\na\r\n2;x=y\r\nbc\r\n00\r\nTrailer: x\r\n\r\n", 1, "abc"},
        {"0\r\n\r\n", 1, ""},
        {"A\r\n0123456789\r\n0\r\n\r\n", 1, "0123456789"},
        {"3\r\nab", 0, "ab"},
        {"3\r\nabcd", 0, "abc"},
        {"3\r\nabcd\r\n", -400, "abc"},
        {"\r\n", -400, ""},
        {"g\r\n", -400, ""},
        {"-1\r\n", -400, ""},
        {"123456789\r\n", -400, ""},
        {"3\nabc", -400, ""},
        {"7fffffff\r\n", -413, ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char body[256];
        struct http1_chunks c;
        int rc = dechunk(table[i].text, body, &c);
        cr_expect_eq(rc, table[i].rc, "%s: %d", table[i].text, rc);
        cr_expect(c.body == strlen(table[i].body) && memcmp(body, table[i].body, c.body) == 0, "%s",
                  table[i].text);
        if (rc == 1)
            cr_expect_eq(c.raw, strlen(table[i].text), "%s", table[i].text);
    }
}
