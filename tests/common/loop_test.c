#include "common/proc/loop.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/base/clock.h"

#define TIMERS 500

struct bell {
    struct loop_timer timer;
    struct loop *loop;
    int64_t *last;
    int *left;
};

static void ring(void *arg)
{
    struct bell *b = arg;

    cr_assert_geq(b->timer.at, *b->last, "timers fire in the order of their times");
    *b->last = b->timer.at;
    if (--*b->left == 0)
        loop_stop(b->loop);
}

Test(loop, timers_fire_in_order_and_cleared_ones_do_not)
{
    struct loop *l = loop_new();
    static struct bell bells[TIMERS];
    int64_t now = clock_ms(), last = 0;
    int left = TIMERS;

    srand(1);
    for (int i = 0; i < TIMERS; i++) {
        bells[i] =
            (struct bell){.timer = {.fn = ring, .arg = &bells[i]}, .loop = l, .last = &last, .left = &left};
        loop_timer_set(l, &bells[i].timer, now + rand() % 50);
    }
    for (int i = 0; i < TIMERS; i += 3) { /* some are moved, some are taken out */
        if (i % 2) {
            loop_timer_set(l, &bells[i].timer, now + rand() % 50);
        } else {
            loop_timer_clear(l, &bells[i].timer);
            loop_timer_clear(l, &bells[i].timer);
            left--;
        }
    }
    loop_run(l);
    cr_assert_eq(left, 0);
    loop_free(l);
}

struct pair {
    struct loop *loop;
    struct loop_io a, b;
    int calls;
};

/* Both descriptors are ready in the same turn; whoever comes first removes the other. */
static void remove_other(void *arg, uint32_t events)
{
    struct pair *p = arg;

    (void)events;
    p->calls++;
    loop_io_clear(p->loop, &p->a);
    loop_io_clear(p->loop, &p->b);
    loop_stop(p->loop);
}

Test(loop, an_io_cleared_in_the_same_turn_is_not_called)
{
    struct loop *l = loop_new();
    int x[2], y[2];

    cr_assert(pipe(x) == 0 && pipe(y) == 0);
    struct pair p = {.loop = l,
                     .a = {.fd = x[0], .fn = remove_other, .arg = &p},
                     .b = {.fd = y[0], .fn = remove_other, .arg = &p}};
    cr_assert_eq(loop_io_set(l, &p.a, EPOLLIN), 0);
    cr_assert_eq(loop_io_set(l, &p.b, EPOLLIN), 0);
    cr_assert(write(x[1], "1", 1) == 1 && write(y[1], "1", 1) == 1);
    loop_run(l);
    cr_assert_eq(p.calls, 1);
    loop_free(l);
}

struct hooked {
    struct loop_hook hook;
    struct loop_timer timer;
    struct loop *loop;
    int asked;
};

static bool work_three_times(void *arg)
{
    struct hooked *h = arg;

    return ++h->asked <= 3;
}

static void end(void *arg)
{
    struct hooked *h = arg;

    loop_stop(h->loop);
}

Test(loop, hooks_are_asked_until_nobody_has_work)
{
    struct loop *l = loop_new();
    struct hooked h = {.loop = l};

    h.hook = (struct loop_hook){.fn = work_three_times, .arg = &h};
    h.timer = (struct loop_timer){.fn = end, .arg = &h};
    loop_hook_add(l, &h.hook);
    loop_timer_set(l, &h.timer, clock_ms() + 30);
    loop_run(l);
    cr_assert_geq(h.asked, 4);
    cr_assert_leq(h.asked, 8, "it slept instead of asking for ever: %d", h.asked);
    loop_free(l);
}
