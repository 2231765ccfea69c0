/* Go-back-N, the receiving end: nothing twice, nothing out of order, what is lost is counted. */
#include "telemetry/senders.h"

#include <criterion/criterion.h>

#include "common/base/attr.h"
#include "common/base/limits.h"

/* A batch of n events from seq, seen by a sender whose last event is `last`. */
Test(senders, batches)
{
    static const struct {
        const char *what;
        uint64_t last, base, seq, n;
        uint64_t lost, taken, twice, after;
    } cases[] = {
        {"the first", 0, 1, 1, 3, 0, 3, 0, 3},
        {"the next", 3, 1, 4, 2, 0, 2, 0, 5},
        {"again, whole", 5, 1, 1, 5, 0, 0, 5, 5},
        {"again, with more behind", 5, 3, 3, 5, 0, 2, 3, 7},
        {"a gap: one batch is on its way again", 5, 1, 8, 3, 0, 0, 0, 5},
        {"the sender has thrown 6 and 7 away", 5, 8, 8, 2, 2, 2, 0, 9},
        {"thrown away, but we had them", 9, 8, 8, 3, 0, 1, 2, 10},
        {"thrown away before we ever heard of it", 0, 100, 100, 1, 99, 1, 0, 100},
        {"base jumps, and still a gap behind it", 5, 8, 9, 1, 2, 0, 0, 7},
        {"no events, only news about base", 5, 7, 7, 0, 1, 0, 0, 6},
        {"no base", 5, 0, 6, 1, 0, 1, 0, 6},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sender s = {.epoch = 1, .last = cases[i].last};
        uint64_t taken = 0, twice = 0;

        cr_expect_eq(sender_base(&s, cases[i].base), cases[i].lost, "%s", cases[i].what);
        for (uint64_t k = 0; k < cases[i].n; k++) {
            enum sender_verdict v = sender_offer(&s, cases[i].seq + k);
            taken += v == SENDER_TAKE;
            twice += v == SENDER_DUPLICATE;
            if (v == SENDER_GAP)
                break;
        }
        cr_expect_eq(taken, cases[i].taken, "%s", cases[i].what);
        cr_expect_eq(twice, cases[i].twice, "%s", cases[i].what);
        cr_expect_eq(s.last, cases[i].after, "%s", cases[i].what);
        cr_expect_eq(s.moved, s.last != cases[i].last, "%s", cases[i].what);
    }
}

Test(senders, a_new_life_begins_at_the_beginning)
{
    struct senders *t = senders_new();

    senders_get(t, 11, 100)->last = 50;
    cr_expect_eq(senders_get(t, 12, 100)->last, 0);
    cr_expect_eq(senders_get(t, 11, 101)->last, 50);
    senders_restore(t, 13, 7);
    cr_expect_eq(senders_get(t, 13, 102)->last, 7);
    senders_free(t);
}

Test(senders, bounded)
{
    struct senders *t = senders_new();

    senders_restore(t, 5, 1);
    for (uint64_t e = 1000; e < 1000 + EVENT_SENDERS_MAX; e++)
        senders_get(t, e, (int64_t)e)->last = e;
    cr_expect_eq(senders_get(t, 5, 5000)->last, 0, "the one restored and never heard has gone");
    cr_expect_eq(senders_get(t, 1001, 5000)->last, 1001);
    cr_expect_eq(senders_get(t, 1000, 5000)->last, 0, "then the longest silent");
    senders_free(t);
}
