/*
 * openai_error.h - an error in the form of OpenAI's API
 *
 * Purpose  whatever is refused below /v1 is told as OpenAI tells it, {"error":{"message","type","param","code"}}, so that
 *          its SDKs raise the exceptions that their users know. The type follows from the status.
 * Threads  pure.
 * Source   https://platform.openai.com/docs/guides/error-codes
 */
#ifndef ATALAYA_GATEWAY_OPENAI_ERROR_H
#define ATALAYA_GATEWAY_OPENAI_ERROR_H

#include "common/base/buf.h"

/* code: a machine word, OpenAI's own where it has one for ours; NULL or empty: null. */
void openai_error_write(struct buf *out, int status, const char *code, const char *message);

/* The same about a parameter of the request; NULL: about none. */
void openai_error_about(struct buf *out, int status, const char *param, const char *code,
                        const char *message);

#endif
