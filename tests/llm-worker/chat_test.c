#include "llm-worker/chat.h"

#include <criterion/criterion.h>

/* What the provider is sent of a stream: the client's bytes, and that usage is wanted. */
Test(chat, usage_is_asked_for_and_nothing_else_changes)
{
    static const struct {
        const char *in, *out; /* NULL: as it is */
        bool wants;
    } table[] = {
        {"{}", "{\"stream_options\":{\"include_usage\":true}}", false},
        {"{\"model\":\"m\"}", "{\"model\":\"m\",\"stream_options\":{\"include_usage\":true}}", false},
        {"{ \"model\" : \"m\" }", "{ \"model\" : \"m\" ,\"stream_options\":{\"include_usage\":true}}", false},
        {"{\"stream_options\":null,\"n\":1}", "{\"stream_options\":{\"include_usage\":true},\"n\":1}", false},
        {"{\"stream_options\":{}}", "{\"stream_options\":{\"include_usage\":true}}", false},
        {"{\"stream_options\":{ \"x\":[1,2]}}", "{\"stream_options\":{\"include_usage\":true, \"x\":[1,2]}}",
         false},
        {"{\"stream_options\":{\"include_usage\":false,\"x\":1}}",
         "{\"stream_options\":{\"include_usage\":true,\"x\":1}}", false},
        {"{\"stream_options\":{\"include_usage\":null}}", "{\"stream_options\":{\"include_usage\":true}}",
         false},
        {"{\"stream_options\":{\"include_usage\":true}}", NULL, true},
        {"{\"stream_options\":7}", NULL, false}, /* the provider's to refuse */
        {"{\"stream_options\":\"x\"}", NULL, false},
        {"{\"stream_options\":[]}", NULL, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct buf out = BUF_INIT(4096);
        struct chat c;
        cr_assert_eq(chat_read(&c, str_of(table[i].in)), 0, "row %zu", i);
        cr_expect_eq(c.wants_usage, table[i].wants, "row %zu", i);
        chat_write(&out, &c);
        cr_expect_str_eq(out.data, table[i].out ? table[i].out : table[i].in, "row %zu: %s", i, out.data);
        chat_free(&c);
        buf_free(&out);
    }
}

Test(chat, the_model_is_found)
{
    struct chat c;

    cr_assert_eq(chat_read(&c, str_of("{\"messages\":[{\"model\":\"x\"}],\"model\":\"g\\u0070t\"}")), 0);
    cr_expect(str_eq(c.model, "gpt"));
    chat_free(&c);
    cr_assert_eq(chat_read(&c, str_of("{\"model\":4}")), 0);
    cr_expect_eq(c.model.n, 0);
    chat_free(&c);
    cr_expect_lt(chat_read(&c, str_of("[1]")), 0);
    chat_free(&c);
    cr_expect_lt(chat_read(&c, str_of("{\"model\":")), 0);
    chat_free(&c);
}
