#include "llm-worker/chat.h"

#include <errno.h>

#define USAGE   "\"include_usage\":true"
#define OPTIONS "\"stream_options\":{" USAGE "}"

static struct str source_of(const struct jsonscan *j, const char *key)
{
    const struct value *v = jsonscan_get(j, key);

    return v ? v->source : (struct str){NULL, 0};
}

int chat_read(struct chat *c, struct str request)
{
    static const char *const keys[] = {"model", "stream_options", NULL};
    static const char *const option_keys[] = {"include_usage", NULL};

    *c = (struct chat){.wants_usage = false};
    if (!jsonscan_object(&c->hold[0], request, keys))
        return -EBADMSG;
    c->text = c->hold[0].top.source;
    c->model = jsonscan_text(&c->hold[0], "model");
    c->options = source_of(&c->hold[0], "stream_options");
    if (c->options.n && jsonscan(&c->hold[1], c->options, option_keys) != JSONSCAN_OK)
        return -EBADMSG;
    c->wants_usage = str_eq(source_of(&c->hold[1], "include_usage"), "true");
    return 0;
}

void chat_free(struct chat *c)
{
    jsonscan_free(&c->hold[1]);
    jsonscan_free(&c->hold[0]);
}

/* The request with `text` in place of what stands from one place to another. */
static void write_with(struct buf *out, struct str request, const char *from, const char *to,
                       const char *text)
{
    buf_append(out, request.p, (size_t)(from - request.p));
    buf_puts(out, text);
    buf_append(out, to, (size_t)(request.p + request.n - to));
}

/* Usage is to be asked for. Options that are no object are the provider's to refuse. */
static bool is_to_be_changed(const struct chat *c)
{
    return !c->wants_usage && (!c->options.n || *c->options.p == '{' || str_eq(c->options, "null"));
}

void chat_write(struct buf *out, const struct chat *c)
{
    struct str request = c->text, options = c->options, usage = source_of(&c->hold[1], "include_usage");
    const char *end = request.p + request.n - 1;

    if (!is_to_be_changed(c))
        buf_append(out, request.p, request.n);
    else if (!options.n)
        write_with(out, request, end, end, jsonscan_next(request, &(size_t){0}).n ? "," OPTIONS : OPTIONS);
    else if (str_eq(options, "null"))
        write_with(out, request, options.p, options.p + options.n, "{" USAGE "}");
    else if (usage.n)
        write_with(out, request, usage.p, usage.p + usage.n, "true");
    else
        write_with(out, request, options.p + 1, options.p + 1,
                   jsonscan_next(options, &(size_t){0}).n ? USAGE "," : USAGE);
}
