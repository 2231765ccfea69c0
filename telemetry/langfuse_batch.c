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

static void put_event_id(struct buf *out, const struct record *r, const char *name)
{
    buf_append(out, r->trace_id.p, r->trace_id.n);
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
