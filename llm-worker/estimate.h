/*
 * estimate.h - about how many tokens a call has cost that was ended before its provider had counted
 *
 * Purpose  what was spent is accounted, marked as an estimate. It needs no model's vocabulary: a token is four characters
 *          of ASCII, three of another alphabet, one and a third of Chinese, Japanese or Korean, two thirds of an emoji.
 *          Compared with o200k, the vocabulary of today's OpenAI models, on a paragraph in each of 14 languages and on C,
 *          Python, JSON and Markdown, that was between 24 % too little (Thai) and 34 % too much (Russian; English and
 *          Spanish 25 %); numbers need twice as much. Older vocabularies need up to three times as much beyond Latin.
 * Threads  pure.
 * Units    tokens. What a model has thought without saying it is not among them, nor is sound.
 */
#ifndef ATALAYA_LLM_WORKER_ESTIMATE_H
#define ATALAYA_LLM_WORKER_ESTIMATE_H

#include <stdint.h>

#include "common/base/str.h"
#include "llm-worker/openai.h"

/* An answer so far; begins zeroed. */
struct estimate {
    uint64_t pieces;
    uint64_t twelfths; /* of a token, by its characters */
};

/* A piece of text; an empty one is none. */
void estimate_add(struct estimate *e, struct str piece);
void estimate_add_chunk(struct estimate *e, const struct chunk *c); /* all that its answer says, calls too */

/* Many providers send every token as a piece: if that can be so, the pieces are counted, else the characters. */
uint64_t estimate_tokens(const struct estimate *e);

/* Of a chat completion request: the texts of its messages and what wraps them, tools, images. */
uint64_t estimate_prompt(struct str request);

#endif
