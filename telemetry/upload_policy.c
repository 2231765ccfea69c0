#include "telemetry/upload_policy.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/attr.h"
#include "common/base/backoff.h"
#include "common/base/httpdate.h"
#include "common/base/limits.h"

#define BACKOFF_BASE_MS 500
#define BACKOFF_CAP_MS  30000

static bool is_web_page(struct str body)
{
    size_t i = 0;

    while (i < body.n && strchr(" \t\r\n", body.p[i]))
        i++;
    return i < body.n && body.p[i] == '<';
}

static enum upload_action on_success(enum upload_target target, int status, struct str body)
{
    bool batch = target == UPLOAD_BATCH || target == UPLOAD_SCORES;

    /* Something else lives at this address. A collector's answer is binary, and may begin with a newline. */
    if (target == UPLOAD_SPANS ? body.n && *body.p == '<' : is_web_page(body))
        return UPLOAD_HOLD;
    return batch && status != 207 ? UPLOAD_HOLD : UPLOAD_DONE;
}

enum upload_action upload_action(enum upload_target target, int status, struct str body)
{
    static const struct {
        int status;
        enum upload_action action;
    } table[] = {
        {401, UPLOAD_HOLD},  {403, UPLOAD_HOLD},  {404, UPLOAD_HOLD},    {405, UPLOAD_HOLD},
        {407, UPLOAD_HOLD},  {408, UPLOAD_RETRY}, {413, UPLOAD_SMALLER}, {415, UPLOAD_HOLD},
        {425, UPLOAD_RETRY}, {429, UPLOAD_RETRY},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].status == status)
            return table[i].action;
    if (status >= 200 && status < 300)
        return on_success(target, status, body);
    if (status >= 300 && status < 400)
        return UPLOAD_HOLD;
    if (status < 400 || status >= 500)
        return UPLOAD_RETRY;
    /* A proxy that does not understand us would do the same to each record: http:// to an https:// port is a 400. */
    return is_web_page(body) ? UPLOAD_HOLD : UPLOAD_ISOLATE;
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
