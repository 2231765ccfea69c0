#include "llm-worker/openai.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>

static struct str text_of(const json_t *v)
{
    return json_is_string(v) ? (struct str){json_string_value(v), json_string_length(v)}
                             : (struct str){NULL, 0};
}

static uint64_t count_of(const json_t *v)
{
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : 0;

    return n > 0 ? (uint64_t)n : 0;
}

int openai_read_completion(struct str body, struct completion *c)
{
    json_t *root = json_loadb(body.p, body.n, JSON_ALLOW_NUL, NULL);
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    const json_t *content = json_object_get(json_object_get(choice, "message"), "content");
    const json_t *usage = json_object_get(root, "usage");

    if (!json_is_string(content)) {
        json_decref(root);
        return -EBADMSG;
    }
    *c = (struct completion){
        .content = text_of(content),
        .model = text_of(json_object_get(root, "model")),
        .has_usage = json_is_object(usage),
        .prompt_tokens = count_of(json_object_get(usage, "prompt_tokens")),
        .completion_tokens = count_of(json_object_get(usage, "completion_tokens")),
        .total_tokens = count_of(json_object_get(usage, "total_tokens")),
        .hold = root,
    };
    return 0;
}

void openai_free(struct completion *c)
{
    json_decref(c->hold);
    c->hold = NULL;
}

void openai_read_error(struct str body, char code[OPENAI_CODE_MAX])
{
    json_t *root = json_loadb(body.p ? body.p : "", body.n, JSON_ALLOW_NUL, NULL);
    const json_t *error = json_object_get(root, "error");
    struct str word = text_of(json_object_get(error, "code"));
    size_t n = 0;

    if (!word.n)
        word = text_of(json_object_get(error, "type"));
    for (size_t i = 0; i < word.n && n + 1 < OPENAI_CODE_MAX; i++)
        if (isalnum((unsigned char)word.p[i]) || strchr("_-.", word.p[i]))
            code[n++] = word.p[i];
    code[n] = '\0';
    json_decref(root);
}
