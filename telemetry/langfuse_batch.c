#include "telemetry/langfuse_batch.h"

#include <assert.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/json.h"

static_assert(ID_TRACE_SIZE + ID_SPAN_SIZE < BATCH_KEY_SIZE, "a key has room for both ids");

void batch_begin(struct buf *out)
{
    buf_puts(out, "{\"batch\":[");
}

void batch_end(struct buf *out)
{
    buf_puts(out, "]}");
}

/* Milliseconds are what Langfuse keeps. */
static void time_text(char out[CLOCK_RFC3339_SIZE], int64_t us)
{
    clock_rfc3339(out, us);
    memcpy(strchr(out, '.') + 4, "Z", 2);
}

static void put_event_id(struct buf *out, const struct record *r, const char *name)
{
    buf_append(out, r->trace_id.p, r->trace_id.n);
    buf_putc(out, '-');
    buf_append(out, r->generation_id.p, r->generation_id.n);
    buf_putc(out, '-');
    buf_puts(out, name);
}

/* Nothing in it needs escaping: ids are hex, names ours, an environment is checked. So it is put together, not
 * written with json.h, which would take several times as long. */
static void put_score(struct buf *out, const struct record *r, const char *time, const char *environment,
                      const char *name, double value)
{
    if (out->len && out->data[out->len - 1] == '}')
        buf_putc(out, ',');
    buf_puts(out, "{\"id\":\"");
    put_event_id(out, r, name);
    buf_puts(out, "\",\"type\":\"score-create\",\"timestamp\":\"");
    buf_puts(out, time);
    buf_puts(out, "\",\"body\":{\"id\":\"");
    put_event_id(out, r, name);
    buf_puts(out, "\",\"traceId\":\"");
    buf_append(out, r->trace_id.p, r->trace_id.n);
    buf_puts(out, "\",\"observationId\":\"");
    buf_append(out, r->generation_id.p, r->generation_id.n);
    buf_puts(out, "\",\"name\":\"");
    buf_puts(out, name);
    buf_puts(out, "\",\"value\":");
    if (value == 1.0)
        buf_puts(out, "1.0"); /* nearly always */
    else
        json_double(out, value);
    buf_puts(out, ",\"dataType\":\"NUMERIC\"");
    if (*environment) {
        buf_puts(out, ",\"environment\":\"");
        buf_puts(out, environment);
        buf_putc(out, '"');
    }
    buf_puts(out, "}}");
}

void batch_scores(struct buf *out, const struct record *r, const char *environment)
{
    char time[CLOCK_RFC3339_SIZE];

    time_text(time, r->start_us + r->duration_us);
    put_score(out, r, time, environment, "non_empty_answer", r->non_empty_answer);
    put_score(out, r, time, environment, "toxicity_safe", r->toxicity_safe);
}

/* Of a client: every text of it needs escaping. */
void batch_feedback(struct buf *out, const struct record *r, const char *environment)
{
    char time[CLOCK_RFC3339_SIZE];

    time_text(time, r->start_us);
    if (out->len && out->data[out->len - 1] == '}')
        buf_putc(out, ',');
    buf_putc(out, '{');
    json_field_str(out, "id", r->score_id);
    json_field_str(out, "type", str_of("score-create"));
    json_field_str(out, "timestamp", str_of(time));
    json_key(out, "body");
    buf_putc(out, '{');
    json_field_str(out, "id", r->score_id);
    json_field_str(out, "traceId", r->trace_id);
    json_field_str(out, "name", r->score_name);
    json_field_str(out, "dataType", r->score_type);
    if (str_eq(r->score_type, "CATEGORICAL")) {
        json_field_str(out, "value", r->score_text);
    } else {
        json_key(out, "value");
        json_double(out, r->score_value);
    }
    if (r->comment.n)
        json_field_str(out, "comment", r->comment);
    if (*environment)
        json_field_str(out, "environment", str_of(environment));
    buf_puts(out, "}}");
}

void batch_key(char out[BATCH_KEY_SIZE], const struct record *r)
{
    if (record_is_feedback(r))
        snprintf(out, BATCH_KEY_SIZE, "%.*s", (int)r->score_id.n, r->score_id.p);
    else
        snprintf(out, BATCH_KEY_SIZE, "%.*s-%.*s-", (int)r->trace_id.n, r->trace_id.p,
                 (int)r->generation_id.n, r->generation_id.p);
}

bool batch_is_of(struct str event_id, const char *key)
{
    size_t n = strlen(key);

    return n && event_id.n >= n && memcmp(event_id.p, key, n) == 0 && (event_id.n == n || key[n - 1] == '-');
}
