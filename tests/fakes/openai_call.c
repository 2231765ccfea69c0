/* The life of one call: what is done with it, when, and how its stream flows. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "tests/fakes/fake.h"
#include "tests/fakes/openai.h"

#define JSON_TYPE         "application/json"
#define SSE_TYPE          "text/event-stream; charset=utf-8"
#define NEVER_MS          ((int64_t)1 << 40)
#define DEMO_QUESTION_MAX 80

struct call {
    struct openai *o;
    struct exchange *x;
    struct chat *chat;
    struct step *step; /* NULL: an ordinary answer */
    int64_t arrived;
    struct str content; /* borrowed from what the three others keep alive, or `own` */
    char *own;
    char id[48]; /* of a stream */
    int64_t created, began;
    size_t at, sent, tokens, stop_at; /* bytes and tokens sent, tokens in all, tokens before a cut or stall */
    bool clipped;
    double pace; /* tokens a second, 0: at once */
    struct call *next;
};

struct step *step_new(void)
{
    struct step *s = xcalloc(1, sizeof *s);

    s->refs = 1;
    s->delay_ms = -1;
    s->tokens_per_second = -1;
    s->repeat = 1;
    return s;
}

void step_unref(struct step *s)
{
    if (!s || --s->refs > 0)
        return;
    free(s->text);
    free(s->headers);
    free(s->content_type);
    free(s->usage);
    free(s);
}

void script_clear(struct openai *o)
{
    while (o->script) {
        struct step *s = o->script;
        o->script = s->next;
        step_unref(s);
    }
    o->script_end = &o->script;
}

void defaults_free(struct defaults *d)
{
    for (size_t i = 0; i < d->n_shares; i++)
        step_unref(d->shares[i].step);
    free(d->content);
    *d = (struct defaults){0};
}

void defaults_copy(struct defaults *to, const struct defaults *from)
{
    defaults_free(to);
    *to = *from;
    to->content = from->content ? xstrdup(from->content) : NULL;
    for (size_t i = 0; i < to->n_shares; i++)
        to->shares[i].step->refs++;
}

static bool step_for(const char *what, struct step *s)
{
    static const struct {
        const char *name;
        enum act act;
    } faults[] = {
        {"stall", ACT_STALL},       {"stall_body", ACT_STALL_BODY}, {"cut", ACT_CUT_BODY},
        {"cut_head", ACT_CUT_HEAD}, {"garbage", ACT_GARBAGE},       {"garbage_wire", ACT_GARBAGE_WIRE},
    };
    char *end = NULL;

    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        if (strcmp(what, faults[i].name) == 0) {
            s->act = faults[i].act;
            return true;
        }
    s->act = ACT_ERROR;
    s->error = error_named(what);
    if (s->error)
        return true;
    long status = strtol(what, &end, 10);
    s->status = (int)status;
    return end != what && *end == '\0' && status >= 400 && status <= 599;
}

bool set_share(struct defaults *d, const char *what, double share)
{
    struct step *s = step_new();

    if (!step_for(what, s) || strlen(what) >= sizeof d->shares[0].what) {
        step_unref(s);
        return false;
    }
    for (size_t i = 0; i < d->n_shares; i++)
        if (strcmp(d->shares[i].what, what) == 0) {
            step_unref(d->shares[i].step);
            d->shares[i] = d->shares[--d->n_shares];
            break;
        }
    if (share <= 0 || d->n_shares == SHARES_MAX) {
        step_unref(s);
        return share <= 0;
    }
    struct share *new = &d->shares[d->n_shares++];
    *new = (struct share){.share = share, .step = s};
    memcpy(new->what, what, strlen(what));
    return true;
}

static struct step *next_step(struct openai *o)
{
    struct step *s = o->script;

    if (s) {
        s->refs++;
        if (--s->repeat <= 0) {
            o->script = s->next;
            if (!o->script)
                o->script_end = &o->script;
            step_unref(s);
        }
        return s;
    }
    if (o->now.n_shares == 0)
        return NULL;
    double u = fake_random(&o->random);
    for (size_t i = 0; i < o->now.n_shares; i++) {
        if (u < o->now.shares[i].share) {
            s = o->now.shares[i].step;
            s->refs++;
            return s;
        }
        u -= o->now.shares[i].share;
    }
    return NULL;
}

static char *demo_text(const struct chat *c)
{
    size_t n = strlen(c->question);
    size_t shown = utf8_clip(c->question, n, DEMO_QUESTION_MAX);
    struct buf b = BUF_INIT(4 * KIB);

    buf_puts(&b, "[demo] Esto es una respuesta de demostración, no de un modelo. Tu pregunta: «");
    buf_append(&b, c->question, shown);
    buf_puts(&b, shown < n ? "…». " : "». ");
    buf_puts(&b, "Pon OPENAI_API_KEY para respuestas reales.");
    return b.data;
}

static void choose_content(struct call *k)
{
    const struct defaults *d = &k->o->now;

    if (k->step && k->step->act != ACT_BODY && k->step->text) {
        k->content = (struct str){k->step->text, k->step->text_n};
    } else if (d->voice == VOICE_ECHO) {
        k->content = str_of(k->chat->question);
    } else {
        /* Copied: the defaults may change before a slow answer is out. */
        k->own = d->voice == VOICE_DEMO ? demo_text(k->chat) : xstrdup(d->content);
        k->content = str_of(k->own);
    }
}

static const char *more_headers(const struct call *k)
{
    return k->step && k->step->headers ? k->step->headers : NULL;
}

static int64_t age_ms(const struct call *k)
{
    return loop_now(k->o->loop) - k->arrived;
}

static void answer_whole(struct call *k)
{
    struct openai *o = k->o;
    const struct step *s = k->step;

    buf_reset(&o->body);
    write_completion(o, &o->body, k->chat, k->content, s ? s->usage : NULL);
    write_headers(o, age_ms(k), more_headers(k));
    http_answer(k->x, s && s->status ? s->status : 200, s && s->content_type ? s->content_type : JSON_TYPE,
                buf_str(&o->headers), buf_str(&o->body));
}

static void put_chunk(struct call *k, enum chunk_kind kind, struct str text)
{
    struct chunk chunk = {.kind = kind,
                          .text = text,
                          .clipped = k->clipped,
                          .tokens = k->tokens,
                          .usage = k->step ? k->step->usage : NULL};

    for (int i = 0; i < (kind == CHUNK_USAGE ? 1 : k->chat->choices); i++) {
        chunk.index = i;
        write_chunk(k->o, &k->o->body, k->chat, k->id, k->created, &chunk);
    }
}

/* Adds the tokens that are due; true when the stream has said all it will say. */
static bool put_due_tokens(struct call *k)
{
    size_t due = k->stop_at;

    if (k->pace > 0) {
        double elapsed = (double)(loop_now(k->o->loop) - k->began);
        double n = elapsed * k->pace / 1000 + 1;
        if (n < (double)due)
            due = (size_t)n;
    }
    while (k->sent < due) {
        size_t n = next_token(k->content.p + k->at, k->content.n - k->at);
        put_chunk(k, CHUNK_TEXT, (struct str){k->content.p + k->at, n});
        k->at += n;
        k->sent++;
    }
    return k->sent == k->stop_at;
}

static void stream_over(struct call *k)
{
    struct openai *o = k->o;
    enum act act = k->step ? k->step->act : ACT_ANSWER;

    if (act != ACT_CUT_BODY && act != ACT_STALL_BODY) {
        put_chunk(k, CHUNK_FINISH, (struct str){0});
        if (k->chat->include_usage)
            put_chunk(k, CHUNK_USAGE, (struct str){0});
        buf_puts(&o->body, "data: [DONE]\n\n");
    }
    if (!http_piece(k->x, buf_str(&o->body)))
        return;
    if (act == ACT_CUT_BODY)
        http_drop(k->x);
    else if (act != ACT_STALL_BODY)
        http_end(k->x);
}

static void stream_tick(void *arg)
{
    struct call *k = arg;

    buf_reset(&k->o->body);
    if (put_due_tokens(k)) {
        stream_over(k);
        return;
    }
    int64_t at = k->began + (int64_t)((double)k->sent * 1000 / k->pace) + 1;
    loop_timer_set(k->o->loop, &k->x->timer, at);
    http_piece(k->x, buf_str(&k->o->body));
}

static void answer_stream(struct call *k)
{
    struct openai *o = k->o;
    struct buf id = BUF_INIT(sizeof k->id - 1);
    bool breaks = k->step && (k->step->act == ACT_CUT_BODY || k->step->act == ACT_STALL_BODY);

    write_id(o, &id, "chatcmpl-", 29);
    memcpy(k->id, id.data, id.len + 1);
    buf_free(&id);
    k->created = wall_us() / 1000000;
    k->began = loop_now(o->loop);
    k->content = clip_tokens(k->chat, k->content, &k->tokens, &k->clipped);
    k->stop_at = breaks ? k->tokens / 2 : k->tokens;
    write_headers(o, age_ms(k), more_headers(k));
    http_begin(k->x, 200, SSE_TYPE, buf_str(&o->headers));
    buf_reset(&o->body);
    put_chunk(k, CHUNK_ROLE, (struct str){0});
    if (put_due_tokens(k)) {
        stream_over(k);
        return;
    }
    k->x->timer.fn = stream_tick;
    k->x->timer.arg = k;
    loop_timer_set(o->loop, &k->x->timer, k->began + (int64_t)((double)k->sent * 1000 / k->pace) + 1);
    http_piece(k->x, buf_str(&o->body));
}

static void answer_error(struct call *k)
{
    struct openai *o = k->o;
    struct api_error e;
    struct buf more = BUF_INIT(FAKE_HEAD_MAX);

    error_fill(&e, k->step->status, k->step->error, k->chat);
    if (o->now.retry_after >= 0 && (e.status == 429 || e.status >= 500))
        buf_printf(&more, "retry-after: %g\r\n", o->now.retry_after);
    if (k->step->headers)
        buf_puts(&more, k->step->headers);
    reply_error(o, k->x, &e, more.data);
    buf_free(&more);
}

static void answer_body(struct call *k)
{
    static const char junk[] = "{\"id\":\"chatcmpl-\x01\xff\xfe,\"choices\":[{\"message\":}}]";
    struct openai *o = k->o;
    const struct step *s = k->step;
    struct str body =
        s->act == ACT_BODY ? (struct str){s->text, s->text_n} : (struct str){junk, sizeof junk - 1};

    write_headers(o, age_ms(k), more_headers(k));
    http_answer(k->x, s->status ? s->status : 200, s->content_type ? s->content_type : JSON_TYPE,
                buf_str(&o->headers), body);
}

static void answer_content(struct call *k)
{
    enum act act = k->step ? k->step->act : ACT_ANSWER;

    if (k->chat->stream && act != ACT_CUT_HEAD && !(k->step && k->step->status >= 300)) {
        answer_stream(k);
        return;
    }
    if (act == ACT_CUT_HEAD)
        http_cut(k->x, HTTP_CUT_HEAD);
    else if (act == ACT_CUT_BODY)
        http_cut(k->x, HTTP_CUT_BODY);
    else if (act == ACT_STALL_BODY)
        http_trickle(k->x, 600, NEVER_MS); /* the head and some of the body */
    answer_whole(k);
}

/* The call may be over, and k gone, when this returns. */
static void perform(void *arg)
{
    static const char noise[] = "\x16\x03\x01\x02\x00 this is no HTTP \xff\xff\r\n\r\n";
    struct call *k = arg;
    enum act act = k->step ? k->step->act : ACT_ANSWER;

    if (k->step && k->step->trickle_bytes)
        http_trickle(k->x, k->step->trickle_bytes, k->step->trickle_ms);
    switch (act) {
    case ACT_STALL:
        break;
    case ACT_ERROR:
        answer_error(k);
        break;
    case ACT_BODY:
    case ACT_GARBAGE:
        answer_body(k);
        break;
    case ACT_GARBAGE_WIRE:
        http_raw(k->x, (struct str){noise, sizeof noise - 1});
        break;
    default:
        answer_content(k);
    }
}

static int64_t delay_ms(struct call *k)
{
    const struct defaults *d = &k->o->now;
    int64_t ms = d->latency_ms;

    if (k->step && k->step->delay_ms >= 0)
        ms = k->step->delay_ms;
    else if (d->jitter_ms)
        ms += (int64_t)(fake_random(&k->o->random) * (double)(d->jitter_ms + 1));
    if (k->pace > 0 && !k->chat->stream && (!k->step || k->step->act == ACT_ANSWER))
        ms += (int64_t)((double)count_tokens(k->content.p, k->content.n) * 1000 / k->pace);
    return ms;
}

void call_start(struct openai *o, struct exchange *x, struct chat *c)
{
    struct call *k = o->idle_calls;

    if (k)
        o->idle_calls = k->next;
    else
        k = xmalloc(sizeof *k);
    *k = (struct call){.o = o, .x = x, .chat = c, .step = next_step(o), .arrived = loop_now(o->loop)};
    x->user = k;
    o->acts[k->step ? k->step->act : ACT_ANSWER]++;
    k->pace =
        k->step && k->step->tokens_per_second >= 0 ? k->step->tokens_per_second : o->now.tokens_per_second;
    choose_content(k);
    int64_t ms = delay_ms(k);
    if (ms == 0) {
        perform(k);
        return;
    }
    x->timer.fn = perform;
    x->timer.arg = k;
    loop_timer_set(o->loop, &x->timer, k->arrived + ms);
}

void call_done(struct openai *o, struct exchange *x)
{
    struct call *k = x->user;

    if (!k)
        return;
    chat_unref(k->chat);
    step_unref(k->step);
    free(k->own);
    k->next = o->idle_calls;
    o->idle_calls = k;
}

void calls_free(struct openai *o)
{
    while (o->idle_calls) {
        struct call *k = o->idle_calls;
        o->idle_calls = k->next;
        free(k);
    }
}
