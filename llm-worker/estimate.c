#include "llm-worker/estimate.h"

#include "common/base/jsonscan.h"
#include "common/base/utf8.h"

#define TOKEN           12
#define AROUND_A_PROMPT 3   /* these two as OpenAI documents them for its chat models */
#define AROUND_MESSAGE  4   /* its role among them */
#define IMAGE           765 /* a square of 1024 pixels; how large one is cannot be seen without decoding it */

/* In twelfths of a token. */
static unsigned weight(uint32_t cp)
{
    if (cp < 0x80)
        return TOKEN / 4;
    if (cp < 0x2e80)
        return TOKEN / 3;
    return cp < 0x10000 ? TOKEN * 3 / 4 : TOKEN * 3 / 2;
}

static uint64_t weigh(struct str text)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < text.n;) {
        uint32_t cp = 0xfffd;
        int got = utf8_next(text.p + i, text.n - i, &cp);
        sum += weight(cp);
        i += got > 0 ? (size_t)got : 1;
    }
    return sum;
}

static uint64_t tokens(uint64_t twelfths)
{
    return (twelfths + TOKEN - 1) / TOKEN;
}

void estimate_add(struct estimate *e, struct str piece)
{
    e->pieces += piece.n > 0;
    e->twelfths += weigh(piece);
}

/* Of a tool call what the model has written, not how the provider wraps it. */
void estimate_add_chunk(struct estimate *e, const struct chunk *c)
{
    struct tool_call t;

    estimate_add(e, c->part.content);
    estimate_add(e, c->refusal);
    if (c->tool_calls.n == 0)
        return;
    for (size_t at = 0; openai_next_tool_call(c->tool_calls, &at, &t); openai_free_tool_call(&t)) {
        estimate_add(e, t.name);
        estimate_add(e, t.arguments);
    }
}

uint64_t estimate_tokens(const struct estimate *e)
{
    uint64_t by_text = tokens(e->twelfths);
    bool piece_is_token = by_text * 2 <= e->pieces * 3 && e->pieces <= by_text * 3;

    return piece_is_token ? e->pieces : by_text;
}

/* Of a message's content that is an array: texts and images. */
static uint64_t weigh_parts(struct str parts)
{
    static const char *const keys[] = {"text", "image_url", NULL};
    struct str source;
    uint64_t sum = 0;

    for (size_t at = 0; (source = jsonscan_next(parts, &at)).n > 0;) {
        struct jsonscan part;
        if (jsonscan_object(&part, source, keys)) {
            sum += weigh(jsonscan_text(&part, "text"));
            sum += jsonscan_get(&part, "image_url") ? IMAGE * TOKEN : 0;
        }
        jsonscan_free(&part);
    }
    return sum;
}

static uint64_t weigh_message(struct str source)
{
    static const char *const keys[] = {"content", "refusal", "name", "tool_calls", NULL};
    struct jsonscan message;
    uint64_t sum = AROUND_MESSAGE * TOKEN;

    if (jsonscan_object(&message, source, keys)) {
        struct str parts = jsonscan_source(&message, "content", VALUE_ARRAY);
        sum += weigh(jsonscan_text(&message, "content")) + weigh(jsonscan_text(&message, "refusal")) +
               weigh(jsonscan_text(&message, "name")) +
               weigh(jsonscan_source(&message, "tool_calls", VALUE_ARRAY));
        sum += parts.n > 0 ? weigh_parts(parts) : 0;
    }
    jsonscan_free(&message);
    return sum;
}

uint64_t estimate_prompt(struct str request)
{
    static const char *const keys[] = {"messages", "tools", "response_format", NULL};
    uint64_t sum = AROUND_A_PROMPT * TOKEN;
    struct jsonscan root;
    struct str source;

    if (jsonscan_object(&root, request, keys)) {
        struct str messages = jsonscan_source(&root, "messages", VALUE_ARRAY);
        for (size_t at = 0; messages.n > 0 && (source = jsonscan_next(messages, &at)).n > 0;)
            sum += weigh_message(source);
        sum += weigh(jsonscan_source(&root, "tools", VALUE_ARRAY)) +
               weigh(jsonscan_source(&root, "response_format", VALUE_OBJECT));
    }
    jsonscan_free(&root);
    return tokens(sum);
}
