/*
 * guardrails.h - the word limit and the scores of an answer
 *
 * Purpose  what the Python service does after the provider has answered (contract.md): str.split() and
 *          slices for the limit, substrings of the lower-cased text for toxicity. Ours composes to NFC
 *          first, text and words alike.
 * Owner    guardrails_limit() returns borrowed bytes: the text itself, or what it has put into `hold`.
 * Threads  pure; struct wordlist does not change.
 * Errors   text that is no UTF-8 is scored as it stands.
 * Limits   GUARDRAIL_…_MAX
 */
#ifndef ATALAYA_LLM_WORKER_GUARDRAILS_H
#define ATALAYA_LLM_WORKER_GUARDRAILS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/attr.h"
#include "common/base/buf.h"

/* At most max_words words, joined by one space, and U+2026; the text unchanged when it has no more. Zero and
 * negative limits follow Python's words[:n]. */
struct str guardrails_limit(struct str text, int64_t max_words, struct buf *hold);

/* The length of the first code point of a text that is not empty, and whether it stands between words; a byte that
 * begins none is one of its own, inside a word. */
size_t guardrails_step(struct str text, bool *space);

double guardrails_non_empty(struct str text); /* 1 or 0 */

/* The words that make an answer toxic. */
struct wordlist;

/* setting: words with commas between, or, when it begins with / or ./, the path of a file with one word a
 * line, where lines that begin with # are comments. 0 or -EINVAL, having said why. */
int wordlist_new(struct wordlist **out, const char *setting) NODISCARD;
void wordlist_free(struct wordlist *l);

/* 1, less 0.2 for each word of the list that occurs, never below 0. */
double guardrails_toxicity_safe(const struct wordlist *l, struct str text);

#endif
