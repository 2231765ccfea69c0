/* Every Langfuse there is: traces in the form that it takes, found out by itself (P3). */
#include <criterion/criterion.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/limits.h"
#include "telemetry/server.h"
#include "tests/telemetry/upload_bench.h"

Test(upload_server, form_by_version)
{
    static const struct {
        const char *version;
        enum server_form form;
    } cases[] = {
        {"2.95.12", SERVER_BATCH}, {"2.0.0-rc.1", SERVER_BATCH},
        {"3.0.0", SERVER_BATCH},   {"3.21.0", SERVER_BATCH},
        {"3.62.9", SERVER_BATCH},  {"3.63.0", SERVER_OTLP},
        {"3.225.4", SERVER_OTLP},  {"4.0.0", SERVER_OTLP},
        {"4.16.0", SERVER_OTLP},   {"5.0.0", SERVER_OTLP},
        {"", SERVER_OTLP},         {"main", SERVER_OTLP},
        {"3", SERVER_OTLP},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_expect_eq(server_form_of(cases[i].version), cases[i].form, "%s", cases[i].version);
}

Test(upload_server, when_it_is_asked)
{
    struct server s = {0};

    cr_expect(server_is_due(&s, 5));
    server_ask(&s, 5);
    cr_expect_not(server_is_due(&s, 5));
    server_failed(&s);
    cr_expect_not(server_is_due(&s, 1000));
    cr_expect(server_is_due(&s, 1005), "it has never said anything");
    server_ask(&s, 2000);
    cr_expect(server_told(&s, "4.16.0"));
    cr_expect_not(server_told(&s, "4.16.0"));
    cr_expect_not(server_told(&s, ""));
    cr_expect_not(server_is_due(&s, 3601999));
    cr_expect(server_is_due(&s, 3602000));
    server_failed(&s);
    cr_expect_not(server_is_due(&s, 31999));
    cr_expect(server_is_due(&s, 32000));
    cr_expect(server_told(&s, "3.10.0"));
    cr_expect_eq(s.form, SERVER_BATCH);
    server_refused_batch(&s);
    cr_expect_eq(s.form, SERVER_OTLP);
    cr_expect_not(server_told(&s, "3.10.0"));
    cr_expect_eq(s.form, SERVER_OTLP, "whatever it calls itself");
    cr_expect(server_told(&s, "2.95.0"));
    cr_expect_eq(s.form, SERVER_BATCH);
}

static int64_t events(struct bench *b, const char *route)
{
    json_t *stats = bench_admin(b, "GET", "/_admin/stats", "");
    json_t *by = json_object_get(json_object_get(stats, "by_route"), route);
    int64_t n = 0;
    const char *status;
    json_t *v;

    json_object_foreach(by, status, v) n += json_integer_value(v);
    json_decref(stats);
    return n;
}

static void expect_traces(struct bench *b, int64_t n)
{
    cr_expect_eq(bench_stat(b, "traces"), n);
    cr_expect_eq(bench_stat(b, "scores_unique"), 2 * n);
    cr_expect_eq(bench_stat(b, "violations"), 0);
    cr_expect_eq(spool_records(b->spool), 0);
}

/* Through each version, with everything that a record can say. */
Test(upload_server, every_version)
{
    static const struct {
        const char *version;
        bool batch;
    } cases[] = {{"2.95.12", true}, {"3.1.0", true},    {"3.40.0", true}, {"3.62.0", true},
                 {"3.63.0", false}, {"3.225.4", false}, {"4.16.0", false}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *const args[] = {"--version", cases[i].version, NULL};
        struct bench *b = bench_start(10, args);
        bench_put(b, 1, 25);
        struct event f = support_feedback(3);
        bench_put_event(b, &f);
        bench_wait(b, UPLOADED, 26);
        cr_expect_eq(bench_stat(b, "traces"), 25, "%s", cases[i].version);
        cr_expect_eq(bench_stat(b, "scores_unique"), 51, "%s", cases[i].version);
        cr_expect_eq(bench_stat(b, "violations"), 0, "%s", cases[i].version);
        cr_expect_eq(events(b, "otel") == 0, cases[i].batch, "%s", cases[i].version);
        cr_expect_eq(spool_records(b->spool), 0);
        bench_end(b);
    }
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "(none)";
}

static json_t *find(const json_t *list, const char *name)
{
    json_t *item;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)list, i,
                       item) if (strcmp(text_of(item, "name"), name) == 0) return item;
    return NULL;
}

static struct event rich_event(void)
{
    static struct event_attempt attempts[2];
    struct event e = support_event(7);

    attempts[0] = (struct event_attempt){.start_us = 1700000000000000,
                                         .duration_us = 1000,
                                         .status = 500,
                                         .outcome = str_of("http"),
                                         .code = str_of("server_error"),
                                         .upstream = str_of("first"),
                                         .model = str_of("slow"),
                                         .prompt_tokens = 18,
                                         .completion_tokens = 2,
                                         .has_cost = true,
                                         .cost_usd = 0.25};
    attempts[1] = (struct event_attempt){.start_us = 1700000000200000,
                                         .duration_us = 500000,
                                         .wait_us = 150000,
                                         .status = 200,
                                         .outcome = str_of("ok"),
                                         .upstream = str_of("second")};
    e.attempts = (struct list){attempts, 2};
    e.session_id = str_of("session-1");
    e.tags = str_of("a,b");
    e.metadata = str_of("{\"tier\":\"gold\"}");
    e.stream = true;
    e.first_token_us = 250000;
    e.cache = str_of("shared");
    return e;
}

static void expect_trace(const json_t *t)
{
    cr_expect_str_eq(text_of(t, "name"), "qa_chat");
    cr_expect_str_eq(text_of(t, "userId"), "user-7");
    cr_expect_str_eq(text_of(t, "sessionId"), "session-1");
    cr_expect_str_eq(text_of(t, "release"), "r1");
    cr_expect_str_eq(text_of(t, "version"), "1.2.3");
    cr_expect_str_eq(text_of(t, "input"), "question 7");
    cr_expect_str_eq(text_of(t, "output"), "una respuesta");
    cr_expect_eq(json_array_size(json_object_get(t, "tags")), 2);
}

static void expect_observations(const json_t *list)
{
    const json_t *g = find(list, "openai_chat_completion"), *a = find(list, "openai_attempt");
    const json_t *m = json_object_get(g, "metadata");

    cr_expect_eq(json_array_size(list), 3);
    cr_expect_str_eq(text_of(g, "type"), "GENERATION");
    cr_expect_str_eq(text_of(g, "model"), "gpt-4o-mini");
    cr_expect_str_eq(text_of(g, "promptName"), "qa");
    cr_expect_eq(json_integer_value(json_object_get(g, "promptVersion")), 4);
    cr_expect_eq(strncmp(text_of(g, "completionStartTime"), "2023-11-14T22:13:20.250", 23), 0);
    cr_expect_str_eq(text_of(m, "upstream"), "second");
    cr_expect_str_eq(text_of(m, "cache"), "shared");
    cr_expect(json_is_true(json_object_get(m, "stream")));
    cr_expect_str_eq(text_of(a, "type"), "GENERATION", "it has used something");
    cr_expect_str_eq(text_of(a, "model"), "slow");
    cr_expect_eq(json_integer_value(json_object_get(json_object_get(a, "usageDetails"), "total")), 20);
    cr_expect_eq(json_number_value(json_object_get(json_object_get(a, "costDetails"), "total")), 0.25);
    cr_expect_str_eq(text_of(a, "level"), "WARNING");
    cr_expect_str_eq(text_of(a, "statusMessage"), "http");
    cr_expect_str_eq(text_of(a, "parentObservationId"), "0000000000000007");
    cr_expect_str_eq(text_of(json_object_get(a, "metadata"), "upstream"), "first");
}

/* Both forms say the same of the same question. */
Test(upload_server, batch_and_otlp_say_the_same)
{
    static const char *const versions[] = {"2.95.12", "3.62.0", "4.16.0"};
    struct event e = rich_event();

    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        const char *const args[] = {"--version", versions[i], NULL};
        struct bench *b = bench_start(1, args);
        b->conf.trace = (struct trace_conf){"test", "r1", "1.2.3", "qa", 4};
        bench_restart(b);
        bench_put_event(b, &e);
        bench_wait(b, UPLOADED, 1);
        cr_expect_eq(bench_stat(b, "violations"), 0, "%s", versions[i]);
        json_t *all = bench_admin(b, "GET", "/_admin/traces?traceId=00000000000000000000000000000007", "");
        const json_t *t = json_array_get(json_object_get(all, "traces"), 0);
        const json_t *list = json_object_get(t, "observations");
        expect_trace(t);
        expect_observations(list);
        const json_t *g = find(list, "openai_chat_completion");
        const json_t *trace_metadata = json_object_get(i < 2 ? t : g, "metadata");
        cr_expect_str_eq(text_of(trace_metadata, "tier"), "gold", "%s", versions[i]);
        json_decref(all);
        bench_end(b);
    }
}

/* Langfuse is upgraded from 3 to 4 while records come: nothing is lost, nothing comes twice, nobody has to restart. */
Test(upload_server, three_turns_four_under_way)
{
    static const char *const old[] = {"--version", "3.40.0", NULL};
    struct bench *b = bench_start(10, old);

    bench_put(b, 1, 20);
    bench_wait(b, UPLOADED, 20);
    cr_expect_eq(events(b, "otel"), 0);
    bench_behave(b, "{\"version\":\"4.16.0\"}");
    bench_put(b, 21, 45);
    bench_wait(b, UPLOADED, 45);
    expect_traces(b, 45);
    cr_expect_eq(bench_stat(b, "spans_raw"), 25);
    cr_expect_gt(bench_stat(b, "events_refused"), 0, "that is how it was found out");
    cr_expect_eq(bench_value(b, REFUSED), 0);
    cr_expect_eq(spool_letters(b->spool), 0);
    bench_end(b);
}

/* A server of version 4 that still takes batches, then does not: its mode is in no answer. */
Test(upload_server, every_mode_of_version_4)
{
    static const char *const modes[] = {"dual", "legacy", "events_only"};

    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        const char *const args[] = {"--mode", modes[i], NULL};
        struct bench *b = bench_start(10, args);
        bench_put(b, 1, 10);
        bench_wait(b, UPLOADED, 10);
        expect_traces(b, 10);
        cr_expect_eq(bench_stat(b, "spans_raw"), 10);
        bench_end(b);
    }
}

/* Its version cannot be had: uploads do not wait for it. */
Test(upload_server, without_a_version)
{
    static const char *const behaviours[] = {"{\"status\":503,\"route\":\"health\"}",
                                             "{\"status\":404,\"route\":\"health\"}",
                                             "{\"cut\":true,\"route\":\"health\"}"};

    for (size_t i = 0; i < ARRAY_LEN(behaviours); i++) {
        struct bench *b = bench_start(10, bench_plain);
        bench_behave(b, behaviours[i]);
        bench_put(b, 1, 10);
        bench_wait(b, UPLOADED, 10);
        bench_expect_arrived(b, 10);
        bench_end(b);
    }
}

/* Bad days of an old server: the batch of traces is tried again like everything else. */
Test(upload_server, batches_on_bad_days, .timeout = 120)
{
    static const struct {
        const char *behaviour;
        bool twice; /* the server took it and did not say so */
    } cases[] = {
        {"{\"status\":500,\"count\":2}", false},
        {"{\"status\":429,\"count\":1,\"retry_after\":1}", false},
        {"{\"stall\":true,\"count\":1,\"route\":\"ingestion\"}", false},
        {"{\"cut\":true,\"count\":1,\"route\":\"ingestion\"}", true},
        {"{\"max_body\":6000}", false},
    };
    static const char *const old[] = {"--version", "2.95.12", NULL};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench *b = bench_start(8, old);
        bench_behave(b, cases[i].behaviour);
        bench_put(b, 1, 20);
        bench_wait(b, UPLOADED, 20);
        expect_traces(b, 20);
        if (!cases[i].twice)
            cr_expect_eq(bench_stat(b, "scores_raw"), 40, "%s", cases[i].behaviour);
        bench_end(b);
    }
}

/* No request is larger than a server in front of Langfuse usually lets through, in either form. */
Test(upload_server, requests_have_a_size)
{
    static const char *const versions[] = {"2.95.12", "4.16.0"};
    static char text[150000];

    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = (char)('a' + (i * i >> 3) % 26);
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        const char *const args[] = {"--version", versions[i], NULL};
        struct bench *b = bench_start(100, args);
        bench_behave(b, "{\"max_body\":2600000}");
        for (unsigned n = 1; n <= 40; n++) {
            struct event e = support_event(n);
            e.answer = str_of(text);
            support_put_event(b->spool, &e);
        }
        upload_wake(b->upload);
        bench_wait(b, UPLOADED, 40);
        expect_traces(b, 40);
        cr_expect_eq(bench_value(b, "\natalaya_uploads_total{result=\"too_large\",target=\"traces\"} "), 0);
        bench_end(b);
    }
}

/* Langfuse 2 refuses one record's trace, by its verdict among good ones: it is buried with its reason, whole. */
Test(upload_server, a_refused_event_in_a_batch)
{
    static const char *const old[] = {"--version", "2.95.12", NULL};
    struct bench *b = bench_start(10, old);
    struct event bad = support_event(50);
    struct spool_letter letter;

    b->conf.trace.prompt_name = "qa";
    b->conf.trace.prompt_version = 0; /* configuration does not let this pass */
    bench_restart(b);
    bad.chat = false;
    struct event good = support_event(51);
    good.chat = true; /* no prompt of ours in it */
    good.question = str_of("[{\"role\":\"user\",\"content\":\"hola\"}]");
    good.answer = str_of("{\"role\":\"assistant\",\"content\":\"qué tal\"}");
    support_put_event(b->spool, &bad);
    bench_put_event(b, &good);
    bench_wait(b, UPLOADED, 1);
    bench_wait(b, REFUSED, 1);
    cr_expect_eq(spool_records(b->spool), 0);
    cr_expect_eq(spool_letters(b->spool), 1);
    cr_expect_eq(bench_stat(b, "scores_unique"), 2, "scores of what is not there are not sent");
    cr_assert_eq(spool_scan_letters(b->spool, 0, 99), 0);
    cr_assert_eq(spool_next_letter(b->spool, &letter), 1);
    cr_expect(memmem(letter.reason.p, letter.reason.n, "promptVersion", 13), "%.*s", (int)letter.reason.n,
              letter.reason.p);
    spool_scan_letters_end(b->spool);
    bench_end(b);
}

/* What a client wrote as JSON is JSON in Langfuse, in both forms; what only claims to be is a text. */
Test(upload_server, chats_are_json)
{
    static const char *const versions[] = {"2.95.12", "4.16.0"};

    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        const char *const args[] = {"--version", versions[i], NULL};
        struct bench *b = bench_start(2, args);
        struct event good = support_event(1), bad = support_event(2);
        good.chat = bad.chat = true;
        good.question = str_of("[{\"role\":\"user\",\"content\":\"hola \\\"tú\\\"\"}]");
        good.answer = str_of("{\"role\":\"assistant\",\"content\":\"qué\"}");
        bad.question = str_of("[{\"role\":");
        bad.answer = str_of("{\"x\":NaN}");
        support_put_event(b->spool, &good);
        bench_put_event(b, &bad);
        bench_wait(b, UPLOADED, 2);
        cr_expect_eq(bench_stat(b, "violations"), 0);
        json_t *all = bench_admin(b, "GET", "/_admin/traces", "");
        const json_t *list = json_object_get(all, "traces");
        const json_t *t = json_array_get(list, 0), *u = json_array_get(list, 1);
        cr_expect_str_eq(text_of(t, "name"), "chat_completion");
        cr_expect_str_eq(text_of(json_array_get(json_object_get(t, "input"), 0), "content"), "hola \"tú\"");
        cr_expect_str_eq(text_of(json_object_get(t, "output"), "content"), "qué");
        cr_expect_str_eq(text_of(u, "input"), "[{\"role\":");
        cr_expect_str_eq(text_of(u, "output"), "{\"x\":NaN}");
        json_decref(all);
        bench_end(b);
    }
}
