#include "gateway/inbox.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#define PUSHERS 4
#define EACH    50000

struct item {
    struct inbox_node node;
    int pusher, number;
};

static struct inbox inbox;

static void *push(void *arg)
{
    int pusher = *(int *)arg;

    for (int i = 0; i < EACH; i++) {
        struct item *it = calloc(1, sizeof *it);
        it->pusher = pusher;
        it->number = i;
        it->node.owner = it;
        inbox_push(&inbox, &it->node);
    }
    return NULL;
}

/* The taker sleeps on the eventfd alone: a lost wake-up would end in the timeout. */
Test(inbox, nothing_is_lost_and_each_pusher_keeps_its_order)
{
    pthread_t threads[PUSHERS];
    int ids[PUSHERS];
    int next[PUSHERS] = {0};
    int got = 0;

    inbox_init(&inbox);
    for (int i = 0; i < PUSHERS; i++) {
        ids[i] = i;
        cr_assert_eq(pthread_create(&threads[i], NULL, push, &ids[i]), 0);
    }
    while (got < PUSHERS * EACH) {
        struct pollfd p = {.fd = inbox.eventfd, .events = POLLIN};
        cr_assert_eq(poll(&p, 1, 20000), 1, "no wake-up after %d of %d", got, PUSHERS * EACH);
        for (struct inbox_node *n = inbox_take(&inbox), *after; n; n = after) {
            after = n->next;
            struct item *it = n->owner;
            cr_assert_eq(it->number, next[it->pusher], "pusher %d", it->pusher);
            next[it->pusher]++;
            got++;
            free(it);
        }
    }
    for (int i = 0; i < PUSHERS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_null(inbox_take(&inbox));
    inbox_close(&inbox);
}
