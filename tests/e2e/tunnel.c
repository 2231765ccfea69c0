#include "tests/e2e/tunnel.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/mem.h"
#include "tests/e2e/process.h"

struct pair {
    int client, server; /* -1: none */
    char head[4096];
    size_t n;
};

struct tunnel {
    uint16_t port, to;
    int status;
    int listener;
    pthread_t thread;
    pthread_mutex_t lock;
    char heads[TUNNEL_HEADS];
    struct pair pairs[TUNNEL_PAIRS];
};

static struct sockaddr_in local(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void end(struct pair *p)
{
    if (p->client >= 0)
        close(p->client);
    if (p->server >= 0)
        close(p->server);
    p->client = p->server = -1;
    p->n = 0;
}

static void open_way(struct tunnel *t, struct pair *p)
{
    struct sockaddr_in a = local(t->to);
    char answer[96];
    int n = snprintf(answer, sizeof answer, "HTTP/1.1 %d So be it\r\n%s\r\n", t->status,
                     t->status == 200 ? "" : "Content-Length: 0\r\nConnection: close\r\n");

    pthread_mutex_lock(&t->lock);
    strncat(t->heads, p->head, sizeof t->heads - strlen(t->heads) - 1);
    pthread_mutex_unlock(&t->lock);
    if (t->status == 200)
        p->server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool open = p->server >= 0 && connect(p->server, (struct sockaddr *)&a, sizeof a) == 0;
    if ((t->status == 200 && !open) || send(p->client, answer, (size_t)n, MSG_NOSIGNAL) < n || !open)
        end(p);
}

static void read_head(struct tunnel *t, struct pair *p)
{
    ssize_t n = recv(p->client, p->head + p->n, sizeof p->head - 1 - p->n, 0);

    if (n <= 0) {
        end(p);
        return;
    }
    p->n += (size_t)n;
    p->head[p->n] = '\0';
    if (strstr(p->head, "\r\n\r\n"))
        open_way(t, p);
}

static void pass_on(struct pair *p, int from, int to)
{
    char piece[65536];
    ssize_t n = recv(from, piece, sizeof piece, 0);

    for (ssize_t sent = 0, k; n > 0 && sent < n; sent += k) {
        k = send(to, piece + sent, (size_t)(n - sent), MSG_NOSIGNAL);
        if (k <= 0)
            n = -1;
    }
    if (n <= 0)
        end(p);
}

static void welcome(struct tunnel *t)
{
    int fd = accept4(t->listener, NULL, NULL, SOCK_CLOEXEC);

    for (size_t i = 0; fd >= 0 && i < TUNNEL_PAIRS; i++)
        if (t->pairs[i].client < 0) {
            t->pairs[i].client = fd;
            return;
        }
    if (fd >= 0)
        close(fd);
}

static void *run(void *arg)
{
    struct tunnel *t = arg;

    for (;;) {
        struct pollfd fds[1 + 2 * TUNNEL_PAIRS] = {{.fd = t->listener, .events = POLLIN}};
        for (size_t i = 0; i < TUNNEL_PAIRS; i++) {
            fds[1 + 2 * i] = (struct pollfd){.fd = t->pairs[i].client, .events = POLLIN};
            fds[2 + 2 * i] = (struct pollfd){.fd = t->pairs[i].server, .events = POLLIN};
        }
        poll(fds, 1 + 2 * TUNNEL_PAIRS, -1);
        if (fds[0].revents & (POLLHUP | POLLERR))
            return NULL;
        for (size_t i = 0; i < TUNNEL_PAIRS; i++) {
            struct pair *p = &t->pairs[i];
            if (fds[1 + 2 * i].revents && p->server < 0) /* the way is not open yet */
                read_head(t, p);
            else if (fds[1 + 2 * i].revents)
                pass_on(p, p->client, p->server);
            if (fds[2 + 2 * i].revents && p->server >= 0)
                pass_on(p, p->server, p->client);
        }
        if (fds[0].revents & POLLIN)
            welcome(t);
    }
}

struct tunnel *tunnel_new(uint16_t to, int status)
{
    struct tunnel *t = xcalloc(1, sizeof *t);
    struct sockaddr_in a;

    t->port = free_port();
    t->to = to;
    t->status = status;
    a = local(t->port);
    for (size_t i = 0; i < TUNNEL_PAIRS; i++)
        t->pairs[i].client = t->pairs[i].server = -1;
    t->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(setsockopt(t->listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) == 0);
    cr_assert(bind(t->listener, (struct sockaddr *)&a, sizeof a) == 0 && listen(t->listener, 64) == 0);
    pthread_mutex_init(&t->lock, NULL);
    cr_assert_eq(pthread_create(&t->thread, NULL, run, t), 0);
    return t;
}

uint16_t tunnel_port(const struct tunnel *t)
{
    return t->port;
}

bool tunnel_heard(struct tunnel *t, const char *text)
{
    pthread_mutex_lock(&t->lock);
    bool yes = strstr(t->heads, text) != NULL;
    pthread_mutex_unlock(&t->lock);
    return yes;
}

void tunnel_free(struct tunnel *t)
{
    shutdown(t->listener, SHUT_RDWR);
    pthread_join(t->thread, NULL);
    for (size_t i = 0; i < TUNNEL_PAIRS; i++)
        end(&t->pairs[i]);
    close(t->listener);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
