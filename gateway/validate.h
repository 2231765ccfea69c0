/*
 * validate.h - the body of POST /ask, checked as FastAPI and Pydantic 2 check it
 *
 * Purpose  what comes out is either a question or the complete error answer: 422 with every error of the
 *          body in the model's field order, 400 for what Python cannot read at all.
 * Owner    the strings of ask_input are borrowed from `hold`, which the caller frees with jsonscan_free()
 *          in any case.
 * Threads  any.
 * Source   contract.md; the recorded pairs in tests/golden/.
 */
#ifndef ATALAYA_GATEWAY_VALIDATE_H
#define ATALAYA_GATEWAY_VALIDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/jsonscan.h"

#define ASK_QUESTION_MIN      3    /* code points */
#define ASK_QUESTION_MAX      2000 /* code points */
#define ASK_MAX_WORDS_DEFAULT 150

struct ask_input {
    struct str user_id;
    struct str question;
    bool has_max_words; /* false: null, no limit */
    int64_t max_words;  /* beyond 64 bits: saturated */
};

/* 200 and *in is filled, or the status of the error whose JSON is in `error`. content_type may be NULL. */
int validate_ask(struct str body, const char *content_type, struct jsonscan *hold, struct ask_input *in,
                 struct buf *error) NODISCARD;

#endif
