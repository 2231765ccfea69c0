/*
 * The loop goes on, whatever a name server or a provider does that never answers. libcurl's getaddrinfo() is the one
 * below: "slow" keeps it until the test lets it go.
 */
#include "llm-worker/upstream.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/attr.h"
#include "tests/fakes/fixture.h"

TestSuite(upstream, .timeout = 60);

#define CALLS 20

static int gate[2]; /* closed: go */

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    (void)service;
    (void)hints;
    *out = NULL;
    if (strcmp(host, "slow") == 0)
        (void)!read(gate[0], &(char){0}, 1);
    return EAI_NONAME;
}

struct counter {
    struct loop *loop;
    int left;
    int outcomes[OUTCOME_CANCELLED + 1];
    char trouble[256];
};

static void on_done(void *arg, const struct call_result *r)
{
    struct counter *c = arg;

    c->outcomes[r->outcome]++;
    snprintf(c->trouble, sizeof c->trouble, "%s", r->trouble ? r->trouble : "");
    if (--c->left == 0)
        loop_stop(c->loop);
}

static struct upstream *upstream_at(struct loop *l, struct target *t, const char *url,
                                    int64_t connect_timeout_ms)
{
    *t = (struct target){.name = (char *)"x",
                         .base_url = strdup(url),
                         .query = (char *)"",
                         .key = (char *)"sk-x",
                         .model = (char *)"gpt-4o-mini",
                         .ca_file = (char *)""};
    return upstream_new(l, &(struct upstream_conf){.target = t,
                                                   .ca_file = "",
                                                   .connect_timeout_ms = connect_timeout_ms,
                                                   .first_byte_timeout_ms = 5000,
                                                   .stall_timeout_ms = 5000,
                                                   .call_timeout_ms = 20000});
}

static void ask(struct upstream *u, struct counter *c, int n)
{
    static const char body[] =
        "{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"user\",\"content\":\"¿?\"}]}";

    c->left += n;
    for (int i = 0; i < n; i++)
        upstream_start(
            u, &(struct call_order){.body = str_of(body), .left_ms = 30000, .done = on_done, .arg = c});
}

Test(upstream, a_name_that_does_not_exist)
{
    struct counter c = {.loop = loop_new()};
    struct target t;
    struct upstream *u = upstream_at(c.loop, &t, "http://nowhere/v1", 5000);

    ask(u, &c, 3);
    loop_run(c.loop);
    cr_expect_eq(c.outcomes[OUTCOME_CONNECT], 3);
    cr_expect_str_eq(c.trouble, "Could not resolve host: nowhere");
    upstream_free(u);
    loop_free(c.loop);
    free(t.base_url);
}

/* The resolver answers nobody until everything else is over, the slow calls included. */
Test(upstream, a_slow_resolver_holds_up_nobody)
{
    static const char *const no_options[] = {NULL};
    struct fixture fake = fixture_start("fake-openai", no_options);
    struct counter slow = {.loop = loop_new()}, fast = {.loop = slow.loop};
    struct target there, nowhere;
    char url[64];

    cr_assert_eq(pipe(gate), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/v1", fake.port);
    struct upstream *u = upstream_at(slow.loop, &there, url, 5000);
    struct upstream *v = upstream_at(slow.loop, &nowhere, "https://slow/v1", 1500);
    ask(v, &slow, CALLS);
    ask(u, &fast, CALLS);
    loop_run(slow.loop);
    cr_expect_eq(fast.outcomes[OUTCOME_OK], CALLS, "%s", fast.trouble);
    cr_expect_eq(slow.left, CALLS);
    loop_run(slow.loop);
    cr_expect_eq(slow.outcomes[OUTCOME_CONNECT_TIMEOUT], CALLS);
    upstream_free(v);
    upstream_free(u);
    close(gate[1]);
    loop_free(slow.loop);
    free(there.base_url);
    free(nowhere.base_url);
    fixture_stop(&fake);
}

/* A listener whose queue is full: the kernel answers nobody any more. */
static int full_listener(uint16_t *port, int others[4])
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 0) == 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    *port = ntohs(a.sin_port);
    for (int i = 0; i < 4; i++) {
        others[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)!connect(others[i], (struct sockaddr *)&a, sizeof a);
    }
    return fd;
}

/* Those who wait for the first one's connection, to share it, wait no longer than it does. */
Test(upstream, a_connection_that_never_comes)
{
    struct counter c = {.loop = loop_new()};
    struct target t;
    uint16_t port;
    int others[4];
    int fd = full_listener(&port, others);
    char url[64];

    snprintf(url, sizeof url, "https://127.0.0.1:%u/v1", port);
    struct upstream *u = upstream_at(c.loop, &t, url, 300);
    ask(u, &c, CALLS);
    loop_run(c.loop);
    cr_expect_eq(c.outcomes[OUTCOME_CONNECT_TIMEOUT], CALLS);
    upstream_free(u);
    loop_free(c.loop);
    free(t.base_url);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        close(others[i]);
    close(fd);
}
