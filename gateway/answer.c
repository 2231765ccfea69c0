#include "gateway/answer.h"

#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/limits.h"
#include "gateway/correlation.h"
#include "gateway/dispatch.h"
#include "gateway/openai_error.h"

bool answer_is_owed(const struct ask *a)
{
    return a->promise || a->stream;
}

/* Where the time went; what did not happen is below zero. */
static struct timing timing_of(const struct ask *a, const struct job *result)
{
    const struct event_attempt *attempts = result ? result->attempts.items : NULL;
    size_t n = result ? result->attempts.n : 0;
    struct timing t = {
        .queue_us = a->dispatches ? a->queue_us : -1,
        .worker_us = result && result->worker_us > 0 ? result->worker_us : -1,
        .upstream_us = n ? 0 : -1,
        .total_us = clock_us() - a->caller.start_us,
    };

    for (size_t i = 0; i < n; i++)
        t.upstream_us += attempts[i].duration_us;
    return t;
}

/* sent: how the last of it went. good: the client has what it asked for. */
static void answered(struct ask *a, enum http_sent sent, int status, bool good)
{
    a->promise = NULL;
    a->stream = NULL;
    a->gone = sent == HTTP_GONE;
    if (sent == HTTP_SENT)
        a->status = status;
    admission_leave(a->admission, good ? clock_us() - a->caller.start_us : -1);
}

static void cache_header(struct ask *a)
{
    if (a->has_same)
        buf_printf(&a->headers, "X-Atalaya-Cache: %s\r\n", a->cache ? a->cache : "miss");
}

/* True: that is for later. */
static bool hold(struct ask *a, int status, struct str body)
{
    if (!a->hold.wanted)
        return false;
    a->hold.held = true;
    a->hold.body = BUF_INIT(body.n);
    buf_append(&a->hold.body, body.p, body.n);
    a->status = status;
    return true;
}

/* result: the worker's word, for the timing; NULL: there is none. */
static void send_reply(struct ask *a, struct reply *r, const struct job *result)
{
    struct timing t = timing_of(a, result);

    server_timing_write(&a->headers, &t);
    cache_header(a);
    r->headers = buf_str(&a->headers);
    if (hold(a, r->status, r->body))
        a->hold.reply = *r;
    else
        answered(a, http_send(a->promise, r), r->status, r->status == 200);
}

/* Streams. */

static void event_begin(struct buf *out, const char *name)
{
    buf_printf(out, "event: %s\ndata: {", name);
}

static void event_end(struct buf *out)
{
    buf_puts(out, "}\n\n");
}

static enum http_room lost(struct ask *a, enum http_sent sent)
{
    answered(a, sent, a->status, false);
    return HTTP_LOST;
}

/* The head goes out with the first piece. */
static enum http_room begin(struct ask *a, struct str piece)
{
    struct timing t = timing_of(a, NULL);
    struct reply r = {.status = 200, .type = "text/event-stream; charset=utf-8", .body = piece};

    t.total_us = -1;
    server_timing_write(&a->headers, &t);
    cache_header(a);
    buf_puts(&a->headers, "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n");
    r.headers = buf_str(&a->headers);
    enum http_sent sent = http_stream_begin(&a->stream, a->promise, &r, dispatch_taken, a);
    a->promise = NULL;
    if (sent != HTTP_SENT)
        return lost(a, sent);
    a->status = 200;
    return HTTP_ROOM;
}

static enum http_room put(struct ask *a, struct str piece)
{
    a->put_ms = clock_ms();
    if (a->promise)
        return begin(a, piece);
    enum http_room room = http_stream_put(a->stream, piece);
    if (room == HTTP_LOST)
        return lost(a, http_stream_end(a->stream, false));
    return room;
}

enum http_room answer_piece(struct ask *a, const struct job *chunk)
{
    struct buf out = BUF_INIT(JSON_GROWTH_MAX * ANSWER_MAX + 4 * KIB);
    struct str bytes = chunk->bytes;

    /* A chat completion may begin with a chunk that only says who speaks. */
    if (!a->first_token_us && (chunk->answer.n || a->begun))
        a->first_token_us = clock_us() - a->caller.start_us;
    a->begun = true;
    buf_append(&a->partial, chunk->answer.p, chunk->answer.n);
    if (!a->input.chat) {
        event_begin(&out, "delta");
        json_field_str(&out, "text", chunk->answer);
        event_end(&out);
        bytes = buf_str(&out);
    }
    enum http_room room = put(a, bytes);
    buf_free(&out);
    return room;
}

enum http_room answer_heartbeat(struct ask *a)
{
    return put(a, str_of(": waiting\n\n"));
}

static void put_ids(struct buf *out, const struct ask *a)
{
    json_field_str(out, "trace_id", str_of(a->trace_id));
    json_field_str(out, "generation_id", str_of(a->generation_id));
    json_field_str(out, "request_id", str_of(a->caller.request_id));
}

static void put_usage(struct buf *out, const struct job *r)
{
    json_key(out, "usage");
    if (!r->has_usage) {
        buf_puts(out, "null");
        return;
    }
    buf_putc(out, '{');
    json_field_int(out, "prompt_tokens", (int64_t)r->prompt_tokens);
    json_field_int(out, "completion_tokens", (int64_t)r->completion_tokens);
    json_field_int(out, "total_tokens", (int64_t)r->total_tokens);
    json_field_bool(out, "estimated", r->usage_estimated);
    buf_putc(out, '}');
}

static void put_scores(struct buf *out, const struct job *r)
{
    json_key(out, "scores");
    buf_putc(out, '{');
    json_key(out, "non_empty_answer");
    json_double(out, r->non_empty_answer);
    json_key(out, "toxicity_safe");
    json_double(out, r->toxicity_safe);
    buf_putc(out, '}');
}

/* good: as in answered(). */
static void close_stream(struct ask *a, struct str last, bool good)
{
    enum http_room room = HTTP_ROOM;

    if (hold(a, 200, last)) {
        a->hold.good = good;
        return;
    }
    if (last.n || a->promise)
        room = put(a, last);
    if (room != HTTP_LOST)
        answered(a, http_stream_end(a->stream, true), 200, good);
}

/* A chat completion ends with the provider's own last event. */
static void end_stream(struct ask *a, const struct job *r)
{
    struct buf out = BUF_INIT(16 * KIB);

    if (!a->input.chat) {
        event_begin(&out, "done");
        put_ids(&out, a);
        json_field_str(&out, "model", r->model);
        json_field_bool(&out, "truncated", r->truncated);
        put_usage(&out, r);
        put_scores(&out, r);
        event_end(&out);
    }
    close_stream(a, buf_str(&out), true);
    buf_free(&out);
}

/* Answers in one piece. */

static void reply_answer(struct ask *a, const struct job *result)
{
    struct buf body = BUF_INIT(JSON_GROWTH_MAX * ANSWER_MAX + 4 * KIB);

    buf_putc(&body, '{');
    json_field_str(&body, "answer", result->answer);
    put_ids(&body, a);
    buf_putc(&body, '}');
    send_reply(a, &(struct reply){.status = 200, .body = buf_str(&body)}, result);
    buf_free(&body);
}

void answer_done(struct ask *a, const struct job *result)
{
    if (a->input.stream)
        end_stream(a, result);
    else if (a->input.chat)
        send_reply(a, &(struct reply){.status = 200, .body = result->body}, result);
    else
        reply_answer(a, result);
}

/* Errors. */

static void write_error(struct buf *out, const struct ask *a, int status, const char *detail,
                        const struct job *result)
{
    if (a->input.chat) {
        char code[64];
        str_copy(code, sizeof code, result->error);
        openai_error_write(out, status, code, detail);
        return;
    }
    buf_putc(out, '{');
    json_field_str(out, "detail", str_of(detail));
    json_field_str(out, "error", result->error);
    json_field_str(out, "trace_id", str_of(a->trace_id));
    json_field_str(out, "request_id", str_of(a->caller.request_id));
    buf_putc(out, '}');
}

static void fail_stream(struct ask *a, int status, const char *detail, const struct job *result)
{
    struct buf out = BUF_INIT(16 * KIB);

    buf_puts(&out, a->input.chat ? "data: " : "event: error\ndata: ");
    write_error(&out, a, status, detail, result);
    buf_puts(&out, "\n\n");
    close_stream(a, buf_str(&out), false);
    buf_free(&out);
}

/* The worker has tried again already, and a client that does so too makes three tries nine. */
static void advise_on_retry(struct ask *a, const struct job *result)
{
    if (!a->input.chat)
        return;
    if (result->retry_after_ms > 0)
        buf_printf(&a->headers, "retry-after-ms: %lld\r\n", (long long)result->retry_after_ms);
    if (result->attempts.n > 1)
        buf_puts(&a->headers, "x-should-retry: false\r\n");
}

void answer_failure(struct ask *a, int status, const char *detail, const struct job *result)
{
    struct buf body = BUF_INIT(16 * KIB);
    struct reply r = {.status = status};

    if (a->stream) {
        fail_stream(a, status, detail, result);
        return;
    }
    if (a->input.chat && result->status && result->body.n) {
        r.status = (int)result->status;
        r.body = result->body;
    } else {
        write_error(&body, a, status, detail, result);
        r.body = buf_str(&body);
    }
    if (result->retry_after_ms > 0)
        r.retry_after = (int)((result->retry_after_ms + 999) / 1000);
    else if (status == 503)
        r.retry_after = admission_retry_after(a->admission);
    advise_on_retry(a, result);
    send_reply(a, &r, result);
    buf_free(&body);
}

void answer_release(struct ask *a)
{
    struct answer_hold *h = &a->hold;

    h->wanted = h->held = false;
    if (h->reply.status) {
        h->reply.body = buf_str(&h->body);
        answered(a, http_send(a->promise, &h->reply), h->reply.status, h->reply.status == 200);
    } else {
        close_stream(a, buf_str(&h->body), h->good);
    }
}

void answer_nobody(struct ask *a)
{
    if (a->stream)
        answered(a, http_stream_end(a->stream, false), 200, false);
    else if (a->promise)
        send_reply(a, &(struct reply){.status = 499}, NULL);
}
