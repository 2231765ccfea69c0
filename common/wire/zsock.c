#include "common/wire/zsock.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "common/base/limits.h"
#include "common/base/mem.h"

#define LINGER_MS 1000 /* a last word still goes out; a stuck peer does not keep us longer */

struct zwire {
    void *ctx;
};

struct zsock {
    void *socket;
    int fd;
    bool router;
};

struct zwire *zwire_new(void)
{
    struct zwire *w = xcalloc(1, sizeof *w);

    w->ctx = zmq_ctx_new();
    if (!w->ctx)
        abort();
    return w;
}

void zwire_free(struct zwire *w)
{
    if (!w)
        return;
    zmq_ctx_term(w->ctx);
    free(w);
}

static void set_int(void *socket, int option, int value)
{
    if (zmq_setsockopt(socket, option, &value, sizeof value) != 0)
        abort();
}

static int open_socket(struct zwire *w, int type, const char *endpoint, int queue, struct zsock **out)
{
    void *socket = zmq_socket(w->ctx, type);
    int64_t largest = WIRE_MESSAGE_MAX;
    int fd = -1;
    size_t size = sizeof fd;

    if (!socket)
        return -errno;
    set_int(socket, ZMQ_LINGER, LINGER_MS);
    set_int(socket, ZMQ_SNDHWM, queue);
    set_int(socket, ZMQ_RCVHWM, queue);
    set_int(socket, ZMQ_RECONNECT_IVL, 50);
    set_int(socket, ZMQ_RECONNECT_IVL_MAX, 500);
    /* A host that vanishes without a word: give its connection up, as our own beats do with its jobs. On one host that
     * would only lose what waits for a process that is stopped for a while. */
    if (strncmp(endpoint, "tcp:", 4) == 0) {
        set_int(socket, ZMQ_HEARTBEAT_IVL, 2000);
        set_int(socket, ZMQ_HEARTBEAT_TIMEOUT, 6000);
    }
    if (zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &largest, sizeof largest) != 0)
        abort();
    if (type == ZMQ_ROUTER)
        set_int(socket, ZMQ_ROUTER_MANDATORY, 1);
    else
        set_int(socket, ZMQ_IMMEDIATE, 1); /* nothing queues up for a peer that is not there */

    int rc = type == ZMQ_ROUTER ? zmq_bind(socket, endpoint) : zmq_connect(socket, endpoint);
    if (rc != 0 || zmq_getsockopt(socket, ZMQ_FD, &fd, &size) != 0) {
        int err = errno;
        zmq_close(socket);
        return -err;
    }
    *out = xcalloc(1, sizeof **out);
    **out = (struct zsock){socket, fd, type == ZMQ_ROUTER};
    return 0;
}

int zsock_router(struct zwire *w, const char *endpoint, int queue, struct zsock **out)
{
    return open_socket(w, ZMQ_ROUTER, endpoint, queue, out);
}

int zsock_dealer(struct zwire *w, const char *endpoint, int queue, struct zsock **out)
{
    return open_socket(w, ZMQ_DEALER, endpoint, queue, out);
}

void zsock_close(struct zsock *s)
{
    if (!s)
        return;
    zmq_close(s->socket);
    free(s);
}

int zsock_fd(const struct zsock *s)
{
    return s->fd;
}

int zsock_send(struct zsock *s, const struct zroute *to, struct str body)
{
    int rc;

    if (to) {
        while ((rc = zmq_send(s->socket, to->id, to->n, ZMQ_DONTWAIT | ZMQ_SNDMORE)) < 0 && errno == EINTR)
            ;
        if (rc < 0)
            return -errno;
    }
    while ((rc = zmq_send(s->socket, body.p, body.n, ZMQ_DONTWAIT)) < 0 && errno == EINTR)
        ;
    return rc < 0 ? -errno : 0;
}

static int recv_part(struct zsock *s, zmq_msg_t *part)
{
    int rc;

    zmq_msg_init(part);
    while ((rc = zmq_msg_recv(part, s->socket, ZMQ_DONTWAIT)) < 0 && errno == EINTR)
        ;
    return rc < 0 ? -errno : 0;
}

int zsock_recv(struct zsock *s, struct zmsg *m)
{
    zmq_msg_t *part = xmalloc(sizeof *part);
    int ret = recv_part(s, part);

    m->route.n = 0;
    if (ret == 0 && s->router) {
        size_t n = zmq_msg_size(part);
        m->route.n = (uint8_t)(n < ZROUTE_MAX ? n : ZROUTE_MAX);
        memcpy(m->route.id, zmq_msg_data(part), m->route.n);
        if (zmq_msg_more(part)) {
            zmq_msg_close(part);
            ret = recv_part(s, part);
        }
    }
    if (ret < 0) {
        zmq_msg_close(part);
        free(part);
        return ret;
    }
    /* Our messages have one part; what a stranger appends is read and dropped. */
    while (zmq_msg_more(part)) {
        zmq_msg_t rest;
        bool more = recv_part(s, &rest) == 0 && zmq_msg_more(&rest);
        zmq_msg_close(&rest);
        if (!more)
            break;
    }
    m->hold = part;
    m->body = (struct str){zmq_msg_data(part), zmq_msg_size(part)};
    return 0;
}

void zmsg_free(struct zmsg *m)
{
    if (!m->hold)
        return;
    zmq_msg_close(m->hold);
    free(m->hold);
    m->hold = NULL;
}
