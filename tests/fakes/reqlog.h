/*
 * reqlog.h - the last requests a fake has seen, for the test that asks what was sent
 *
 * Purpose  a ring of whole requests; a test reads it as JSON.
 * Promise  a key in an Authorization header is never kept: only its scheme and its last four characters.
 * Units    wall-clock microseconds inside, RFC 3339 in the JSON.
 * Limits   FAKE_LOG_ENTRIES, FAKE_LOG_BODY_MAX, FAKE_LOG_BYTES_MAX
 */
#ifndef ATALAYA_TESTS_FAKES_REQLOG_H
#define ATALAYA_TESTS_FAKES_REQLOG_H

#include "tests/fakes/httpd.h"

struct reqlog;

struct reqlog *reqlog_new(size_t entries); /* 0: only numbers the requests */
void reqlog_free(struct reqlog *log);

/* The request's number, from 1. */
uint64_t reqlog_add(struct reqlog *log, const struct exchange *x, size_t in_flight);
void reqlog_end(struct reqlog *log, uint64_t number, int status, enum httpd_end end);
void reqlog_reset(struct reqlog *log); /* forgets the entries; the numbers go on */
uint64_t reqlog_last(const struct reqlog *log);

/* Appends a JSON array of the entries after number `since`. */
void reqlog_write(const struct reqlog *log, uint64_t since, struct buf *out);

#endif
