/*
 * usage.h - tokens by kind, and what they cost
 *
 * Purpose  a provider counts cached tokens among the input and reasoning among the output; Langfuse and the metrics
 *          want kinds that do not overlap, or the same token counts (and costs) twice.
 * Promise  the kinds add up to prompt_tokens + completion_tokens: a part that is greater than its whole is not
 *          believed and counts as none.
 * Threads  pure.
 */
#ifndef ATALAYA_TELEMETRY_USAGE_H
#define ATALAYA_TELEMETRY_USAGE_H

#include <stdbool.h>
#include <stdint.h>

#define USAGE_KINDS 4

struct usage {
    uint64_t input; /* without cached */
    uint64_t cached;
    uint64_t output; /* without reasoning */
    uint64_t reasoning;
};

struct usage usage_split(uint64_t prompt, uint64_t cached, uint64_t completion, uint64_t reasoning);

bool usage_is_cost(double usd); /* a number of at least 0 */

#endif
