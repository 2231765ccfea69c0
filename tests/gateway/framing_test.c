/*
 * The filter alone: what it lets through, what it refuses, and that it does not matter in which pieces bytes come.
 * The cases that a client can see are in tests/e2e/front_test.c, against the gateway.
 */
#include "gateway/framing.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "common/base/limits.h"

/* Feeds `in` in pieces of n bytes; out has room for all. Returns its length. */
static size_t feed(struct framing *f, const char *in, size_t len, size_t n, char *out)
{
    size_t got = 0;

    for (size_t at = 0; at < len && f->state != FRAMING_REFUSED; at += n) {
        size_t k = len - at < n ? len - at : n;
        got += framing_filter(f, out + got, in + at, k);
    }
    return got;
}

#define H "Host: a\r\n"

static const struct {
    const char *in;
    const char *out; /* what civetweb sees; NULL: refused */
    int status;
    unsigned complete;
} cases[] = {
    {"GET / HTTP/1.1\r\n" H "\r\n", "GET / HTTP/1.1\r\n" H "\r\n", 0, 1},
    {"\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", "GET / HTTP/1.1\r\n" H "\r\n", 0, 1},
    {"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", 0, 1},
    {"GET http://a.example:80/x?y HTTP/1.1\r\n" H "\r\n", "GET /x?y HTTP/1.1\r\n" H "\r\n", 0, 1},
    {"TRACE / HTTP/1.1\r\n" H "\r\n", "MKCOL / HTTP/1.1\r\n" H "\r\n", 0, 1},
    {"X / HTTP/1.1\r\n" H "\r\n", "MKCOL / HTTP/1.1\r\n" H "\r\n", 0, 1},
    {"GET http://a?y HTTP/1.1\r\n" H "\r\n", "GET /?y HTTP/1.1\r\n" H "\r\n", 0, 1},
    {"OPTIONS http://a HTTP/1.1\r\n" H "\r\n", "OPTIONS / HTTP/1.1\r\n" H "\r\n", 0, 1},
    {"GET / HTTP/1.1\r\n" H "X:\r\nY:\t \r\nZ:a  b\r\n\r\n",
     "GET / HTTP/1.1\r\n" H "X:\r\nY:\r\nZ: a  b\r\n\r\n", 0, 1},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n",
     "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 1},
    {"A / HTTP/1.1\r\n" H "\r\nB / HTTP/1.1\r\n" H "\r\nC / HTTP/1.1\r\n" H "\r\n",
     "MKCOL / HTTP/1.1\r\n" H "\r\nMKCOL / HTTP/1.1\r\n" H "\r\nMKCOL / HTTP/1.1\r\n" H "\r\n", 0, 3},
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", "OPTIONS / HTTP/1.1\r\n" H "\r\n", 0, 1},
    {"GET / HTTP/1.1\r\n" H "X:\ta\tb \t\r\n\r\n", "GET / HTTP/1.1\r\n" H "X: a b\r\n\r\n", 0, 1},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 3 \r\n\r\nabcGET / HTTP/1.1\r\n" H "\r\n",
     "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n" H "\r\n", 0, 2},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", "POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n",
     0, 1},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 9\r\n\r\nabc",
     "POST / HTTP/1.1\r\n" H "Content-Length: 9\r\n\r\nabc", 0, 0},
    {"POST / HTTP/1.1\r\n" H
     "Transfer-Encoding: Chunked\r\n\r\n3;a=\"b c\"\r\nabc\r\n0;x\r\nT: u\r\nV: w\r\n\r\n",
     "POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 0, 1},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0aB\r\n", NULL, 0, 0},

    {"GET / HTTP/1.1\n" H "\n", NULL, 400, 0},
    {"GET / HTTP/1.1\r\nHost: a\n\r\n", NULL, 400, 0},
    {"GET / HTTP/1.1\r\n" H "\n", NULL, 400, 0},
    {"GET / HTTP/1.1\r" H "\r\n", NULL, 400, 0},
    {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", NULL, 400, 0},
    {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", NULL, 400, 0},
    {"GET / HTTP/1.1\r\n" H " folded\r\n\r\n", NULL, 400, 0},
    {"GET / HTTP/1.1\r\n" H ": empty\r\n\r\n", NULL, 400, 0},
    {"GET / HTTP/1.1\r\n" H "No colon\r\n\r\n", NULL, 400, 0},
    {"GET / HTTP/1.1\r\n" H "X: a\001b\r\n\r\n", NULL, 400, 0},
    {"GET / HTTP/1.1\r\n\r\n", NULL, 400, 0},
    {"GET / HTTP/1.1\r\n" H H "\r\n", NULL, 400, 0},
    {"GET  / HTTP/1.1\r\n" H "\r\n", NULL, 400, 0},
    {"GET / HTTP/1.1 \r\n" H "\r\n", NULL, 400, 0},
    {"GET /a b HTTP/1.1\r\n" H "\r\n", NULL, 400, 0},
    {"GET /\xc3\xb1 HTTP/1.1\r\n" H "\r\n", NULL, 400, 0},
    {"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", NULL, 400, 0},
    {"OPTIONS *x HTTP/1.1\r\n" H "\r\n", NULL, 400, 0},
    {"GET http:///x HTTP/1.1\r\n" H "\r\n", NULL, 400, 0},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", NULL, 400, 0},
    {"GET x HTTP/1.1\r\n" H "\r\n", NULL, 400, 0},
    {"GET / HTTP/1.1x\r\n" H "\r\n", NULL, 400, 0},
    {"GET /\r\n", NULL, 400, 0},
    {" GET / HTTP/1.1\r\n" H "\r\n", NULL, 400, 0},
    {"\x16\x03\x01\x02", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", NULL, 400,
     0},
    {"POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\n", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 3, 3\r\n\r\n", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 3 3\r\n\r\n", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0x3\r\n\r\n", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 1234567890123456789\r\n\r\n", NULL, 413, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n\r\n", NULL, 501, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, gzip\r\n\r\n", NULL, 501, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chu nked\r\n\r\n", NULL, 501, 0},
    {"POST / HTTP/1.1\r\n" H "Expect: a-miracle\r\n\r\n", NULL, 417, 0},
    {"GET / HTTP/2.0\r\n\r\n", NULL, 505, 0},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n", NULL, 400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n00000000000000003\r\nabc\r\n0\r\n\r\n", NULL,
     400, 0},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nT: a\nb\r\n\r\n", NULL, 400, 0},
};

static void check(size_t i, size_t piece)
{
    char out[1024];
    struct framing f = {.state = FRAMING_START};
    size_t n = feed(&f, cases[i].in, strlen(cases[i].in), piece, out);

    cr_expect_eq(f.complete, cases[i].complete, "%s (pieces of %zu): %d complete", cases[i].in, piece,
                 (int)f.complete);
    cr_expect_eq(f.status, cases[i].status, "%s (pieces of %zu): %d %s", cases[i].in, piece, f.status,
                 f.why ? f.why : "");
    if (cases[i].status)
        cr_expect_eq(out[n - 1], '\1', "%s (pieces of %zu): no stop", cases[i].in, piece);
    else if (cases[i].out)
        cr_expect(n == strlen(cases[i].out) && memcmp(out, cases[i].out, n) == 0, "%s (pieces of %zu): %.*s",
                  cases[i].in, piece, (int)n, out);
}

Test(framing, what_is_let_through_and_what_is_not)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t piece = 1; piece <= strlen(cases[i].in); piece++)
            check(i, piece);
}

/* The requests before the offence are whole, and nothing of the offending one follows them. */
Test(framing, a_bad_request_behind_a_good_one)
{
    static const char good[] = "GET /1 HTTP/1.1\r\n" H "\r\n";
    struct framing f = {.state = FRAMING_START};
    char both[256];
    int n = snprintf(both, sizeof both, "%sGET /2 HTTP/1.1\r\nHost : a\r\n\r\n", good);
    char out[FRAMING_ROOM(256)];
    size_t left = framing_filter(&f, out, both, (size_t)n);

    cr_assert_eq(f.complete, 1);
    cr_assert_eq(f.status, 400);
    cr_assert_eq(left, strlen(good) + 1);
    cr_expect_eq(memcmp(out, good, strlen(good)), 0);
    cr_expect_eq(out[left - 1], '\1');
    cr_expect_eq(framing_filter(&f, out, both, 1), 1, "what comes after a refusal is refused as well");
}

static void put(struct framing *f, const char *text)
{
    char room[FRAMING_ROOM(512)];

    cr_assert_leq(FRAMING_ROOM(strlen(text)), sizeof room);
    framing_filter(f, room, text, strlen(text));
}

static void put_many(struct framing *f, const char *text, size_t times)
{
    for (size_t i = 0; i < times; i++)
        put(f, text);
}

Test(framing, heads_have_limits)
{
    struct framing f = {.state = FRAMING_START};

    put(&f, "GET / HTTP/1.1\r\n" H);
    put_many(&f, "X: y\r\n", HTTP_FIELDS_MAX - 1);
    put(&f, "\r\n");
    cr_expect_eq(f.complete, 1, "%d fields are allowed", HTTP_FIELDS_MAX);
    put(&f, "GET / HTTP/1.1\r\n" H);
    put_many(&f, "X: y\r\n", HTTP_FIELDS_MAX);
    cr_expect_eq(f.status, 431);

    f = (struct framing){.state = FRAMING_START};
    put(&f, "GET / HTTP/1.1\r\n" H "X: ");
    put_many(&f, "a", HTTP_HEADERS_MAX);
    cr_expect_eq(f.status, 431);

    f = (struct framing){.state = FRAMING_START};
    put(&f, "GET /");
    put_many(&f, "a", HTTP_TARGET_MAX);
    cr_expect_eq(f.status, 414);
}

Test(framing, extensions_and_trailers_have_limits)
{
    static const char head[] = "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n";
    struct framing f = {.state = FRAMING_START};

    put(&f, head);
    put(&f, "1;");
    put_many(&f, "a", HTTP_CHUNK_LINE_MAX + 1);
    cr_expect_eq(f.status, 431);

    f = (struct framing){.state = FRAMING_START};
    put(&f, head);
    put(&f, "0\r\n");
    put_many(&f, "a", HTTP_CHUNK_LINE_MAX + 1);
    cr_expect_eq(f.status, 431);
}

Test(framing, tells_where_a_connection_stands)
{
    struct framing f = {.state = FRAMING_START};

    put(&f, "\r\n");
    cr_expect(!framing_inside(&f), "an empty line begins no request");
    put(&f, "POST / HTT");
    cr_expect(framing_inside(&f) && framing_in_head(&f));
    put(&f, "P/1.1\r\n" H "Content-Length: 2\r\n\r\n");
    cr_expect(framing_inside(&f) && !framing_in_head(&f));
    framing_refuse(&f, 408, "late");
    cr_expect_eq(f.status, 408);
    framing_refuse(&f, 400, "again");
    cr_expect_eq(f.status, 408, "the first reason stands");
}
