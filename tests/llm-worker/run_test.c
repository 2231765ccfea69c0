/* Questions inside the worker, against a provider that the test plays: each of its calls has a thread of its own. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "llm-worker/run.h"

#define PATIENCE_MS 20000
#define CALLS_MAX   4
#define WAIT(condition)                                                                                      \
    for (int64_t end_ = clock_ms() + PATIENCE_MS; !(condition) && clock_ms() < end_;)                        \
    poll(NULL, 0, 2)

#define HEAD        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define PIECE(text) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define LAST        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"

/* The provider. */

static int listener;
static atomic_int calls, left, go; /* begun; ended by their client; what the test allows */
static void (*serve)(int call, int fd);

static void send_text(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void send_chunk(int fd, const char *text)
{
    char chunk[1024];

    snprintf(chunk, sizeof chunk, "%zx\r\n%s\r\n", strlen(text), text);
    send_text(fd, chunk);
}

static void hold_open(int fd)
{
    char waste[256];

    while (recv(fd, waste, sizeof waste, 0) > 0)
        ;
    atomic_fetch_add(&left, 1);
}

/* The requests are small and come in one piece or two. */
static void read_request(int fd)
{
    char text[4096] = "";

    for (size_t n = 0; !strstr(text, "\r\n\r\n{") || text[n - 1] != '}';) {
        ssize_t got = recv(fd, text + n, sizeof text - 1 - n, 0);
        if (got <= 0)
            return;
        n += (size_t)got;
        text[n] = '\0';
    }
}

static void *on_connection(void *arg)
{
    int fd = *(int *)arg;

    free(arg);
    read_request(fd);
    serve(atomic_fetch_add(&calls, 1), fd);
    close(fd);
    return NULL;
}

static void *on_listen(void *arg)
{
    int fd;

    (void)arg;
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        pthread_t t;
        int *copy = malloc(sizeof *copy);
        *copy = fd;
        cr_assert_eq(pthread_create(&t, NULL, on_connection, copy), 0);
        pthread_detach(t);
    }
    return NULL;
}

static int start_provider(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    pthread_t t;

    listener = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    cr_assert_eq(listen(listener, 16), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&at, &n), 0);
    cr_assert_eq(pthread_create(&t, NULL, on_listen, NULL), 0);
    pthread_detach(t);
    return ntohs(at.sin_port);
}

/* The host. */

static struct loop *loop;
static struct worker_conf conf;
static struct run_host host;
static struct run *run; /* NULL: over */
static int overs;
static struct job last;
static char error[64], outcomes[256], text[256];
static struct event_attempt tries[UPSTREAM_ATTEMPTS_MAX]; /* their texts are gone */
static void (*on_first)(void);                            /* piece */
static bool (*ready)(void);                               /* then `go` */
static struct loop_timer look, patience;

static void on_chunk(void *arg, struct run *r, struct job *chunk)
{
    bool first = !*text;

    (void)arg;
    (void)r;
    strncat(text, chunk->answer.p, chunk->answer.n);
    if (first && on_first)
        on_first();
}

static void on_over(void *arg, struct run *r, struct job *result)
{
    const struct event_attempt *a = result->attempts.items;

    (void)arg;
    overs++;
    last = *result;
    snprintf(error, sizeof error, "%.*s", (int)result->error.n, result->error.p);
    for (size_t i = 0; i < result->attempts.n; i++) {
        strncat(outcomes, i ? " " : "", 2);
        strncat(outcomes, a[i].outcome.p, a[i].outcome.n);
        tries[i] = a[i];
    }
    run_free(r);
    run = NULL;
    loop_stop(loop);
}

static void on_look(void *arg)
{
    (void)arg;
    if (run && ready && ready())
        atomic_store(&go, 1);
    loop_timer_set(loop, &look, clock_ms() + 2);
}

static void on_patience(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

static void set_up(void (*provider)(int call, int fd))
{
    char url[64];

    serve = provider;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v1", start_provider());
    setenv("OPENAI_API_KEY", "key", 1);
    setenv("OPENAI_BASE_URL", url, 1);
    cr_assert_eq(worker_conf_load(&conf), 0);
    loop = loop_new();
    look = (struct loop_timer){.fn = on_look};
    patience = (struct loop_timer){.fn = on_patience};
}

static void start(const struct job *m)
{
    host = (struct run_host){.loop = loop, .conf = &conf, .chunk = on_chunk, .over = on_over};
    host.pool = pool_new(loop, &conf);
    if (conf.hedge) /* every call is a slow one */
        for (int i = 0; i < 40; i++)
            pool_took(host.pool, &(struct pass){.started_us = clock_us()}, m->stream, false);
    run = run_new(&host, m);
    run_start(run, m->budget_ms);
    on_look(NULL);
}

/* Until the end of the run; what it came to. */
static void see_it_end(enum job_kind kind)
{
    loop_timer_set(loop, &patience, clock_ms() + PATIENCE_MS);
    loop_run(loop);
    cr_assert_eq(overs, 1, "%s", overs ? "it has ended twice" : "it does not end");
    cr_expect_eq(last.kind, kind, "%s", error);
}

static void clean_up(void)
{
    loop_timer_clear(loop, &look);
    loop_timer_clear(loop, &patience);
    pool_free(host.pool);
    loop_free(loop);
    shutdown(listener, SHUT_RDWR);
    worker_conf_free(&conf);
}

static const struct job question = {
    .kind = JOB_JOB, .question = {"hola", 4}, .stream = true, .budget_ms = 60000};

TestSuite(run, .timeout = 60);

/* Hedging. */

static void second_is_faster(int call, int fd)
{
    if (call == 1) {
        send_text(fd, HEAD);
        send_chunk(fd, PIECE("dos"));
        WAIT(atomic_load(&left) == 1);
        send_chunk(fd, LAST);
    }
    hold_open(fd);
}

Test(run, the_first_piece_wins_and_the_other_stream_is_ended)
{
    set_up(second_is_faster);
    conf.hedge = true;
    start(&question);
    see_it_end(JOB_DONE);
    cr_expect_str_eq(text, "dos");
    cr_expect_str_eq(outcomes, "cancelled ok");
    cr_expect_gt(tries[0].prompt_tokens, 0, "the provider has read the question twice");
    cr_expect(tries[0].usage_estimated);
    cr_expect_eq(tries[1].prompt_tokens, 0, "that is the result's usage");
    clean_up();
}

static void both_say_what_they_used(int call, int fd)
{
    send_text(fd, HEAD);
    send_chunk(fd, "data: {\"choices\":[],\"model\":\"m-1\",\"usage\":{\"prompt_tokens\":9,"
                   "\"completion_tokens\":0,\"total_tokens\":9}}\n\n");
    if (call == 1) {
        send_chunk(fd, PIECE("dos"));
        WAIT(atomic_load(&left) == 1);
        send_chunk(fd, LAST);
    }
    hold_open(fd);
}

Test(run, what_the_loser_has_said_of_its_usage_counts)
{
    char path[] = "/tmp/run_test.XXXXXX";

    set_up(both_say_what_they_used);
    conf.hedge = true;
    dprintf(mkstemp(path), "m-1 2 - 4 2024-01-01\n");
    cr_assert_eq(prices_new(&conf.prices, path), 0);
    unlink(path);
    start(&question);
    see_it_end(JOB_DONE);
    cr_expect_str_eq(outcomes, "cancelled ok");
    cr_expect_eq(tries[0].prompt_tokens, 9);
    cr_expect_not(tries[0].usage_estimated);
    cr_expect(tries[0].has_cost && tries[0].cost_usd == 18e-6, "%g", tries[0].cost_usd);
    cr_expect_eq(last.prompt_tokens, 9);
    clean_up();
}

static void never_answers(int call, int fd)
{
    (void)call;
    hold_open(fd);
}

static bool both_ask(void)
{
    if (run->legs[1].pass.call && atomic_load(&calls) == 2)
        run_stop(run);
    return false;
}

Test(run, a_client_who_leaves_has_used_both_calls)
{
    set_up(never_answers);
    conf.hedge = true;
    ready = both_ask;
    start(&question);
    see_it_end(JOB_FAILED);
    cr_expect_str_eq(outcomes, "cancelled cancelled");
    cr_expect_gt(last.prompt_tokens, 0);
    cr_expect(last.usage_estimated);
    cr_expect_eq(tries[0].prompt_tokens + tries[1].prompt_tokens, last.prompt_tokens,
                 "one of them is beside");
    clean_up();
}

static void wins_and_breaks(int call, int fd)
{
    if (call == 0) {
        WAIT(atomic_load(&calls) == 2);
        send_text(fd, HEAD);
        send_chunk(fd, PIECE("uno") "data: {\"error\":{\"message\":\"x\"}}\n\n");
    }
    hold_open(fd);
}

/* What breaks after its first piece cannot be helped by the other one, which is still under way. */
Test(run, a_winner_that_breaks_off_ends_the_question)
{
    set_up(wins_and_breaks);
    conf.hedge = true;
    start(&question);
    see_it_end(JOB_FAILED);
    cr_expect_str_eq(text, "uno");
    cr_expect_str_eq(outcomes, "stream_error cancelled");
    clean_up();
}

static void fails_when_told(int call, int fd)
{
    (void)call;
    (void)fd;
    WAIT(atomic_load(&go));
}

static bool second_waits(void)
{
    return run->legs[1].pass.waits;
}

/* The failure opens the breaker and turns away who waits at it: the second call of the same question. */
Test(run, a_second_call_that_is_turned_away)
{
    set_up(fails_when_told);
    conf.hedge = true;
    conf.breaker_failures = 1;
    conf.roster->targets[0].max_concurrency = 1;
    ready = second_waits;
    start(&question);
    see_it_end(JOB_FAILED);
    cr_expect_str_eq(outcomes, "cut");
    clean_up();
}

/* Clients that take nothing for a while. */

static void resume(void *arg)
{
    (void)arg;
    run_pause(run, false);
}

static struct loop_timer resuming = {.fn = resume};

static void pause_a_little(void)
{
    run_pause(run, true);
    loop_timer_set(loop, &resuming, clock_ms());
}

static void two_chunks(int call, int fd)
{
    (void)call;
    send_text(fd, HEAD "3b\r\n" PIECE("uno") "\r\n3c\r\n" PIECE(" dos") "\r\n"); /* at once */
    hold_open(fd);
}

/* What libcurl has read by then is the end of it: there will be no other piece to tell that. */
Test(run, the_word_limit_is_met_while_the_client_takes_nothing)
{
    struct job m = question;

    set_up(two_chunks);
    conf.stall_timeout_ms = 10 * PATIENCE_MS;
    on_first = pause_a_little;
    m.has_max_words = true;
    m.max_words = 1;
    start(&m);
    see_it_end(JOB_DONE);
    cr_expect_str_eq(text, "uno…");
    cr_expect(last.truncated);
    clean_up();
}

static void unhold(void *arg)
{
    (void)arg;
    host.hold = false;
    run_mind_hold(run);
    atomic_store(&go, 1);
}

static struct loop_timer unholding = {.fn = unhold};

static bool has_been_asked(void)
{
    if (atomic_load(&calls) == 1 && !host.hold && !unholding.place) {
        host.hold = true;
        run_mind_hold(run);
        loop_timer_set(loop, &unholding, clock_ms() + 4 * conf.first_byte_timeout_ms);
    }
    return false;
}

static void answers_when_told(int call, int fd)
{
    (void)call;
    WAIT(atomic_load(&go));
    send_text(fd, HEAD);
    send_chunk(fd, PIECE("uno") LAST);
    hold_open(fd);
}

/* The provider may have answered long ago: nobody looks. */
Test(run, a_stream_that_is_held_before_its_first_piece_is_not_silent)
{
    set_up(answers_when_told);
    conf.first_byte_timeout_ms = 600;
    conf.attempts = 1;
    ready = has_been_asked;
    start(&question);
    see_it_end(JOB_DONE);
    cr_expect_str_eq(text, "uno");
    clean_up();
}

static bool hold_all(void)
{
    if (atomic_load(&calls) == 1 && !host.hold) {
        host.hold = true;
        run_mind_hold(run);
    }
    return false;
}

/* Whether the provider has answered in time, we do not know. */
Test(run, a_call_whose_time_ends_while_it_is_held_blames_nobody)
{
    struct job m = question;

    set_up(never_answers);
    conf.breaker_failures = 1;
    ready = hold_all;
    m.budget_ms = RETRY_FAIR_MS + 200;
    start(&m);
    see_it_end(JOB_FAILED);
    cr_expect_str_eq(outcomes, "timeout");
    cr_expect(pool_is_usable(host.pool, 0));
    clean_up();
}

static void says_its_usage(int call, int fd)
{
    (void)call;
    send_text(fd, HEAD);
    send_chunk(fd, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1,"
                   "\"total_tokens\":10}}\n\n" PIECE("uno"));
    hold_open(fd);
}

static void leave_soon(void)
{
    atomic_store(&go, 1);
}

static bool may_leave(void)
{
    if (atomic_load(&go))
        run_stop(run);
    return false;
}

Test(run, what_the_provider_has_counted_is_no_estimate)
{
    set_up(says_its_usage);
    on_first = leave_soon;
    ready = may_leave;
    start(&question);
    see_it_end(JOB_FAILED);
    cr_expect_str_eq(outcomes, "cancelled");
    cr_expect_eq(last.total_tokens, 10);
    cr_expect_not(last.usage_estimated);
    clean_up();
}
