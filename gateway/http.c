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
    struct senders senders;
    struct loop_timer sweep;
    atomic_int answers; /* being made or sent */
    struct loop_timer quiet;
    void (*when_quiet)(void *arg);
    void *when_quiet_arg;
};

struct http_stream {
    struct http *http;
    struct conn *conn;
    bool head_only, one_zero;
    enum reply_connection connection;
    struct sender sender;
    bool ends;  /* the connection, whose thread goes on reading */
    bool ended; /* nobody but the sender has it any more */
    bool full;  /* `taken` is owed */
    void (*taken)(void *arg);
    void *arg;
};

struct http_promise {
    struct http_stream stream; /* what it becomes, also when the answer comes in one piece */
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

static bool is_one_one(const struct mg_request_info *info)
{
    return info->http_version && strcmp(info->http_version, "1.1") == 0;
}

/* Closing wins (RFC 9112 9.3), and where civetweb would close, the thread must not return before the answer is out:
 * it stays open when its first Connection field says so, or when there is none in HTTP/1.1. */
static enum reply_connection connection_of(const struct in_hand *in)
{
    const struct mg_request_info *info = mg_get_request_info(in->mg);
    const char *first = mg_get_header(in->mg, "Connection");
    bool one_one = is_one_one(info);

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

static void on_moved(void *arg);

struct http_promise *http_later(struct http_request *q, void (*gone)(void *arg), void *arg)
{
    struct in_hand *in = q->hold;
    struct conn *c = in->conn;
    struct http_promise *p = xcalloc(1, sizeof *p);
    struct http_stream *s = &p->stream;

    leave_body(in);
    in->later = true;
    enter(in->http);
    *s = (struct http_stream){
        .http = in->http,
        .conn = c,
        .head_only = str_eq(q->method, "HEAD"),
        .one_zero = !is_one_one(mg_get_request_info(in->mg)),
        .connection = connection_of(in),
        .sender = {.all = &in->http->senders, .conn = c, .moved = on_moved, .arg = s},
    };
    pthread_mutex_lock(&c->lock);
    conn_ref(c);
    c->busy = true;
    c->gone = gone;
    c->gone_arg = arg;
    pthread_mutex_unlock(&c->lock);
    return p;
}

/* Answers that come later. */

/* The last of it is out, or never will be. */
static void finish(struct http_stream *s)
{
    struct conn *c = s->conn;

    pthread_mutex_lock(&c->lock);
    sender_drop(&s->sender);
    c->unframed = false; /* all of it is out: no reset, just the end */
    if (s->ends)
        conn_cut(c);
    pthread_mutex_unlock(&c->lock);
    conn_is_idle(c);
    conn_unref(c);
    leave(s->http);
    free(s);
}

static void on_moved(void *arg)
{
    struct http_stream *s = arg;

    if (s->ended && s->sender.state != SENDER_WAITING) {
        finish(s);
    } else if (s->full && s->sender.state != SENDER_BROKEN && s->sender.out.len < HTTP_STREAM_LOW) {
        s->full = false;
        s->taken(s->arg);
    }
}

/* Nothing is added any more. */
static enum http_sent end(struct http_stream *s, bool whole)
{
    struct conn *c = s->conn;

    pthread_mutex_lock(&c->lock);
    bool left = c->closed || s->sender.state == SENDER_BROKEN;
    c->gone = NULL;
    s->ended = true;
    s->full = s->sender.grows = false;
    bool broken = sender_now(&s->sender) == SENDER_BROKEN;
    if (left || !whole)
        sender_cut(&s->sender);
    bool waits = s->sender.state == SENDER_WAITING;
    pthread_mutex_unlock(&c->lock);
    if (!waits)
        finish(s);
    return left ? HTTP_GONE : broken ? HTTP_BROKEN : HTTP_SENT;
}

enum http_sent http_send(struct http_promise *p, const struct reply *r)
{
    struct http_stream *s = &p->stream;

    s->sender.out = BUF_INIT(r->body.n + 2 * HTTP_HEADERS_MAX);
    reply_render(&s->sender.out, r, s->head_only, s->connection);
    return end(s, true);
}

/* A piece on its way into `out`. */
static void add(struct http_stream *s, struct str piece)
{
    if (s->head_only || piece.n == 0)
        return;
    if (s->one_zero)
        buf_append(&s->sender.out, piece.p, piece.n);
    else
        reply_render_chunk(&s->sender.out, piece);
}

enum http_sent http_stream_begin(struct http_stream **out, struct http_promise *p, const struct reply *r,
                                 void (*taken)(void *arg), void *arg)
{
    struct http_stream *s = &p->stream;
    struct conn *c = s->conn;

    s->taken = taken;
    s->arg = arg;
    assert(r->body.n <= HTTP_PIECE_MAX);
    s->sender.grows = true;
    s->sender.out = BUF_INIT(HTTP_STREAM_MAX + HTTP_PIECE_MAX + 2 * HTTP_HEADERS_MAX);
    reply_render_head(&s->sender.out, r, !s->one_zero, s->one_zero ? REPLY_CLOSE : s->connection);
    add(s, r->body);
    pthread_mutex_lock(&c->lock);
    c->unframed = s->one_zero;
    s->ends = s->one_zero && s->connection != REPLY_CLOSE;
    bool lost = sender_now(&s->sender) == SENDER_BROKEN;
    pthread_mutex_unlock(&c->lock);
    *out = lost ? NULL : s;
    if (lost)
        finish(s);
    return lost ? HTTP_GONE : HTTP_SENT;
}

/* Not at the end of the turn: it is much. */
static void add_much(struct http_stream *s, struct str piece)
{
    pthread_mutex_lock(&s->conn->lock);
    if (s->sender.out.len > HTTP_STREAM_MAX || piece.n > HTTP_PIECE_MAX) {
        sender_cut(&s->sender);
    } else {
        add(s, piece);
        sender_now(&s->sender);
    }
    pthread_mutex_unlock(&s->conn->lock);
}

enum http_room http_stream_put(struct http_stream *s, struct str piece)
{
    struct sender *out = &s->sender;

    if (out->state != SENDER_BROKEN && piece.n > 0) {
        if (out->out.len + piece.n > HTTP_STREAM_HIGH) {
            add_much(s, piece);
        } else {
            add(s, piece);
            sender_soon(out);
        }
    }
    if (out->state == SENDER_BROKEN)
        return HTTP_LOST;
    s->full |= out->state == SENDER_WAITING && out->out.len > HTTP_STREAM_HIGH;
    return s->full ? HTTP_FULL : HTTP_ROOM;
}

enum http_sent http_stream_end(struct http_stream *s, bool whole)
{
    if (whole && !s->one_zero && !s->head_only)
        reply_render_chunk(&s->sender.out, (struct str){0});
    return end(s, whole);
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
    if (in->later && closes)
        conn_wait_idle(c);
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
    senders_init(&h->senders, l);
    h->conns.limit = c->threads;
    h->conns.head_ms = c->head_ms;
    h->conns.body_ms = c->body_ms;
    h->conns.keep_alive_ms = c->keep_alive_ms;
    h->conns.slow_ms = c->slow_ms;
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
    if (!h)
        return;
    http_stop(h);
    senders_stop(&h->senders);
    free(h);
}
