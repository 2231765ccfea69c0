#include "llm-worker/openai.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

/* The members of the object in `source`; false when it is none. *hold is to be freed in any case. */
static bool read_object(struct jsonscan *hold, struct str source, const char *const *keys)
{
    *hold = (struct jsonscan){.n = 0};
    return source.n > 0 && jsonscan(hold, source, keys) == JSONSCAN_OK && hold->top.type == VALUE_OBJECT;
}

static struct str source_of(const struct jsonscan *j, const char *key, enum value_type type)
{
    const struct value *v = jsonscan_get(j, key);

    return v && v->type == type ? v->source : (struct str){NULL, 0};
}

static struct str text_of(const struct jsonscan *j, const char *key)
{
    const struct value *v = jsonscan_get(j, key);

    return v && v->type == VALUE_STRING ? v->text : (struct str){NULL, 0};
}

static uint64_t count_of(const struct jsonscan *j, const char *key)
{
    struct str s = source_of(j, key, VALUE_INT);

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

    c->has_usage = read_object(usage, source, keys);
    c->prompt_tokens = count_of(usage, "prompt_tokens");
    c->completion_tokens = count_of(usage, "completion_tokens");
    c->total_tokens = count_of(usage, "total_tokens");
    if (read_object(in, source_of(usage, "prompt_tokens_details", VALUE_OBJECT), in_keys)) {
        c->cached_tokens = count_of(in, "cached_tokens");
        c->list_price &= !count_of(in, "cache_write_tokens") && !count_of(in, "audio_tokens");
    }
    if (read_object(out, source_of(usage, "completion_tokens_details", VALUE_OBJECT), out_keys)) {
        c->reasoning_tokens = count_of(out, "reasoning_tokens");
        c->list_price &= !count_of(out, "audio_tokens");
    }
}

/* Whoever has ordered a cheaper or a faster tier is billed another price. */
static bool is_usual_tier(struct str tier)
{
    return !tier.n || str_eq(tier, "default") || str_eq(tier, "standard") || str_eq(tier, "on_demand");
}

int openai_read_completion(struct str body, struct completion *c)
{
    static const char *const root_keys[] = {"choices", "model", "service_tier", "usage", NULL};
    static const char *const choice_keys[] = {"message", NULL};
    static const char *const message_keys[] = {"content", NULL};
    struct jsonscan *root = &c->hold[0], *choice = &c->hold[1], *message = &c->hold[2];
    struct str choices = {NULL, 0};

    *c = (struct completion){.has_usage = false};
    if (read_object(root, body, root_keys))
        choices = source_of(root, "choices", VALUE_ARRAY);
    if (!choices.n || !read_object(choice, jsonscan_first(choices), choice_keys) ||
        !read_object(message, source_of(choice, "message", VALUE_OBJECT), message_keys) ||
        !text_of(message, "content").p) {
        bool json = root->top.source.n > 0;
        openai_free(c);
        return json ? -ENODATA : -EBADMSG;
    }
    c->content = text_of(message, "content");
    c->model = text_of(root, "model");
    c->list_price = is_usual_tier(text_of(root, "service_tier"));
    read_usage(c, source_of(root, "usage", VALUE_OBJECT));
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

void openai_read_error(struct str body, struct openai_error *e)
{
    static const char *const root_keys[] = {"error", NULL};
    static const char *const error_keys[] = {"code", "type", NULL};
    struct jsonscan root, error = {.n = 0};

    if (read_object(&root, body, root_keys))
        (void)read_object(&error, source_of(&root, "error", VALUE_OBJECT), error_keys);
    take_word(e->code, text_of(&error, "code"));
    take_word(e->type, text_of(&error, "type"));
    jsonscan_free(&error);
    jsonscan_free(&root);
}

const char *openai_error_word(const struct openai_error *e)
{
    return *e->code ? e->code : e->type;
}
