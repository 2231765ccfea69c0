#include "tests/e2e/sse_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/limits.h"

#define PATIENCE_MS 20000
#define PIECE       (16 * KIB)

static bool give_up(struct sse_client *c, const char *trouble)
{
    c->trouble = trouble;
    c->over = true;
    return false;
}

/* 1: something came; 0: the end; below: trouble. */
static bool read_more(struct sse_client *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLIN};

    if (poll(&p, 1, PATIENCE_MS) != 1)
        return give_up(c, "timeout");
    char *at = buf_reserve(&c->in, PIECE);
    if (!at)
        return give_up(c, "malformed");
    ssize_t n = recv(c->fd, at, PIECE, 0);
    if (n <= 0)
        return give_up(c, "closed");
    c->in.len += (size_t)n;
    c->in.data[c->in.len] = '\0';
    return true;
}

/* The next line of the chunks' frames, without its end; consumed by the caller. NULL: there is no more. */
static char *frame_line(struct sse_client *c, size_t *n)
{
    char *end;

    while (!c->in.data || !(end = strstr(c->in.data, "\r\n")))
        if (!read_more(c))
            return NULL;
    *end = '\0';
    *n = (size_t)(end - c->in.data) + 2;
    return c->in.data;
}

static bool next_chunk(struct sse_client *c)
{
    size_t n;
    char *end, *line = frame_line(c, &n);

    if (!line)
        return false;
    c->left = strtoul(line, &end, 16);
    if (end == line || *end)
        return give_up(c, "malformed");
    buf_consume(&c->in, n);
    if (c->left > 0)
        return true;
    line = frame_line(c, &n);
    if (!line)
        return false;
    c->over = true;
    if (*line)
        c->trouble = "malformed";
    buf_consume(&c->in, n);
    return false;
}

static bool end_of_chunk(struct sse_client *c)
{
    while (c->in.len < 2)
        if (!read_more(c))
            return false;
    if (memcmp(c->in.data, "\r\n", 2) != 0)
        return give_up(c, "malformed");
    buf_consume(&c->in, 2);
    return true;
}

/* More of the body into `text`. */
static bool more_text(struct sse_client *c)
{
    if (c->over)
        return false;
    if (c->chunked && c->left == 0 && !next_chunk(c))
        return false;
    if (c->in.len == 0 && !read_more(c)) {
        if (!c->chunked && str_eq(str_of(c->trouble), "closed"))
            c->trouble = NULL; /* that is how such an answer ends */
        return false;
    }
    size_t n = c->chunked && c->in.len > c->left ? c->left : c->in.len;
    buf_append(&c->text, c->in.data, n);
    buf_consume(&c->in, n);
    if (!c->chunked)
        return true;
    c->left -= n;
    return c->left > 0 || end_of_chunk(c);
}

static void read_head(struct sse_client *c)
{
    char *end;

    while (!c->in.data || !(end = strstr(c->in.data, "\r\n\r\n")))
        if (!read_more(c))
            return;
    size_t n = (size_t)(end - c->in.data) + 4;
    buf_append(&c->head, c->in.data, n);
    buf_consume(&c->in, n);
    c->status = c->head.len > 12 ? (int)strtol(c->head.data + 9, NULL, 10) : 0;
    c->chunked = strcasestr(c->head.data, "transfer-encoding: chunked") != NULL;
}

struct sse_client sse_open(uint16_t port, const char *path, const char *headers, const char *json)
{
    struct sse_client c = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct buf out = BUF_INIT(16 * MIB);

    c.head = c.in = c.text = c.hold = BUF_INIT(64 * MIB);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    buf_printf(&out,
               "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%sContent-Length: "
               "%zu\r\n\r\n",
               path, headers, strlen(json));
    buf_puts(&out, json);
    if (c.fd < 0 || connect(c.fd, (struct sockaddr *)&a, sizeof a) < 0 ||
        send(c.fd, out.data, out.len, MSG_NOSIGNAL) != (ssize_t)out.len)
        give_up(&c, "closed");
    else
        read_head(&c);
    buf_free(&out);
    return c;
}

/* The block of an event is in `hold`, without the empty line behind it. */
static void read_event(struct sse_client *c)
{
    c->name = "message";
    c->data = "";
    if (*c->hold.data == ':')
        c->name = ":";
    for (char *line = c->hold.data, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (strncmp(line, "event: ", 7) == 0)
            c->name = line + 7;
        else if (strncmp(line, "data: ", 6) == 0)
            c->data = line + 6;
    }
}

bool sse_next(struct sse_client *c)
{
    char *end;

    while (!c->text.data || !(end = strstr(c->text.data, "\n\n")))
        if (!more_text(c)) {
            if (c->text.len && !c->trouble)
                c->trouble = "malformed";
            return false;
        }
    size_t n = (size_t)(end - c->text.data);
    buf_reset(&c->hold);
    buf_append(&c->hold, c->text.data, n);
    buf_consume(&c->text, n + 2);
    read_event(c);
    return true;
}

bool sse_next_named(struct sse_client *c, const char *name)
{
    while (sse_next(c))
        if (strcmp(c->name, ":") != 0)
            return strcmp(c->name, name) == 0;
    return false;
}

void sse_body(struct sse_client *c, struct buf *out)
{
    while (more_text(c))
        ;
    buf_append(out, c->text.data, c->text.len);
    buf_reset(&c->text);
}

void sse_close(struct sse_client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    buf_free(&c->head);
    buf_free(&c->in);
    buf_free(&c->text);
    buf_free(&c->hold);
}
