/*
 * flight.h - questions that wait for another one's answer, because it is the same question
 *
 * Purpose  single flight (GATEWAY_SINGLE_FLIGHT): of all that are the same and under way one is asked, the leader; the
 *          others follow it and are given its answer.
 * Owner    the asks are borrowed.
 * Threads  the I/O thread.
 */
#ifndef ATALAYA_GATEWAY_FLIGHT_H
#define ATALAYA_GATEWAY_FLIGHT_H

#include <stdbool.h>

#include "gateway/ask.h"

#define FLIGHT_BUCKETS 4096

struct flights {
    struct ask *buckets[FLIGHT_BUCKETS];
};

struct ask *flights_leader(const struct flights *f, const struct same *key); /* NULL: there is none */
void flights_lead(struct flights *f, struct ask *a);                         /* from now on */
void flights_end(struct flights *f, struct ask *leader); /* it leads no more; also when it does not */

void flights_follow(struct ask *leader, struct ask *a);
void flights_leave(struct ask *follower);
struct ask *flights_take(
    struct ask *leader); /* the follower that has waited longest; it follows no more; NULL: there is none */

#endif
