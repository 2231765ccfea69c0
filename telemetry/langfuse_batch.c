#include "telemetry/langfuse_batch.h"

#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/base/limits.h"

#define TRACE_DIGITS 32

void batch_begin(struct buf *out)
{
    buf_puts(out, "{\"batch\":[");
}

void batch_end(struct buf *out)
{
    buf_puts(out, "]}");
}

static void put_id(struct buf *out, const char *key, const struct record *r, const char *name)
{
    json_key(out, key);
    buf_putc(out, '"');
    buf_append(out, r->trace_id.p, r->trace_id.n);
    buf_putc(out, '-');
    buf_puts(out, name);
    buf_putc(out, '"');
}

static void put_score(struct buf *out, const struct record *r, const char *time, const char *environment,
                      const char *name, double value)
{
    if (out->len && out->data[out->len - 1] == '}')
        buf_putc(out, ',');
    buf_putc(out, '{');
    put_id(out, "id", r, name);
    json_field_str(out, "type", str_of("score-create"));
    json_field_str(out, "timestamp", str_of(time));
    json_key(out, "body");
    buf_putc(out, '{');
    put_id(out, "id", r, name);
    json_field_str(out, "traceId", r->trace_id);
    json_field_str(out, "observationId", r->generation_id);
    json_field_str(out, "name", str_of(name));
    json_key(out, "value");
    if (value == 1.0)
        buf_puts(out, "1.0"); /* nearly always; printing a double costs more than the rest of the score */
    else
        json_double(out, value);
    json_field_str(out, "dataType", str_of("NUMERIC"));
    if (*environment)
        json_field_str(out, "environment", str_of(environment));
    buf_puts(out, "}}");
}

void batch_scores(struct buf *out, const struct record *r, const char *environment)
{
    char time[CLOCK_RFC3339_SIZE];

    clock_rfc3339(time, r->start_us + r->duration_us);
    memcpy(strchr(time, '.') + 4, "Z", 2); /* milliseconds are what Langfuse keeps */
    put_score(out, r, time, environment, "non_empty_answer", r->non_empty_answer);
    put_score(out, r, time, environment, "toxicity_safe", r->toxicity_safe);
}

struct str batch_trace_of(struct str event_id)
{
    if (event_id.n <= TRACE_DIGITS || event_id.p[TRACE_DIGITS] != '-')
        return (struct str){"", 0};
    return (struct str){event_id.p, TRACE_DIGITS};
}
