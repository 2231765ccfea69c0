/*
 * accept.h - in which format a client wants the metrics
 *
 * Purpose  two processes show the same page, so both read the Accept header the same way. OpenMetrics is given to
 *          whoever names it and prefers it, or likes it as much as the text format; a wildcard means the text
 *          format, which every scraper reads.
 * Errors   a range that cannot be read is passed over; a header that leaves nothing acceptable gets the text
 *          format all the same: a scrape is of more use than a 406.
 * Threads  pure.
 * Source   RFC 9110 12.5.1; https://prometheus.io/docs/specs/om/open_metrics_spec/
 */
#ifndef ATALAYA_BASE_ACCEPT_H
#define ATALAYA_BASE_ACCEPT_H

enum metrics_format { METRICS_TEXT, METRICS_OPENMETRICS, METRICS_FORMATS };

enum metrics_format accept_metrics(const char *accept); /* NULL: no such header */

const char *metrics_type(enum metrics_format f); /* its Content-Type */

#endif
