#include "telemetry/senders.h"

#include <stddef.h>
#include <stdlib.h>

#include "common/base/limits.h"
#include "common/base/mem.h"

struct senders {
    struct sender slots[EVENT_SENDERS_MAX];
};

struct senders *senders_new(void)
{
    return xcalloc(1, sizeof(struct senders));
}

void senders_free(struct senders *t)
{
    free(t);
}

static struct sender *find(struct senders *t, uint64_t epoch)
{
    for (size_t i = 0; i < EVENT_SENDERS_MAX; i++)
        if (t->slots[i].epoch == epoch)
            return &t->slots[i];
    return NULL;
}

static struct sender *longest_silent(struct senders *t)
{
    struct sender *s = &t->slots[0];

    for (size_t i = 0; i < EVENT_SENDERS_MAX; i++) {
        if (t->slots[i].epoch == 0)
            return &t->slots[i];
        if (t->slots[i].heard_at < s->heard_at)
            s = &t->slots[i];
    }
    return s;
}

struct sender *senders_get(struct senders *t, uint64_t epoch, int64_t now)
{
    struct sender *s = find(t, epoch);

    if (!s) {
        s = longest_silent(t);
        *s = (struct sender){.epoch = epoch};
    }
    s->heard_at = now;
    return s;
}

void senders_restore(struct senders *t, uint64_t epoch, uint64_t last)
{
    struct sender *s = senders_get(t, epoch, INT64_MIN);

    s->last = last;
    s->committed = last;
}

uint64_t sender_base(struct sender *s, uint64_t base)
{
    if (base == 0 || base - 1 <= s->last)
        return 0;
    uint64_t lost = base - 1 - s->last;
    s->last = base - 1;
    s->moved = true;
    return lost;
}

enum sender_verdict sender_offer(struct sender *s, uint64_t seq)
{
    if (seq <= s->last)
        return SENDER_DUPLICATE;
    if (seq != s->last + 1)
        return SENDER_GAP;
    s->last = seq;
    s->moved = true;
    return SENDER_TAKE;
}

struct sender *senders_next(struct senders *t, struct sender *after)
{
    for (size_t i = after ? (size_t)(after - t->slots) + 1 : 0; i < EVENT_SENDERS_MAX; i++)
        if (t->slots[i].epoch)
            return &t->slots[i];
    return NULL;
}
