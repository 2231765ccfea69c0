/*
 * validate.h - the body of POST /ask, checked as FastAPI and Pydantic 2 check it
 *
 * Purpose  what comes out is either a question or the complete error answer: 422 with every error of the
 *          body in the model's field order, 400 for what Python cannot read at all.
 * Owner    the strings of ask_input are borrowed from `hold`, which the caller frees with jsonscan_free()
 *          in any case.
 * Threads  any.
 * Limits   an error repeats its value as "input", cut above INPUT_ECHO_MAX (gateway/echo.h); the whole answer
 *          has at most ASK_ERROR_MAX bytes.
 * Source   contract.md; the recorded pairs in tests/golden/; docs/decisions/0012.
 */
#ifndef ATALAYA_GATEWAY_VALIDATE_H
#define ATALAYA_GATEWAY_VALIDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/jsonscan.h"
#include "common/base/limits.h"

#define ASK_QUESTION_MIN      3    /* code points */
#define ASK_QUESTION_MAX      2000 /* code points */
#define ASK_MAX_WORDS_DEFAULT 150
#define ASK_ERROR_MAX         (4 * (INPUT_ECHO_MAX + KIB)) /* four fields, one error each */

/* A question, or a chat completion (gateway/chat.h). */
struct ask_input {
    bool chat;
    bool stream; /* the answer is wanted piece by piece */
    struct str user_id;
    struct str question; /* of a chat completion: its messages, JSON, for the record */
    bool has_max_words;  /* false: null, no limit */
    int64_t max_words;   /* beyond 64 bits: saturated */

    /* a chat completion */
    struct str request; /* the body's object, for the provider */
    struct str model;
    struct str metadata; /* a JSON object; empty: none */

    /* from the headers */
    struct str session_id;
    struct str tags; /* with commas between */
};

/* 200 and *in is filled, or the status of the error whose JSON is in `error`. content_type may be NULL. The
 * default stands for a body without max_words; null there means no limit. */
int validate_ask(struct str body, const char *content_type, int64_t default_max_words, struct jsonscan *hold,
                 struct ask_input *in, struct buf *error) NODISCARD;

#endif
