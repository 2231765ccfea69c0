/* Accept headers, as a table: what real scrapers send, and what RFC 9110 12.5.1 says about the rest. */
#include "common/base/accept.h"

#include <criterion/criterion.h>

#include "common/base/attr.h"

#define OPEN "application/openmetrics-text"

static const struct {
    const char *accept;
    enum metrics_format format;
} cases[] = {
    /* Prometheus 3, 2.49, 2.40, with protobuf; curl; a browser; nobody. */
    {OPEN ";version=1.0.0;escaping=allow-utf-8;q=0.6," OPEN ";version=0.0.1;q=0.5,"
          "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
     METRICS_OPENMETRICS},
    {OPEN ";version=1.0.0;q=0.5," OPEN ";version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
     METRICS_OPENMETRICS},
    {OPEN ";version=1.0.0," OPEN ";version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
     METRICS_OPENMETRICS},
    {"application/"
     "vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6," OPEN
     ";version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
     METRICS_OPENMETRICS},
    {"text/plain;version=0.0.4;q=0.3,*/*;q=0.2", METRICS_TEXT},
    {"*/*", METRICS_TEXT},
    {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", METRICS_TEXT},
    {NULL, METRICS_TEXT},
    {"", METRICS_TEXT},

    {OPEN, METRICS_OPENMETRICS},
    {OPEN "; version=1.0.0; charset=utf-8", METRICS_OPENMETRICS},
    {"Application/OpenMetrics-Text;Version=1.0.0", METRICS_OPENMETRICS},
    {" " OPEN " ; version=\"1.0.0\" ; q=1.000\t, text/plain", METRICS_OPENMETRICS},
    {OPEN ";version=0.0.1", METRICS_TEXT}, /* another format */
    {OPEN ";version=2.0.0,text/plain", METRICS_TEXT},
    {"application/*", METRICS_TEXT},
    {"application/openmetrics-texts", METRICS_TEXT},

    /* The greater q wins, whatever the order; with the same one whoever names it gets it. */
    {OPEN ";q=0.2,text/plain;q=0.3", METRICS_TEXT},
    {"text/plain;q=0.2," OPEN ";q=0.3", METRICS_OPENMETRICS},
    {"text/plain," OPEN, METRICS_OPENMETRICS},
    {OPEN ";q=0.5,*/*;q=0.501", METRICS_TEXT},
    {OPEN ";q=0.5,text/*;q=0.6", METRICS_TEXT},
    {OPEN ";q=0.5,TEXT/*;q=0.4,*/*", METRICS_OPENMETRICS}, /* the closer range counts */
    {OPEN ";q=0.5,text/plain;q=0.4,text/*", METRICS_OPENMETRICS},
    {OPEN ";q=0.5,text/plain;version=0.0.4;q=0.4,text/plain", METRICS_OPENMETRICS},
    {OPEN ";q=0.5,text/plain;version=1.0.0,text/plain;q=0.4", METRICS_OPENMETRICS},
    {OPEN ";q=0," OPEN ";version=1.0.0;q=0.4,text/plain;q=0.3", METRICS_OPENMETRICS},
    {OPEN ";q=0", METRICS_TEXT},
    {OPEN ";q=0.000,text/plain;q=0", METRICS_TEXT},

    /* What cannot be read is passed over; what stands beside it counts. */
    {OPEN ";q=", METRICS_TEXT},
    {OPEN ";q=2", METRICS_TEXT},
    {OPEN ";q=1.5", METRICS_TEXT},
    {OPEN ";q=-1", METRICS_TEXT},
    {OPEN ";q=0.5000", METRICS_TEXT},
    {OPEN ";q=,5", METRICS_TEXT},
    {"text/plain;q=x," OPEN ";q=0.1", METRICS_OPENMETRICS},
    {",,;,=;q," OPEN, METRICS_OPENMETRICS},
    {"a/b;c=\"," OPEN ",\"", METRICS_TEXT},
    {"a/b;c=\"\\\"," OPEN "\\\"\"", METRICS_TEXT},
    {"a/b;c=\"never closed," OPEN, METRICS_TEXT},
    {"a/b;c=\"\\", METRICS_TEXT},
};

Test(accept, metrics)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_expect_eq(accept_metrics(cases[i].accept), cases[i].format, "%s", cases[i].accept);
}

Test(accept, types)
{
    cr_expect_str_eq(metrics_type(METRICS_TEXT), "text/plain; version=0.0.4; charset=utf-8");
    cr_expect_str_eq(metrics_type(METRICS_OPENMETRICS), OPEN "; version=1.0.0; charset=utf-8");
}
