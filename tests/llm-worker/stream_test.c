#include "llm-worker/stream.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/limits.h"

static struct buf texts, bytes;

static void on_emit(void *arg, struct str text, struct str b)
{
    (void)arg;
    buf_append(&texts, text.p, text.n);
    buf_append(&bytes, b.p, b.n);
}

static struct stream *chat(void)
{
    texts = BUF_INIT(8 * MIB);
    bytes = BUF_INIT(8 * MIB);
    return stream_new(&(struct stream_conf){.chat = true, .max_words = INT64_MAX}, on_emit, NULL);
}

static void end(struct stream *s)
{
    stream_free(s);
    buf_free(&texts);
    buf_free(&bytes);
}

#define FILTER "data: {\"choices\":[],\"prompt_filter_results\":[{\"prompt_index\":0}]}\n\n"
#define HOLA   "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hola\"}}],\"usage\":null}\n\n"
#define STOP   "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define USAGE                                                                                                \
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1,\"total_tokens\":4}}\n\n"
#define DONE "data: [DONE]\n\n"

/* Azure begins with an event that has no choices. */
Test(stream, of_a_chat_nothing_is_missing_but_the_usage)
{
    for (int wants = 0; wants < 2; wants++) {
        struct stream *s = chat();
        stream_wants_usage(s, wants);
        cr_expect(stream_feed(s, str_of(FILTER HOLA STOP USAGE DONE)));
        cr_expect_eq(stream_end(s, OUTCOME_OK), OUTCOME_OK);
        cr_expect_str_eq(bytes.data, wants ? FILTER HOLA STOP USAGE DONE : FILTER HOLA STOP DONE);
        cr_expect_str_eq(texts.data, "hola");
        cr_expect_eq(stream_summary(s).whole.total_tokens, 4);
        end(s);
    }
}

/* No more than the wire takes in one piece, however it is made: one line, or as many as there can be. */
Test(stream, an_event_is_whole_or_none)
{
    struct buf one = BUF_INIT(8 * MIB), many = BUF_INIT(8 * MIB);
    const struct buf *events[] = {&one, &many};
    static const char begin[] = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"",
                      tail[] = "\"}}]}";

    buf_puts(&one, begin);
    memset(buf_reserve(&one, SSE_EVENT_MAX), 'a', SSE_EVENT_MAX);
    one.len = SSE_EVENT_MAX - strlen(tail); /* the longest line that is read */
    buf_puts(&one, tail);
    buf_puts(&one, "\n\n");
    buf_puts(&many, "data: {\"choices\":[{\"index\":0,\"delta\":{}}]\n");
    while (many.len < 5 * MIB)
        buf_puts(&many, "data:\n");
    buf_puts(&many, "data: }\n\n");
    for (size_t i = 0; i < ARRAY_LEN(events); i++) {
        struct stream *s = chat();
        cr_expect_not(stream_feed(s, buf_str(events[i])), "%zu", i);
        cr_expect_eq(stream_end(s, OUTCOME_OK), OUTCOME_TOO_LARGE, "%zu", i);
        cr_expect_eq(bytes.len, 0, "%zu: a part of it has gone out", i);
        end(s);
    }
    buf_free(&one);
    buf_free(&many);
}
