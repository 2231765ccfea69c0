#include "gateway/http.h"

#include <assert.h>
#include <civetweb.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/ascii.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/proc/door.h"
#include "gateway/conn.h"
#include "gateway/intake.h"
#include "gateway/sender.h"

#define BODY_FIRST 4096
#define BODY_SKIPPED                                                                                         \
    (64 * KIB) /* an unread rest up to here is read and thrown away; beyond, the connection ends */
#define QUIET_LOOK_MS 10
#define KEEP_ALIVE_GAP                                                                                       \
    15000 /* civetweb's keep-alive timeout also runs while an answer is owed; ours ends idleness */

struct http {
    struct mg_context *mg;
    struct loop *loop;
    struct http_conf conf;
    struct conns conns;
    struct loop_timer sweep;
    atomic_int answers; /* being made or sent */
    struct loop_timer quiet;
    void (*when_quiet)(void *arg);
    void *when_quiet_arg;
};

struct http_promise {
    struct http *http;
    struct conn *conn;
    bool head_only;
    bool thread_waits;
    enum reply_connection connection;
};

/* One request while its handler runs. */
struct in_hand {
    struct mg_connection *mg;
    struct http *http;
    struct conn *conn;
    struct buf body;
    bool later;
    bool ends; /* the connection ends with this answer although more may come in */
};

/* Quiet: no answer is being made or sent. */

static void enter(struct http *h)
{
    atomic_fetch_add(&h->answers, 1);
}

static void leave(struct http *h)
{
    atomic_fetch_sub(&h->answers, 1);
}

static void look_for_quiet(void *arg)
{
    struct http *h = arg;

    if (atomic_load(&h->answers) == 0)
        h->when_quiet(h->when_quiet_arg);
    else
        loop_timer_set(h->loop, &h->quiet, clock_ms() + QUIET_LOOK_MS);
}

void http_when_quiet(struct http *h, void (*fn)(void *arg), void *arg)
{
    h->when_quiet = fn;
    h->when_quiet_arg = arg;
    look_for_quiet(h);
}

/* Connections. */

static int on_connection(const struct mg_connection *mg, void **data)
{
    struct http *h = mg_get_user_data(mg_get_context(mg));

    struct conn *c = conn_new(&h->conns);

    intake_begin(c);
    *data = c;
    return 0;
}

static void on_close(const struct mg_connection *mg)
{
    (void)mg;
    conn_close(intake_end());
}

static void on_sweep(void *arg)
{
    struct http *h = arg;
    int64_t now = clock_ms();

    conns_sweep(&h->conns, now);
    loop_timer_set(h->loop, &h->sweep, now + HTTP_SWEEP_MS);
}

/* Closing while something is unread sends a reset, and a reset takes back the answer that says why. */
static void linger(struct conn *c)
{
    char waste[4096];
    size_t n = 0;
    int64_t now = clock_ms();
    const int64_t until = now + HTTP_LINGER_MS;

    conn_enter(c, CONN_LINGER);
    shutdown(c->fd, SHUT_WR);
    for (; n < HTTP_LINGER_BYTES && now < until; now = clock_ms()) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        struct timespec t = {.tv_sec = (until - now) / 1000, .tv_nsec = (until - now) % 1000 * 1000000};
        if (ppoll(&p, 1, &t, NULL) <= 0)
            return;
        ssize_t got = recvfrom(c->fd, waste, sizeof waste, MSG_DONTWAIT, NULL, NULL);
        if (got <= 0)
            return;
        n += (size_t)got;
    }
}

static bool has_token(const char *list, const char *token)
{
    size_t n = strlen(token);

    while (*list) {
        list += strspn(list, " \t,");
        size_t len = strcspn(list, ",");
        size_t trimmed = len;
        while (trimmed > 0 && (list[trimmed - 1] == ' ' || list[trimmed - 1] == '\t'))
            trimmed--;
        if (trimmed == n && strncasecmp(list, token, n) == 0)
            return true;
        list += len;
    }
    return false;
}

/* Closing wins (RFC 9112 9.3), and where civetweb would close, the thread must not return before the answer is out:
 * it stays open when its first Connection field says so, or when there is none in HTTP/1.1. */
static enum reply_connection connection_of(const struct in_hand *in)
{
    const struct mg_request_info *info = mg_get_request_info(in->mg);
    const char *first = mg_get_header(in->mg, "Connection");
    bool one_one = info->http_version && strcmp(info->http_version, "1.1") == 0;

    if (in->ends || mg_get_header(in->mg, "Upgrade"))
        return REPLY_CLOSE;
    if (first ? !has_token(first, "keep-alive") : !one_one)
        return REPLY_CLOSE;
    for (int i = 0; i < info->num_headers; i++)
        if (strcasecmp(info->http_headers[i].name, "Connection") == 0 &&
            has_token(info->http_headers[i].value, "close"))
            return REPLY_CLOSE;
    return one_one ? REPLY_KEEP : REPLY_KEEP_1_0;
}

/* Requests. */

const char *http_field(const struct http_request *q, const char *name)
{
    const struct in_hand *in = q->hold;

    return mg_get_header(in->mg, name);
}

const char *http_field_once(const struct http_request *q, const char *name)
{
    const struct in_hand *in = q->hold;
    const struct mg_request_info *info = mg_get_request_info(in->mg);
    const char *found = NULL;

    for (int i = 0; i < info->num_headers; i++)
        if (strcasecmp(info->http_headers[i].name, name) == 0) {
            if (found)
                return NULL;
            found = info->http_headers[i].value;
        }
    return found;
}

void http_field_list(const struct http_request *q, const char *name, struct buf *out)
{
    const struct in_hand *in = q->hold;
    const struct mg_request_info *info = mg_get_request_info(in->mg);

    for (int i = 0; i < info->num_headers; i++)
        if (strcasecmp(info->http_headers[i].name, name) == 0) {
            buf_puts(out, out->len ? "," : "");
            buf_puts(out, info->http_headers[i].value);
        }
}

/* All of the request has come in; framing is about this one until then. */
static bool is_complete(const struct conn *c)
{
    return c->framing.complete >= c->handled;
}

static bool waits_to_be_asked(const struct framing *f)
{
    return f->expects && !f->one_zero &&
           ((f->state == FRAMING_BODY && f->left == f->length) || f->state == FRAMING_CHUNK_FIRST);
}

static int cannot_read(struct in_hand *in, int status, const char *text, const char **why)
{
    in->ends = true;
    *why = text;
    return status;
}

int http_body(struct http_request *q, size_t max, struct str *body, const char **why)
{
    struct in_hand *in = q->hold;
    const struct framing *f = &in->conn->framing;
    int got = 1;

    if (!is_complete(in->conn)) {
        if (f->has_length && f->length > max)
            return cannot_read(in, 413, "Request body too large", why);
        if (waits_to_be_asked(f))
            in->ends |= !sender_write(in->conn, str_of("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    in->body = BUF_INIT(max + BODY_FIRST);
    while (got > 0 && in->body.len <= max) {
        char *at = buf_reserve(&in->body, BODY_FIRST);
        if (!at)
            abort(); /* max leaves room for one more piece */
        got = mg_read(in->mg, at, BODY_FIRST);
        in->body.len += got > 0 ? (size_t)got : 0;
    }
    if (in->body.len > max)
        return cannot_read(in, 413, "Request body too large", why);
    if (!is_complete(in->conn))
        return f->state == FRAMING_REFUSED
                   ? cannot_read(in, f->status, f->why, why)
                   : cannot_read(in, 400, "the body ended before its announced length", why);
    if (in->body.data)
        in->body.data[in->body.len] = '\0';
    *body = buf_str(&in->body);
    return 0;
}

/* A body that nobody has asked for: a short rest is skipped, for a long one the connection is given up. */
static void leave_body(struct in_hand *in)
{
    const struct framing *f = &in->conn->framing;

    if (!is_complete(in->conn) && (f->expects || f->chunked || f->left > BODY_SKIPPED))
        in->ends = true;
}

void http_answer(struct http_request *q, const struct reply *r)
{
    struct in_hand *in = q->hold;
    struct buf out = BUF_INIT(r->body.n + 2 * HTTP_HEADERS_MAX);

    leave_body(in);
    reply_render(&out, r, str_eq(q->method, "HEAD"), connection_of(in));
    in->ends |= !sender_write(in->conn, buf_str(&out));
    buf_free(&out);
}

struct http_promise *http_later(struct http_request *q, void (*gone)(void *arg), void *arg)
{
    struct in_hand *in = q->hold;
    struct conn *c = in->conn;
    struct http_promise *p = xcalloc(1, sizeof *p);

    leave_body(in);
    enum reply_connection connection = connection_of(in);
    in->later = true;
    enter(in->http);
    pthread_mutex_lock(&c->lock);
    *p = (struct http_promise){
        .http = in->http,
        .conn = c,
        .head_only = str_eq(q->method, "HEAD"),
        .thread_waits = connection == REPLY_CLOSE,
        .connection = connection,
    };
    conn_ref(c);
    c->busy = true;
    c->gone = gone;
    c->gone_arg = arg;
    pthread_mutex_unlock(&c->lock);
    return p;
}

static void answered(void *arg)
{
    leave(arg);
}

/* With the connection locked. */
static enum http_sent send_now(struct http *h, struct conn *c, struct buf *out)
{
    enter(h); /* until the last of it is out */
    enum sender_result sent = sender_send(h->loop, c, out, answered, h);

    c->busy = sent == SENDER_LATER;
    if (!c->busy)
        leave(h);
    return sent == SENDER_BROKEN ? HTTP_BROKEN : HTTP_SENT; /* the connection's thread sees that, too */
}

enum http_sent http_send(struct http_promise *p, const struct reply *r)
{
    struct http *h = p->http;
    struct conn *c = p->conn;
    struct buf out = BUF_INIT(r->body.n + 2 * HTTP_HEADERS_MAX);
    enum http_sent sent = HTTP_SENT;

    reply_render(&out, r, p->head_only, p->connection);
    pthread_mutex_lock(&c->lock);
    c->gone = NULL;
    if (c->closed) {
        sent = HTTP_GONE;
    } else if (p->thread_waits) {
        buf_free(&c->waited);
        c->waited = out;
        out = BUF_INIT(0);
        c->busy = false;
    } else {
        sent = send_now(h, c, &out);
    }
    if (!c->busy) {
        c->since_ms = clock_ms();
        pthread_cond_broadcast(&c->idle);
    }
    pthread_mutex_unlock(&c->lock);
    conn_unref(c);
    leave(h);
    buf_free(&out);
    free(p);
    return sent;
}

/* civetweb's callbacks. */

/* In place. A % without two digits stays. */
static struct str percent_decode(char *s)
{
    char *to = s;

    for (const char *from = s; *from; from++) {
        int high = from[0] == '%' ? ascii_hex(from[1]) : -1;
        int low = high >= 0 ? ascii_hex(from[2]) : -1;
        if (low >= 0) {
            *to++ = (char)(high << 4 | low);
            from += 2;
        } else {
            *to++ = *from;
        }
    }
    return (struct str){s, (size_t)(to - s)};
}

static void handle(struct http *h, struct in_hand *in)
{
    const struct mg_request_info *info = mg_get_request_info(in->mg);
    struct conn *c = in->conn;
    char *path = xstrdup(info->local_uri_raw ? info->local_uri_raw : info->request_uri);
    struct http_request q = {
        .method = str_of(info->request_method),
        .path = percent_decode(path),
        .query = info->query_string,
        .peer = info->remote_addr,
        .start_us = clock_us(),
        .hold = in,
    };

    h->conf.handler(h->conf.arg, &q);
    free(path);
    buf_free(&in->body);
    bool closes = connection_of(in) == REPLY_CLOSE;
    if (in->later && closes && conn_wait_idle(c))
        in->ends |= !sender_write(c, buf_str(&c->waited));
    if (closes || in->ends)
        mg_disable_connection_keep_alive(in->mg);
    if (in->ends)
        linger(c);
}

static int on_request(struct mg_connection *mg)
{
    struct conn *c = mg_get_request_info(mg)->conn_data;
    struct http *h = mg_get_user_data(mg_get_context(mg));
    struct in_hand in = {.mg = mg, .http = h, .conn = c};

    assert(c->fd >= 0); /* civetweb reads by way of our poll() and recv() */
    /* A pipelined request: its predecessor first. */
    if (!conn_wait_idle(c) || atomic_load(&h->conns.stopping))
        return -1;
    enter(h);
    conn_in_hand(c, true);
    intake_handled(c);
    handle(h, &in);
    conn_in_hand(c, false);
    leave(h);
    return 200;
}

/* What civetweb or framing.h cannot take for a request; the connection ends with this. */
static int on_error(struct mg_connection *mg, int status, const char *text)
{
    struct http *h = mg_get_user_data(mg_get_context(mg));
    struct conn *c = intake_mine();
    struct buf body = BUF_INIT(4 * KIB);
    struct buf out = BUF_INIT(8 * KIB);

    if (!c || !conn_wait_idle(c))
        return 0;
    if (c->framing.state == FRAMING_REFUSED) {
        status = c->framing.status;
        text = c->framing.why;
    }
    struct reply r = reply_detail(&body, status, text && *text ? text : "Bad request");
    reply_render(&out, &r, false, REPLY_CLOSE);
    if (!sender_write(c, buf_str(&out)))
        log_debug("a refusal did not reach its client");
    h->conf.refused(h->conf.arg, status, text, mg_get_request_info(mg)->remote_addr);
    linger(c);
    buf_free(&out);
    buf_free(&body);
    return 0;
}

static int on_log(const struct mg_connection *mg, const char *text)
{
    (void)mg;
    log_debug("civetweb: %s", text);
    return 1;
}

static struct mg_context *start_civetweb(struct http *h, const struct http_conf *c)
{
    char ports[64], threads[16], keep_alive[24], headers[16];
    const char *options[] = {"listening_ports",
                             ports,
                             "num_threads",
                             threads,
                             "enable_keep_alive",
                             "yes",
                             "keep_alive_timeout_ms",
                             keep_alive,
                             "request_timeout_ms",
                             keep_alive,
                             "tcp_nodelay",
                             "1",
                             "listen_backlog",
                             "4096",
                             "connection_queue",
                             "1024",
                             "decode_url",
                             "no",
                             "enable_auth_domain_check",
                             "no",
                             "max_request_size",
                             headers,
                             NULL};
    static const struct mg_callbacks callbacks = {
        .begin_request = on_request,
        .init_connection = on_connection,
        .connection_close = on_close,
        .http_error = on_error,
        .log_message = on_log,
    };
    int64_t longest = c->request_ms > c->body_ms ? c->request_ms : c->body_ms;

    longest = longest > c->keep_alive_ms ? longest : c->keep_alive_ms;
    snprintf(ports, sizeof ports, "%s:%d", c->host, c->port);
    snprintf(threads, sizeof threads, "%d", c->threads + HTTP_SPARE_THREADS);
    snprintf(keep_alive, sizeof keep_alive, "%lld", (long long)longest + KEEP_ALIVE_GAP);
    snprintf(headers, sizeof headers, "%u", HTTP_HEADERS_MAX + BODY_FIRST);
    return mg_start(&callbacks, h, options);
}

int http_start(struct http **out, struct loop *l, const struct http_conf *c)
{
    int ret = door_check(c->host, c->port, "HOST", "PORT");

    if (ret < 0)
        return ret;
    struct http *h = xcalloc(1, sizeof *h);
    h->loop = l;
    h->conf = *c;
    conns_init(&h->conns);
    h->conns.limit = c->threads;
    h->conns.head_ms = c->head_ms;
    h->conns.body_ms = c->body_ms;
    h->conns.keep_alive_ms = c->keep_alive_ms;
    h->sweep = (struct loop_timer){.fn = on_sweep, .arg = h};
    h->quiet = (struct loop_timer){.fn = look_for_quiet, .arg = h};
    mg_init_library(0);
    h->mg = start_civetweb(h, c);
    if (!h->mg) {
        log_error("the HTTP server does not start with %d threads on %s:%d", c->threads, c->host, c->port);
        mg_exit_library();
        free(h);
        return -EIO;
    }
    on_sweep(h);
    *out = h;
    return 0;
}

void http_stop(struct http *h)
{
    if (!h || !h->mg)
        return;
    loop_timer_clear(h->loop, &h->sweep);
    loop_timer_clear(h->loop, &h->quiet);
    conns_stop(&h->conns);
    struct knock *k = door_knock(h->conf.host, h->conf.port);
    mg_stop(h->mg);
    door_answered(k);
    mg_exit_library();
    h->mg = NULL;
}

void http_free(struct http *h)
{
    http_stop(h);
    free(h);
}
