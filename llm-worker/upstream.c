#include "llm-worker/upstream.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "llm-worker/trust.h"

#define UPSTREAM_SHARD 64

/* Streamed calls have connections of their own, without HTTP/2 (0023). */
struct lane {
    struct upstream *upstream;
    struct shard *shards; /* the newest first: the only one with room */
    struct call *idle;
    bool multiplexes; /* HTTP/2, if the upstream speaks it */
};

struct shard {
    struct shard *next;
    struct lane *lane;
    CURLM *multi;
    struct call *calls[UPSTREAM_SHARD]; /* bound to it */
    size_t n;
    struct loop_timer timer;
    struct loop_timer flush;
    int64_t heard_ms; /* by any of its calls */
    bool left;        /* its connections are dead: no new call takes them */
};

struct call {
    struct call *next; /* in the list of idle ones */
    struct shard *shard;
    size_t place; /* in the shard */
    CURL *easy;
    struct buf in;
    struct loop_timer silence;
    int64_t silent_ms; /* since then */
    int64_t ends_ms;
    bool running;
    bool over;      /* for libcurl, */
    CURLcode code;  /* and how it ended */
    bool heard;     /* something of the answer */
    bool streaming; /* what comes is given away in pieces */
    bool enough;    /* and that was the last one */
    bool paused;
    struct call_order order;
    char error[CURL_ERROR_SIZE];
};

struct upstream {
    struct loop *loop;
    struct lane lanes[2]; /* whole answers, streams */
    struct curl_slist *headers;
    char *url;
    bool is_https;
    struct upstream_conf limits;
    char trouble[2 * CURL_ERROR_SIZE]; /* of the call that is handed over */
};

/* A socket of a multi, as the loop watches it. */
struct watch {
    struct loop_io io;
    struct shard *shard;
};

static struct upstream *upstream_of(const struct call *c)
{
    return c->shard->lane->upstream;
}

static int status_of(const struct call *c)
{
    long status = 0;

    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

/* A server that names no type is believed. */
static bool is_event_stream(const struct call *c)
{
    static const char type[] = "text/event-stream";
    char *given = NULL;

    curl_easy_getinfo(c->easy, CURLINFO_CONTENT_TYPE, &given);
    return status_of(c) == 200 && (!given || strncasecmp(given, type, sizeof type - 1) == 0);
}

static bool is_connected(const struct call *c)
{
    curl_off_t at = 0;

    curl_easy_getinfo(c->easy, CURLINFO_PRETRANSFER_TIME_T, &at);
    return at > 0;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Until when its silence is borne, as far as is known now. */
static int64_t patience(const struct call *c, bool connected)
{
    const struct upstream_conf *limits = &upstream_of(c)->limits;
    int64_t since = c->paused ? loop_now(upstream_of(c)->loop) : c->silent_ms;

    if (c->heard)
        return since + limits->stall_timeout_ms;
    if (connected)
        return since + limits->first_byte_timeout_ms;
    return since + least(limits->connect_timeout_ms, limits->first_byte_timeout_ms);
}

static void rearm(struct call *c, bool connected)
{
    loop_timer_set(upstream_of(c)->loop, &c->silence, least(patience(c, connected), c->ends_ms));
}

static void heard(struct call *c)
{
    bool first = !c->heard;

    c->heard = true;
    c->silent_ms = c->shard->heard_ms = loop_now(upstream_of(c)->loop);
    if (first)
        rearm(c, true);
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct call *c = arg;

    if (c->paused) /* before it had a connection, which curl_easy_pause() needs */
        return CURL_WRITEFUNC_PAUSE;
    if (!c->heard && c->order.piece)
        c->streaming = is_event_stream(c);
    heard(c);
    if (c->streaming) {
        c->enough = !c->order.piece(c->order.arg, (struct str){p, size * n});
        return c->enough ? CURL_WRITEFUNC_ERROR : size * n;
    }
    buf_append(&c->in, p, size * n);
    return c->in.failed ? 0 : size * n;
}

/* A line of the head. */
static size_t on_head(char *p, size_t size, size_t n, void *arg)
{
    struct call *c = arg;

    (void)p;
    if (!c->order.piece)
        heard(c);
    return size * n;
}

static enum outcome classify(const struct call *c, CURLcode code, int status)
{
    if (c->enough)
        return OUTCOME_OK;
    switch (code) {
    case CURLE_OK:
        if (status != 200)
            return OUTCOME_HTTP;
        return c->order.piece && !c->streaming ? OUTCOME_GARBAGE : OUTCOME_OK;
    case CURLE_OPERATION_TIMEDOUT: /* the others are ours */
        return OUTCOME_CONNECT_TIMEOUT;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
        return OUTCOME_CONNECT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return OUTCOME_TLS;
    case CURLE_WRITE_ERROR:
        return c->in.failed ? OUTCOME_TOO_LARGE : OUTCOME_CUT;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return OUTCOME_GARBAGE;
    default: /* before the call could begin: by a proxy */
        return is_connected(c) ? OUTCOME_CUT : OUTCOME_CONNECT;
    }
}

/* libcurl 7.88 keeps what says that a stream of HTTP/2 is over until something else goes out on its connection. To
 * end a pause makes it write, also one that has just begun. */
static void on_flush(void *arg)
{
    struct shard *s = arg;

    for (size_t i = 0; i < s->n; i++) {
        struct call *c = s->calls[i];
        if (!c->running || c->over || !is_connected(c))
            continue;
        curl_easy_pause(c->easy, CURLPAUSE_RECV);
        if (!c->paused)
            curl_easy_pause(c->easy, CURLPAUSE_CONT);
    }
}

/* Before it is over: a connection that nobody else uses is closed. */
static void stop(struct call *c)
{
    struct shard *s = c->shard;
    struct loop *l = upstream_of(c)->loop;

    curl_easy_setopt(c->easy, CURLOPT_FORBID_REUSE, 1L);
    curl_multi_remove_handle(s->multi, c->easy);
    curl_easy_setopt(c->easy, CURLOPT_FORBID_REUSE, 0L);
    if (s->lane->multiplexes)
        loop_timer_set(l, &s->flush, loop_now(l));
}

static void put_back(struct call *c)
{
    struct lane *lane = c->shard->lane;

    if (c->over)
        curl_multi_remove_handle(c->shard->multi, c->easy);
    else
        stop(c);
    loop_timer_clear(lane->upstream->loop, &c->silence);
    c->running = c->over = c->heard = c->streaming = c->enough = c->paused = false;
    buf_reset(&c->in);
    if (c->in.cap > 64 * KIB) /* one giant answer must not stay in memory for ever */
        buf_free(&c->in);
    c->next = lane->idle;
    lane->idle = c;
}

static struct str header(const struct call *c, const char *name)
{
    struct curl_header *h;

    return curl_easy_header(c->easy, name, 0, CURLH_HEADER, -1, &h) == CURLHE_OK ? str_of(h->value)
                                                                                 : str_of("");
}

static struct quota_headers quota(const struct call *c, const char *limit, const char *remaining,
                                  const char *reset)
{
    struct quota_headers q = {.remaining = header(c, remaining)};

    if (q.remaining.n) {
        q.limit = header(c, limit);
        q.reset = header(c, reset);
    }
    return q;
}

/* A proxy's address, with its password, can be part of what libcurl says. */
static const char *trouble_of(struct call *c, CURLcode code)
{
    struct upstream *u = upstream_of(c);
    const char *text = *c->error && !strchr(c->error, '@') ? c->error : curl_easy_strerror(code);
    long verified = 0;

    if (code == CURLE_OK || c->enough)
        return NULL;
    if (code != CURLE_PEER_FAILED_VERIFICATION)
        return text;
    curl_easy_getinfo(c->easy, CURLINFO_SSL_VERIFYRESULT, &verified);
    snprintf(u->trouble, sizeof u->trouble, "%s; %s", text, trust_advice(verified));
    return u->trouble;
}

/* code: why libcurl ended the call; CURLE_OK: it did not, or for no trouble. */
static void hand_over(struct call *c, enum outcome outcome, CURLcode code)
{
    struct call_result r = {.outcome = outcome, .status = status_of(c), .body = buf_str(&c->in)};

    r.request_id = header(c, "x-request-id");
    r.trouble = trouble_of(c, code);
    r.requests = quota(c, "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests",
                       "x-ratelimit-reset-requests");
    r.tokens =
        quota(c, "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens");
    if (r.outcome == OUTCOME_HTTP) {
        r.should_retry = header(c, "x-should-retry");
        r.retry_after_ms = header(c, "retry-after-ms");
        r.retry_after = header(c, "retry-after");
        r.date = header(c, "date");
    }
    c->order.done(c->order.arg, &r);
    put_back(c);
}

static void finished(struct call *c)
{
    hand_over(c, classify(c, c->code, status_of(c)), c->code);
}

/* A call alone cannot tell a slow answer from a connection that leads nowhere. When no other one of its shard has heard
 * anything in the same time, new calls go another way; with HTTP/1.1 they do so anyway. */
static void suspect(struct call *c, int64_t now)
{
    struct shard *s = c->shard;
    bool fair = !c->paused && (now < c->ends_ms || now - c->silent_ms >= RETRY_FAIR_MS);

    if (s->lane->multiplexes && is_connected(c) && s->heard_ms <= c->silent_ms && fair)
        s->left = true;
}

static enum outcome run_out(const struct call *c)
{
    if (loop_now(upstream_of(c)->loop) >= c->ends_ms)
        return OUTCOME_TIMEOUT;
    if (!is_connected(c))
        return OUTCOME_CONNECT_TIMEOUT;
    return c->heard ? OUTCOME_STALL : OUTCOME_FIRST_BYTE;
}

static void on_silence(void *arg)
{
    struct call *c = arg;
    int64_t now = loop_now(upstream_of(c)->loop);
    bool connected = is_connected(c);

    if (c->over) {
        if (!c->paused)
            finished(c);
        return;
    }
    if (c->enough) {
        hand_over(c, OUTCOME_OK, CURLE_OK);
        return;
    }
    if (least(patience(c, connected), c->ends_ms) > now) {
        rearm(c, connected);
        return;
    }
    suspect(c, now);
    hand_over(c, run_out(c), CURLE_OK);
}

static void reap(struct shard *s)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(s->multi, &left))) {
        struct call *c;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c);
        c->over = true;
        c->code = code;
        if (c->paused && !c->streaming)
            loop_timer_clear(upstream_of(c)->loop, &c->silence); /* upstream_pause() goes on */
        else
            finished(c);
    }
}

static void act(struct shard *s, curl_socket_t fd, int what)
{
    int running;

    curl_multi_socket_action(s->multi, fd, what, &running);
    reap(s);
}

static void on_socket_event(void *arg, uint32_t events)
{
    struct watch *w = arg;
    int what = (events & EPOLLIN ? CURL_CSELECT_IN : 0) | (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
               (events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);

    act(w->shard, w->io.fd, what);
}

/* libcurl says what it wants to know about a socket. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned)
{
    struct shard *s = arg;
    struct loop *l = s->lane->upstream->loop;
    struct watch *w = assigned;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (w)
            loop_io_clear(l, &w->io);
        free(w);
        return 0;
    }
    if (!w) {
        w = xcalloc(1, sizeof *w);
        w->shard = s;
        w->io = (struct loop_io){.fd = fd, .fn = on_socket_event, .arg = w};
        curl_multi_assign(s->multi, fd, w);
    }
    uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    return loop_io_set(l, &w->io, events) < 0 ? -1 : 0;
}

static void on_timer(void *arg)
{
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

/* The deadline only: acting from inside libcurl's callback is not allowed. */
static int on_timeout(CURLM *multi, long ms, void *arg)
{
    struct shard *s = arg;
    struct loop *l = s->lane->upstream->loop;

    (void)multi;
    if (ms < 0)
        loop_timer_clear(l, &s->timer);
    else
        loop_timer_set(l, &s->timer, clock_ms() + ms);
    return 0;
}

static struct shard *shard_with_room(struct lane *lane)
{
    if (lane->shards && !lane->shards->left && lane->shards->n < UPSTREAM_SHARD)
        return lane->shards;
    struct shard *s = xcalloc(1, sizeof *s);
    s->lane = lane;
    s->multi = curl_multi_init();
    if (!s->multi)
        abort();
    s->timer = (struct loop_timer){.fn = on_timer, .arg = s};
    s->flush = (struct loop_timer){.fn = on_flush, .arg = s};
    curl_multi_setopt(s->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(s->multi, CURLMOPT_SOCKETDATA, s);
    curl_multi_setopt(s->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
    curl_multi_setopt(s->multi, CURLMOPT_TIMERDATA, s);
    curl_multi_setopt(s->multi, CURLMOPT_MAXCONNECTS, (long)UPSTREAM_SHARD);
    s->next = lane->shards;
    lane->shards = s;
    return s;
}

static void shard_free(struct shard *s)
{
    struct shard **at = &s->lane->shards;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    curl_multi_cleanup(s->multi);
    loop_timer_clear(s->lane->upstream->loop, &s->timer);
    loop_timer_clear(s->lane->upstream->loop, &s->flush);
    free(s);
}

static void join(struct call *c, struct shard *s)
{
    c->shard = s;
    c->place = s->n;
    s->calls[s->n++] = c;
}

/* The last one closes the connections. */
static void leave(struct call *c)
{
    struct shard *s = c->shard;
    struct call *last = s->calls[--s->n];

    s->calls[c->place] = last;
    last->place = c->place;
    if (s->n == 0)
        shard_free(s);
}

/* Without a folder of authorities libcurl reads their file once for a multi, and not once for a connection: 30 ms and
 * a megabyte each. Streams of HTTP/2 share a connection from the first burst on if those that come later wait for its
 * handshake; over http:// they would wait for the first answer instead. */
static void set_connection(const struct lane *lane, CURL *e)
{
    const struct upstream *u = lane->upstream;

    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)u->limits.connect_timeout_ms);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* never waits for a resolver that is given up */
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION,
                     lane->multiplexes ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_PIPEWAIT, (long)lane->multiplexes);
    curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(e, CURLOPT_PROXY_CAPATH, NULL);
    if (*u->limits.ca_file) {
        curl_easy_setopt(e, CURLOPT_CAINFO, u->limits.ca_file);
        curl_easy_setopt(e, CURLOPT_PROXY_CAINFO, u->limits.ca_file);
    }
    if (u->limits.target->direct)
        curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
}

static struct call *call_new(struct lane *lane)
{
    const struct upstream *u = lane->upstream;
    struct call *c = xcalloc(1, sizeof *c);

    join(c, shard_with_room(lane));
    c->in = BUF_INIT(ANSWER_MAX);
    c->silence = (struct loop_timer){.fn = on_silence, .arg = c};
    c->easy = curl_easy_init();
    if (!c->easy)
        abort();
    curl_easy_setopt(c->easy, CURLOPT_URL, u->url);
    curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, u->headers);
    curl_easy_setopt(c->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(c->easy, CURLOPT_NOSIGNAL, 1L);
    set_connection(lane, c->easy);
    curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, c->error);
    curl_easy_setopt(c->easy, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(c->easy, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
    return c;
}

static struct call *take_idle(struct lane *lane)
{
    struct call *c = lane->idle;

    if (!c)
        return NULL;
    lane->idle = c->next;
    if (c->shard->left) {
        leave(c);
        join(c, shard_with_room(lane));
    }
    return c;
}

struct call *upstream_start(struct upstream *u, const struct call_order *o)
{
    struct lane *lane = &u->lanes[u->is_https && o->piece];
    struct call *c = take_idle(lane);

    if (!c)
        c = call_new(lane);
    c->running = true;
    c->order = *o;
    *c->error = '\0';
    c->silent_ms = loop_now(u->loop);
    c->ends_ms = c->silent_ms + least(o->left_ms, u->limits.call_timeout_ms);
    curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, o->body.p);
    curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE, (long)o->body.n);
    if (curl_multi_add_handle(c->shard->multi, c->easy) != CURLM_OK)
        abort();
    rearm(c, false);
    return c;
}

void upstream_cancel(struct call *c)
{
    assert(c->running);
    put_back(c);
}

void upstream_finish(struct call *c)
{
    assert(c->running);
    hand_over(c, OUTCOME_OK, CURLE_OK);
}

void upstream_pause(struct call *c, bool pause)
{
    struct loop *l = upstream_of(c)->loop;

    assert(c->running);
    if (!pause && c->paused)
        c->silent_ms = loop_now(l);
    c->paused = pause;
    if (!c->over)
        curl_easy_pause(c->easy, pause ? CURLPAUSE_RECV : CURLPAUSE_CONT);
    if (c->enough || c->over) /* libcurl ends nothing by itself after a last piece that it had kept */
        loop_timer_set(l, &c->silence, loop_now(l));
}

static void add_header(struct upstream *u, const char *text)
{
    struct curl_slist *longer = curl_slist_append(u->headers, text);

    if (!longer)
        abort();
    u->headers = longer;
}

static void add_key(struct upstream *u, const struct target *t)
{
    static const char *const formats[] = {
        [AUTH_BEARER] = "Authorization: Bearer ", [AUTH_API_KEY] = "api-key: "};
    struct buf text = BUF_INIT(8 * KIB);

    if (t->auth == AUTH_NONE)
        return;
    buf_puts(&text, formats[t->auth]);
    buf_puts(&text, t->key);
    add_header(u, text.data);
    explicit_bzero(text.data, text.len);
    buf_free(&text);
}

struct upstream *upstream_new(struct loop *l, const struct upstream_conf *conf)
{
    struct buf url = BUF_INIT(8 * KIB);
    const struct target *t = conf->target;
    struct upstream *u = xcalloc(1, sizeof *u);

    curl_global_init(CURL_GLOBAL_DEFAULT);
    u->loop = l;
    u->limits = *conf;
    buf_printf(&url, "%s/chat/completions%s%s", t->base_url, *t->query ? "?" : "", t->query);
    u->url = xstrdup(url.data);
    u->is_https = strncmp(u->url, "https:", 6) == 0;
    u->lanes[0] = (struct lane){.upstream = u, .multiplexes = u->is_https};
    u->lanes[1] = (struct lane){.upstream = u};
    buf_free(&url);
    add_key(u, t);
    add_header(u, "Content-Type: application/json");
    add_header(u, "Expect:"); /* libcurl would wait for a 100 before larger bodies */
    return u;
}

static void call_free(struct call *c)
{
    if (c->running)
        curl_multi_remove_handle(c->shard->multi, c->easy);
    loop_timer_clear(upstream_of(c)->loop, &c->silence);
    curl_easy_cleanup(c->easy);
    buf_free(&c->in);
    leave(c);
    free(c);
}

void upstream_free(struct upstream *u)
{
    if (!u)
        return;
    for (size_t i = 0; i < ARRAY_LEN(u->lanes); i++)
        while (u->lanes[i].shards)
            call_free(u->lanes[i].shards->calls[0]);
    curl_slist_free_all(u->headers);
    free(u->url);
    free(u);
    curl_global_cleanup();
}
