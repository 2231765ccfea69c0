#include "gateway/reply.h"

#include <criterion/criterion.h>

static struct buf out = {.max = 4096};

Test(reply, one_piece_with_the_length_of_its_body)
{
    struct buf hold = {.max = 4096};
    struct reply r = reply_detail(&hold, 404, "Not Found");

    reply_render(&out, &r, false, false);
    cr_assert_str_eq(out.data,
                     "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 22\r\n\r\n"
                     "{\"detail\":\"Not Found\"}");
    buf_free(&hold);
    buf_free(&out);
}

Test(reply, head_has_the_headers_of_get_and_no_body)
{
    struct reply r = {
        .status = 200, .type = "text/plain", .body = str_of("hola"), .request_id = str_of("id-1")};

    reply_render(&out, &r, true, true);
    cr_assert_str_eq(out.data, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n"
                               "X-Request-ID: id-1\r\nConnection: close\r\n\r\n");
    buf_free(&out);
}

Test(reply, refusals_name_what_helps)
{
    struct reply r = {.status = 503, .body = str_of("{}"), .retry_after = 7, .allow = "GET, HEAD"};

    reply_render(&out, &r, false, false);
    cr_assert_not_null(strstr(out.data, "\r\nRetry-After: 7\r\n"));
    cr_assert_not_null(strstr(out.data, "\r\nAllow: GET, HEAD\r\n"));
    buf_free(&out);
}
