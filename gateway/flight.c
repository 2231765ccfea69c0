#include "gateway/flight.h"

static struct ask **bucket(struct flights *f, const struct same *key)
{
    return &f->buckets[same_hash(key) % FLIGHT_BUCKETS];
}

struct ask *flights_leader(const struct flights *f, const struct same *key)
{
    struct ask *a = f->buckets[same_hash(key) % FLIGHT_BUCKETS];

    while (a && !same_equal(&a->same, key))
        a = a->next_leader;
    return a;
}

void flights_lead(struct flights *f, struct ask *a)
{
    struct ask **head = bucket(f, &a->same);

    a->leads = true;
    a->next_leader = *head;
    *head = a;
}

void flights_end(struct flights *f, struct ask *leader)
{
    struct ask **at = bucket(f, &leader->same);

    if (!leader->leads)
        return;
    leader->leads = false;
    while (*at != leader)
        at = &(*at)->next_leader;
    *at = leader->next_leader;
}

void flights_follow(struct ask *leader, struct ask *a)
{
    a->state = ASK_FOLLOWING;
    a->leader = leader;
    a->next = NULL;
    a->prev = leader->last_follower;
    *(a->prev ? &a->prev->next : &leader->followers) = a;
    leader->last_follower = a;
}

void flights_leave(struct ask *follower)
{
    struct ask *leader = follower->leader;

    *(follower->prev ? &follower->prev->next : &leader->followers) = follower->next;
    *(follower->next ? &follower->next->prev : &leader->last_follower) = follower->prev;
    follower->prev = follower->next = follower->leader = NULL;
}

struct ask *flights_take(struct ask *leader)
{
    struct ask *a = leader->followers;

    if (a)
        flights_leave(a);
    return a;
}
