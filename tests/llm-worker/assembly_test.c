#include "llm-worker/assembly.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/limits.h"
#include "common/base/mem.h"

static void add(struct assembly *a, const char *delta)
{
    struct buf data = BUF_INIT(16 * MIB);
    struct chunk c;

    buf_printf(&data, "{\"choices\":[{\"index\":0,\"delta\":%s}]}", delta);
    cr_assert_eq(openai_read_chunk(buf_str(&data), &c), 0, "%s", delta);
    assembly_add(a, &c);
    openai_free_chunk(&c);
    memset(data.data, 'x', data.len); /* nothing is borrowed */
    buf_free(&data);
}

#define CALL(index, id, name, arguments)                                                                     \
    "{\"tool_calls\":[{" index "\"id\":\"" id "\",\"type\":\"function\",\"function\":{\"name\":\"" name      \
    "\",\"arguments\":\"" arguments "\"}}]}"
#define MORE(index, arguments) "{\"tool_calls\":[{" index "\"function\":{\"arguments\":\"" arguments "\"}}]}"
#define ZERO                   "\"index\":0,"
#define ONE                    "\"index\":1,"
#define WANT_TEXT(t)           "{\"role\":\"assistant\",\"content\":" t "}"
#define WANT_CALLS(c)          "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[" c "]}"
#define WANT(id, n, a)                                                                                       \
    "{\"id\":\"" id "\",\"type\":\"function\",\"function\":{\"name\":\"" n "\",\"arguments\":\"" a "\"}}"

Test(assembly, messages)
{
    static const struct {
        const char *deltas[6];
        const char *want;
    } table[] = {
        {{"{}"}, WANT_TEXT("null")},
        {{"{\"role\":\"assistant\",\"content\":\"\"}", "{}"}, WANT_TEXT("\"\"")},
        {{"{\"content\":\"\"}", "{\"content\":\"a\\n\"}", "{\"content\":null}", "{\"content\":\"\\\"b\"}"},
         WANT_TEXT("\"a\\n\\\"b\"")},
        {{"{\"content\":\"\",\"refusal\":null}", "{\"refusal\":\"I \"}", "{\"refusal\":\"can't\"}"},
         "{\"role\":\"assistant\",\"content\":null,\"refusal\":\"I can't\"}"},
        /* a call in pieces, and text before it */
        {{"{\"content\":null}", CALL(ZERO, "c1", "get", ""), MORE(ZERO, "{\\\"a\\\""), MORE(ZERO, ":1}")},
         WANT_CALLS(WANT("c1", "get", "{\\\"a\\\":1}"))},
        {{"{\"content\":\"so\"}", CALL(ZERO, "c1", "get", "{}")},
         "{\"role\":\"assistant\",\"content\":\"so\",\"tool_calls\":[" WANT("c1", "get", "{}") "]}"},
        /* two that alternate */
        {{CALL(ZERO, "c1", "f", ""), CALL(ONE, "c2", "g", ""), MORE(ZERO, "1"), MORE(ONE, "2"),
          MORE(ZERO, "1")},
         WANT_CALLS(WANT("c1", "f", "11") "," WANT("c2", "g", "2"))},
        /* providers that number them otherwise */
        {{CALL(ZERO, "c1", "f", "1"), CALL(ZERO, "c2", "g", "2"), MORE(ZERO, "2")},
         WANT_CALLS(WANT("c1", "f", "1") "," WANT("c2", "g", "22"))},
        {{CALL("", "c1", "f", "1"), MORE("", "1"), CALL("", "c2", "g", "2"), MORE("", "2")},
         WANT_CALLS(WANT("c1", "f", "11") "," WANT("c2", "g", "22"))},
        {{CALL("\"index\":7000000000,", "c1", "f", "1"), MORE("\"index\":7000000000,", "1")},
         WANT_CALLS(WANT("c1", "f", "11"))},
        /* that say everything every time, or change the id on the way */
        {{CALL(ZERO, "c1", "f", "1"), CALL(ZERO, "c1", "f", "1")}, WANT_CALLS(WANT("c1", "f", "11"))},
        {{CALL(ZERO, "c1", "f", "1"), CALL(ZERO, "c2", "", "1")}, WANT_CALLS(WANT("c1", "f", "11"))},
        {{MORE(ZERO, "1"), CALL(ZERO, "c1", "f", "1")}, WANT_CALLS(WANT("c1", "f", "11"))},
        /* what has another shape */
        {{"{\"tool_calls\":[7]}"}, WANT_CALLS(WANT("", "", ""))},
        {{"{\"tool_calls\":[{\"index\":\"0\",\"id\":7,\"function\":[]}]}"}, WANT_CALLS(WANT("", "", ""))},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct buf out = BUF_INIT(KIB);
        struct assembly a;
        assembly_init(&a);
        for (size_t d = 0; d < ARRAY_LEN(table[i].deltas) && table[i].deltas[d]; d++)
            add(&a, table[i].deltas[d]);
        assembly_write(&a, &out);
        cr_expect_str_eq(out.data, table[i].want, "%zu", i);
        cr_expect(!a.incomplete);
        buf_free(&out);
        assembly_free(&a);
    }
}

Test(assembly, the_text_for_the_scores)
{
    struct assembly a;

    assembly_init(&a);
    cr_expect_eq(assembly_content(&a).n, 0);
    add(&a, "{\"content\":\"uno \"}");
    add(&a, "{\"content\":\"dos\"}");
    cr_expect(str_eq(assembly_content(&a), "uno dos"));
    assembly_free(&a);
    assembly_free(&a);
}

Test(assembly, no_more_calls_than_the_limit)
{
    struct buf out = BUF_INIT(MIB);
    struct assembly a;

    assembly_init(&a);
    for (int i = 0; i <= (int)TOOL_CALLS_MAX; i++) {
        char delta[200];
        cr_expect(!a.incomplete);
        snprintf(delta, sizeof delta, "{\"tool_calls\":[{\"index\":%d,\"function\":{\"name\":\"f\"}}]}", i);
        add(&a, delta);
    }
    cr_expect(a.incomplete && a.n == TOOL_CALLS_MAX);
    assembly_write(&a, &out);
    cr_expect(!out.failed);
    buf_free(&out);
    assembly_free(&a);
}

/* Whole code points, all kinds of text together, and nothing behind the gap. */
Test(assembly, no_more_bytes_than_the_limit)
{
    struct buf delta = BUF_INIT(2 * ANSWER_MAX), out = BUF_INIT(2 * ANSWER_MAX);
    struct assembly a;

    assembly_init(&a);
    buf_puts(&delta, "{\"content\":\"");
    memset(buf_reserve(&delta, ANSWER_MAX - 8), 'a', ANSWER_MAX - 8);
    delta.len += ANSWER_MAX - 8;
    buf_puts(&delta, "\"}");
    add(&a, delta.data);
    add(&a, MORE(ZERO, "12345"));
    cr_expect(!a.incomplete);
    add(&a, MORE(ZERO, "6\u20ac"));
    cr_expect(a.incomplete);
    add(&a, MORE(ZERO, "7"));
    add(&a, "{\"content\":\"b\"}");
    assembly_write(&a, &out);
    const char *end = "aa\",\"tool_calls\":[" WANT("", "", "123456") "]}";
    cr_expect_str_eq(out.data + out.len - strlen(end), end);
    buf_free(&delta);
    buf_free(&out);
    assembly_free(&a);
}
