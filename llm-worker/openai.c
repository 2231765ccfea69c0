#include "llm-worker/openai.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

static uint64_t count_of(const struct jsonscan *j, const char *key)
{
    struct str s = jsonscan_source(j, key, VALUE_INT);

    return s.n > 0 && s.n < 19 && s.p[0] != '-' ? strtoull(s.p, NULL, 10) : 0;
}

/* Audio and writes to a cache cost something else than what a price table knows. */
static void read_usage(struct completion *c, struct str source)
{
    static const char *const keys[] = {
        "prompt_tokens",         "completion_tokens",         "total_tokens",
        "prompt_tokens_details", "completion_tokens_details", NULL,
    };
    static const char *const in_keys[] = {"cached_tokens", "cache_write_tokens", "audio_tokens", NULL};
    static const char *const out_keys[] = {"reasoning_tokens", "audio_tokens", NULL};
    struct jsonscan *usage = &c->hold[3], *in = &c->hold[4], *out = &c->hold[5];

    c->has_usage = jsonscan_object(usage, source, keys);
    c->prompt_tokens = count_of(usage, "prompt_tokens");
    c->completion_tokens = count_of(usage, "completion_tokens");
    c->total_tokens = count_of(usage, "total_tokens");
    if (jsonscan_object(in, jsonscan_source(usage, "prompt_tokens_details", VALUE_OBJECT), in_keys)) {
        c->cached_tokens = count_of(in, "cached_tokens");
        c->list_price &= !count_of(in, "cache_write_tokens") && !count_of(in, "audio_tokens");
    }
    if (jsonscan_object(out, jsonscan_source(usage, "completion_tokens_details", VALUE_OBJECT), out_keys)) {
        c->reasoning_tokens = count_of(out, "reasoning_tokens");
        c->list_price &= !count_of(out, "audio_tokens");
    }
}

/* Whoever has ordered a cheaper or a faster tier is billed another price. */
static bool is_usual_tier(struct str tier)
{
    return !tier.n || str_eq(tier, "default") || str_eq(tier, "standard") || str_eq(tier, "on_demand");
}

static void read_root(struct completion *c)
{
    const struct jsonscan *root = &c->hold[0];

    c->model = jsonscan_text(root, "model");
    c->list_price = is_usual_tier(jsonscan_text(root, "service_tier"));
    read_usage(c, jsonscan_source(root, "usage", VALUE_OBJECT));
}

int openai_read_completion(struct str body, struct completion *c)
{
    static const char *const root_keys[] = {"choices", "model", "service_tier", "usage", NULL};
    static const char *const choice_keys[] = {"message", NULL};
    static const char *const message_keys[] = {"content", NULL};
    struct jsonscan *root = &c->hold[0], *choice = &c->hold[1], *message = &c->hold[2];
    struct str choices = {NULL, 0};

    *c = (struct completion){.has_usage = false};
    if (jsonscan_object(root, body, root_keys))
        choices = jsonscan_source(root, "choices", VALUE_ARRAY);
    if (!choices.n || !jsonscan_object(choice, jsonscan_next(choices, &(size_t){0}), choice_keys) ||
        !jsonscan_object(message, jsonscan_source(choice, "message", VALUE_OBJECT), message_keys)) {
        bool json = root->top.source.n > 0;
        openai_free(c);
        return json ? -ENODATA : -EBADMSG;
    }
    c->message = message->top.source;
    c->content = jsonscan_text(message, "content");
    read_root(c);
    return 0;
}

void openai_free(struct completion *c)
{
    for (size_t i = 0; i < ARRAY_LEN(c->hold); i++)
        jsonscan_free(&c->hold[i]);
}

static void take_word(char out[OPENAI_CODE_MAX], struct str word)
{
    size_t n = 0;

    for (size_t i = 0; i < word.n && n + 1 < OPENAI_CODE_MAX; i++)
        if (isalnum((unsigned char)word.p[i]) || strchr("_-.", word.p[i]))
            out[n++] = word.p[i];
    out[n] = '\0';
}

/* of: the object with the code and the type; anything else leaves them empty */
static void take_error(struct str of, struct openai_error *e)
{
    static const char *const keys[] = {"code", "type", NULL};
    struct jsonscan error;

    (void)jsonscan_object(&error, of, keys);
    take_word(e->code, jsonscan_text(&error, "code"));
    take_word(e->type, jsonscan_text(&error, "type"));
    jsonscan_free(&error);
}

void openai_read_error(struct str body, struct openai_error *e)
{
    static const char *const keys[] = {"error", NULL};
    struct jsonscan root;

    (void)jsonscan_object(&root, body, keys);
    take_error(jsonscan_source(&root, "error", VALUE_OBJECT), e);
    jsonscan_free(&root);
}

bool openai_is_object(struct str body)
{
    static const char *const keys[] = {NULL};
    struct jsonscan root;
    bool is = jsonscan_object(&root, body, keys);

    jsonscan_free(&root);
    return is;
}

const char *openai_error_word(const struct openai_error *e)
{
    return *e->code ? e->code : e->type;
}

/* Looks for choice 0 and leaves it in hold[1]. Without a number it is that, too. */
static bool find_answer(struct chunk *c, struct str choices)
{
    static const char *const keys[] = {"index", "delta", "finish_reason", NULL};
    struct jsonscan *choice = &c->part.hold[1];
    struct str source;

    for (size_t at = 0; choices.n > 0 && (source = jsonscan_next(choices, &at)).n > 0;) {
        c->has_choices = true;
        if (jsonscan_object(choice, source, keys) && count_of(choice, "index") == 0)
            return true;
        jsonscan_free(choice);
        *choice = (struct jsonscan){.n = 0};
    }
    return false;
}

static void read_delta(struct chunk *c, struct str source)
{
    static const char *const keys[] = {"content", "refusal", "tool_calls", NULL};
    struct jsonscan *delta = &c->part.hold[2];

    if (!jsonscan_object(delta, source, keys))
        return;
    c->part.content = jsonscan_text(delta, "content");
    c->refusal = jsonscan_text(delta, "refusal");
    c->tool_calls = jsonscan_source(delta, "tool_calls", VALUE_ARRAY);
    if (c->tool_calls.n > 0 && jsonscan_next(c->tool_calls, &(size_t){0}).n == 0)
        c->tool_calls.n = 0;
}

int openai_read_chunk(struct str data, struct chunk *c)
{
    static const char *const keys[] = {"choices", "model", "service_tier", "usage", "error", NULL};
    const struct jsonscan *root = &c->part.hold[0], *choice = &c->part.hold[1];

    *c = (struct chunk){.has_choices = false};
    if (!jsonscan_object(&c->part.hold[0], data, keys)) {
        openai_free_chunk(c);
        return -EBADMSG;
    }
    read_root(&c->part);
    if (find_answer(c, jsonscan_source(root, "choices", VALUE_ARRAY))) {
        read_delta(c, jsonscan_source(choice, "delta", VALUE_OBJECT));
        c->finish_reason = jsonscan_text(choice, "finish_reason");
    }
    const struct value *error = jsonscan_get(root, "error");
    c->has_error = error && error->type != VALUE_NULL;
    if (c->has_error)
        take_error(jsonscan_source(root, "error", VALUE_OBJECT), &c->error);
    return 0;
}

void openai_free_chunk(struct chunk *c)
{
    openai_free(&c->part);
}

bool openai_next_tool_call(struct str tool_calls, size_t *at, struct tool_call *t)
{
    static const char *const keys[] = {"index", "id", "type", "function", NULL};
    static const char *const function_keys[] = {"name", "arguments", NULL};
    struct str source = jsonscan_next(tool_calls, at);

    if (source.n == 0)
        return false;
    *t = (struct tool_call){.has_index = false};
    if (!jsonscan_object(&t->hold[0], source, keys))
        return true;
    t->has_index = jsonscan_source(&t->hold[0], "index", VALUE_INT).n > 0;
    t->index = count_of(&t->hold[0], "index");
    t->id = jsonscan_text(&t->hold[0], "id");
    t->type = jsonscan_text(&t->hold[0], "type");
    (void)jsonscan_object(&t->hold[1], jsonscan_source(&t->hold[0], "function", VALUE_OBJECT), function_keys);
    t->name = jsonscan_text(&t->hold[1], "name");
    t->arguments = jsonscan_text(&t->hold[1], "arguments");
    return true;
}

void openai_free_tool_call(struct tool_call *t)
{
    jsonscan_free(&t->hold[0]);
    jsonscan_free(&t->hold[1]);
}

bool openai_is_done(struct str data)
{
    return str_eq(data, "[DONE]");
}

#define NAME_MIN 6 /* shorter ones are words */

/* The length of a name that begins there, and of the part that may be seen; 0: there is none. */
static size_t name_at(struct str s, size_t *seen)
{
    static const char *const beginnings[] = {"org-", "proj_", "sk-"};
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_*";

    for (size_t i = 0; i < ARRAY_LEN(beginnings); i++) {
        size_t n = *seen = strlen(beginnings[i]);
        if (s.n < n || memcmp(s.p, beginnings[i], n) != 0)
            continue;
        while (n < s.n && memchr(letters, s.p[n], sizeof letters - 1))
            n++;
        if (n - *seen >= NAME_MIN)
            return n;
    }
    return 0;
}

/* "risk-assessment" holds no key. The last letter of an escape, \n or \u201c, is none; in doubt it is a name. */
static bool is_inside_a_word(struct str s, size_t at)
{
    return at > 0 && s.p[at - 1] >= 'a' && s.p[at - 1] <= 'z' && !(at >= 2 && s.p[at - 2] == '\\') &&
           !(at >= 6 && s.p[at - 6] == '\\');
}

void openai_mask_names(struct str error, struct buf *out)
{
    size_t from = 0, seen;

    for (size_t i = 0; i < error.n;) {
        size_t n = is_inside_a_word(error, i) ? 0 : name_at((struct str){error.p + i, error.n - i}, &seen);
        if (n > 0) {
            buf_append(out, error.p + from, i - from + seen);
            buf_puts(out, "***");
            from = i + n;
        }
        i += n > 0 ? n : 1;
    }
    buf_append(out, error.p + from, error.n - from);
}
