#include "tests/e2e/http_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"

#define HEAD_MAX        (64u * 1024)
#define TIMEOUT_MS      30000
#define UNTIL_THE_CLOSE ((size_t)-1)

struct http_client http_open(uint16_t port)
{
    return (struct http_client){.port = port, .fd = -1};
}

void http_close(struct http_client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

void http_reply_free(struct http_reply *r)
{
    buf_free(&r->head);
    buf_free(&r->body);
    r->status = 0;
}

bool http_header(const struct http_reply *r, const char *name, char *out, size_t size)
{
    size_t n = strlen(name);
    const char *line = r->head.data ? strstr(r->head.data, "\r\n") : NULL;

    for (; line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, n) != 0 || line[n] != ':')
            continue;
        line += n + 1;
        line += strspn(line, " \t");
        size_t len = strcspn(line, "\r\n");
        if (len >= size)
            return false;
        memcpy(out, line, len);
        out[len] = '\0';
        return true;
    }
    return false;
}

/* An idle connection that the server has closed meanwhile is replaced before the request is sent, as any
 * client does. */
static bool still_open(int fd)
{
    char c;

    return recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

static const char *connect_to(struct http_client *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(c->port)};
    int one = 1;

    if (c->fd >= 0 && still_open(c->fd))
        return NULL;
    http_close(c);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return "connect";
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return connect(c->fd, (struct sockaddr *)&a, sizeof a) == 0 ? NULL : "connect";
}

static const char *send_all(int fd, const struct buf *b)
{
    for (size_t done = 0; done < b->len;) {
        ssize_t n = send(fd, b->data + done, b->len - done, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return "send";
        if (n > 0)
            done += (size_t)n;
    }
    return NULL;
}

/* Reads something more. NULL, or what went wrong. */
static const char *read_more(int fd, struct buf *b, int64_t deadline)
{
    for (;;) {
        int64_t left = deadline - clock_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left <= 0 || poll(&p, 1, (int)left) == 0)
            return "timeout";
        char *at = buf_reserve(b, 16 * 1024);
        if (!at)
            return "malformed";
        ssize_t n = recv(fd, at, 16 * 1024, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return "closed";
        b->len += (size_t)n;
        b->data[b->len] = '\0';
        return NULL;
    }
}

static const char *read_head(int fd, struct buf *in, struct http_reply *r, int64_t deadline)
{
    const char *end = NULL;

    while (!(end = in->data ? strstr(in->data, "\r\n\r\n") : NULL)) {
        const char *trouble = in->len > HEAD_MAX ? "malformed" : read_more(fd, in, deadline);
        if (trouble)
            return trouble;
    }
    size_t n = (size_t)(end - in->data);
    buf_append(&r->head, in->data, n);
    buf_consume(in, n + 4);
    if (strncmp(r->head.data, "HTTP/1.1 ", 9) != 0 && strncmp(r->head.data, "HTTP/1.0 ", 9) != 0)
        return "malformed";
    return NULL;
}

static const char *read_sized(int fd, struct buf *in, size_t want, struct buf *body, int64_t deadline)
{
    while (in->len < want) {
        const char *trouble = read_more(fd, in, deadline);
        if (trouble && want == UNTIL_THE_CLOSE && strcmp(trouble, "closed") == 0)
            want = in->len;
        else if (trouble)
            return trouble;
    }
    buf_append(body, in->data, want);
    buf_consume(in, want);
    return NULL;
}

static const char *read_chunked(int fd, struct buf *in, struct buf *body, int64_t deadline)
{
    for (;;) {
        const char *trouble = NULL;
        char *eol;
        while (!(eol = in->data ? strstr(in->data, "\r\n") : NULL))
            if ((trouble = read_more(fd, in, deadline)))
                return trouble;
        size_t size = strtoul(in->data, NULL, 16);
        size_t before = body->len;
        buf_consume(in, (size_t)(eol - in->data) + 2);
        if (size > HTTP_REPLY_MAX)
            return "malformed";
        if ((trouble = read_sized(fd, in, size + 2, body, deadline)))
            return trouble;
        body->len = before + size; /* without the chunk's own line end */
        body->data[body->len] = '\0';
        if (size == 0)
            return NULL;
    }
}

static size_t body_size(const struct http_reply *r, int status, const char *method)
{
    char v[32];

    if (strcmp(method, "HEAD") == 0 || status == 204 || status == 304)
        return 0;
    return http_header(r, "Content-Length", v, sizeof v) ? strtoul(v, NULL, 10) : UNTIL_THE_CLOSE;
}

static const char *read_reply(struct http_client *c, const char *method, struct http_reply *r,
                              int64_t deadline)
{
    struct buf in = BUF_INIT(HTTP_REPLY_MAX);
    char v[64] = "";
    const char *trouble = read_head(c->fd, &in, r, deadline);

    if (trouble)
        goto out;
    int status = (int)strtol(r->head.data + 9, NULL, 10);
    bool chunked = http_header(r, "Transfer-Encoding", v, sizeof v) && strcasecmp(v, "chunked") == 0;
    size_t size = body_size(r, status, method);
    trouble = chunked && size ? read_chunked(c->fd, &in, &r->body, deadline)
                              : read_sized(c->fd, &in, size, &r->body, deadline);
    if (!trouble && in.len)
        trouble = "malformed"; /* more bytes than one answer */
    if (!trouble)
        r->status = status;
    bool closes = http_header(r, "Connection", v, sizeof v) && strcasecmp(v, "close") == 0;
    if (closes || (size == UNTIL_THE_CLOSE && !chunked))
        http_close(c);
out:
    buf_free(&in);
    return trouble;
}

void http_call(struct http_client *c, const char *method, const char *path, struct str body,
               struct http_reply *out)
{
    int64_t deadline = clock_ms() + (c->timeout_ms ? c->timeout_ms : TIMEOUT_MS);
    struct buf request = BUF_INIT(HTTP_REPLY_MAX);
    const char *more = c->headers ? c->headers : "";

    *out = (struct http_reply){.head = BUF_INIT(HTTP_REPLY_MAX), .body = BUF_INIT(HTTP_REPLY_MAX)};
    buf_printf(&request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n%s", method, path, c->port, more);
    if (body.p && !c->bare && !strcasestr(more, "Content-Type:"))
        buf_puts(&request, "Content-Type: application/json\r\n");
    if (body.p)
        buf_printf(&request, "Content-Length: %zu\r\n", body.n);
    buf_puts(&request, "\r\n");
    buf_append(&request, body.p, body.n);

    const char *trouble = connect_to(c);
    if (!trouble)
        trouble = send_all(c->fd, &request);
    if (!trouble)
        trouble = read_reply(c, method, out, deadline);
    out->trouble = trouble;
    if (trouble)
        http_close(c);
    buf_free(&request);
}
