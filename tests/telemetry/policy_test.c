/* What an answer of Langfuse leads to (P3), as tables. */
#include "telemetry/upload_policy.h"

#include <criterion/criterion.h>

#include "common/base/attr.h"
#include "common/base/limits.h"

Test(policy, actions)
{
    static const struct {
        enum upload_target target;
        int status;
        const char *body;
        enum upload_action action;
    } cases[] = {
        {UPLOAD_TRACES, 200, "{\"id\":\"job\"}", UPLOAD_DONE},
        {UPLOAD_TRACES, 200, "", UPLOAD_DONE},
        {UPLOAD_TRACES, 202, "{}", UPLOAD_DONE},
        {UPLOAD_TRACES, 200, " \n<!doctype html>", UPLOAD_HOLD},
        {UPLOAD_SCORES, 207, "{}", UPLOAD_DONE},
        {UPLOAD_SCORES, 200, "{}", UPLOAD_HOLD},
        {UPLOAD_BATCH, 207, "{}", UPLOAD_DONE},
        {UPLOAD_BATCH, 200, "{}", UPLOAD_HOLD},
        {UPLOAD_BATCH, 400, "{}", UPLOAD_ISOLATE},
        {UPLOAD_SPANS, 200, "\n<", UPLOAD_DONE},
        {UPLOAD_SPANS, 200, "\n<\x08\x03", UPLOAD_DONE},
        {UPLOAD_SPANS, 200, "<html>", UPLOAD_HOLD},
        {UPLOAD_SPANS, 200, "\r\n<!DOCTYPE html>", UPLOAD_HOLD},
        {UPLOAD_TRACES, 200, "\xef\xbb\xbf<?xml version=\"1.0\"?>", UPLOAD_HOLD},
        {UPLOAD_TRACES, 302, "", UPLOAD_HOLD},
        {UPLOAD_TRACES, 401, "{}", UPLOAD_HOLD},
        {UPLOAD_SCORES, 403, "{}", UPLOAD_HOLD},
        {UPLOAD_TRACES, 404, "", UPLOAD_HOLD},
        {UPLOAD_TRACES, 405, "", UPLOAD_HOLD},
        {UPLOAD_TRACES, 407, "", UPLOAD_HOLD},
        {UPLOAD_TRACES, 400, "{}", UPLOAD_ISOLATE},
        {UPLOAD_SPANS, 400, "{\"code\":3,\"message\":\"proto: no\"}", UPLOAD_ISOLATE},
        {UPLOAD_SPANS, 400, "\x08\x03\x12\x02no", UPLOAD_ISOLATE},
        {UPLOAD_SCORES, 400, "Invalid JSON", UPLOAD_HOLD},
        {UPLOAD_SPANS, 400, "Client sent an HTTP request to an HTTPS server.\n", UPLOAD_HOLD},
        {UPLOAD_SPANS, 400, "", UPLOAD_HOLD},
        {UPLOAD_TRACES, 402, "{\"message\":\"over your limit\"}", UPLOAD_HOLD},
        {UPLOAD_TRACES, 406, "{}", UPLOAD_HOLD},
        {UPLOAD_TRACES, 410, "{}", UPLOAD_HOLD},
        {UPLOAD_SPANS, 421, "", UPLOAD_HOLD},
        {UPLOAD_SPANS, 426, "", UPLOAD_HOLD},
        {UPLOAD_TRACES, 431, "", UPLOAD_HOLD},
        {UPLOAD_TRACES, 400, "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port",
         UPLOAD_HOLD},
        {UPLOAD_SPANS, 400, "\n\x03<a>", UPLOAD_ISOLATE},
        {UPLOAD_TRACES, 415, "", UPLOAD_HOLD},
        {UPLOAD_TRACES, 422, "{}", UPLOAD_ISOLATE},
        {UPLOAD_TRACES, 422, "", UPLOAD_HOLD},
        {UPLOAD_TRACES, 413, "", UPLOAD_SMALLER},
        {UPLOAD_TRACES, 0, "", UPLOAD_RETRY},
        {UPLOAD_TRACES, 408, "", UPLOAD_RETRY},
        {UPLOAD_TRACES, 425, "", UPLOAD_RETRY},
        {UPLOAD_SCORES, 429, "", UPLOAD_RETRY},
        {UPLOAD_TRACES, 500, "", UPLOAD_RETRY},
        {UPLOAD_TRACES, 502, "<html>", UPLOAD_RETRY},
        {UPLOAD_TRACES, 503, "", UPLOAD_RETRY},
        {UPLOAD_TRACES, 504, "", UPLOAD_RETRY},
        {UPLOAD_TRACES, 529, "", UPLOAD_RETRY},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_expect_eq(upload_action(cases[i].target, cases[i].status, str_of(cases[i].body)), cases[i].action,
                     "status %d", cases[i].status);
}

Test(policy, events)
{
    static const int final[] = {200, 201, 400, 401, 404, 409};
    static const int again[] = {408, 425, 429, 500, 503};

    for (size_t i = 0; i < ARRAY_LEN(final); i++)
        cr_expect(upload_event_is_final(final[i]), "%d", final[i]);
    for (size_t i = 0; i < ARRAY_LEN(again); i++)
        cr_expect_not(upload_event_is_final(again[i]), "%d", again[i]);
}

#define NOW_US 1795493767000000 /* 2026-11-24T04:16:07Z */

Test(policy, retry_after)
{
    static const struct {
        const char *value;
        int64_t ms;
    } cases[] = {
        {"0", 0},
        {"3", 3000},
        {" 3\r\n", 3000},
        {"1.5", 1500},
        {"599", 599000},
        {"601", UPLOAD_WAIT_MAX_MS},
        {"99999999999999999999999", UPLOAD_WAIT_MAX_MS},
        {"Tue, 24 Nov 2026 04:16:17 GMT", 10000},
        {"Tuesday, 24-Nov-26 04:16:17 GMT", 10000},
        {"Tue Nov 24 04:16:17 2026", 10000},
        {"Tue, 24 Nov 2026 04:16:00 GMT", 0},
        {"Tue, 24 Nov 2027 04:16:17 GMT", UPLOAD_WAIT_MAX_MS},
        {"", -1},
        {"-1", -1},
        {"soon", -1},
        {"3s", -1},
        {"0x10", -1},
        {"1e3", -1},
        {"Tue, 24 Nov 2026 04:16:17 GMT+1", -1},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_expect_eq(upload_retry_after(str_of(cases[i].value), NOW_US), cases[i].ms, "'%s'", cases[i].value);
}

Test(policy, backoff)
{
    cr_expect_eq(upload_backoff(0, 0), 0);
    cr_expect_eq(upload_backoff(0, UINT32_MAX), 500);
    cr_expect_eq(upload_backoff(3, UINT32_MAX), 4000);
    cr_expect_eq(upload_backoff(60, UINT32_MAX), 30000);
}
