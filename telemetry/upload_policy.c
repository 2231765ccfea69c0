#include "telemetry/upload_policy.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/backoff.h"
#include "common/base/httpdate.h"
#include "common/base/limits.h"

#define BACKOFF_BASE_MS 500
#define BACKOFF_CAP_MS  30000

static struct str without_blanks(struct str body)
{
    if (body.n >= 3 && memcmp(body.p, "\xef\xbb\xbf", 3) == 0)
        body = (struct str){body.p + 3, body.n - 3};
    while (body.n && strchr(" \t\r\n", *body.p))
        body = (struct str){body.p + 1, body.n - 1};
    return body;
}

/* Protobuf may begin with a newline and '<', but not go on with a letter then. */
static bool is_web_page(struct str body)
{
    body = without_blanks(body);
    return body.n > 1 && *body.p == '<' && (isalpha((unsigned char)body.p[1]) || strchr("!?", body.p[1]));
}

/* A word about what was sent is JSON, or the protobuf of a collector. Anything else is from somebody who has not
 * understood us and would say it of each record: http:// to an https:// port is a 400. */
static bool is_verdict(struct str body)
{
    body = without_blanks(body);
    return body.n && (*body.p == '{' || *body.p == '[' || (unsigned char)*body.p < ' ');
}

static enum upload_action on_success(enum upload_target target, int status, struct str body)
{
    bool batch = target == UPLOAD_BATCH || target == UPLOAD_SCORES;

    /* A web page: something else lives at this address. */
    return is_web_page(body) || (batch && status != 207) ? UPLOAD_HOLD : UPLOAD_DONE;
}

enum upload_action upload_action(enum upload_target target, int status, struct str body)
{
    switch (status) {
    case 400:
    case 422:
        return is_verdict(body) ? UPLOAD_ISOLATE : UPLOAD_HOLD;
    case 408:
    case 425:
    case 429:
        return UPLOAD_RETRY;
    case 413:
        return UPLOAD_SMALLER;
    }
    if (status >= 200 && status < 300)
        return on_success(target, status, body);
    return status >= 300 && status < 500 ? UPLOAD_HOLD : UPLOAD_RETRY;
}

bool upload_event_is_final(int status)
{
    return status != 408 && status != 425 && status != 429 && status < 500;
}

static int64_t capped(int64_t ms)
{
    return ms < 0 ? 0 : ms > UPLOAD_WAIT_MAX_MS ? UPLOAD_WAIT_MAX_MS : ms;
}

int64_t upload_retry_after(struct str value, int64_t wall_us)
{
    char text[64];
    char *end;

    while (value.n && (value.p[0] == ' ' || value.p[0] == '\t')) {
        value.p++;
        value.n--;
    }
    while (value.n && strchr(" \t\r\n", value.p[value.n - 1]))
        value.n--;
    if (value.n == 0 || value.n >= sizeof text)
        return -1;
    memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    if (text[0] < '0' || text[0] > '9') {
        int64_t at = httpdate_ms(value);
        return at < 0 ? -1 : capped(at - wall_us / 1000);
    }
    /* Seconds; some servers send a fraction, which RFC 9110 does not know. */
    double s = strtod(text, &end);
    if (*end || strspn(text, "0123456789.") != value.n)
        return -1;
    return s > UPLOAD_WAIT_MAX_MS / 1000.0 ? UPLOAD_WAIT_MAX_MS : capped((int64_t)(s * 1000));
}

int64_t upload_backoff(unsigned attempt, uint32_t random)
{
    return backoff_full_jitter(attempt, BACKOFF_BASE_MS, BACKOFF_CAP_MS, random);
}
