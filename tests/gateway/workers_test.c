/*
 * The shipped gateway against workers that this test plays itself (P1, P6, P7): what happens to a question when its
 * worker dies, falls silent, lies, leaves or is too slow.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "common/wire/job.h"
#include "common/wire/zsock.h"
#include "gateway/validate.h"
#include "tests/e2e/http_client.h"
#include "tests/e2e/process.h"
#include "tests/e2e/sse_client.h"

#define PATIENCE_MS 20000
#define STOPPED_MS  9000 /* JOB_SILENCE_MS, and whatever ZeroMQ thinks of it */

static char dir[64], endpoint[96], log_path[96];
static uint16_t port;
static pid_t gateway;
static struct zwire *wire;

static void nap(void)
{
    poll(NULL, 0, 5);
}

/* A worker of the test's own. */
struct mock {
    struct zsock *sock;
    uint64_t slots;
    struct job last; /* of the kind waited for; its texts are gone */
    char question[64];
};

static void say(struct mock *m, struct job j)
{
    struct buf b = BUF_INIT(MIB);

    if (j.kind == JOB_HELLO || j.kind == JOB_BEAT || j.kind == JOB_LEAVING) {
        j.slots = m->slots;
        j.configured = true;
    }
    pack_begin(&b);
    pack_put(&b, &job_fields, &j);
    for (int64_t end = clock_ms() + PATIENCE_MS; zsock_send(m->sock, NULL, buf_str(&b)) < 0;) {
        cr_assert_lt(clock_ms(), end, "the gateway takes nothing");
        nap();
    }
    buf_free(&b);
}

static struct mock worker(uint64_t slots)
{
    struct mock m = {.slots = slots};

    cr_assert_eq(zsock_dealer(wire, endpoint, JOB_QUEUE, &m.sock), 0);
    say(&m, (struct job){.kind = JOB_HELLO});
    return m;
}

/* Beats until a message of that kind comes; false after ms. */
static bool hear(struct mock *m, enum job_kind kind, int64_t ms, bool beating)
{
    int64_t beat = 0;

    for (int64_t end = clock_ms() + ms; clock_ms() < end; nap()) {
        struct zmsg z;
        if (beating && clock_ms() - beat >= JOB_BEAT_MS) {
            say(m, (struct job){.kind = JOB_BEAT});
            beat = clock_ms();
        }
        while (zsock_recv(m->sock, &z) == 0) {
            struct pack_reader *r;
            struct job j;
            bool found = false;
            cr_assert_eq(pack_open(&r, z.body.p, z.body.n), 0);
            while (!found && pack_next(r, &job_fields, &j) == 1)
                found = j.kind == kind;
            if (found) {
                m->last = j;
                snprintf(m->question, sizeof m->question, "%.*s", (int)j.question.n, j.question.p);
            }
            pack_close(r);
            zmsg_free(&z);
            if (found)
                return true;
        }
    }
    return false;
}

static void done(struct mock *m, uint64_t epoch, uint64_t id, const char *answer)
{
    say(m, (struct job){
               .kind = JOB_DONE, .epoch = epoch, .id = id, .answer = str_of(answer), .model = str_of("m")});
}

/* A client on a thread of its own. */
struct asker {
    pthread_t thread;
    const char *question;
    int64_t timeout_ms;
    struct http_reply reply;
};

static void *ask_thread(void *arg)
{
    struct asker *a = arg;
    struct http_client c = http_open(port);
    struct buf body = BUF_INIT(4096);

    c.timeout_ms = a->timeout_ms;
    buf_printf(&body, "{\"user_id\":\"u\",\"question\":\"%s\"}", a->question);
    http_call(&c, "POST", "/ask", buf_str(&body), &a->reply);
    http_close(&c);
    buf_free(&body);
    return NULL;
}

static void ask(struct asker *a, const char *question)
{
    a->question = question;
    if (!a->timeout_ms)
        a->timeout_ms = PATIENCE_MS;
    cr_assert_eq(pthread_create(&a->thread, NULL, ask_thread, a), 0);
}

/* Waits for the head, which comes with the first piece. */
static void *open_stream(void *arg)
{
    *(struct sse_client *)arg =
        sse_open(port, "/ask", "", "{\"user_id\":\"u\",\"question\":\"hola\",\"stream\":true}");
    return NULL;
}

/* The worker has its job, the client waits in the thread. */
static pthread_t ask_for_stream(struct sse_client *c, struct mock *worker)
{
    pthread_t opener;

    cr_assert_eq(pthread_create(&opener, NULL, open_stream, c), 0);
    cr_assert(hear(worker, JOB_JOB, PATIENCE_MS, true));
    return opener;
}

static void expect(struct asker *a, int status, const char *text)
{
    pthread_join(a->thread, NULL);
    cr_expect_eq(a->reply.status, status, "%s: %d %s", a->question, a->reply.status, a->reply.trouble);
    if (text)
        cr_expect(a->reply.body.data && strstr(a->reply.body.data, text), "%s: %s", a->question,
                  a->reply.body.data);
    http_reply_free(&a->reply);
}

static bool gateway_up(void)
{
    struct http_client c = http_open(port);
    struct http_reply r = {0};

    http_call(&c, "GET", "/health", (struct str){NULL, 0}, &r);
    bool up = r.status == 200;
    http_reply_free(&r);
    http_close(&c);
    return up;
}

/* extra: up to two variables; NULL = none. */
static void start_with(const char *extra, const char *more)
{
    char program[512], run_dir[96], port_text[32];

    snprintf(dir, sizeof dir, "/tmp/workers_test.XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    port = free_port();
    snprintf(endpoint, sizeof endpoint, "ipc://%s/jobs.sock", dir);
    snprintf(log_path, sizeof log_path, "%s/log", dir);
    snprintf(program, sizeof program, "%s/atalaya-gateway", getenv("ATALAYA_BIN"));
    snprintf(run_dir, sizeof run_dir, "ATALAYA_RUN_DIR=%s", dir);
    snprintf(port_text, sizeof port_text, "PORT=%d", port);
    const char *const argv[] = {program, NULL};
    const char *const env[] = {
        run_dir, port_text, "HOST=127.0.0.1", "GATEWAY_THREADS=32", "GATEWAY_MAX_IN_FLIGHT=20", extra,
        more,    NULL};
    gateway = process_start(argv, env, dir, log_path, log_path);
    for (int64_t end = clock_ms() + PATIENCE_MS; !gateway_up(); nap())
        cr_assert_lt(clock_ms(), end, "the gateway does not come up");
    wire = zwire_new();
}

static void start(const char *extra)
{
    start_with(extra, NULL);
}

static void stop(struct mock *a, struct mock *b)
{
    int status = 0;
    char command[128];

    if (a)
        zsock_close(a->sock);
    if (b)
        zsock_close(b->sock);
    zwire_free(wire);
    kill(gateway, SIGTERM);
    for (int64_t end = clock_ms() + PATIENCE_MS; !process_ended(gateway, &status); nap())
        cr_assert_lt(clock_ms(), end, "the gateway does not leave");
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    cr_expect_eq(system(command), 0);
}

Test(workers, a_dead_workers_question_goes_to_another_one)
{
    struct asker q = {0};

    start(NULL);
    struct mock a = worker(1), b = {0};
    ask(&q, "hola");
    cr_assert(hear(&a, JOB_JOB, PATIENCE_MS, true));
    b = worker(1);
    zsock_close(a.sock);
    cr_assert(hear(&b, JOB_JOB, PATIENCE_MS, true));
    cr_expect_str_eq(b.question, "hola");
    done(&b, b.last.epoch, b.last.id, "from b");
    expect(&q, 200, "from b");
    stop(&b, NULL);
}

Test(workers, a_silent_worker_is_given_up_and_its_late_word_is_ignored)
{
    struct asker q = {0};

    start(NULL);
    struct mock a = worker(1);
    ask(&q, "hola");
    cr_assert(hear(&a, JOB_JOB, PATIENCE_MS, true));
    struct job held = a.last;
    struct mock b = worker(1);
    cr_assert(hear(&b, JOB_JOB, PATIENCE_MS, true), "a has been silent for longer than JOB_SILENCE_MS");
    struct job again = b.last;
    cr_expect(hear(&a, JOB_CANCEL, PATIENCE_MS, false), "its call is paid for");
    cr_expect_eq(a.last.id, held.id);
    done(&a, held.epoch, held.id, "too late");
    cr_assert(hear(&b, JOB_BEAT, PATIENCE_MS, true));
    done(&b, b.last.epoch, b.last.id, "not answered yet"); /* a beat has no id: nobody's result */
    cr_assert_not(hear(&a, JOB_JOB, 300, false));
    done(&b, again.epoch, again.id, "from b");
    expect(&q, 200, "from b");
    stop(&a, &b);
}

/* It may still say something of the first time, which would be mixed with the second. */
Test(workers, a_silent_worker_that_comes_back_is_given_its_stream_anew)
{
    start(NULL);
    struct mock a = worker(1);
    struct sse_client c = {.fd = -1};
    pthread_t opener = ask_for_stream(&c, &a);
    struct job held = a.last;
    cr_assert(hear(&a, JOB_CANCEL, PATIENCE_MS, false));
    cr_assert(hear(&a, JOB_JOB, PATIENCE_MS, true));
    struct job again = a.last;
    say(&a, (struct job){.kind = JOB_CHUNK, .epoch = held.epoch, .id = held.id, .answer = str_of("uno")});
    say(&a, (struct job){.kind = JOB_CHUNK, .epoch = held.epoch, .id = again.id, .answer = str_of("dos")});
    done(&a, again.epoch, again.id, "");
    pthread_join(opener, NULL);
    cr_assert(sse_next_named(&c, "delta"));
    cr_expect(strstr(c.data, "dos"), "%s", c.data);
    cr_expect(sse_next_named(&c, "done"), "%s: %s", c.name, c.data);
    sse_close(&c);
    stop(&a, NULL);
}

/* It was the gateway that did not listen: the machine was suspended, or its container paused. */
Test(workers, a_gateway_that_was_stopped_gives_up_nobody)
{
    start(NULL);
    struct mock a = worker(1);
    struct sse_client c = {.fd = -1};
    pthread_t opener = ask_for_stream(&c, &a);
    struct job held = a.last;
    say(&a, (struct job){.kind = JOB_CHUNK, .epoch = held.epoch, .id = held.id, .answer = str_of("uno")});
    pthread_join(opener, NULL);
    cr_assert(sse_next_named(&c, "delta"));
    kill(gateway, SIGSTOP);
    for (int64_t end = clock_ms() + STOPPED_MS; clock_ms() < end; nap())
        ;
    kill(gateway, SIGCONT);
    cr_assert(hear(&a, JOB_BEAT, PATIENCE_MS, true));
    done(&a, held.epoch, held.id, "");
    cr_expect(sse_next_named(&c, "done"), "%s: %s", c.name, c.data);
    sse_close(&c);
    stop(&a, NULL);
}

Test(workers, results_of_another_gateway_life_and_garbage_are_ignored)
{
    struct asker q = {0};
    static const char garbage[] = "\x01\x85\xff";

    start(NULL);
    struct mock a = worker(1);
    ask(&q, "hola");
    cr_assert(hear(&a, JOB_JOB, PATIENCE_MS, true));
    struct job held = a.last;
    cr_assert_eq(zsock_send(a.sock, NULL, (struct str){garbage, sizeof garbage - 1}), 0);
    cr_assert_eq(zsock_send(a.sock, NULL, str_of("")), 0);
    done(&a, held.epoch + 1, held.id, "another life");
    done(&a, held.epoch, held.id + 1, "another place");
    done(&a, held.epoch, held.id + (1ull << 32), "another generation");
    done(&a, held.epoch, held.id, "right");
    expect(&q, 200, "right");
    stop(&a, NULL);
}

Test(workers, no_worker_gets_more_than_it_has_slots_and_the_rest_waits)
{
    struct asker q[3] = {{0}, {0}, {0}};

    start(NULL);
    struct mock a = worker(1), b = worker(1);
    cr_assert(hear(&a, JOB_BEAT, PATIENCE_MS, true) && hear(&b, JOB_BEAT, PATIENCE_MS, true));
    for (int i = 0; i < 3; i++)
        ask(&q[i], "hola");
    cr_assert(hear(&a, JOB_JOB, PATIENCE_MS, true));
    cr_assert(hear(&b, JOB_JOB, PATIENCE_MS, true));
    struct job first = a.last;
    cr_assert_not(hear(&b, JOB_JOB, 300, true), "its slot is taken");
    done(&a, first.epoch, first.id, "one");
    cr_assert(hear(&a, JOB_JOB, PATIENCE_MS, true), "the third question takes the free slot");
    done(&a, a.last.epoch, a.last.id, "one");
    done(&b, b.last.epoch, b.last.id, "one");
    for (int i = 0; i < 3; i++)
        expect(&q[i], 200, "one");
    stop(&a, &b);
}

Test(workers, a_leaving_worker_gets_nothing_more_and_may_finish)
{
    struct asker q[2] = {{0}, {0}};

    start("GATEWAY_QUEUE_TIMEOUT_MS=500");
    struct mock a = worker(5);
    ask(&q[0], "hola");
    cr_assert(hear(&a, JOB_JOB, PATIENCE_MS, true));
    struct job held = a.last;
    say(&a, (struct job){.kind = JOB_LEAVING});
    cr_assert(hear(&a, JOB_BEAT, PATIENCE_MS, false));
    ask(&q[1], "adiós");
    expect(&q[1], 503, "no_worker");
    done(&a, held.epoch, held.id, "finished");
    expect(&q[0], 200, "finished");
    stop(&a, NULL);
}

Test(workers, a_client_that_leaves_cancels_its_job)
{
    struct asker q = {.timeout_ms = 300};

    start(NULL);
    struct mock a = worker(1);
    ask(&q, "hola");
    cr_assert(hear(&a, JOB_JOB, PATIENCE_MS, true));
    struct job held = a.last;
    expect(&q, 0, NULL);
    cr_assert(hear(&a, JOB_CANCEL, PATIENCE_MS, true));
    cr_expect_eq(a.last.id, held.id);
    say(&a,
        (struct job){.kind = JOB_FAILED, .epoch = held.epoch, .id = held.id, .error = str_of("cancelled")});
    stop(&a, NULL);
}

Test(workers, the_deadline_ends_a_job_that_its_worker_forgot)
{
    struct asker q = {0};

    start("REQUEST_TIMEOUT_MS=400");
    struct mock a = worker(1);
    ask(&q, "hola");
    cr_assert(hear(&a, JOB_JOB, PATIENCE_MS, true));
    cr_expect(a.last.budget_ms > 0 && a.last.budget_ms <= 400);
    cr_assert(hear(&a, JOB_CANCEL, PATIENCE_MS, true));
    expect(&q, 502, "{\"detail\":\"Upstream LLM error\",\"error\":\"timeout\"");
    say(&a, (struct job){
                .kind = JOB_FAILED, .epoch = a.last.epoch, .id = a.last.id, .error = str_of("cancelled")});
    stop(&a, NULL);
}

static char *many(char c, size_t n)
{
    char *text = malloc(n + 1);

    cr_assert_not_null(text);
    memset(text, c, n);
    text[n] = '\0';
    return text;
}

/* DEL is the byte that grows most when it is written as JSON. */
Test(workers, an_answer_of_any_size_is_whole)
{
    struct asker q = {0};
    char *answer = many('\x7f', 3 * MIB);

    start(NULL);
    struct mock a = worker(1);
    ask(&q, "hola");
    cr_assert(hear(&a, JOB_JOB, PATIENCE_MS, true));
    struct buf b = BUF_INIT(8 * MIB);
    pack_begin(&b);
    pack_put(
        &b, &job_fields,
        &(struct job){.kind = JOB_DONE, .epoch = a.last.epoch, .id = a.last.id, .answer = str_of(answer)});
    cr_assert_eq(zsock_send(a.sock, NULL, buf_str(&b)), 0);
    pthread_join(q.thread, NULL);
    cr_expect_eq(q.reply.status, 200);
    cr_expect_gt(q.reply.body.len, 18 * MIB);
    cr_expect_eq(q.reply.body.data[q.reply.body.len - 1], '}');
    http_reply_free(&q.reply);
    buf_free(&b);
    free(answer);
    stop(&a, NULL);
}

Test(workers, an_error_does_not_echo_everything)
{
    struct http_client c;
    struct http_reply r = {0};
    struct buf body = BUF_INIT(MIB);
    char *value = many('\x7f', 1000 * 1000);

    start(NULL);
    c = http_open(port);
    buf_printf(&body, "{\"user\":\"%s\"}",
               value); /* two fields are missing: the body would be echoed twice */
    http_call(&c, "POST", "/ask", buf_str(&body), &r);
    cr_expect_eq(r.status, 422, "%d %s", r.status, r.trouble ? r.trouble : "");
    cr_expect_leq(r.body.len, ASK_ERROR_MAX);
    cr_expect_eq(r.body.data[r.body.len - 1], '}');
    http_reply_free(&r);
    http_close(&c);
    buf_free(&body);
    free(value);
    stop(NULL, NULL);
}

/* A second TERM while a connection waits for its answer: it gets one, or the connection's end, but never nothing. */
Test(workers, stopping_now_leaves_nobody_waiting)
{
    struct asker q = {0};

    start(NULL);
    struct mock a = worker(1);
    ask(&q, "hola");
    cr_assert(hear(&a, JOB_JOB, PATIENCE_MS, true));
    kill(gateway, SIGINT);
    expect(&q, 503, "shutting_down");
    stop(&a, NULL);
}

/* What came of a stream after its client had left was given to nobody: it is missing, and so no answer for others. */
Test(workers, half_a_stream_is_not_given_again)
{
    struct asker q = {0};

    start("GATEWAY_CACHE_BYTES=100000");
    struct mock a = worker(1);
    struct sse_client c = {.fd = -1};
    pthread_t opener = ask_for_stream(&c, &a);
    struct job held = a.last;
    say(&a, (struct job){.kind = JOB_CHUNK, .epoch = held.epoch, .id = held.id, .answer = str_of("uno")});
    pthread_join(opener, NULL);
    cr_assert(sse_next_named(&c, "delta"));
    sse_close(&c);
    cr_assert(hear(&a, JOB_CANCEL, PATIENCE_MS, true));
    say(&a, (struct job){.kind = JOB_CHUNK, .epoch = held.epoch, .id = held.id, .answer = str_of(" dos")});
    done(&a, held.epoch, held.id, "");
    ask(&q, "hola");
    cr_assert(hear(&a, JOB_JOB, PATIENCE_MS, true), "the half answer was given again");
    done(&a, a.last.epoch, a.last.id, "uno dos");
    expect(&q, 200, "uno dos");
    stop(&a, NULL);
}

/* Those who wait for another one's answer wait in the queue with it: none of them begins anew when its time is over. */
Test(workers, the_queue_timeout_is_that_of_followers_too)
{
    struct asker q[8] = {{0}};

    start_with("GATEWAY_SINGLE_FLIGHT=true", "GATEWAY_QUEUE_TIMEOUT_MS=1000");
    for (size_t i = 0; i < ARRAY_LEN(q); i++) {
        q[i].timeout_ms = 5000; /* they would need eight, one after the other */
        ask(&q[i], "hola");
    }
    for (size_t i = 0; i < ARRAY_LEN(q); i++)
        expect(&q[i], 503, "no_worker");
    stop(NULL, NULL);
}
