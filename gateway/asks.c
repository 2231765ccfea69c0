#include "gateway/asks.h"

#include <stdlib.h>

#include "common/base/mem.h"

void asks_free(struct asks *s)
{
    free(s->places);
    free(s->free_places);
}

static void grow(struct asks *s)
{
    uint32_t old = s->capacity;

    s->capacity = old ? old * 2 : 1024;
    s->places = xrealloc(s->places, s->capacity * sizeof *s->places);
    s->free_places = xrealloc(s->free_places, s->capacity * sizeof *s->free_places);
    for (uint32_t i = s->capacity; i > old; i--) {
        s->places[i - 1] = NULL;
        s->free_places[s->n_free++] = i - 1;
    }
}

void asks_add(struct asks *s, struct ask *a)
{
    if (s->n_free == 0)
        grow(s);
    uint32_t place = s->free_places[--s->n_free];
    s->places[place] = a;
    s->n++;
    a->id = ++s->generation << 32 | (place + 1);
}

void asks_rename(struct asks *s, struct ask *a)
{
    a->id = ++s->generation << 32 | (uint32_t)a->id;
}

void asks_remove(struct asks *s, struct ask *a)
{
    uint32_t place = (uint32_t)a->id - 1;

    s->places[place] = NULL;
    s->free_places[s->n_free++] = place;
    s->n--;
}

struct ask *asks_find(const struct asks *s, uint64_t id)
{
    uint32_t place = (uint32_t)id - 1;
    struct ask *a = place < s->capacity ? s->places[place] : NULL;

    return a && a->id == id ? a : NULL;
}

void asks_wait(struct asks *s, struct ask *a)
{
    a->state = ASK_WAITING;
    a->next = NULL;
    a->prev = s->last;
    *(s->last ? &s->last->next : &s->first) = a;
    s->last = a;
    s->n_waiting++;
}

void asks_wait_first(struct asks *s, struct ask *a)
{
    a->state = ASK_WAITING;
    a->prev = NULL;
    a->next = s->first;
    *(s->first ? &s->first->prev : &s->last) = a;
    s->first = a;
    s->n_waiting++;
}

void asks_wait_no_more(struct asks *s, struct ask *a)
{
    *(a->prev ? &a->prev->next : &s->first) = a->next;
    *(a->next ? &a->next->prev : &s->last) = a->prev;
    a->prev = a->next = NULL;
    s->n_waiting--;
}
