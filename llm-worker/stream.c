#include "llm-worker/stream.h"

#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "llm-worker/assembly.h"
#include "llm-worker/sse.h"
#include "llm-worker/wordcut.h"

enum state {
    COMING,
    WHOLE,  /* the last event has come */
    ENOUGH, /* the word limit is passed */
    BROKEN, /* `outcome` says how */
};

struct stream {
    struct stream_conf conf;
    stream_emit *emit;
    void *arg;
    struct sse sse;
    enum state state;
    enum outcome outcome;
    bool wants_usage;
    bool finished; /* a finish_reason has come */
    struct wordcut cut;
    struct assembly message; /* of a chat completion */
    struct buf text;         /* of a question */
    struct buf bytes;        /* of the piece in hand */
    struct buf json;         /* the message */
    struct buf model;
    struct completion whole;
    struct estimate said;
    struct openai_error error;
};

static void break_off(struct stream *s, enum outcome outcome)
{
    s->state = BROKEN;
    s->outcome = outcome;
}

/* From the place `from` of the text on, and checks that it fits. */
static void emit_text(struct stream *s, size_t from)
{
    if (s->text.failed)
        break_off(s, OUTCOME_TOO_LARGE);
    else if (s->text.len > from)
        s->emit(s->arg, (struct str){s->text.data + from, s->text.len - from}, str_of(""));
}

/* An event as it came: its data may have had several lines. Of one that does not fit the wire would bring a part. */
static void emit_event(struct stream *s, struct str text, struct str data)
{
    buf_reset(&s->bytes);
    while (true) {
        const char *end = data.n ? memchr(data.p, '\n', data.n) : NULL;
        size_t n = end ? (size_t)(end - data.p) : data.n;
        buf_puts(&s->bytes, "data: ");
        buf_append(&s->bytes, data.p, n);
        buf_putc(&s->bytes, '\n');
        if (!end)
            break;
        data = (struct str){end + 1, data.n - n - 1};
    }
    buf_putc(&s->bytes, '\n');
    if (s->bytes.failed)
        break_off(s, OUTCOME_TOO_LARGE);
    else
        s->emit(s->arg, text, buf_str(&s->bytes));
}

static void add_usage(struct completion *to, const struct completion *from)
{
    to->list_price &= from->list_price;
    if (!from->has_usage)
        return;
    to->has_usage = true;
    to->prompt_tokens = from->prompt_tokens;
    to->completion_tokens = from->completion_tokens;
    to->total_tokens = from->total_tokens;
    to->cached_tokens = from->cached_tokens;
    to->reasoning_tokens = from->reasoning_tokens;
}

static void note(struct stream *s, const struct chunk *c)
{
    if (c->part.model.n && !s->model.len)
        buf_append(&s->model, c->part.model.p, c->part.model.n);
    add_usage(&s->whole, &c->part);
    s->finished |= c->finish_reason.n > 0;
    estimate_add_chunk(&s->said, c);
}

static void take_text(struct stream *s, struct str text)
{
    size_t from = s->text.len;

    if (wordcut_feed(&s->cut, text, &s->text) < 0)
        s->text.failed = true;
    emit_text(s, from);
    if (s->state == COMING && s->cut.truncated)
        s->state = ENOUGH;
}

static void take_chunk(struct stream *s, const struct chunk *c, struct str data)
{
    note(s, c);
    if (c->has_error) {
        s->error = c->error;
        break_off(s, OUTCOME_STREAM_ERROR);
    } else if (!s->conf.chat) {
        take_text(s, c->part.content);
    } else {
        assembly_add(&s->message, c);
        if (c->has_choices || s->wants_usage || !c->part.has_usage)
            emit_event(s, c->part.content, data);
    }
}

static bool on_event(void *arg, struct str event, struct str data)
{
    struct stream *s = arg;
    struct chunk c;

    (void)event;
    if (openai_is_done(data)) {
        s->state = WHOLE;
        if (s->conf.chat)
            emit_event(s, str_of(""), data);
    } else if (openai_read_chunk(data, &c) == 0) {
        take_chunk(s, &c, data);
        openai_free_chunk(&c);
    } else {
        break_off(s, OUTCOME_GARBAGE);
    }
    return s->state == COMING;
}

void stream_wants_usage(struct stream *s, bool wants)
{
    s->wants_usage = wants;
}

bool stream_feed(struct stream *s, struct str bytes)
{
    if (s->state == COMING && sse_feed(&s->sse, bytes, on_event, s) == SSE_TOO_LARGE)
        break_off(s, OUTCOME_TOO_LARGE);
    return s->state == COMING || s->state == WHOLE;
}

bool stream_is_whole(const struct stream *s)
{
    return s->state == WHOLE;
}

/* Not every server sends the last event, but all say why they have finished. */
static bool is_good(const struct stream *s, enum outcome outcome)
{
    return s->state == WHOLE || s->state == ENOUGH || (outcome == OUTCOME_OK && s->finished);
}

enum outcome stream_end(struct stream *s, enum outcome outcome)
{
    if (s->state == BROKEN)
        return s->outcome;
    if (!is_good(s, outcome))
        return outcome == OUTCOME_OK ? OUTCOME_CUT : outcome;
    size_t from = s->text.len;
    if (s->state != ENOUGH && wordcut_end(&s->cut, &s->text) < 0)
        s->text.failed = true;
    emit_text(s, from);
    return s->state == BROKEN ? s->outcome : OUTCOME_OK;
}

struct stream_summary stream_summary(const struct stream *s)
{
    struct stream_summary sum = {
        .whole = s->whole,
        .truncated = s->cut.truncated,
        .said = s->said,
        .error = &s->error,
    };

    sum.whole.content = s->conf.chat ? assembly_content(&s->message) : buf_str(&s->text);
    sum.whole.model = buf_str(&s->model);
    return sum;
}

struct str stream_message(struct stream *s)
{
    buf_reset(&s->json);
    assembly_write(&s->message, &s->json);
    return s->json.failed ? str_of("") : buf_str(&s->json);
}

void stream_reset(struct stream *s)
{
    sse_reset(&s->sse);
    s->state = COMING;
    s->outcome = OUTCOME_OK;
    s->finished = false;
    wordcut_free(&s->cut);
    wordcut_init(&s->cut, s->conf.max_words);
    assembly_free(&s->message);
    assembly_init(&s->message);
    buf_reset(&s->text);
    buf_reset(&s->model);
    s->whole = (struct completion){.list_price = true};
    s->said = (struct estimate){.pieces = 0};
    s->error = (struct openai_error){.code = ""};
}

struct stream *stream_new(const struct stream_conf *c, stream_emit *emit_piece, void *arg)
{
    struct stream *s = xcalloc(1, sizeof *s);

    s->conf = *c;
    s->emit = emit_piece;
    s->arg = arg;
    sse_init(&s->sse, SSE_EVENT_MAX);
    s->text = BUF_INIT(ANSWER_MAX);
    s->bytes = BUF_INIT(ANSWER_MAX);
    s->json = BUF_INIT(ANSWER_MAX);
    s->model = BUF_INIT(256);
    stream_reset(s);
    return s;
}

void stream_free(struct stream *s)
{
    if (!s)
        return;
    sse_free(&s->sse);
    wordcut_free(&s->cut);
    assembly_free(&s->message);
    buf_free(&s->text);
    buf_free(&s->bytes);
    buf_free(&s->json);
    buf_free(&s->model);
    free(s);
}
