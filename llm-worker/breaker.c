#include "llm-worker/breaker.h"

#define BUCKET_MS (BREAKER_WINDOW_MS / BREAKER_BUCKETS)

void breaker_init(struct breaker *b, int64_t most_in_a_row)
{
    *b = (struct breaker){.most_in_a_row = most_in_a_row, .pause_ms = BREAKER_PAUSE_MS};
}

static bool is_too_old(const struct breaker *b, int64_t now)
{
    return b->open && !b->probing && now >= b->until + BREAKER_WINDOW_MS;
}

enum breaker_state breaker_state(const struct breaker *b, int64_t now)
{
    return !b->open || is_too_old(b, now) ? BREAKER_CLOSED
           : now < b->until               ? BREAKER_OPEN
                                          : BREAKER_HALF_OPEN;
}

bool breaker_allows(const struct breaker *b, int64_t now)
{
    return !b->open || (now >= b->until && !b->probing);
}

bool breaker_begun(struct breaker *b, int64_t now)
{
    if (is_too_old(b, now))
        breaker_init(b, b->most_in_a_row);
    if (!b->open)
        return false;
    b->probing = true;
    return true;
}

static void count(struct breaker *b, int64_t now, bool failed)
{
    int64_t number = now / BUCKET_MS;
    int64_t place = number % BREAKER_BUCKETS;

    if (b->buckets[place].number != number) {
        b->buckets[place].number = number;
        b->buckets[place].calls = b->buckets[place].failures = 0;
    }
    b->buckets[place].calls++;
    b->buckets[place].failures += failed;
    b->in_a_row = failed ? b->in_a_row + 1 : 0;
}

static bool fails_too_often(const struct breaker *b, int64_t now)
{
    int64_t oldest = now / BUCKET_MS - BREAKER_BUCKETS + 1;
    int64_t calls = 0, failures = 0;

    for (int i = 0; i < BREAKER_BUCKETS; i++)
        if (b->buckets[i].number >= oldest) {
            calls += b->buckets[i].calls;
            failures += b->buckets[i].failures;
        }
    return b->in_a_row >= b->most_in_a_row ||
           (calls >= BREAKER_CALLS_MIN && failures * 100 >= calls * BREAKER_SHARE);
}

static void tried(struct breaker *b, int64_t now, enum fault f)
{
    b->probing = false;
    if (f == FAULT_UPSTREAM) {
        b->pause_ms = b->pause_ms * 2 < BREAKER_PAUSE_MAX_MS ? b->pause_ms * 2 : BREAKER_PAUSE_MAX_MS;
        b->until = now + b->pause_ms;
    } else if (f == FAULT_NONE) {
        breaker_init(b, b->most_in_a_row);
    }
}

void breaker_ended(struct breaker *b, int64_t now, enum fault f, bool trying)
{
    if (b->open) {
        if (trying)
            tried(b, now, f); /* calls from before it opened have nothing more to tell */
        return;
    }
    if (b->most_in_a_row == 0 || f == FAULT_OTHER)
        return;
    count(b, now, f == FAULT_UPSTREAM);
    if (f == FAULT_UPSTREAM && fails_too_often(b, now)) {
        b->open = true;
        b->until = now + b->pause_ms;
    }
}
