#include "gateway/models.h"

#include <criterion/criterion.h>

static struct models models;
static struct buf out = {.max = MIB};

static void setup(void)
{
    models_init(&models);
}

static void teardown(void)
{
    buf_free(&out);
}

TestSuite(models, .init = setup, .fini = teardown);

static const char *all(void)
{
    buf_reset(&out);
    models_write(&models, &out);
    return out.data;
}

static struct event_upstream upstream(const char *name, const char *model)
{
    return (struct event_upstream){.name = str_of(name), .model = str_of(model)};
}

#define MODEL(id, owner) "{\"id\":\"" id "\",\"object\":\"model\",\"created\":0,\"owned_by\":\"" owner "\"}"

Test(models, each_once_in_the_order_of_the_upstreams)
{
    const struct event_upstream list[] = {upstream("b", "gpt-4o"), upstream("a", "meta/llama \"3\""),
                                          upstream("c", "gpt-4o"), upstream("old", "")};

    cr_expect_str_eq(all(), "{\"object\":\"list\",\"data\":[]}");
    models_learn(&models, list, ARRAY_LEN(list));
    cr_expect_str_eq(all(), "{\"object\":\"list\",\"data\":[" MODEL("gpt-4o", "b") "," MODEL(
                                "meta/llama \\\"3\\\"", "a") "]}");
}

Test(models, one)
{
    const struct event_upstream list[] = {upstream("a", "x"), upstream("b", "y/z")};

    models_learn(&models, list, ARRAY_LEN(list));
    cr_assert(models_write_one(&models, str_of("y/z"), &out));
    cr_expect_str_eq(out.data, MODEL("y/z", "b"));
    buf_reset(&out);
    cr_expect(!models_write_one(&models, str_of("y"), &out));
    cr_expect(!models_write_one(&models, str_of(""), &out));
    cr_expect_eq(out.len, 0);
}

Test(models, what_was_known_stays_until_something_else_is)
{
    const struct event_upstream first[] = {upstream("a", "x"), upstream("b", "y")}, next = upstream("a", "z");

    models_learn(&models, first, 2);
    models_learn(&models, NULL, 0);
    cr_expect(models_write_one(&models, str_of("y"), &out));
    models_learn(&models, &next, 1);
    cr_expect_str_eq(all(), "{\"object\":\"list\",\"data\":[" MODEL("z", "a") "]}");
}

Test(models, as_many_and_as_long_as_may_be)
{
    struct event_upstream list[UPSTREAMS_MAX];
    char ids[UPSTREAMS_MAX][CHAT_MODEL_MAX];

    memset(ids, 'm', sizeof ids);
    for (size_t i = 0; i < UPSTREAMS_MAX; i++) {
        ids[i][CHAT_MODEL_MAX - 1] = (char)('A' + i);
        list[i] = (struct event_upstream){.name = str_of("u"), .model = {ids[i], CHAT_MODEL_MAX}};
    }
    models_learn(&models, list, UPSTREAMS_MAX);
    for (size_t i = 0; i < UPSTREAMS_MAX; i++)
        cr_expect(models_write_one(&models, list[i].model, &out));
}

Test(models, who_refuses_our_key)
{
    struct event_upstream list[] = {upstream("b", "m"), upstream("a", "m"), upstream("c", "n")};

    models_learn(&models, list, ARRAY_LEN(list));
    models_refusing(&models, &out);
    cr_expect_eq(out.len, 0);
    list[0].refused = list[2].refused = true;
    models_learn(&models, list, ARRAY_LEN(list));
    models_refusing(&models, &out);
    cr_expect_str_eq(out.data, "b, c");
}
