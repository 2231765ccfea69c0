/* What reaches Langfuse: all of it, right, and once. */
#include "tests/e2e/harness.h"

#include <signal.h>
#include <stdlib.h>

TestSuite(records, .fini = e2e_cleanup, .timeout = 120);

static json_t *ask(struct e2e *e, const char *user, const char *question, const char *max_words, int status)
{
    struct http_reply r = e2e_ask(e, user, question, max_words);
    json_t *o = e2e_json(&r);

    cr_assert_eq(r.status, status, "%d %s", r.status, r.body.data ? r.body.data : "");
    http_reply_free(&r);
    return o;
}
