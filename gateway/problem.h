/*
 * problem.h - what is wrong with a request's body, in the words of FastAPI and Pydantic 2
 *
 * Purpose  the bodies of POST /ask and POST /feedback are read and refused alike: every error at once, in the
 *          order in which it was found, each with its type, place, words and the value that it is about.
 *          First problem_read(), then the checks of the members, then problem_finish().
 * Owner    the caller's buf, which begins empty. Values and strings are borrowed from `hold`, which the caller
 *          frees in any case.
 * Threads  pure.
 * Limits   an error repeats a bounded part of its value (gateway/echo.h).
 */
#ifndef ATALAYA_GATEWAY_PROBLEM_H
#define ATALAYA_GATEWAY_PROBLEM_H

#include <stdbool.h>

#include "common/base/attr.h"
#include "common/base/buf.h"
#include "common/base/jsonscan.h"

/* 200: hold->top is an object, and hold has those of its members that `keys` names. Otherwise the status of
 * an answer that says why not. content_type may be NULL. */
int problem_read(struct buf *error, struct str body, const char *content_type, const char *const *keys,
                 struct jsonscan *hold) NODISCARD;

/* Of a Content-Type: a media type of JSON, as FastAPI sees it. */
bool problem_is_json_type(const char *content_type);

/* The status of it all, with the JSON of the answer completed; `status` is what problem_read() has said. */
int problem_finish(struct buf *error, int status) NODISCARD;

/* One error. field NULL: the body itself; input NULL: null; ctx: an object's JSON, or NULL. */
void problem_add(struct buf *error, const char *type, const char *field, const char *msg,
                 const struct value *input, const char *ctx);

void problem_missing(struct buf *error, const char *field, const struct value *input);

/* v as a string of least to most code points (most 0: of any length) in *out, or an error. */
void problem_string(struct buf *error, const char *field, const struct value *v, size_t least, size_t most,
                    struct str *out);

/* A string that holds a lone surrogate, which is no Unicode text. */
void problem_surrogate(struct buf *error, const char *field, const struct value *v);

#endif
