/*
 * climit.h - how many calls an upstream bears at once: found by trying
 *
 * Purpose  grows while all goes well and the room is used, is cut by a third when the upstream says that it is too much
 *          (additive increase, multiplicative decrease); a burst of refusals is one cut.
 * Threads  pure; time comes from the caller.
 * Units    milliseconds.
 */
#ifndef ATALAYA_LLM_WORKER_CLIMIT_H
#define ATALAYA_LLM_WORKER_CLIMIT_H

#include <stdint.h>

#define CLIMIT_FLOOR  4
#define CLIMIT_FAST   64 /* below, one more with every good answer; above, a tenth with each round of them */
#define CLIMIT_CUT_MS 1000

struct climit {
    double now;
    double most;
    int64_t cut_at;
};

void climit_init(struct climit *l, int64_t most);
int64_t climit_calls(const struct climit *l);
void climit_good(struct climit *l, int64_t in_flight);
void climit_overload(struct climit *l, int64_t now);

#endif
