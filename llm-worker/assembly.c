#include "llm-worker/assembly.h"

#include <stdlib.h>

#include "common/base/json.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/utf8.h"

struct assembled_call {
    uint64_t index;
    struct buf id, type, name, arguments;
};

void assembly_init(struct assembly *a)
{
    *a = (struct assembly){.content = BUF_INIT(ANSWER_MAX), .refusal = BUF_INIT(ANSWER_MAX)};
}

void assembly_free(struct assembly *a)
{
    buf_free(&a->content);
    buf_free(&a->refusal);
    for (size_t i = 0; i < a->n; i++) {
        buf_free(&a->calls[i].id);
        buf_free(&a->calls[i].type);
        buf_free(&a->calls[i].name);
        buf_free(&a->calls[i].arguments);
    }
    free(a->calls);
    a->calls = NULL;
    a->n = 0;
}

/* As much as there is room for; behind a gap comes nothing more. */
static void add_text(struct assembly *a, struct buf *to, struct str text)
{
    if (text.n == 0 || a->incomplete)
        return;
    size_t n = utf8_clip(text.p, text.n, ANSWER_MAX - a->bytes);
    a->incomplete = n < text.n;
    a->bytes += n;
    buf_append(to, text.p, n);
}

static bool same(const struct buf *a, struct str b)
{
    return a->len == b.n && (b.n == 0 || memcmp(a->data, b.p, b.n) == 0);
}

/* The call that this is a piece of; NULL when it is the first. */
static struct assembled_call *find(const struct assembly *a, const struct tool_call *t)
{
    for (size_t i = a->n; i > 0; i--) {
        struct assembled_call *call = &a->calls[i - 1];
        if (t->has_index && call->index != t->index)
            continue;
        return t->id.n > 0 && t->name.n > 0 && call->id.len > 0 && !same(&call->id, t->id) ? NULL : call;
    }
    return NULL;
}

static struct assembled_call *add_call(struct assembly *a, uint64_t index)
{
    if (a->n == TOOL_CALLS_MAX) {
        a->incomplete = true;
        return NULL;
    }
    if (!a->calls)
        a->calls = xcalloc(TOOL_CALLS_MAX, sizeof *a->calls);
    struct assembled_call *call = &a->calls[a->n++];
    *call = (struct assembled_call){
        .index = index,
        .id = BUF_INIT(ANSWER_MAX),
        .type = BUF_INIT(ANSWER_MAX),
        .name = BUF_INIT(ANSWER_MAX),
        .arguments = BUF_INIT(ANSWER_MAX),
    };
    return call;
}

/* Some providers say it again with every piece. */
static void add_once(struct assembly *a, struct buf *to, struct str text)
{
    if (to->len == 0)
        add_text(a, to, text);
}

static void add_tool_call(struct assembly *a, const struct tool_call *t)
{
    struct assembled_call *call = find(a, t);

    if (!call)
        call = add_call(a, t->index);
    if (!call)
        return;
    add_once(a, &call->id, t->id);
    add_once(a, &call->type, t->type);
    add_once(a, &call->name, t->name);
    add_text(a, &call->arguments, t->arguments);
}

void assembly_add(struct assembly *a, const struct chunk *c)
{
    struct tool_call t;

    a->has_content |= c->part.content.p != NULL;
    add_text(a, &a->content, c->part.content);
    add_text(a, &a->refusal, c->refusal);
    if (c->tool_calls.n == 0)
        return;
    for (size_t at = 0; openai_next_tool_call(c->tool_calls, &at, &t); openai_free_tool_call(&t))
        add_tool_call(a, &t);
}

struct str assembly_content(const struct assembly *a)
{
    return buf_str(&a->content);
}

static void write_call(const struct assembled_call *call, struct buf *out)
{
    struct str type = buf_str(&call->type);

    buf_putc(out, '{');
    json_field_str(out, "id", buf_str(&call->id));
    json_field_str(out, "type", type.n > 0 ? type : str_of("function"));
    json_key(out, "function");
    buf_putc(out, '{');
    json_field_str(out, "name", buf_str(&call->name));
    json_field_str(out, "arguments", buf_str(&call->arguments));
    buf_puts(out, "}}");
}

static void write_calls(const struct assembly *a, struct buf *out)
{
    json_key(out, "tool_calls");
    buf_putc(out, '[');
    for (size_t i = 0; i < a->n; i++) {
        if (i > 0)
            buf_putc(out, ',');
        write_call(&a->calls[i], out);
    }
    buf_putc(out, ']');
}

void assembly_write(const struct assembly *a, struct buf *out)
{
    bool something_else = a->n > 0 || a->refusal.len > 0;

    buf_putc(out, '{');
    json_field_str(out, "role", str_of("assistant"));
    if (a->content.len > 0 || (a->has_content && !something_else)) {
        json_field_str(out, "content", buf_str(&a->content));
    } else {
        json_key(out, "content");
        buf_puts(out, "null");
    }
    if (a->refusal.len > 0)
        json_field_str(out, "refusal", buf_str(&a->refusal));
    if (a->n > 0)
        write_calls(a, out);
    buf_putc(out, '}');
}
