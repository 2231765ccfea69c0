#include "llm-worker/refusal.h"

#include <criterion/criterion.h>

static struct refusal r;

static enum refusal_news learn(int status, int64_t now)
{
    struct verdict v = {
        .outcome = status == 200 ? OUTCOME_OK : OUTCOME_HTTP, .status = status, .code = "", .type = ""};

    return refusal_learn(&r, &v, now);
}

Test(refusal, is_news_once)
{
    cr_expect_eq(learn(401, 1000), REFUSAL_BEGINS);
    cr_expect(refusal_holds(&r, 1000));
    cr_expect_eq(learn(401, 2000), REFUSAL_NOTHING_NEW);
    cr_expect_eq(learn(500, 3000), REFUSAL_NOTHING_NEW);
    cr_expect(refusal_holds(&r, 3000));
    cr_expect_eq(learn(200, 4000), REFUSAL_ENDS);
    cr_expect_not(refusal_holds(&r, 4000));
    cr_expect_eq(learn(200, 5000), REFUSAL_NOTHING_NEW);
    cr_expect_eq(learn(401, 6000), REFUSAL_BEGINS);
}

/* Somebody has to ask again, or it would last for ever. */
Test(refusal, does_not_last_without_being_repeated)
{
    learn(401, 1000);
    cr_expect(refusal_holds(&r, 1000 + REFUSAL_FOR_MS - 1));
    cr_expect_not(refusal_holds(&r, 1000 + REFUSAL_FOR_MS));
    cr_expect_eq(learn(401, 90000), REFUSAL_NOTHING_NEW,
                 "it has been told, and nobody has taken the key since");
    cr_expect(refusal_holds(&r, 90000));
}

Test(refusal, one_question_may_be_forbidden)
{
    for (int i = 1; i < REFUSAL_MANY; i++)
        cr_expect_eq(learn(403, i), REFUSAL_NOTHING_NEW);
    learn(400, 10); /* the key was taken there */
    for (int i = 1; i < REFUSAL_MANY; i++)
        cr_expect_eq(learn(403, 10 + i), REFUSAL_NOTHING_NEW);
    cr_expect_not(refusal_holds(&r, 20));
    cr_expect_eq(learn(403, 20), REFUSAL_BEGINS);
    cr_expect(refusal_holds(&r, 20));
}
