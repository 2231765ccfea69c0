#include "telemetry/metric_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/attr.h"

/* Up to 10 the contract's; above, what language models need. */
static const double seconds[] = {0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1,
                                 2.5,   5,    7.5,   10,   20,    30,  60,   120, 300};
static const double tokens[] = {0, 50, 100, 200, 400, 800, 1600, 3200, 6400};
static const double shares[] = {0, 0.2, 0.4, 0.6, 0.8, 1};

/* OpenTelemetry's, semantic conventions for generative AI; the first goes on above as they do. */
static const double genai_seconds[] = {0.01, 0.02, 0.04,  0.08,  0.16,  0.32,  0.64,   1.28,
                                       2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68};
static const double genai_tokens[] = {1,     4,     16,     64,      256,     1024,     4096,
                                      16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864};

#define BUCKETS(a) .buckets = (a), .n_buckets = ARRAY_LEN(a)

const struct metric_row metric_table[METRICS] = {
    [METRIC_REQUESTS] = {"app_requests_total",
                         METRIC_COUNTER,
                         "Total HTTP requests",
                         {"endpoint", "method", "status"},
                         .created = true,
                         .kept = true},
    [METRIC_REQUEST_LATENCY] = {"app_request_latency_seconds",
                                METRIC_HISTOGRAM,
                                "Latency of HTTP requests in seconds",
                                {"endpoint", "method"},
                                BUCKETS(seconds),
                                .created = true,
                                .kept = true},
    [METRIC_LLM_LATENCY] = {"app_llm_latency_seconds",
                            METRIC_HISTOGRAM,
                            "Latency of LLM calls in seconds, by the model that was asked for",
                            {"model"},
                            BUCKETS(seconds),
                            .created = true,
                            .kept = true},
    [METRIC_IN_PROGRESS] = {"app_requests_in_progress", METRIC_GAUGE, "In-progress HTTP requests", {NULL}},
    [METRIC_LLM_TOKENS] = {"app_llm_tokens_used",
                           METRIC_HISTOGRAM,
                           "Tokens used per request",
                           {NULL},
                           BUCKETS(tokens),
                           .created = true,
                           .kept = true},
    [METRIC_QUEUE] = {"atalaya_queue_questions", METRIC_GAUGE, "Questions that wait for a worker", {NULL}},
    [METRIC_QUEUE_AGE] = {"atalaya_queue_oldest_age_seconds",
                          METRIC_GAUGE,
                          "Age of the oldest question that waits for a worker; 0 when none does",
                          {NULL}},
    [METRIC_WORKERS] =
        {"atalaya_workers",
         METRIC_GAUGE,
         "Workers that are connected to a gateway by state: idle, busy, full (no slot is free), "
         "down (every upstream is left alone or refuses our key), leaving",
         {"state"}},
    [METRIC_WORKER_CHANGES] = {"atalaya_worker_changes_total",
                               METRIC_COUNTER,
                               "Workers that have joined a gateway, left it in order, or been lost",
                               {"change"},
                               .kept = true},
    [METRIC_ANSWERS] = {"atalaya_answers_total",
                        METRIC_COUNTER,
                        "Questions that were answered by where the answer came from: upstream, cache, shared "
                        "(with the same question of somebody else)",
                        {"source"},
                        .kept = true},
    [METRIC_FIRST_TOKEN] = {"atalaya_first_token_seconds",
                            METRIC_HISTOGRAM,
                            "Time from a request to the first piece of its streamed answer",
                            {"model"},
                            BUCKETS(seconds),
                            .kept = true},
    [METRIC_BROKEN_STREAMS] =
        {"atalaya_broken_streams_total",
         METRIC_COUNTER,
         "Streamed answers that ended with an error after they had begun, whose status is 200",
         {"error"},
         .kept = true},
    [METRIC_FAILURES] = {"atalaya_failed_questions_total",
                         METRIC_COUNTER,
                         "Questions that were not answered, or not to their end, by the error that "
                         "docs/operations.md explains",
                         {"error"},
                         .kept = true},
    [METRIC_GUARDRAILS] = {"atalaya_guardrail_answers_total",
                           METRIC_COUNTER,
                           "Answers that a guardrail has cut (max_words) or flagged (toxicity)",
                           {"guardrail"},
                           .kept = true},
    [METRIC_SCORES] = {"atalaya_answer_score",
                       METRIC_HISTOGRAM,
                       "Scores of answers by name, as Langfuse gets them",
                       {"name"},
                       BUCKETS(shares),
                       .kept = true},
    [METRIC_FEEDBACK] = {"atalaya_feedback_total",
                         METRIC_COUNTER,
                         "Scores that clients have given to traces, by name",
                         {"name"},
                         .kept = true},
    [METRIC_FEEDBACK_SCORE] = {"atalaya_feedback_score",
                               METRIC_HISTOGRAM,
                               "Those of them that are a number from 0 to 1, or a boolean",
                               {"name"},
                               BUCKETS(shares),
                               .kept = true},
    [METRIC_ATTEMPTS] = {"atalaya_upstream_attempts_total",
                         METRIC_COUNTER,
                         "Calls to the provider by outcome, repeated ones included",
                         {"outcome", "upstream"},
                         .kept = true},
    [METRIC_RETRIES] =
        {"atalaya_upstream_retries_total",
         METRIC_COUNTER,
         "Calls that repeated another one, at the same upstream or the next, by the outcome of "
         "that one",
         {"reason"},
         .kept = true},
    [METRIC_HEDGES] =
        {"atalaya_upstream_hedges_total",
         METRIC_COUNTER,
         "Calls that were made while another one for the same question was under way, by outcome",
         {"outcome"},
         .kept = true},
    [METRIC_TOKENS] =
        {"atalaya_llm_tokens_total",
         METRIC_COUNTER,
         "Tokens by kind; no token is in two of them: input (without input_cached), input_cached, "
         "output (without reasoning), reasoning",
         {"kind", "model"},
         .kept = true},
    [METRIC_TOKENS_ESTIMATED] =
        {"atalaya_llm_tokens_estimated_total",
         METRIC_COUNTER,
         "Those among atalaya_llm_tokens_total that are an estimate, because the call "
         "ended before the provider had counted",
         {"kind", "model"},
         .kept = true},
    [METRIC_COST] = {"atalaya_llm_cost_usd_total",
                     METRIC_COUNTER,
                     "Dollars that answers cost by LLM_PRICES_FILE; those without a price count nothing",
                     {"model"},
                     .kept = true},
    [METRIC_UPSTREAM_BREAKER] =
        {"atalaya_upstream_breaker_state",
         METRIC_GAUGE,
         "Breaker of the upstream at the worker where it is worst: 0 closed, 1 half-open, "
         "2 open",
         {"upstream"}},
    [METRIC_UPSTREAM_REFUSED] =
        {"atalaya_upstream_key_refused",
         METRIC_GAUGE,
         "1 when the upstream refuses the key of a worker (401, or 403 again and again)",
         {"upstream"}},
    [METRIC_UPSTREAM_CALLS] = {"atalaya_upstream_calls_in_flight",
                               METRIC_GAUGE,
                               "Calls to the upstream that are under way",
                               {"upstream"}},
    [METRIC_UPSTREAM_LIMIT] = {"atalaya_upstream_calls_limit",
                               METRIC_GAUGE,
                               "Calls at once that the upstream is believed to bear, of all workers together",
                               {"upstream"}},
    [METRIC_EVENTS] =
        {"atalaya_events_total", METRIC_COUNTER, "Events taken from gateways", {"kind"}, .kept = true},
    [METRIC_DUPLICATES] = {"atalaya_events_duplicate_total",
                           METRIC_COUNTER,
                           "Events that were sent again although they had been taken, and ignored",
                           {NULL},
                           .kept = true},
    [METRIC_UNCONFIRMED] = {"atalaya_answers_unconfirmed_total",
                            METRIC_COUNTER,
                            "Answers that went out although telemetry had not confirmed their record within "
                            "TELEMETRY_ACK_TIMEOUT_MS",
                            {NULL},
                            .kept = true},
    [METRIC_DROPPED] = {"atalaya_records_dropped_total",
                        METRIC_COUNTER,
                        "Records and feedback that are lost before each destination has had them, by reason",
                        {"reason"},
                        .kept = true},
    [METRIC_REJECTED] =
        {"atalaya_rejected_records_total",
         METRIC_COUNTER,
         "Records and feedback that a destination (langfuse, otlp) does not take for good, by reason: "
         "refused, too_large, failed (again and again, while it took others). They are dead letters",
         {"destination", "reason"},
         .kept = true},
    [METRIC_SPOOL_RECORDS] = {"atalaya_spool_records",
                              METRIC_GAUGE,
                              "Records on disk, feedback included",
                              {NULL}},
    [METRIC_SPOOL_BYTES] = {"atalaya_spool_bytes",
                            METRIC_GAUGE,
                            "Bytes of the records on disk, as SPOOL_MAX_BYTES counts them",
                            {NULL}},
    [METRIC_SPOOL_AGE] = {"atalaya_spool_oldest_age_seconds",
                          METRIC_GAUGE,
                          "Age of the oldest record on disk; 0 when there is none",
                          {NULL}},
    [METRIC_SPOOL_REPLACED] = {"atalaya_spool_replaced_total",
                               METRIC_COUNTER,
                               "Spool files that could not be read and were moved aside",
                               {NULL},
                               .kept = true},
    [METRIC_UPLOAD_ENABLED] =
        {"atalaya_upload_enabled",
         METRIC_GAUGE,
         "1 when records are sent to that destination (langfuse, otlp), 0 when it is not configured",
         {"destination"}},
    [METRIC_SPOOL_DISK_FULL] =
        {"atalaya_spool_disk_full",
         METRIC_GAUGE,
         "1 when the spool's disk is full: old records go for new ones, or nothing is taken",
         {NULL}},
    [METRIC_LETTERS] =
        {"atalaya_dead_letters",
         METRIC_GAUGE,
         "Records on disk that a destination does not take for good, kept until somebody replays them",
         {NULL}},
    [METRIC_LETTERS_DROPPED] = {"atalaya_dead_letters_dropped_total",
                                METRIC_COUNTER,
                                "Dead letters that went to make room for records; each is counted among the "
                                "rejected records already",
                                {NULL},
                                .kept = true},
    [METRIC_UPLOADS] =
        {"atalaya_uploads_total",
         METRIC_COUNTER,
         "Requests to Langfuse (target: traces, scores) and to the OTLP backend (target: otlp) by result",
         {"result", "target"},
         .kept = true},
    [METRIC_UPLOADED] = {"atalaya_uploaded_records_total",
                         METRIC_COUNTER,
                         "Records and feedback that Langfuse has taken",
                         {NULL},
                         .kept = true},
    [METRIC_EXPORTED] = {"atalaya_exported_records_total",
                         METRIC_COUNTER,
                         "Records that the OTLP backend has taken",
                         {NULL},
                         .kept = true},
    [METRIC_SPANS_REJECTED] =
        {"atalaya_rejected_spans_total",
         METRIC_COUNTER,
         "Spans that the OTLP backend has not kept, by its own account, of exports it took",
         {NULL},
         .kept = true},
    [METRIC_UNSAMPLED] = {"atalaya_unsampled_records_total",
                          METRIC_COUNTER,
                          "Records and feedback that LANGFUSE_SAMPLE_RATE keeps from Langfuse",
                          {NULL},
                          .kept = true},
    [METRIC_SCORES_REJECTED] = {"atalaya_scores_rejected_total",
                                METRIC_COUNTER,
                                "Scores that Langfuse has refused for good, those of clients included",
                                {NULL},
                                .kept = true},
    [METRIC_BUILD] = {"atalaya_build_info",
                      METRIC_GAUGE,
                      "Always 1; the version is in the label",
                      {"version"}},
    [METRIC_PROCESS_UP] = {"atalaya_process_up",
                           METRIC_GAUGE,
                           "1 when the supervisor says that the process is ready",
                           {"index", "process"}},
    [METRIC_PROCESS_RESTARTS] = {"atalaya_process_restarts_total",
                                 METRIC_COUNTER,
                                 "Restarts of the process since its supervisor started",
                                 {"index", "process"}},
    [METRIC_PROCESS_CPU] = {"process_cpu_seconds_total",
                            METRIC_COUNTER,
                            "Processor time of the process, of those on telemetry's machine",
                            {"index", "process"}},
    [METRIC_PROCESS_RSS] = {"process_resident_memory_bytes",
                            METRIC_GAUGE,
                            "Memory of the process that is in RAM",
                            {"index", "process"}},
    [METRIC_PROCESS_VM] = {"process_virtual_memory_bytes",
                           METRIC_GAUGE,
                           "Address space of the process",
                           {"index", "process"}},
    [METRIC_PROCESS_FDS] = {"process_open_fds",
                            METRIC_GAUGE,
                            "File descriptors of the process",
                            {"index", "process"}},
    [METRIC_PROCESS_FDS_MAX] = {"process_max_fds",
                                METRIC_GAUGE,
                                "File descriptors that it may have",
                                {"index", "process"}},
    [METRIC_PROCESS_START] = {"process_start_time_seconds",
                              METRIC_GAUGE,
                              "When it was started, in seconds since 1970",
                              {"index", "process"}},

    [METRIC_GENAI_DURATION] =
        {"gen_ai_client_operation_duration_seconds",
         METRIC_HISTOGRAM,
         "Calls to the provider, each repeated one for itself; error_type is empty when "
         "it succeeded, else its HTTP status or what atalaya_upstream_attempts_total "
         "calls the outcome",
         {"error_type", "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model",
          "gen_ai_response_model"},
         BUCKETS(genai_seconds),
         .kept = true},
    [METRIC_GENAI_TOKENS] = {"gen_ai_client_token_usage",
                             METRIC_HISTOGRAM,
                             "Tokens of a call as the provider counts them, input_cached and reasoning "
                             "included; no estimates",
                             {"gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model",
                              "gen_ai_response_model", "gen_ai_token_type"},
                             BUCKETS(genai_tokens),
                             .kept = true},
};

size_t metric_labels(enum metric id)
{
    size_t n = 0;

    while (n < METRIC_LABELS && metric_table[id].labels[n])
        n++;
    return n;
}

static void trim(char *digits, int n)
{
    while (n > 1 && digits[n - 1] == '0')
        n--;
    digits[n] = '\0';
}

/* The shortest digits that read back as v; returns the decimal exponent of the first. */
static int shortest(char digits[20], double v)
{
    char text[32];
    int n = 0;

    for (int precision = 14; precision <= 16; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, v);
        if (strtod(text, NULL) == v)
            break;
    }
    for (const char *c = text; *c != 'e'; c++)
        if (*c != '.')
            digits[n++] = *c;
    trim(digits, n);
    return (int)strtol(strchr(text, 'e') + 1, NULL, 10);
}

/* The same of a whole number, at a tenth of the cost: most of a page are counts. */
static int whole(char digits[20], double v)
{
    int n = snprintf(digits, 20, "%.0f", v);

    trim(digits, n);
    return n - 1;
}

/* A millionth at the finest, as times are: again much cheaper. At most 12 digits, so there is no shorter way. */
static bool micro_number(char out[METRIC_NUMBER_SIZE], double v)
{
    char digits[8];

    if (v != 0 && !(v >= 1e-4 && v < 1e6))
        return false;
    uint64_t k = (uint64_t)(v * 1e6 + 0.5);
    if ((double)k / 1e6 != v)
        return false;
    unsigned fraction = (unsigned)(k % 1000000), tail = 1000000 + fraction;
    for (int i = 6; i >= 0; tail /= 10)
        digits[i--] = (char)('0' + tail % 10);
    trim(digits, 7);
    snprintf(out, METRIC_NUMBER_SIZE, "%u.%s", (unsigned)(k / 1000000), fraction ? digits + 1 : "0");
    return true;
}

/* From a million up the client writes exponents, below a ten-thousandth Python itself does. */
void metric_number(char out[METRIC_NUMBER_SIZE], double v)
{
    char digits[20];

    if (isnan(v) || isinf(v)) {
        snprintf(out, METRIC_NUMBER_SIZE, "%s", isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
        return;
    }
    if (micro_number(out, v))
        return;
    const char *sign = v < 0 ? "-" : "";
    int exponent = v == trunc(v) && fabs(v) < 1e15 ? whole(digits, fabs(v)) : shortest(digits, fabs(v));
    int n = (int)strlen(digits);
    const char *dot = n > 1 ? "." : "";
    if (exponent < -4 || exponent >= 6)
        snprintf(out, METRIC_NUMBER_SIZE, "%s%c%s%se%c%02d", sign, digits[0], dot, digits + 1,
                 exponent < 0 ? '-' : '+', abs(exponent));
    else if (exponent < 0)
        snprintf(out, METRIC_NUMBER_SIZE, "%s0.%.*s%s", sign, -exponent - 1, "000", digits);
    else if (n <= exponent + 1)
        snprintf(out, METRIC_NUMBER_SIZE, "%s%s%.*s.0", sign, digits, exponent + 1 - n, "00000");
    else
        snprintf(out, METRIC_NUMBER_SIZE, "%s%.*s.%s", sign, exponent + 1, digits, digits + exponent + 1);
}

static void document_row(struct buf *out, const struct metric_row *r)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};

    buf_printf(out, "| `%s` | %s | ", r->name, types[r->type]);
    for (size_t i = 0; i < METRIC_LABELS && r->labels[i]; i++)
        buf_printf(out, "%s`%s`", i ? ", " : "", r->labels[i]);
    buf_printf(out, " | %s", r->help);
    if (r->n_buckets)
        buf_puts(out, ". Buckets:");
    for (size_t i = 0; i < r->n_buckets; i++)
        buf_printf(out, " %.10g", r->buckets[i]);
    buf_printf(out, " | %s |\n", r->kept ? "yes" : "");
}

static const char document_head[] =
    "# Metrics\n"
    "\n"
    "Printed by `atalaya-telemetry --metrics-doc`; a test compares. Telemetry shows all of them on "
    "`TELEMETRY_PORT`, the gateway the same page on `PORT`, as `text/plain; version=0.0.4` or, when `Accept` "
    "prefers "
    "it, as `application/openmetrics-text; version=1.0.0`. Only there the buckets of latencies and the "
    "guardrails have exemplars: trace and request of the last question that counted there.\n"
    "\n"
    "A metric that is *kept* lives in the spool: it is written in the transaction that stores the records it "
    "counts, and goes on after a restart of any process. Its `_created` series (the first five metrics) says "
    "since "
    "when. Labels are bounded: paths without a route, unknown methods and values beyond the caps of "
    "`common/base/limits.h` count as `other`.\n";

static void document_section(struct buf *out, const char *title)
{
    buf_printf(out,
               "\n## %s\n\n| metric | type | labels | meaning | kept |\n| --- | --- | --- | --- | --- |\n",
               title);
}

void metric_document(struct buf *out)
{
    buf_puts(out, document_head);
    document_section(out, "For dashboards");
    for (size_t i = 0; i < METRICS; i++) {
        if (i == METRIC_CONTRACT_END)
            document_section(out, "For operators");
        if (i == METRIC_OPERATOR_END)
            document_section(out, "OpenTelemetry's names for generative AI");
        document_row(out, &metric_table[i]);
    }
}
