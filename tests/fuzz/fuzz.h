/*
 * fuzz.h - what a fuzz target is
 *
 * Purpose  a target hands bytes to a reader of ours and aborts when something does not hold that always must. With
 *          ATALAYA_FUZZ libFuzzer makes up the bytes (./dev fuzz); without, replay.c gives it the files of corpus/, so
 *          that what was found once stays mended in every build.
 * How      what a target needs besides the input itself, such as where to cut it, is taken from the input's end: so the
 *          files in corpus/ are what a peer sends.
 */
#ifndef ATALAYA_TESTS_FUZZ_FUZZ_H
#define ATALAYA_TESTS_FUZZ_FUZZ_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Takes n bytes at the end off, as a number; zeroes when there are fewer. */
static inline uint32_t fuzz_take(struct str *input, size_t n)
{
    uint32_t v = 0;

    for (; n > 0 && input->n > 0; n--)
        v = v << 8 | (unsigned char)input->p[--input->n];
    return v;
}

/* The length of the next piece of what is left, at least 1; *cuts says where the cuts are. */
static inline size_t fuzz_piece(uint32_t *cuts, size_t left)
{
    *cuts = *cuts * 1664525 + 1013904223;
    size_t n = 1 + (*cuts >> 24) % ((*cuts >> 16 & 3) ? 4 : 256);
    return n < left ? n : left;
}

/* Reads every byte, so that a borrowed string that is gone is seen. */
static inline void fuzz_touch(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        (void)*(volatile const char *)&s.p[i];
}

#endif
