#include "gateway/reply.h"

#include <stdio.h>
#include <time.h>

#include "common/base/json.h"

static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {200, "OK"},
    {202, "Accepted"},
    {307, "Temporary Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
};

static const char *reason(int status)
{
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Status";
}

/* RFC 9110 5.6.7; written once a second per thread. */
static const char *date(void)
{
    static _Thread_local char text[32];
    static _Thread_local time_t written;
    time_t now = time(NULL);

    if (now != written || !*text) {
        struct tm tm;
        gmtime_r(&now, &tm);
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        written = now;
    }
    return text;
}

/* framing: the fields that tell where the body ends. */
static void render_head(struct buf *out, const struct reply *r, const char *framing,
                        enum reply_connection connection)
{
    static const char *const connections[] = {
        [REPLY_KEEP] = "",
        [REPLY_KEEP_1_0] = "Connection: keep-alive\r\n",
        [REPLY_CLOSE] = "Connection: close\r\n",
    };
    const char *type = r->type ? r->type : REPLY_JSON;

    buf_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\n%s", r->status, reason(r->status), date(), framing);
    if (*type)
        buf_printf(out, "Content-Type: %s\r\n", type);
    buf_append(out, r->headers.p, r->headers.n);
    if (r->allow)
        buf_printf(out, "Allow: %s\r\n", r->allow);
    if (r->retry_after > 0)
        buf_printf(out, "Retry-After: %d\r\n", r->retry_after);
    buf_puts(out, connections[connection]);
    buf_puts(out, "\r\n");
}

void reply_render(struct buf *out, const struct reply *r, bool head_only, enum reply_connection connection)
{
    char length[48];

    snprintf(length, sizeof length, "Content-Length: %zu\r\n", r->body.n);
    render_head(out, r, length, connection);
    if (!head_only)
        buf_append(out, r->body.p, r->body.n);
}

void reply_render_head(struct buf *out, const struct reply *r, bool chunked, enum reply_connection connection)
{
    render_head(out, r, chunked ? "Transfer-Encoding: chunked\r\n" : "", connection);
}

void reply_render_chunk(struct buf *out, struct str piece)
{
    buf_printf(out, "%zx\r\n", piece.n);
    buf_append(out, piece.p, piece.n);
    buf_append(out, "\r\n", 2);
}

struct reply reply_detail(struct buf *hold, int status, const char *detail)
{
    buf_reset(hold);
    buf_putc(hold, '{');
    json_field_str(hold, "detail", str_of(detail));
    buf_putc(hold, '}');
    return (struct reply){.status = status, .body = buf_str(hold)};
}
