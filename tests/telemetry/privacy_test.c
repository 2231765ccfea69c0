/* What of people's words is kept, before anything else sees it. */
#include "telemetry/privacy.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "common/base/limits.h"
#include "telemetry/jsonwalk.h"
#include "tests/telemetry/support.h"

#define KEY "0123456789abcdef"

static struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);

static struct event sample(void)
{
    struct event e = support_event(1);

    e.question = str_of("soy ana@b.co");
    e.answer = str_of("hola ana@b.co");
    e.metadata = str_of("{\"mail\":\"ana@b.co\",\"n\":7,\"ok\":true}");
    e.error_text = str_of("no such user ana@b.co");
    e.tags = str_of("a,b");
    return e;
}

static struct record apply(struct privacy **p, int capture, const char *redact, const struct event *e)
{
    struct privacy_conf c = {capture, redact, "", KEY};
    struct record r;

    cr_assert_eq(privacy_new(p, &c), 0);
    record_of_event(&r, e, &scratch);
    privacy_apply(*p, &r);
    return r;
}

#define EXPECT(s, text) cr_expect(str_eq(s, text), "%.*s", (int)(s).n, (s).p)

Test(privacy, full)
{
    struct event e = sample();
    struct privacy *p;
    struct record r = apply(&p, CAPTURE_FULL, "", &e);

    EXPECT(r.question, "soy ana@b.co");
    int64_t whole = r.bytes;
    privacy_free(p);
    r = apply(&p, CAPTURE_FULL, "email", &e);
    EXPECT(r.question, "soy [email]");
    EXPECT(r.answer, "hola [email]");
    EXPECT(r.metadata, "{\"mail\":\"[email]\",\"n\":7,\"ok\":true}");
    EXPECT(r.error_text, "no such user [email]");
    EXPECT(r.user_id, "user-1");
    EXPECT(r.tags, "a,b");
    cr_expect_lt(r.bytes, whole, "it is measured anew");
    privacy_free(p);
}

Test(privacy, none)
{
    struct event e = sample();
    struct privacy *p;
    struct record r = apply(&p, CAPTURE_NONE, "", &e);

    cr_expect_eq(r.question.n + r.answer.n + r.metadata.n + r.error_text.n, 0);
    EXPECT(r.user_id, "user-1");
    EXPECT(r.model, "gpt-4o-mini");
    privacy_free(p);
}

/* RFC 4231's construction; the value is openssl's: printf 'soy ana@b.co' | openssl dgst -sha256 -hmac 0123456789abcdef */
Test(privacy, hashed)
{
    struct event e = sample();
    struct privacy *p;
    struct record r = apply(&p, CAPTURE_HASHED, "", &e);

    EXPECT(r.question, "hmac-sha256:70bbb222c8dc4d48f977c85b942d84cb12ccb87e6e5018d638d9cf44994b6c1a");
    cr_expect_eq(r.answer.n, r.question.n);
    cr_expect_neq(memcmp(r.answer.p, r.question.p, r.answer.n), 0);
    cr_expect_eq(strncmp(r.metadata.p, "{\"mail\":\"hmac-sha256:", 21), 0);
    cr_expect(jsonwalk_can(r.metadata) && memmem(r.metadata.p, r.metadata.n, ",\"ok\":true}", 11));
    cr_expect_null(memmem(r.metadata.p, r.metadata.n, ":7", 2));
    cr_expect_eq(r.error_text.n, 0);
    privacy_free(p);
}

/* A chat stays JSON in each way; what only claims to be JSON stays what it is, and of a chat. */
Test(privacy, chats)
{
    static const int ways[] = {CAPTURE_FULL, CAPTURE_HASHED, CAPTURE_NONE};
    struct event e = sample();
    struct privacy *p;

    e.chat = true;
    e.question = str_of("[{\"role\":\"user\",\"content\":\"a\\nana@b.co\"}]");
    e.answer = str_of("{\"role\":\"assistant\",\"content\":null}");
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        struct record r = apply(&p, ways[i], "email", &e);
        cr_expect(r.chat);
        cr_expect(r.question.n == 0 || jsonwalk_can(r.question), "%.*s", (int)r.question.n, r.question.p);
        cr_expect_null(memmem(r.question.p, r.question.n, "ana@", 4));
        privacy_free(p);
    }
    e.question = str_of("[{\"role\":\"user\" ana@b.co");
    struct record r = apply(&p, CAPTURE_FULL, "email", &e);
    cr_expect(r.chat);
    EXPECT(r.question, "[{\"role\":\"user\" [email]");
    EXPECT(r.answer, "{\"role\":\"assistant\",\"content\":null}");
    privacy_free(p);
}

/* Python's servers write NaN. It is no JSON, and yet nothing is lost, nothing is shown, and it is no question of ours. */
Test(privacy, not_quite_json)
{
    static const struct {
        int capture;
        const char *answer, *metadata;
    } cases[] = {
        {CAPTURE_FULL, "{\"content\":\"a\\n[email]\",\"p\":NaN}", "{\"mail\":\"[email]\",\"p\":-Infinity}"},
        {CAPTURE_HASHED, "\"hmac-sha256:", "{\"mail\":\"hmac-sha256:"},
        {CAPTURE_NONE, "", ""},
    };
    struct event e = sample();
    struct privacy *p;

    e.chat = true;
    e.question = str_of("[{\"role\":\"user\",\"content\":\"hola\"}]");
    e.answer = str_of("{\"content\":\"a\\nana\\u0040b.co\",\"p\":NaN}");
    e.metadata = str_of("{\"mail\":\"ana@b.co\",\"p\":-Infinity}");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct record r = apply(&p, cases[i].capture, "email", &e);
        cr_expect(r.chat);
        cr_expect_geq(r.answer.n, strlen(cases[i].answer));
        cr_expect_eq(strncmp(r.answer.p, cases[i].answer, strlen(cases[i].answer)), 0, "%s", r.answer.p);
        cr_expect_eq(strncmp(r.metadata.p, cases[i].metadata, strlen(cases[i].metadata)), 0, "%.*s",
                     (int)r.metadata.n, r.metadata.p);
        cr_expect_null(memmem(r.metadata.p, r.metadata.n, "ana@", 4));
        cr_expect(cases[i].capture != CAPTURE_HASHED || jsonwalk_can(r.metadata));
        privacy_free(p);
    }
    e.metadata = str_of("de ana@b.co");
    struct record r = apply(&p, CAPTURE_FULL, "email", &e);
    EXPECT(r.metadata, "de [email]");
    privacy_free(p);
}

Test(privacy, feedback)
{
    struct event e = support_feedback(1);
    struct privacy *p;

    e.comment = str_of("llámame al +34 612 345 678");
    e.score_type = str_of("CATEGORICAL");
    e.score_text = str_of("ana@b.co");
    struct record r = apply(&p, CAPTURE_FULL, "email,phone", &e);
    EXPECT(r.comment, "llámame al [phone]");
    EXPECT(r.score_text, "[email]");
    privacy_free(p);
    r = apply(&p, CAPTURE_NONE, "", &e);
    cr_expect_eq(r.comment.n, 0);
    EXPECT(r.score_text, "ana@b.co");
    EXPECT(r.score_name, "user-feedback-1");
    privacy_free(p);
}

Test(privacy, configuration)
{
    static const struct privacy_conf bad[] = {{CAPTURE_HASHED, "", "", ""},
                                              {CAPTURE_HASHED, "", "", "short"},
                                              {CAPTURE_FULL, "names", "", ""},
                                              {CAPTURE_FULL, "", ",", ""}};
    struct privacy *p = NULL;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_expect_eq(privacy_new(&p, &bad[i]), -EINVAL, "case %zu", i);
}
