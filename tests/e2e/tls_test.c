/* A provider behind real TLS: whom a worker believes, how few connections it needs, and what happens when they end. */
#include "tests/e2e/nginx.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/limits.h"
#include "tests/e2e/load.h"
#include "tests/e2e/sse_client.h"

TestSuite(tls, .fini = e2e_cleanup, .timeout = 120);

#define H2 "HTTP/2.0"
#define H1 "HTTP/1.1"

#define TLS_ATTEMPTS(upstream) "atalaya_upstream_attempts_total{outcome=\"tls\",upstream=\"" upstream "\"}"

static struct e2e *behind(struct nginx *f, enum nginx_door door)
{
    struct e2e *e = e2e_new();

    nginx_start(f, e, door);
    e2e_env(e, "LLM_CA_FILE", "%s", f->ca_file);
    e2e_env(e, "LLM_WORKERS", "1");
    return e;
}

static void expect_answers(const struct e2e *e, int n)
{
    for (int i = 0; i < n; i++) {
        struct http_reply r = e2e_ask(e, "ana", "¿Quién?", NULL);
        cr_assert_eq(r.status, 200, "%s", r.body.data);
        http_reply_free(&r);
    }
}

/* So many at once, each with its own answer. */
static void expect_crowd(struct e2e *e, size_t total, size_t clients)
{
    e2e_tell(&e->openai, "/_admin/defaults", "{\"echo\":true}");
    struct load *l = load_start(e->port, total, clients);
    const struct load_outcome *o = load_outcomes(l);

    for (size_t i = 0; i < total; i++)
        cr_expect(o[i].status == 200 && o[i].answer_is_own, "%zu: %d %s", i, o[i].status,
                  o[i].trouble ? o[i].trouble : "");
    load_free(l);
}

/* nginx writes its line a moment after the answer. */
static void expect_calls(const struct nginx *f, enum nginx_door door, const char *protocol, size_t calls,
                         size_t least, size_t most)
{
    size_t connections;

    E2E_WAIT(E2E_WAIT_SECONDS, nginx_calls(f, door, protocol, &connections) >= calls);
    cr_expect_eq(nginx_calls(f, door, protocol, &connections), calls);
    cr_expect(connections >= least && connections <= most, "%zu connections", connections);
}

/* One question that gets no answer, because of TLS. */
static void expect_refusal(struct e2e *e, const char *word, const char *text)
{
    struct http_reply r = e2e_ask(e, "ana", "¿Quién?", NULL);
    json_t *o = e2e_json(&r);

    cr_expect_eq(r.status, 502, "%d %s", r.status, r.body.data);
    cr_expect_str_eq(e2e_string(o, "error"), word, "%s", r.body.data);
    cr_expect_eq(e2e_stat(&e->openai, "requests"), 0);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_file_contains(e->out, text));
    json_decref(o);
    http_reply_free(&r);
}

/* No waiting makes a certificate better, so it is looked at once. */
static void expect_tls_refusal(struct e2e *e, const char *text)
{
    e2e_start(e);
    expect_refusal(e, "tls", text);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, TLS_ATTEMPTS("openai")) == 1);
    e2e_end(e);
}

Test(tls, http2_and_one_connection)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_H2);

    e2e_start(e);
    expect_answers(e, 20);
    expect_calls(&f, NGINX_H2, H2, 20, 1, 1);
    e2e_end(e);
}

Test(tls, http1_and_one_connection)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_H1);

    e2e_start(e);
    expect_answers(e, 20);
    expect_calls(&f, NGINX_H1, H1, 20, 1, 1);
    e2e_end(e);
}

/* The first burst does not open a connection for each. */
Test(tls, a_crowd_shares_a_connection)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_H2);

    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/defaults", "{\"latency_ms\":200}");
    expect_crowd(e, 60, 60);
    expect_calls(&f, NGINX_H2, H2, 60, 1, 1);
    cr_expect_geq(e2e_stat(&e->openai, "max_in_flight"), 2);
    e2e_end(e);
}

Test(tls, a_server_that_takes_four_streams)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_NARROW);

    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/defaults", "{\"latency_ms\":100}");
    expect_crowd(e, 120, 40);
    expect_calls(&f, NGINX_NARROW, H2, 120, 2, 120);
    cr_expect_eq(e2e_stat(&e->openai, "requests"), 120);
    e2e_end(e);
}

/* GOAWAY after every five calls: none is lost, none is asked twice. */
Test(tls, goaway_costs_nobody_an_answer)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_SHORT);

    e2e_start(e);
    expect_crowd(e, 200, 20);
    cr_expect_eq(e2e_stat(&e->openai, "requests"), 200);
    expect_calls(&f, NGINX_SHORT, H2, 200, 40, 200);
    e2e_end(e);
}

/* Of 48 MiB that are on their way the worker leaves most at the provider, in the streams of one connection; all of it
 * comes when the gateway takes it. */
Test(tls, a_gateway_that_takes_nothing_for_a_while)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_H2);
    struct buf json = BUF_INIT(2 * MIB);
    const size_t n = 48;

    buf_puts(&json, "{\"latency_ms\":300,\"content\":\"");
    while (json.len < MIB)
        buf_puts(&json, "bla ");
    buf_puts(&json, "\"}");
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/defaults", json.data);
    struct load *l = load_start(e->port, n, n);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->openai, "requests") == (int64_t)n);
    pid_t gateway = e2e_pid(e, "gateway", 0);
    kill(gateway, SIGSTOP);
    for (int64_t end = clock_ms() + 1500; clock_ms() < end;)
        e2e_nap();
    kill(gateway, SIGCONT);
    const struct load_outcome *o = load_outcomes(l);
    for (size_t i = 0; i < n; i++)
        cr_expect_eq(o[i].status, 200, "%zu: %d %s", i, o[i].status, o[i].trouble ? o[i].trouble : "");
    load_free(l);
    buf_free(&json);
    e2e_end(e);
}

/* Streams have connections of their own: who reads slowly holds up nobody else. */
Test(tls, streams)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_H2);

    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/defaults", "{\"content\":\"uno dos tres cuatro cinco\"}");
    for (int i = 0; i < 3; i++) {
        struct sse_client c =
            sse_open(e->port, "/ask", "", "{\"user_id\":\"ana\",\"question\":\"¿Qué?\",\"stream\":true}");
        int pieces = 0;
        cr_assert_eq(c.status, 200);
        while (sse_next(&c) && strcmp(c.name, "done") != 0)
            pieces += strcmp(c.name, "delta") == 0;
        cr_expect_str_eq(c.name, "done");
        cr_expect_gt(pieces, 1);
        sse_close(&c);
    }
    expect_answers(e, 1);
    expect_calls(&f, NGINX_H2, H1, 3, 1, 1);
    expect_calls(&f, NGINX_H2, H2, 1, 1, 1);
    e2e_end(e);
}

Test(tls, an_unknown_authority)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_H2);

    e2e_env(e, "LLM_CA_FILE", NULL);
    expect_tls_refusal(e,
                       "unable to get local issuer certificate; if its authority is a private one, name that "
                       "one's certificate in LLM_CA_FILE or ca_file");
}

Test(tls, somebody_elses_certificate)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_MISNAMED);

    expect_tls_refusal(e, "no alternative certificate subject name matches target host name 'localhost'; is "
                          "the base URL right?");
}

Test(tls, an_expired_certificate)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_EXPIRED);

    expect_tls_refusal(e, "certificate has expired; whoever runs it must renew it");
}

Test(tls, nothing_older_than_tls_1_2)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_OLD);

    e2e_start(e);
    expect_refusal(e, "connect", "alert protocol version");
    e2e_end(e);
}

/* The other one is asked at once, and the first is not tried again for this question. */
Test(tls, who_is_not_believed_is_replaced)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_MISNAMED);
    char path[128];

    e2e_other_start(e, "none");
    snprintf(path, sizeof path, "%s/upstreams.json", e->dir);
    FILE *list = fopen(path, "w");
    cr_assert(list);
    fprintf(
        list,
        "{\"upstreams\":[{\"name\":\"first\",\"base_url\":\"https://localhost:%u/v1\",\"key\":"
        "\"OPENAI_API_KEY\"},{\"name\":\"second\",\"base_url\":\"http://127.0.0.1:%u/v1\",\"priority\":1}]}",
        f.port[NGINX_MISNAMED], e->other.port);
    cr_assert_eq(fclose(list), 0);
    e2e_env(e, "LLM_UPSTREAMS_FILE", "%s", path);
    e2e_start(e);
    expect_answers(e, 1);
    cr_expect_eq(e2e_stat(&e->other, "requests"), 1);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_metric(e->telemetry_port, TLS_ATTEMPTS("first")) == 1);
    e2e_end(e);
}

/* Each upstream may have its own authorities, and then believes no others. */
Test(tls, authorities_of_one_upstream)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_H2);
    char path[128];

    snprintf(path, sizeof path, "%s/upstreams.json", e->dir);
    FILE *list = fopen(path, "w");
    cr_assert(list);
    fprintf(list,
            "{\"upstreams\":[{\"name\":\"ours\",\"base_url\":\"https://localhost:%u/v1\",\"key\":"
            "\"OPENAI_API_KEY\",\"ca_file\":\"%s\"}]}",
            f.port[NGINX_H2], f.ca_file);
    cr_assert_eq(fclose(list), 0);
    e2e_env(e, "LLM_UPSTREAMS_FILE", "%s", path);
    e2e_env(e, "LLM_CA_FILE", NULL);
    e2e_start(e);
    expect_answers(e, 1);
    e2e_end(e);
}

Test(tls, ssl_cert_file_counts_too)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_H2);

    e2e_env(e, "LLM_CA_FILE", NULL);
    e2e_env(e, "SSL_CERT_FILE", "%s", f.ca_file);
    e2e_start(e);
    expect_answers(e, 1);
    e2e_end(e);
}

Test(tls, check_looks_at_the_file)
{
    struct e2e *e = e2e_new();
    int status = 0;

    e2e_env(e, "LLM_CA_FILE", "/nonexistent/ca.pem");
    pid_t pid = e2e_launch(e, (const char *const[]){"check", NULL});
    E2E_WAIT(E2E_WAIT_SECONDS, process_ended(pid, &status));
    cr_expect_eq(WEXITSTATUS(status), 78);
    cr_expect(e2e_file_contains(e->out,
                                "LLM_CA_FILE=/nonexistent/ca.pem: cannot take certificate authorities "
                                "from this file: No such file or directory"));
    unlink(e->out); /* it is no log */
    e2e_end(e);
}

/* A provider that comes back under way: its connections break, and nobody notices. */
Test(tls, a_restart_under_way)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_H2);

    e2e_env(e, "LLM_MAX_ATTEMPTS", "10");
    e2e_env(e, "LLM_RETRY_BUDGET", "1000");
    e2e_env(e, "LLM_BREAKER_FAILURES", "0");
    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/defaults", "{\"latency_ms\":50,\"echo\":true}");
    struct load *l = load_start(e->port, 300, 10);
    E2E_WAIT(E2E_WAIT_SECONDS, load_done(l) > 50);
    nginx_stop(&f);
    nginx_again(&f);
    const struct load_outcome *o = load_outcomes(l);
    for (size_t i = 0; i < 300; i++)
        cr_expect(o[i].status == 200 && o[i].answer_is_own, "%zu: %d", i, o[i].status);
    load_free(l);
    e2e_end(e);
}

/* A new configuration: the old process ends what it has and says GOAWAY. */
Test(tls, a_reload_under_way_repeats_nothing)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_H2);

    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/defaults", "{\"latency_ms\":50,\"echo\":true}");
    struct load *l = load_start(e->port, 300, 10);
    E2E_WAIT(E2E_WAIT_SECONDS, load_done(l) > 50);
    nginx_reload(&f);
    const struct load_outcome *o = load_outcomes(l);
    for (size_t i = 0; i < 300; i++)
        cr_expect(o[i].status == 200 && o[i].answer_is_own, "%zu: %d", i, o[i].status);
    cr_expect_eq(e2e_stat(&e->openai, "requests"), 300);
    load_free(l);
    e2e_end(e);
}

/* The process of nginx that holds the connections. */
static pid_t holder(const struct e2e *e)
{
    static struct process tree[PROCESS_MAX];
    size_t n = process_tree(tree);

    for (size_t i = 0; i < n; i++)
        if (tree[i].parent == e->nginx)
            return tree[i].pid;
    return 0;
}

/* A connection that is open and dead: the next call goes another way, or HTTP/2 would lose them all. */
Test(tls, a_connection_that_went_dead_is_left)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_H2);

    e2e_env(e, "LLM_FIRST_BYTE_TIMEOUT_MS", "700");
    e2e_start(e);
    expect_answers(e, 1);
    expect_calls(&f, NGINX_H2, H2, 1, 1, 1); /* or its line is not written before it is stopped */
    pid_t dead = holder(e);
    cr_assert(dead > 0 && kill(dead, SIGSTOP) == 0);
    nginx_reload(&f);
    expect_answers(e, 3);
    expect_calls(&f, NGINX_H2, H2, 4, 2, 2);
    kill(dead, SIGCONT);
    e2e_end(e);
}

/* P6: one stream of a connection on which another one waits. */
Test(tls, a_client_who_leaves_stops_the_call)
{
    struct nginx f;
    struct e2e *e = behind(&f, NGINX_H2);
    struct http_reply r;

    e2e_start(e);
    e2e_tell(&e->openai, "/_admin/defaults", "{\"latency_ms\":5000}");
    struct load *l = load_start(e->port, 1, 1);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->openai, "in_flight") == 1);
    struct http_client c = http_open(e->port);
    c.timeout_ms = 500;
    http_call(&c, "POST", "/ask", str_of("{\"user_id\":\"ana\",\"question\":\"¿Me oyes?\"}"), &r);
    cr_assert_str_eq(r.trouble, "timeout");
    http_reply_free(&r);
    http_close(&c);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->openai, "client_left") == 1);
    cr_expect_eq(load_done(l), 0, "it was not told before the other one had its answer");
    cr_expect_eq(load_outcomes(l)[0].status, 200);
    load_free(l);
    expect_calls(&f, NGINX_H2, H2, 2, 1, 1);
    e2e_end(e);
}
