/*
 * wordcut_property.h - what must hold of the word limit of a stream, whatever the text and the cuts
 *
 * Purpose  for the unit test and the fuzzer: the words are those of guardrails_limit(), and byte for byte its text where
 *          nothing is cut off.
 */
#ifndef ATALAYA_TESTS_LLM_WORKER_WORDCUT_PROPERTY_H
#define ATALAYA_TESTS_LLM_WORKER_WORDCUT_PROPERTY_H

#include <stdint.h>

#include "common/base/str.h"

/* NULL, or what does not hold. `cuts` says where the text is cut. */
const char *wordcut_property(struct str text, int64_t max_words, uint32_t cuts);

#endif
