/*
 * breaker.h - leaves an upstream alone while it only fails
 *
 * Purpose  CLOSED  --too many failures in a row, or too large a share of the window--> OPEN
 *          OPEN    --the pause is over--> HALF_OPEN: one call may try
 *          HALF_OPEN --it succeeds--> CLOSED    --it fails--> OPEN, with a longer pause
 *                    --nobody has tried for as long as the window--> CLOSED: what was known is too old
 *          Only what is the upstream's fault counts; whether it is, retry_fault() says.
 * Threads  pure; time comes from the caller.
 * Units    milliseconds.
 */
#ifndef ATALAYA_LLM_WORKER_BREAKER_H
#define ATALAYA_LLM_WORKER_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#define BREAKER_WINDOW_MS    30000
#define BREAKER_BUCKETS      10
#define BREAKER_CALLS_MIN    50 /* below, the share of failures says nothing */
#define BREAKER_SHARE        50 /* percent */
#define BREAKER_PAUSE_MS     1000
#define BREAKER_PAUSE_MAX_MS 30000

enum breaker_state { BREAKER_CLOSED, BREAKER_HALF_OPEN, BREAKER_OPEN };
enum fault { FAULT_NONE, FAULT_UPSTREAM, FAULT_OTHER }; /* other: says nothing about the upstream's health */

struct breaker {
    int64_t most_in_a_row; /* failures; 0: never opens */
    int64_t in_a_row;
    bool open;
    bool probing;  /* the one call of HALF_OPEN is under way */
    int64_t until; /* of the pause */
    int64_t pause_ms;
    struct {
        int64_t number; /* of its piece of time */
        int64_t calls, failures;
    } buckets[BREAKER_BUCKETS];
};

void breaker_init(struct breaker *b, int64_t most_in_a_row);
enum breaker_state breaker_state(const struct breaker *b, int64_t now);
bool breaker_allows(const struct breaker *b, int64_t now);

/* A call begins, which breaker_allows(). True: it is the one that tries; to be given back to breaker_ended(). */
bool breaker_begun(struct breaker *b, int64_t now);
void breaker_ended(struct breaker *b, int64_t now, enum fault f, bool trying);

#endif
