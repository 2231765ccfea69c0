/*
 * feedback.h - the body of POST /feedback: a score that a client gives to a trace
 *
 * Purpose  what comes out is a score that every Langfuse takes, or the complete error answer in the style of
 *          POST /ask. Without data_type the value's own type decides; a data_type that does not fit its
 *          value is refused here, because Langfuse would refuse it when the client is gone.
 * Owner    the strings of struct feedback are borrowed from `hold`, which the caller frees with
 *          jsonscan_free() in any case.
 * Threads  pure.
 * Limits   below, in code points; an answer has at most FEEDBACK_ERROR_BYTES.
 * Source   Langfuse, ingestion API: score-create
 */
#ifndef ATALAYA_GATEWAY_FEEDBACK_H
#define ATALAYA_GATEWAY_FEEDBACK_H

#include "common/base/attr.h"
#include "common/base/buf.h"
#include "common/base/jsonscan.h"
#include "common/base/limits.h"

#define FEEDBACK_NAME_LENGTH    200
#define FEEDBACK_TEXT_LENGTH    500
#define FEEDBACK_COMMENT_LENGTH 2000
#define FEEDBACK_ERROR_BYTES    (5 * (INPUT_ECHO_MAX + KIB)) /* five fields, one error each */

struct feedback {
    struct str trace_id; /* 32 lower-case hex digits, not all zero */
    struct str name;
    const char *type;   /* "NUMERIC", "BOOLEAN", "CATEGORICAL" */
    double value;       /* of the first two: finite; true is 1, false 0 */
    struct str text;    /* of the third */
    struct str comment; /* empty: none */
};

/* 200 and *out is filled, or the status of the error whose JSON is in `error`. content_type may be NULL. */
int validate_feedback(struct str body, const char *content_type, struct jsonscan *hold, struct feedback *out,
                      struct buf *error) NODISCARD;

#endif
