/* The events wire from outside: golden bytes, go-back-N over a real socket, acknowledged means committed (P2). */
#include "telemetry/ingest.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/limits.h"
#include "telemetry/account.h"
#include "tests/telemetry/support.h"

#define EPOCH 0x0102030405060708u

struct bench {
    char dir[SUPPORT_DIR_SIZE], endpoint[SUPPORT_DIR_SIZE + 32];
    struct loop *loop;
    struct zwire *wire;
    struct spool *spool;
    struct metrics *metrics;
    struct ingest *ingest;
    struct zsock *sender;
    unsigned stored;

    bool answered; /* the last answer */
    struct event answer;
    char text[64 * KIB];
};

static void stored(void *arg)
{
    struct bench *b = arg;

    b->stored++;
}

static void print_page(void *arg, enum metrics_format format, struct buf *out)
{
    struct bench *b = arg;

    ingest_show_gauges(b->ingest);
    metrics_print(b->metrics, format, out);
}

static void open_all(struct bench *b, int64_t max_bytes)
{
    struct ingest_conf c = {
        .endpoint = b->endpoint, .langfuse_enabled = true, .stored = stored, .page = print_page, .arg = b};

    b->loop = loop_new();
    b->wire = zwire_new();
    b->spool = support_spool(b->dir, max_bytes);
    b->metrics = metrics_new();
    account_begin(b->metrics);
    cr_assert_eq(metrics_load(b->metrics, b->spool), 0);
    cr_assert_eq(ingest_new(&b->ingest, b->loop, b->wire, &c, b->spool, b->metrics), 0);
    cr_assert_eq(zsock_dealer(b->wire, b->endpoint, EVENT_QUEUE, &b->sender), 0);
}

static void close_all(struct bench *b)
{
    zsock_close(b->sender);
    ingest_free(b->ingest);
    zwire_free(b->wire);
    spool_free(b->spool);
    metrics_free(b->metrics);
    loop_free(b->loop);
}

static struct bench *start(int64_t max_bytes)
{
    static struct bench b;

    support_dir(b.dir);
    snprintf(b.endpoint, sizeof b.endpoint, "ipc://%s/events.sock", b.dir);
    open_all(&b, max_bytes);
    return &b;
}

static void restart(struct bench *b)
{
    close_all(b);
    open_all(b, 1024 * (int64_t)MIB);
}

static void read_answer(struct bench *b, struct str body)
{
    struct pack_reader *r;

    cr_assert_eq(pack_open(&r, body.p, body.n), 0);
    cr_assert_eq(pack_next(r, &event_fields, &b->answer), 1);
    snprintf(b->text, sizeof b->text, "%.*s", (int)b->answer.text.n,
             b->answer.text.p ? b->answer.text.p : "");
    b->answered = true;
    pack_close(r);
}

static bool an_answer_has_come(void *arg)
{
    struct bench *b = arg;
    struct zmsg m;

    while (!b->answered && zsock_recv(b->sender, &m) == 0) {
        read_answer(b, m.body);
        zmsg_free(&m);
    }
    return b->answered;
}

struct sending {
    struct bench *b;
    struct str body;
};

static bool it_is_sent(void *arg)
{
    struct sending *s = arg;

    return zsock_send(s->b->sender, NULL, s->body) == 0;
}

/* Sends one message and waits for the answer to it. */
static const struct event *say(struct bench *b, const struct buf *body)
{
    struct sending s = {b, buf_str(body)};

    b->answered = false;
    support_run(b->loop, it_is_sent, &s);
    support_run(b->loop, an_answer_has_come, b);
    return &b->answer;
}

static void begin_batch(struct buf *body, uint64_t epoch, uint64_t base, uint64_t seq)
{
    struct event head = {.kind = EVENT_BATCH,
                         .epoch = epoch,
                         .seq = seq,
                         .base = base,
                         .process = str_of("gateway"),
                         .pid = 7};

    pack_begin(body);
    pack_put(body, &event_fields, &head);
}

/* Events seq..last of one sender; the record's number is seq. Returns what telemetry acknowledges. */
static uint64_t send_batch(struct bench *b, uint64_t epoch, uint64_t base, uint64_t seq, uint64_t last)
{
    struct buf body = BUF_INIT(WIRE_MESSAGE_MAX);

    begin_batch(&body, epoch, base, seq);
    for (uint64_t n = seq; n <= last; n++) {
        struct event e = support_event((unsigned)n);
        pack_put(&body, &event_fields, &e);
    }
    const struct event *a = say(b, &body);
    cr_assert_eq(a->kind, EVENT_ACK);
    cr_expect_eq(a->epoch, epoch);
    cr_expect(a->langfuse_enabled);
    buf_free(&body);
    return a->seq;
}

static bool shows(struct bench *b, const char *line)
{
    struct buf out = BUF_INIT(METRIC_PAGE_MAX);

    metrics_print(b->metrics, METRICS_TEXT, &out);
    bool there = strstr(out.data, line) != NULL;
    buf_free(&out);
    return there;
}

Test(ingest, go_back_n)
{
    struct bench *b = start(1024 * (int64_t)MIB);

    cr_expect_eq(send_batch(b, EPOCH, 1, 1, 5), 5);
    cr_expect_eq(spool_records(b->spool), 5);
    cr_expect_eq(send_batch(b, EPOCH, 1, 1, 8), 8, "sent again with more behind");
    cr_expect_eq(spool_records(b->spool), 8);
    cr_expect_eq(send_batch(b, EPOCH, 9, 12, 14), 8, "9 to 11 are missing");
    cr_expect_eq(spool_records(b->spool), 8);
    cr_expect_eq(send_batch(b, EPOCH, 11, 11, 14), 14, "the sender has given 9 and 10 up");
    cr_expect_eq(spool_records(b->spool), 12);
    cr_expect_eq(send_batch(b, EPOCH + 1, 1, 1, 2), 2, "another life counts from 1");
    cr_expect_eq(spool_records(b->spool), 14);
    cr_expect(shows(b, "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"} 14.0\n"));
    cr_expect(shows(b, "atalaya_events_duplicate_total 5.0\n"));
    cr_expect(shows(b, "atalaya_records_dropped_total{reason=\"sender\"} 2.0\n"));
    cr_expect_gt(b->stored, 0);
    close_all(b);
}

Test(ingest, a_new_life_knows_what_the_old_one_has_taken)
{
    struct bench *b = start(1024 * (int64_t)MIB);

    cr_expect_eq(send_batch(b, EPOCH, 1, 1, 5), 5);
    restart(b);
    cr_expect_eq(send_batch(b, EPOCH, 1, 1, 6), 6);
    cr_expect_eq(spool_records(b->spool), 6);
    cr_expect(shows(b, "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"} 6.0\n"));
    cr_expect(shows(b, "atalaya_events_duplicate_total 5.0\n"));
    close_all(b);
}

/* What was not acknowledged is as if it had never come: neither counted nor spooled. */
Test(ingest, an_interrupted_turn_leaves_nothing)
{
    struct bench *b = start(1024 * (int64_t)MIB);
    struct buf body = BUF_INIT(WIRE_MESSAGE_MAX);
    struct event e = support_event(1);

    begin_batch(&body, EPOCH, 1, 1);
    pack_put(&body, &event_fields, &e);
    struct sending s = {b, buf_str(&body)};
    support_run(b->loop, it_is_sent, &s);
    restart(b); /* without a word more */
    cr_expect_eq(send_batch(b, EPOCH, 1, 1, 1), 1);
    cr_expect_eq(spool_records(b->spool), 1);
    cr_expect(shows(b, "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"} 1.0\n"));
    buf_free(&body);
    close_all(b);
}

static void add_requests(void *arg, const struct spool_series *v)
{
    double *sum = arg;

    *sum += str_eq(v->metric, "app_requests_total") ? v->value : 0;
}

/* As an upload does that is settled between two turns. */
static bool settle_something(void *arg)
{
    struct bench *b = arg;
    double counted = 0;

    metrics_add(b->metrics, METRIC_UPLOADED, METRIC_PLAIN, 1);
    cr_assert_eq(spool_begin(b->spool), 0);
    cr_assert_eq(metrics_save(b->metrics, b->spool), 0);
    cr_assert_eq(spool_commit(b->spool), 0);
    metrics_saved(b->metrics);
    cr_assert_eq(spool_each_series(b->spool, add_requests, &counted), 0);
    cr_expect_eq(counted, spool_records(b->spool), "%g are counted on disk, %d are there", counted,
                 (int)spool_records(b->spool));
    return false;
}

/* P10: whoever writes the counters down never writes what has not been acknowledged: it comes again after a death. */
Test(ingest, counters_and_records_are_always_one)
{
    struct bench *b = start(1024 * (int64_t)MIB);
    struct loop_hook settles = {.fn = settle_something, .arg = b};

    loop_hook_add(b->loop, &settles);
    cr_expect_eq(send_batch(b, EPOCH, 1, 1, 5), 5);
    cr_expect_eq(send_batch(b, EPOCH, 1, 4, 8), 8);
    cr_expect_eq(spool_records(b->spool), 8);
    close_all(b);
}

static bool all_is_written(void *arg)
{
    const struct bench *b = arg;

    return !metrics_dirty(b->metrics);
}

/* What is written down while nobody sends anything leaves what comes next alone. */
Test(ingest, events_after_housekeeping_count)
{
    struct bench *b = start(1024 * (int64_t)MIB);

    metrics_add(b->metrics, METRIC_UPLOADED, METRIC_PLAIN, 1);
    support_run(b->loop, all_is_written, b);
    cr_expect_eq(send_batch(b, EPOCH, 1, 1, 5), 5);
    cr_expect(shows(b, "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"} 5.0\n"));
    close_all(b);
}

Test(ingest, requests_without_a_trace_are_counted_only)
{
    struct bench *b = start(1024 * (int64_t)MIB);
    struct buf body = BUF_INIT(WIRE_MESSAGE_MAX);
    struct event e = {
        .kind = EVENT_REQUEST, .endpoint = str_of("/health"), .method = str_of("GET"), .status = 200};
    struct event strange = {.kind = 77};

    begin_batch(&body, EPOCH, 1, 1);
    pack_put(&body, &event_fields, &e);
    pack_put(&body, &event_fields, &strange); /* of a newer version */
    pack_put(&body, &event_fields, &e);
    cr_expect_eq(say(b, &body)->seq, 3);
    cr_expect_eq(spool_records(b->spool), 0);
    cr_expect(shows(b, "app_requests_total{endpoint=\"/health\",method=\"GET\",status=\"200\"} 2.0\n"));
    cr_expect(shows(b, "atalaya_events_total{kind=\"other\"} 1.0\n"));
    buf_free(&body);
    close_all(b);
}

/* P2: a client's score is committed, counted and acknowledged like a question. */
Test(ingest, feedback_is_kept_like_a_request)
{
    struct bench *b = start(1024 * (int64_t)MIB);
    struct buf body = BUF_INIT(WIRE_MESSAGE_MAX);
    struct event e = support_feedback(1), bad = support_feedback(2);

    bad.trace_id = str_of("no trace");
    begin_batch(&body, EPOCH, 1, 1);
    pack_put(&body, &event_fields, &e);
    pack_put(&body, &event_fields, &bad);
    cr_expect_eq(say(b, &body)->seq, 2);
    cr_expect_eq(say(b, &body)->seq, 2, "sent again");
    restart(b);
    cr_expect_eq(spool_records(b->spool), 1);
    cr_expect(shows(b, "atalaya_feedback_total{name=\"user-feedback-1\"} 1.0\n"));
    cr_expect(shows(b, "atalaya_events_total{kind=\"feedback\"} 2.0\n"));
    cr_expect(shows(b, "atalaya_records_dropped_total{reason=\"unreadable\"} 1.0\n"));
    struct record r;
    cr_assert_eq(spool_scan(b->spool, 1, 1), 0);
    cr_assert_eq(spool_next(b->spool, &r), 1);
    cr_expect(str_eq(r.score_name, "user-feedback-1"));
    spool_scan_end(b->spool);
    buf_free(&body);
    close_all(b);
}

Test(ingest, unconfirmed_answers_are_counted_once)
{
    struct bench *b = start(1024 * (int64_t)MIB);
    struct buf body = BUF_INIT(WIRE_MESSAGE_MAX);
    struct event e = {.kind = EVENT_UNCONFIRMED, .count = 7};

    begin_batch(&body, EPOCH, 1, 1);
    pack_put(&body, &event_fields, &e);
    cr_expect_eq(say(b, &body)->seq, 1);
    restart(b);
    cr_expect_eq(say(b, &body)->seq, 1);
    cr_expect(shows(b, "atalaya_answers_unconfirmed_total 7.0\n"));
    cr_expect(shows(b, "atalaya_events_total{kind=\"unconfirmed\"} 1.0\n"));
    buf_free(&body);
    close_all(b);
}

/* An event that cannot be read must not come again for ever. */
Test(ingest, an_unreadable_event_is_passed_over)
{
    struct bench *b = start(1024 * (int64_t)MIB);
    struct buf body = BUF_INIT(WIRE_MESSAGE_MAX);
    struct event e = support_event(1);

    begin_batch(&body, EPOCH, 1, 1);
    pack_put(&body, &event_fields, &e);
    buf_putc(&body, (char)0xc1); /* msgpack never uses this byte */
    pack_put(&body, &event_fields, &e);
    cr_expect_eq(say(b, &body)->seq, 2);
    cr_expect_eq(spool_records(b->spool), 1);
    cr_expect(shows(b, "atalaya_records_dropped_total{reason=\"unreadable\"} 1.0\n"));
    cr_expect_eq(send_batch(b, EPOCH, 3, 3, 3), 3);
    buf_free(&body);
    close_all(b);
}

Test(ingest, rubbish_is_ignored)
{
    static const struct str rubbish[] = {{"", 0},         {"\x02", 1},     {"\x01", 1},
                                         {"\x01\x90", 2}, {"\x01\x80", 2}, {"GET / HTTP/1.1", 14}};
    struct bench *b = start(1024 * (int64_t)MIB);

    for (size_t i = 0; i < ARRAY_LEN(rubbish); i++) {
        struct sending s = {b, rubbish[i]};
        support_run(b->loop, it_is_sent, &s);
    }
    cr_expect_eq(send_batch(b, EPOCH, 1, 1, 1), 1);
    cr_expect_eq(spool_records(b->spool), 1);
    close_all(b);
}

Test(ingest, gauges_and_scrapes)
{
    struct bench *b = start(1024 * (int64_t)MIB);
    struct buf body = BUF_INIT(WIRE_MESSAGE_MAX);
    struct event gauges = {
        .kind = EVENT_GAUGES, .epoch = EPOCH, .process = str_of("gateway"), .gauges.in_progress = 3};
    struct event scrape = {.kind = EVENT_SCRAPE, .epoch = EPOCH, .id = 9, .gauges.in_progress = 4};

    pack_begin(&body);
    pack_put(&body, &event_fields, &gauges);
    cr_expect_eq(say(b, &body)->kind, EVENT_ACK);
    cr_expect_eq(send_batch(b, EPOCH, 1, 1, 2), 2);

    buf_reset(&body);
    pack_begin(&body);
    pack_put(&body, &event_fields, &scrape);
    const struct event *a = say(b, &body);
    if (a->kind == EVENT_ACK) { /* it comes too, and first */
        b->answered = false;
        support_run(b->loop, an_answer_has_come, b);
    }
    cr_expect_eq(b->answer.kind, EVENT_EXPOSITION);
    cr_expect_eq(b->answer.id, 9);
    cr_expect_eq(b->answer.format, METRICS_TEXT);
    cr_expect(strstr(b->text, "app_requests_in_progress 4.0\n"));
    cr_expect(strstr(b->text, "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"} 2.0\n"));
    cr_expect_null(strstr(b->text, "# EOF"));
    buf_free(&body);
    close_all(b);
}

static void scrape(struct bench *b, uint64_t format)
{
    struct buf body = BUF_INIT(WIRE_MESSAGE_MAX);
    struct event e = {.kind = EVENT_SCRAPE, .epoch = EPOCH, .id = 9, .format = format};

    pack_begin(&body);
    pack_put(&body, &event_fields, &e);
    if (say(b, &body)->kind == EVENT_ACK) {
        b->answered = false;
        support_run(b->loop, an_answer_has_come, b);
    }
    buf_free(&body);
    cr_assert_eq(b->answer.kind, EVENT_EXPOSITION);
}

Test(ingest, the_format_is_the_gateways_choice)
{
    struct bench *b = start(1024 * (int64_t)MIB);

    scrape(b, METRICS_OPENMETRICS);
    cr_expect_eq(b->answer.format, METRICS_OPENMETRICS);
    cr_expect(strstr(b->text, "# TYPE app_requests counter\n"));
    cr_expect_str_eq(b->text + strlen(b->text) - 6, "# EOF\n");
    scrape(b, 77); /* of a newer gateway */
    cr_expect_eq(b->answer.format, METRICS_TEXT);
    cr_expect(strstr(b->text, "# TYPE app_requests_total counter\n"));
    close_all(b);
}

/* P4: the oldest go, and every one of them is counted. */
Test(ingest, the_spool_is_bounded)
{
    struct bench *b = start(10000);

    for (uint64_t n = 1; n <= 100; n += 10)
        cr_expect_eq(send_batch(b, EPOCH, 1, n, n + 9), n + 9);
    char line[96];
    snprintf(line, sizeof line, "atalaya_records_dropped_total{reason=\"spool_full\"} %d.0\n",
             (int)(100 - spool_records(b->spool)));
    cr_expect_leq(spool_bytes(b->spool), 10000);
    cr_expect_lt(spool_records(b->spool), 50);
    cr_expect(shows(b, line), "%s", line);
    close_all(b);
}

static void write_golden(struct buf *sent)
{
    struct event_attempt attempt = {
        .start_us = 1795493767100000, .duration_us = 600000, .status = 200, .outcome = str_of("ok")};
    struct event e = {
        .kind = EVENT_REQUEST,
        .endpoint = str_of("/ask"),
        .method = str_of("POST"),
        .status = 200,
        .start_us = 1795493767000000,
        .duration_us = 750000,
        .trace_id = str_of("0af7651916cd43dd8448eb211c80319c"),
        .generation_id = str_of("b7ad6b7169203331"),
        .user_id = str_of("jose"),
        .question = str_of("hola"),
        .answer = str_of("¡hola!"),
        .has_scores = true,
        .non_empty_answer = 1.0,
        .attempts = {&attempt, 1},
        .first_token_us = 250000,
        .stream = true,
        .session_id = str_of("s-1"),
    };

    begin_batch(sent, EPOCH, 1, 2);
    pack_put(sent, &event_fields, &e);
    e = (struct event){
        .kind = EVENT_FEEDBACK,
        .start_us = 1795493768000000,
        .request_id = str_of("r-2"),
        .trace_id = str_of("0af7651916cd43dd8448eb211c80319c"),
        .score_id = str_of("9b2d"),
        .score_name = str_of("like"),
        .score_type = str_of("BOOLEAN"),
        .score_value = 1,
        .comment = str_of("sí"),
    };
    pack_put(sent, &event_fields, &e);
    pack_put(sent, &event_fields, &(struct event){.kind = EVENT_UNCONFIRMED, .count = 3});
    pack_begin(sent); /* the answer to it */
    pack_put(sent, &event_fields,
             &(struct event){.kind = EVENT_ACK, .epoch = EPOCH, .seq = 4, .langfuse_enabled = true});
}

/* docs/protocol-events.md shows this batch and its acknowledgement: every fenced block of bytes, joined, must be what we send. */
Test(ingest, golden_bytes)
{
    char path[4096], line[512];
    struct buf shown = BUF_INIT(64 * KIB), sent = BUF_INIT(64 * KIB);

    write_golden(&sent);
    cr_assert(getenv("ATALAYA_SOURCE"));
    snprintf(path, sizeof path, "%s/docs/protocol-events.md", getenv("ATALAYA_SOURCE"));
    FILE *f = fopen(path, "r");
    cr_assert(f, "%s", path);
    bool inside = false;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "```", 3) == 0)
            inside = strncmp(line, "```hex", 6) == 0;
        char *c = line + strspn(line, " ");
        for (; inside && isxdigit((unsigned char)c[0]) && isxdigit((unsigned char)c[1]); c += 3) {
            buf_putc(&shown, (char)strtol((char[]){c[0], c[1], '\0'}, NULL, 16));
            if (c[2] != ' ')
                break;
        }
    }
    fclose(f);
    struct buf hex = BUF_INIT(64 * KIB);
    for (size_t i = 0; i < sent.len; i++)
        buf_printf(&hex, "%02x ", (unsigned char)sent.data[i]);
    cr_expect(shown.len == sent.len && memcmp(shown.data, sent.data, sent.len) == 0, "we send:\n%s",
              hex.data);
    buf_free(&hex);
    buf_free(&shown);
    buf_free(&sent);
}
