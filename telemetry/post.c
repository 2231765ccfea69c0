#include "telemetry/post.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define CONNECT_MS      5000
#define RETRY_AFTER_MAX 128

struct post_client {
    struct loop *loop;
    struct post_conf conf;
    CURLM *multi;
    struct loop_timer timer;
};

struct post_target {
    char *url;
    struct curl_slist *headers;
};

struct post {
    struct post_client *client;
    CURL *easy;
    bool busy;
    void (*done)(void *arg, const struct post_answer *a);
    void *arg;
    struct buf body;
    bool cut; /* the answer is longer than that: the rest is not waited for */
    char retry_after[RETRY_AFTER_MAX];
    char error[CURL_ERROR_SIZE];
};

/* A socket of libcurl in our loop. */
struct watched {
    struct loop_io io;
    struct post_client *client;
};

static void finish(struct post *p, CURLcode code)
{
    struct post_answer a = {.body = buf_str(&p->body), .retry_after = str_of(p->retry_after)};
    long status = 0;

    curl_multi_remove_handle(p->client->multi, p->easy);
    p->busy = false;
    if (code == CURLE_OK || p->cut) {
        curl_easy_getinfo(p->easy, CURLINFO_RESPONSE_CODE, &status);
        a.status = (int)status;
    } else {
        a.error = p->error[0] ? p->error : curl_easy_strerror(code);
    }
    p->done(p->arg, &a);
}

static void collect(struct post_client *c)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(c->multi, &left)) != NULL) {
        struct post *p = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&p);
        finish(p, m->data.result);
    }
}

static void drive(struct post_client *c, curl_socket_t fd, int what)
{
    int running;

    curl_multi_socket_action(c->multi, fd, what, &running);
    collect(c);
}

static void on_socket(void *arg, uint32_t events)
{
    struct watched *w = arg;
    int what = 0;

    if (events & (EPOLLIN | EPOLLHUP))
        what |= CURL_CSELECT_IN;
    if (events & EPOLLOUT)
        what |= CURL_CSELECT_OUT;
    if (events & EPOLLERR)
        what |= CURL_CSELECT_ERR;
    drive(w->client, w->io.fd, what); /* may free w */
}

static void on_timer(void *arg)
{
    drive(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    struct post_client *c = arg;
    struct watched *w = known;
    uint32_t events = 0;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (w)
            loop_io_clear(c->loop, &w->io);
        free(w);
        curl_multi_assign(c->multi, fd, NULL);
        return 0;
    }
    if (!w) {
        w = xcalloc(1, sizeof *w);
        w->client = c;
        w->io = (struct loop_io){.fd = fd, .fn = on_socket, .arg = w};
        curl_multi_assign(c->multi, fd, w);
    }
    if (what & CURL_POLL_IN)
        events |= EPOLLIN;
    if (what & CURL_POLL_OUT)
        events |= EPOLLOUT;
    return loop_io_set(c->loop, &w->io, events) < 0 ? -1 : 0;
}

static int set_timer(CURLM *multi, long ms, void *arg)
{
    struct post_client *c = arg;

    (void)multi;
    if (ms < 0)
        loop_timer_clear(c->loop, &c->timer);
    else
        loop_timer_set(c->loop, &c->timer, clock_ms() + ms);
    return 0;
}

struct post_client *post_client_new(struct loop *l, const struct post_conf *conf)
{
    struct post_client *c = xcalloc(1, sizeof *c);

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort();
    c->loop = l;
    c->conf = *conf;
    c->timer = (struct loop_timer){.fn = on_timer, .arg = c};
    c->multi = curl_multi_init();
    if (!c->multi)
        abort();
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, watch);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    return c;
}

void post_client_free(struct post_client *c)
{
    if (!c)
        return;
    curl_multi_cleanup(c->multi);
    loop_timer_clear(c->loop, &c->timer);
    curl_global_cleanup();
    free(c);
}

struct post_target *post_target_new(const char *base_url, const char *path, const char *const *headers)
{
    struct post_target *t = xcalloc(1, sizeof *t);
    size_t n = strlen(base_url) + strlen(path) + 1;

    t->url = xmalloc(n);
    snprintf(t->url, n, "%s%s", base_url, path);
    for (; *headers; headers++) {
        struct curl_slist *longer = curl_slist_append(t->headers, *headers);
        if (!longer)
            abort();
        t->headers = longer;
    }
    return t;
}

void post_target_free(struct post_target *t)
{
    if (!t)
        return;
    curl_slist_free_all(t->headers);
    free(t->url);
    free(t);
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct post *p = arg;
    size_t room = UPLOAD_ANSWER_MAX - p->body.len;

    p->cut = size * n > room;
    buf_append(&p->body, data, p->cut ? room : size * n);
    return p->cut ? 0 : size * n;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    static const char name[] = "retry-after:";
    struct post *p = arg;
    size_t len = size * n;

    if (len > sizeof name - 1 && strncasecmp(line, name, sizeof name - 1) == 0)
        snprintf(p->retry_after, sizeof p->retry_after, "%.*s", (int)(len - sizeof name + 1),
                 line + sizeof name - 1);
    return len;
}

static void set_options(struct post *p, const struct post_conf *c)
{
    CURL *e = p->easy;

    curl_easy_setopt(e, CURLOPT_PRIVATE, p);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_USERAGENT, "atalaya/" ATALAYA_VERSION);
    if (*c->user) {
        curl_easy_setopt(e, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
        curl_easy_setopt(e, CURLOPT_USERNAME, c->user);
        curl_easy_setopt(e, CURLOPT_PASSWORD, c->password);
    }
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)c->timeout_ms);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(e, CURLOPT_POST, 1L);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, p);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, p);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, p->error);
    /* In place of the system's, whose folder libcurl would read again for every connection: 30 ms and a megabyte. */
    curl_easy_setopt(e, CURLOPT_CAPATH, *c->ca_dir ? c->ca_dir : NULL);
    if (*c->ca_file || *c->ca_dir)
        curl_easy_setopt(e, CURLOPT_CAINFO, *c->ca_file ? c->ca_file : NULL);
}

struct post *post_new(struct post_client *c, void (*done)(void *arg, const struct post_answer *a), void *arg)
{
    struct post *p = xcalloc(1, sizeof *p);

    p->client = c;
    p->done = done;
    p->arg = arg;
    p->body = BUF_INIT(UPLOAD_ANSWER_MAX);
    p->easy = curl_easy_init();
    if (!p->easy)
        abort();
    set_options(p, &c->conf);
    return p;
}

void post_free(struct post *p)
{
    if (!p)
        return;
    if (p->busy)
        curl_multi_remove_handle(p->client->multi, p->easy);
    curl_easy_cleanup(p->easy);
    buf_free(&p->body);
    free(p);
}

static void start(struct post *p, const struct post_target *t)
{
    buf_reset(&p->body);
    p->cut = false;
    p->retry_after[0] = '\0';
    p->error[0] = '\0';
    p->busy = true;
    curl_easy_setopt(p->easy, CURLOPT_URL, t->url);
    curl_easy_setopt(p->easy, CURLOPT_HTTPHEADER, t->headers);
    if (curl_multi_add_handle(p->client->multi, p->easy) != CURLM_OK)
        abort();
}

void post_send(struct post *p, const struct post_target *t, struct str body)
{
    curl_easy_setopt(p->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
    curl_easy_setopt(p->easy, CURLOPT_POSTFIELDS, body.p);
    start(p, t);
}

void post_get(struct post *p, const struct post_target *t)
{
    curl_easy_setopt(p->easy, CURLOPT_HTTPGET, 1L);
    start(p, t);
}

void post_set_timeout(struct post *p, int64_t ms)
{
    curl_easy_setopt(p->easy, CURLOPT_TIMEOUT_MS, (long)ms);
}
