#include "gateway/reply.h"

#include <criterion/criterion.h>
#include <string.h>

static struct buf out = {.max = 4096};

/* The answer without its Date, which is checked for its form here. */
static const char *undated(void)
{
    char *date = strstr(out.data, "Date: ");

    cr_assert_not_null(date);
    char *end = strstr(date, "\r\n");
    cr_assert_eq(end - date, (long)strlen("Date: Sun, 06 Nov 1994 08:49:37 GMT"), "%s", date);
    cr_assert_eq(memcmp(end - 4, " GMT", 4), 0);
    memmove(date, end + 2, strlen(end + 2) + 1);
    return out.data;
}

Test(reply, one_piece_with_the_length_of_its_body)
{
    struct buf hold = {.max = 4096};
    struct reply r = reply_detail(&hold, 404, "Not Found");

    reply_render(&out, &r, false, REPLY_KEEP);
    cr_assert_str_eq(undated(),
                     "HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\nContent-Type: application/json\r\n\r\n"
                     "{\"detail\":\"Not Found\"}");
    buf_free(&hold);
    buf_free(&out);
}

Test(reply, head_has_the_headers_of_get_and_no_body)
{
    struct reply r = {.status = 200,
                      .type = "text/plain",
                      .body = str_of("hola"),
                      .headers = str_of("X-Request-ID: id-1\r\n")};

    reply_render(&out, &r, true, REPLY_CLOSE);
    cr_assert_str_eq(undated(), "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Type: text/plain\r\n"
                                "X-Request-ID: id-1\r\nConnection: close\r\n\r\n");
    buf_free(&out);
}

Test(reply, refusals_name_what_helps)
{
    struct reply r = {.status = 503, .body = str_of("{}"), .retry_after = 7, .allow = "GET, HEAD"};

    reply_render(&out, &r, false, REPLY_KEEP_1_0);
    cr_assert_not_null(strstr(out.data, "\r\nRetry-After: 7\r\n"));
    cr_assert_not_null(strstr(out.data, "\r\nAllow: GET, HEAD\r\n"));
    cr_assert_not_null(strstr(out.data, "\r\nConnection: keep-alive\r\n"));
    buf_free(&out);
}

Test(reply, no_type_without_a_body)
{
    struct reply r = {.status = 307, .type = "", .headers = str_of("Location: /x\r\n")};

    reply_render(&out, &r, false, REPLY_KEEP);
    cr_assert_str_eq(undated(),
                     "HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\nLocation: /x\r\n\r\n");
    buf_free(&out);
}

Test(reply, pieces_are_chunks_and_an_empty_one_is_the_last)
{
    struct reply r = {.status = 200, .type = "text/event-stream", .body = str_of("not here")};

    reply_render_head(&out, &r, true, REPLY_KEEP);
    reply_render_chunk(&out, str_of("0123456789abcdef"));
    reply_render_chunk(&out, str_of(""));
    cr_assert_str_eq(undated(), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                                "Content-Type: text/event-stream\r\n\r\n"
                                "10\r\n0123456789abcdef\r\n0\r\n\r\n");
    buf_free(&out);
}

Test(reply, an_answer_that_ends_with_its_connection_has_no_length)
{
    struct reply r = {.status = 200, .type = ""};

    reply_render_head(&out, &r, false, REPLY_CLOSE);
    cr_assert_str_eq(undated(), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    buf_free(&out);
}
