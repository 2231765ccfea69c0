/*
 * same.h - whether two questions are the same
 *
 * Purpose  a name for what the answer depends on: of /ask the question and the word limit, of a chat completion the whole
 *          request. A digest, so that no question is kept for it, and salted, so that nobody can choose where in a table
 *          it goes.
 * Threads  same_init() once, before any other; then any.
 */
#ifndef ATALAYA_GATEWAY_SAME_H
#define ATALAYA_GATEWAY_SAME_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/digest.h"
#include "gateway/validate.h"

struct same {
    uint8_t digest[DIGEST_SHA256_SIZE];
};

void same_init(void);
void same_of(struct same *s, const struct ask_input *in);
bool same_equal(const struct same *a, const struct same *b);
uint64_t same_hash(const struct same *s);

#endif
