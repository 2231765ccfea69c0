/*
 * wordcut.h - the word limit of an answer that is streamed
 *
 * Purpose  guardrails_limit() for a text that comes in pieces: what may go to the client goes at once. The words are the
 *          same; the white space between them is the provider's own. That behind a word is held back until the next
 *          word begins, for before the "…" there is none; a text within the limit comes out byte for byte.
 *          A negative limit counts from the end: nothing comes out before that.
 * Owner    the struct is the caller's, wordcut_free() releases what it holds.
 * Threads  one stream, one thread.
 * Errors   -EMSGSIZE: more would have to be held back than `held` has room for. `out` has a limit of its own.
 * Limits   ANSWER_MAX
 */
#ifndef ATALAYA_LLM_WORKER_WORDCUT_H
#define ATALAYA_LLM_WORKER_WORDCUT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/buf.h"

struct wordcut {
    int64_t max_words;
    int64_t words;  /* that have begun */
    bool inside;    /* one of them */
    bool truncated; /* one too many has begun: "…" is out, and no more comes */
    char cut[4];    /* a code point of which the rest is to come */
    size_t cuts;
    struct buf held;
};

void wordcut_init(struct wordcut *w, int64_t max_words); /* INT64_MAX: no limit */
void wordcut_free(struct wordcut *w);                    /* also of a zeroed struct */

/* Appends to `out` what may go to the client now. */
int wordcut_feed(struct wordcut *w, struct str piece, struct buf *out) NODISCARD;
int wordcut_end(struct wordcut *w, struct buf *out) NODISCARD;

#endif
