/*
 * asks.h - all questions that are not finished: by their ids, and those that wait for a worker in a queue
 *
 * Purpose  an id is never used again in this life of the gateway: a late message about an old ask finds nobody.
 * Owner    the asks are borrowed.
 * Threads  the I/O thread.
 */
#ifndef ATALAYA_GATEWAY_ASKS_H
#define ATALAYA_GATEWAY_ASKS_H

#include <stdint.h>

#include "gateway/ask.h"

struct asks {
    struct ask **places; /* by the low half of their id, minus 1 */
    uint32_t *free_places;
    uint32_t n_free, capacity;
    uint32_t n;
    uint64_t generation; /* the high half */

    struct ask *first, *last; /* waiting, oldest first */
    uint64_t n_waiting;
};

void asks_free(struct asks *s); /* the tables */

void asks_add(struct asks *s, struct ask *a);
void asks_rename(struct asks *s, struct ask *a); /* another id: the last one is over */
void asks_remove(struct asks *s, struct ask *a);
struct ask *asks_find(const struct asks *s, uint64_t id); /* NULL: it is finished */

void asks_wait(struct asks *s, struct ask *a);       /* behind all others */
void asks_wait_first(struct asks *s, struct ask *a); /* it has waited before */
void asks_wait_no_more(struct asks *s, struct ask *a);

#endif
