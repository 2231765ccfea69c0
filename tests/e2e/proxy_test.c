/* Proxies that the environment names: who goes through them, who does not, and what they get to see. */
#include "tests/e2e/nginx.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/e2e/tunnel.h"

TestSuite(proxy, .fini = e2e_cleanup, .timeout = 120);

#define PASSWORD "contrasena-e2e-40d1"
#define NOWHERE  "localhost.invalid" /* a host that no resolver knows */

static struct e2e *behind(struct nginx *f)
{
    struct e2e *e = e2e_new();

    nginx_start(f, e, NGINX_H2);
    e2e_env(e, "LLM_CA_FILE", "%s", f->ca_file);
    e2e_env(e, "LLM_WORKERS", "1");
    return e;
}

static int ask(const struct e2e *e)
{
    struct http_reply r = e2e_ask(e, "ana", "¿Quién?", NULL);
    int status = r.status;

    http_reply_free(&r);
    return status;
}

/* P8: whatever happens, neither key nor password is said. */
static void expect_nothing_told(struct e2e *e)
{
    static const char *const logs[] = {"nginx.log", "nginx.err", "atalaya.out", "atalaya.err"};
    static struct process tree[PROCESS_MAX];
    char path[160], line[4096];
    size_t n = process_tree(tree);

    for (size_t i = 0; i < ARRAY_LEN(logs); i++) {
        snprintf(path, sizeof path, "%s/%s", e->dir, logs[i]);
        cr_expect(!e2e_file_contains(path, E2E_OPENAI_KEY), "%s holds the key", path);
        cr_expect(!e2e_file_contains(path, PASSWORD), "%s holds the password", path);
    }
    for (size_t i = 0; i < n; i++) {
        process_cmdline(tree[i].pid, line, sizeof line);
        cr_expect(!strstr(line, E2E_OPENAI_KEY) && !strstr(line, PASSWORD), "%s", line);
    }
    cr_expect(!e2e_tree_contains(e->state_dir, PASSWORD) && !e2e_tree_contains(e->run_dir, PASSWORD));
    cr_expect(!e2e_tree_contains(e->state_dir, E2E_OPENAI_KEY) &&
              !e2e_tree_contains(e->run_dir, E2E_OPENAI_KEY));
    snprintf(path, sizeof path, "/proc/%d/environ", (int)e2e_pid(e, "gateway", 0));
    cr_expect(!e2e_file_contains(path, PASSWORD) && !e2e_file_contains(path, E2E_OPENAI_KEY));
}

Test(proxy, https_goes_through_it)
{
    struct nginx f;
    struct e2e *e = behind(&f);
    struct tunnel *t = tunnel_new(f.port[NGINX_H2], 200);
    char head[64];

    e2e_env(e, "LOG_LEVEL", "DEBUG");
    e2e_env(e, "HTTPS_PROXY", "http://ana:" PASSWORD "@127.0.0.1:%u", tunnel_port(t));
    e2e_start(e);
    for (int i = 0; i < 3; i++)
        cr_expect_eq(ask(e), 200);
    snprintf(head, sizeof head, "CONNECT localhost:%u HTTP/1.1", f.port[NGINX_H2]);
    cr_expect(tunnel_heard(t, head));
    cr_expect(tunnel_heard(t, "Proxy-Authorization: Basic "));
    cr_expect(!tunnel_heard(t, E2E_OPENAI_KEY), "the proxy is told the key");
    size_t connections;
    E2E_WAIT(E2E_WAIT_SECONDS, nginx_calls(&f, NGINX_H2, "HTTP/2.0", &connections) == 3);
    cr_expect_eq(connections, 1);
    expect_nothing_told(e);
    e2e_end(e);
    tunnel_free(t);
}

Test(proxy, no_proxy_holds)
{
    struct nginx f;
    struct e2e *e = behind(&f);
    struct tunnel *t = tunnel_new(f.port[NGINX_H2], 200);

    e2e_env(e, "HTTPS_PROXY", "http://127.0.0.1:%u", tunnel_port(t));
    e2e_env(e, "NO_PROXY", "example.org,localhost");
    e2e_start(e);
    cr_expect_eq(ask(e), 200);
    cr_expect(!tunnel_heard(t, "CONNECT"));
    e2e_end(e);
    tunnel_free(t);
}

/* The proxy knows the host, we need not. */
Test(proxy, http_goes_through_it)
{
    struct nginx f;
    struct e2e *e = behind(&f);
    size_t connections;

    e2e_env(e, "OPENAI_BASE_URL", "http://" NOWHERE "/v1");
    e2e_env(e, "http_proxy", "http://127.0.0.1:%u", f.port[NGINX_PROXY]);
    e2e_start(e);
    cr_expect_eq(ask(e), 200);
    E2E_WAIT(E2E_WAIT_SECONDS, nginx_calls(&f, NGINX_PROXY, "HTTP/1.1", &connections) == 1);
    cr_expect(e2e_file_contains(f.log, "POST http://" NOWHERE "/v1/chat/completions HTTP/1.1"));
    e2e_end(e);
}

static void live_with(const char *scheme, uint16_t port, const char *tail, const char *says)
{
    struct nginx f;
    struct e2e *e = behind(&f);

    e2e_env(e, "LOG_LEVEL", "DEBUG");
    e2e_env(e, "https_proxy", "%s://ana:" PASSWORD "@127.0.0.1:%u%s", scheme, port, tail);
    e2e_start(e);
    cr_expect_eq(ask(e), 502);
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_file_contains(e->out, says));
    E2E_WAIT(E2E_WAIT_SECONDS, e2e_stat(&e->langfuse, "traces") == 1);
    expect_nothing_told(e);
    e2e_end(e);
}

Test(proxy, one_that_refuses)
{
    struct tunnel *t = tunnel_new(1, 407);

    live_with("http", tunnel_port(t), "", "connect: CONNECT tunnel failed, response 407");
    tunnel_free(t);
}

Test(proxy, one_that_is_not_there)
{
    live_with("http", free_port(), "", "connect: ");
}

/* libcurl would repeat the whole address. */
Test(proxy, one_whose_address_makes_no_sense)
{
    live_with("rsync", free_port(), "", "connect: ");
    live_with("http", free_port(), "[]", "connect: ");
}

Test(proxy, check_shows_them_without_password)
{
    struct e2e *e = e2e_new();
    int status;

    e2e_env(e, "HTTPS_PROXY", "http://ana:" PASSWORD "@proxy.example:3128");
    e2e_env(e, "NO_PROXY", "10.0.0.0/8,.example.org");
    e2e_env(e, "HTTP_PROXY", "http://ana:" PASSWORD "@proxy.example:3128");
    pid_t pid = e2e_launch(e, (const char *const[]){"check", NULL});
    E2E_WAIT(E2E_WAIT_SECONDS, process_ended(pid, &status));
    cr_expect(e2e_file_contains(e->out, "http://***@proxy.example:3128"));
    cr_expect(e2e_file_contains(e->out, "10.0.0.0/8,.example.org"));
    cr_expect(e2e_file_contains(e->out, "(not read, but http_proxy is)"));
    cr_expect(!e2e_file_contains(e->out, PASSWORD) && !e2e_file_contains(e->err, PASSWORD));
    cr_expect(!e2e_file_contains(e->out, "read by no program"));
    unlink(e->out); /* it is no log */
    e2e_end(e);
}
