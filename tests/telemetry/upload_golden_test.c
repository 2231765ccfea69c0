/* The bytes that we send, as they were when a real server was last tried with them (tests/golden/upload-*): what has
 * changed since has to be tried again, then written anew with ATALAYA_GOLDEN=write. An export is kept as it is before
 * gzip:
 *     curl -u PUBLIC:SECRET -H 'x-langfuse-ingestion-version: 4' -H 'Content-Type: application/x-protobuf' \
 *         --data-binary @tests/golden/upload-langfuse.pb LANGFUSE/api/public/otel/v1/traces
 *     curl -u PUBLIC:SECRET -H 'Content-Type: application/json' \
 *         --data-binary @tests/golden/upload-scores.json LANGFUSE/api/public/ingestion */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/limits.h"
#include "telemetry/genai_otlp.h"
#include "telemetry/langfuse_batch.h"
#include "telemetry/langfuse_otlp.h"
#include "tests/e2e/process.h"
#include "tests/fakes/fixture.h"
#include "tests/telemetry/support.h"

static const struct trace_conf conf = {"golden", "r1", "1.2.3", "qa", 3};

#define EVENTS 5

/* Plain; streamed after a retry, with all that a client may say; failed; a chat in a caller's trace; words that need
 * care. */
static void make_events(struct event e[EVENTS])
{
    static struct event_attempt attempts[2], none;

    attempts[0] = (struct event_attempt){.start_us = 1700000000050000,
                                         .duration_us = 90000,
                                         .status = 503,
                                         .outcome = str_of("http"),
                                         .code = str_of("overloaded"),
                                         .upstream_id = str_of("req_0"),
                                         .upstream = str_of("eu")};
    attempts[1] = (struct event_attempt){.start_us = 1700000000300000,
                                         .duration_us = 400000,
                                         .wait_us = 160000,
                                         .status = 200,
                                         .outcome = str_of("ok"),
                                         .upstream = str_of("us")};
    none = (struct event_attempt){.start_us = 1700000000100000, .outcome = str_of("connect")};
    for (unsigned i = 0; i < EVENTS; i++)
        e[i] = support_event(i + 1);
    e[1].attempts = (struct list){attempts, 2};
    e[1].stream = true;
    e[1].first_token_us = 310000;
    e[1].session_id = str_of("session-1");
    e[1].tags = str_of("web,es");
    e[1].metadata = str_of("{\"tier\":\"gold\",\"n\":[1,2.5,null]}");
    e[2].status = 502;
    e[2].error = str_of("upstream_error");
    e[2].error_text = str_of("the provider cannot be reached");
    e[2].answer = (struct str){"", 0};
    e[2].has_usage = e[2].has_scores = e[2].has_cost = false;
    e[2].attempts = (struct list){&none, 1};
    e[3].chat = true;
    e[3].parent_id = str_of("b7ad6b7169203331");
    e[3].question =
        str_of("[{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":\"user\",\"content\":[{\"type\":"
               "\"text\",\"text\":\"hola\"}]}]");
    e[3].answer = str_of("{\"role\":\"assistant\",\"content\":\"qué tal\"}");
    e[3].cache = str_of("hit");
    e[3].usage_estimated = true;
    e[4].question = str_of("¿\"Qué\"\n\t\\ \x01 \xf0\x9f\x97\xbc?");
    e[4].user_id = (struct str){"", 0};
}

static void compare(const char *name, const struct buf *got)
{
    char path[512];
    struct buf want = BUF_INIT(MIB);
    const char *mode = getenv("ATALAYA_GOLDEN");

    snprintf(path, sizeof path, "%s/tests/golden/%s", getenv("ATALAYA_SOURCE"), name);
    if (mode && strcmp(mode, "write") == 0) {
        FILE *f = fopen(path, "wb");
        cr_assert(f && fwrite(got->data, 1, got->len, f) == got->len && fclose(f) == 0, "%s", path);
        return;
    }
    cr_assert(read_file(path, &want), "%s", path);
    cr_expect_eq(got->len, want.len, "%s: %zu bytes, not %zu", name, got->len, want.len);
    cr_expect(got->len == want.len && memcmp(got->data, want.data, want.len) == 0,
              "%s is not what is sent today: see the head of this file", name);
    buf_free(&want);
}

static void export(struct otlp *o, const char *name)
{
    struct str parts[OTLP_PARTS];
    struct buf all = BUF_INIT(MIB);

    otlp_export(o, parts);
    for (size_t i = 0; i < OTLP_PARTS; i++)
        buf_append(&all, parts[i].p, parts[i].n);
    compare(name, &all);
    buf_free(&all);
    otlp_free(o);
}

Test(golden, exports)
{
    struct otlp *langfuse = langfuse_otlp_new(&conf), *genai = genai_otlp_new(&conf, "", NULL, 0);
    struct buf scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct event events[EVENTS];
    struct record r;

    make_events(events);
    for (size_t i = 0; i < EVENTS; i++) {
        record_of_event(&r, &events[i], &scratch);
        langfuse_otlp_add(langfuse, &conf, &r);
        genai_otlp_add(genai, &conf, &r);
    }
    export(langfuse, "upload-langfuse.pb");
    export(genai, "upload-genai.pb");
    buf_free(&scratch);
}

Test(golden, batches)
{
    struct buf traces = BUF_INIT(MIB), scores = BUF_INIT(MIB), scratch = BUF_INIT(RECORD_BYTES_MAX);
    struct event events[EVENTS], feedback = support_feedback(1);
    struct record r;

    make_events(events);
    feedback.comment = str_of("casi \"bien\"");
    batch_begin(&traces);
    batch_begin(&scores);
    for (size_t i = 0; i < EVENTS; i++) {
        record_of_event(&r, &events[i], &scratch);
        (void)batch_trace(&traces, &conf, &r);
        if (r.has_scores)
            batch_scores(&scores, &r, conf.environment);
    }
    record_of_event(&r, &feedback, &scratch);
    batch_feedback(&scores, &r, conf.environment);
    batch_end(&traces);
    batch_end(&scores);
    compare("upload-batch.json", &traces);
    compare("upload-scores.json", &scores);
    buf_free(&traces);
    buf_free(&scores);
    buf_free(&scratch);
}

static void post(const char *version, const char *path, const char *type, const char *name, int status)
{
    const char *const args[] = {"--version", version, NULL};
    struct fixture fake = fixture_start("fake-langfuse", args);
    struct buf body = BUF_INIT(MIB);
    char file[512], headers[256];

    snprintf(file, sizeof file, "%s/tests/golden/%s", getenv("ATALAYA_SOURCE"), name);
    cr_assert(read_file(file, &body), "%s", file);
    snprintf(headers, sizeof headers,
             "Content-Type: %s\r\nAuthorization: Basic cGs6c2s=\r\nx-langfuse-ingestion-version: 4\r\n",
             type);
    struct got g = fixture_call(&fake, "POST", path, headers, buf_str(&body));
    cr_expect_eq(g.status, status, "%s: %d %.*s", name, g.status, (int)g.body.n, g.body.p);
    cr_expect_null(memmem(g.body.p, g.body.n, "\"status\":400", 12), "%.*s", (int)g.body.n, g.body.p);
    got_free(&g);
    g = fixture_call(&fake, "GET", "/_admin/stats", "", (struct str){"", 0});
    cr_expect(memmem(g.body.p, g.body.n, "\"violations\":0,", 15), "%s: %.*s", name, (int)g.body.n, g.body.p);
    got_free(&g);
    fixture_stop(&fake);
    buf_free(&body);
}

/* The strictest reader takes them, of each version that they are for. */
Test(golden, are_taken)
{
    static const char *const old[] = {"2.95.12", "3.1.0", "3.62.0"}, *const later[] = {"3.63.0", "3.225.4",
                                                                                       "4.16.0"};

    for (size_t i = 0; i < 3; i++) {
        post(old[i], "/api/public/ingestion", "application/json", "upload-batch.json", 207);
        post(old[i], "/api/public/ingestion", "application/json", "upload-scores.json", 207);
        post(later[i], "/api/public/otel/v1/traces", "application/x-protobuf", "upload-langfuse.pb", 200);
        post(later[i], "/api/public/ingestion", "application/json", "upload-scores.json", 207);
    }
}
