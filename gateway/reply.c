#include "gateway/reply.h"

#include "common/base/json.h"

static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {200, "OK"},
    {400, "Bad Request"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {413, "Content Too Large"},
    {422, "Unprocessable Content"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
};

static const char *reason(int status)
{
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Status";
}

void reply_render(struct buf *out, const struct reply *r, bool head_only, bool close)
{
    buf_printf(out, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n", r->status,
               reason(r->status), r->type ? r->type : REPLY_JSON, r->body.n);
    if (r->request_id.n)
        buf_printf(out, "X-Request-ID: %.*s\r\n", (int)r->request_id.n, r->request_id.p);
    if (r->allow)
        buf_printf(out, "Allow: %s\r\n", r->allow);
    if (r->retry_after > 0)
        buf_printf(out, "Retry-After: %d\r\n", r->retry_after);
    if (close)
        buf_puts(out, "Connection: close\r\n");
    buf_puts(out, "\r\n");
    if (!head_only)
        buf_append(out, r->body.p, r->body.n);
}

struct reply reply_detail(struct buf *hold, int status, const char *detail)
{
    buf_reset(hold);
    buf_putc(hold, '{');
    json_field_str(hold, "detail", str_of(detail));
    buf_putc(hold, '}');
    return (struct reply){.status = status, .body = buf_str(hold)};
}
