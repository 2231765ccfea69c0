#include "supervisor/child.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/backoff.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/proc/child.h"
#include "supervisor/status.h"

static void log_child(enum log_level level, const struct child *c, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void log_child(enum log_level level, const struct child *c, const char *fmt, ...)
{
    const char *role = kinds[c->role].role;
    char text[LOG_SAID_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    log_event(level, LOG_FIELDS(LOG_CSTR("role", role), LOG_INT("index", c->index), LOG_INT("child", c->pid)),
              "%s %d: %s", role, c->index, text);
}

static void enter(struct child *c, enum child_state state)
{
    c->state = state;
    c->deadline = CHILD_NEVER;
    c->since_us = wall_us();
    c->crew->changed = true;
}

static void close_ready(struct child *c)
{
    if (c->ready_fd >= 0)
        close(c->ready_fd);
    c->ready_fd = -1;
}

static void act_spawn(struct child *c)
{
    const struct spawn_plan *plan = &c->crew->plans[c->role];

    c->lives++;
    c->ready_at = 0;
    c->said[0] = '\0';
    c->spawned_at = c->crew->now;
    c->deadline = c->crew->now + READY_TIMEOUT_MS;
    int rc = spawn(plan, &c->pid, &c->ready_fd);
    if (rc < 0) {
        log_child(LOG_ERROR, c, "cannot start %s: %s", plan->path, strerror(-rc));
        child_event(c, EVENT_DIED);
        return;
    }
    log_child(LOG_INFO, c, "started");
}

static void act_up(struct child *c)
{
    c->ready_at = c->crew->now;
    c->was_ready = true;
    log_child(LOG_INFO, c, "ready after %lld ms", (long long)(c->ready_at - c->spawned_at));
}

/* The first child that makes everything stop is the reason that people are told. */
static void give_up(struct child *c, int code, const char *what)
{
    char end[STATUS_END_SIZE];

    status_end(end, c->has_ended, c->last_end);
    c->crew->give_up = code;
    if (!*c->crew->why)
        snprintf(
            c->crew->why, sizeof c->crew->why, "%s %d %s (%s)%s%s", kinds[c->role].role, c->index, what, end,
            *c->said ? "; it said: " : "; its own lines tell why, look for \"process\" and its pid above",
            c->said);
}

static bool was_refused_something(const struct child *c)
{
    return c->has_ended && WIFEXITED(c->last_end) && WEXITSTATUS(c->last_end) == EXIT_ENVIRONMENT;
}

static void act_give_up(struct child *c)
{
    char what[64];

    log_child(LOG_ERROR, c, "%u deaths in a row without a healthy second between: giving up", c->deaths);
    enter(c, CHILD_GONE);
    snprintf(what, sizeof what, "died %u times%s", c->deaths, c->was_ready ? "" : " and was never ready");
    give_up(c, was_refused_something(c) ? EXIT_ENVIRONMENT : EXIT_SOFTWARE, what);
}

/* The state is already `waiting`: the past is in ready_at. */
static void act_mourn(struct child *c)
{
    bool healthy = c->ready_at && c->crew->now - c->ready_at >= HEALTHY_MS;
    int64_t wait = 0;

    bool spared = c->role == ROLE_TELEMETRY && c->crew->serving;
    bool goes_on = spared || c->crew->patient;
    unsigned too_many = !c->was_ready && was_refused_something(c) ? FIRST_DEATHS_MAX : DEATHS_MAX;

    c->deaths = healthy ? 0 : c->deaths + 1;
    if (c->deaths >= too_many && !goes_on) {
        act_give_up(c);
        return;
    }
    if (!healthy)
        wait = backoff_cap(c->deaths - 1, BACKOFF_BASE_MS, BACKOFF_CAP_MS);
    c->deadline = c->crew->now + wait;
    if (healthy)
        log_child(LOG_WARNING, c, "died after a healthy life: starting it again at once");
    else if (goes_on)
        log_child(c->deaths < too_many ? LOG_WARNING : LOG_ERROR, c,
                  "died early (%u in a row)%s, starting it again in %lld ms%s%s", c->deaths,
                  spared ? "; the others go on without it" : "", (long long)wait,
                  *c->said ? "; it said: " : "", c->said);
    else
        log_child(LOG_WARNING, c, "died early (%u in a row; %u are too many): starting it again in %lld ms",
                  c->deaths, too_many, (long long)wait);
}

static void act_refuse(struct child *c)
{
    log_child(LOG_ERROR, c, "does not accept its %s, its own log says why: not started again",
              WEXITSTATUS(c->last_end) == EXIT_USAGE ? "arguments" : "configuration");
    give_up(c, EXIT_CONFIG, "does not accept what it was given");
}

/* CONT: a child that somebody has stopped can leave, too. */
static void act_term(struct child *c)
{
    kill(c->pid, SIGTERM);
    kill(c->pid, SIGCONT);
    c->deadline = c->crew->now + c->crew->stop_ms;
}

/* INT, not TERM again: two TERMs that come close together are one. */
static void act_hurry(struct child *c)
{
    int64_t soon = c->crew->now + HURRY_MS;

    kill(c->pid, SIGINT);
    if (c->deadline > soon)
        c->deadline = soon;
}

static void kill_group(const struct child *c)
{
    if (kill(-c->pid, SIGKILL) < 0)
        kill(c->pid, SIGKILL);
}

static void act_kill_hung(struct child *c)
{
    log_child(LOG_ERROR, c, "not ready after %d ms: killing it", READY_TIMEOUT_MS);
    kill_group(c);
}

static void act_kill(struct child *c)
{
    log_child(LOG_ERROR, c, "has not stopped in time: killing it");
    kill_group(c);
    c->deadline = c->crew->now + KILL_TIMEOUT_MS;
}

/* Was being killed already; only the way on is another now. */
static void act_keep_killing(struct child *c)
{
    c->deadline = c->crew->now + KILL_TIMEOUT_MS;
}

static void act_abandon(struct child *c)
{
    log_child(LOG_ERROR, c, "survives KILL: going on without it");
}

static void act_left(struct child *c)
{
    log_child(LOG_INFO, c, "stopped");
}

static void act_reload(struct child *c)
{
    kill(c->pid, SIGHUP);
}

static void act_nothing(struct child *c)
{
    (void)c;
}

struct cell {
    void (*act)(struct child *c); /* NULL: the event means nothing in this state */
    enum child_state next;
};

/* A starting child gets no HUP: it would die of it until it has set up its signals, and it reads its
 * configuration just now. */
static const struct cell table[CHILD_STATES][EVENTS] = {
    [CHILD_WAITING] =
        {
            [EVENT_DEADLINE] = {act_spawn, CHILD_STARTING},
            [EVENT_STOP] = {act_nothing, CHILD_GONE},
        },
    [CHILD_STARTING] =
        {
            [EVENT_DEADLINE] = {act_kill_hung, CHILD_HUNG},
            [EVENT_READY] = {act_up, CHILD_READY},
            [EVENT_DIED] = {act_mourn, CHILD_WAITING},
            [EVENT_REFUSED] = {act_refuse, CHILD_GONE},
            [EVENT_STOP] = {act_term, CHILD_STOPPING},
        },
    [CHILD_READY] =
        {
            [EVENT_DIED] = {act_mourn, CHILD_WAITING},
            [EVENT_REFUSED] = {act_refuse, CHILD_GONE},
            [EVENT_STOP] = {act_term, CHILD_STOPPING},
            [EVENT_RELOAD] = {act_reload, CHILD_READY},
        },
    [CHILD_HUNG] =
        {
            [EVENT_DIED] = {act_mourn, CHILD_WAITING},
            [EVENT_REFUSED] = {act_refuse, CHILD_GONE},
            [EVENT_STOP] = {act_keep_killing, CHILD_KILLING},
        },
    [CHILD_STOPPING] =
        {
            [EVENT_DEADLINE] = {act_kill, CHILD_KILLING},
            [EVENT_DIED] = {act_left, CHILD_GONE},
            [EVENT_REFUSED] = {act_left, CHILD_GONE},
            [EVENT_HURRY] = {act_hurry, CHILD_STOPPING},
        },
    [CHILD_KILLING] =
        {
            [EVENT_DEADLINE] = {act_abandon, CHILD_GONE},
            [EVENT_DIED] = {act_left, CHILD_GONE},
            [EVENT_REFUSED] = {act_left, CHILD_GONE},
        },
};

void child_event(struct child *c, enum child_event e)
{
    const struct cell *cell = &table[c->state][e];

    if (!cell->act)
        return;
    if (cell->next != c->state)
        enter(c, cell->next);
    cell->act(c);
}

void child_init(struct child *c, struct crew *crew, enum role role, int index)
{
    *c = (struct child){.crew = crew, .role = role, .index = index, .ready_fd = -1};
    enter(c, CHILD_WAITING);
}

void child_start(struct child *c)
{
    if (c->state == CHILD_WAITING && c->deadline == CHILD_NEVER)
        c->deadline = c->crew->now;
}

/* One newline is "ready"; other words are why it cannot be. True: nothing more will come. */
static bool hear(struct child *c)
{
    char text[LOG_SAID_MAX];
    size_t have = strlen(c->said);
    ssize_t n = read(c->ready_fd, text, sizeof text);

    if (n > 0 && memchr(text, '\n', (size_t)n)) {
        child_event(c, EVENT_READY);
        return true;
    }
    if (n > 0)
        snprintf(c->said + have, sizeof c->said - have, "%.*s", (int)n, text);
    return n == 0;
}

void child_readable(struct child *c)
{
    if (hear(c))
        close_ready(c); /* closed without being ready: its death or the ready timeout decides */
}

void child_reaped(struct child *c, int wait_status)
{
    char end[STATUS_END_SIZE];
    bool refused = WIFEXITED(wait_status) &&
                   (WEXITSTATUS(wait_status) == EXIT_USAGE || WEXITSTATUS(wait_status) == EXIT_CONFIG);

    c->has_ended = true;
    c->last_end = wait_status;
    status_end(end, true, wait_status);
    log_child(LOG_INFO, c, "has ended: %s", end);
    if (c->ready_fd >= 0)
        hear(c);
    close_ready(c);
    c->pid = 0;
    c->crew->changed = true;
    child_event(c, refused ? EVENT_REFUSED : EVENT_DIED);
}

const char *child_state_name(enum child_state s)
{
    static const char *const names[CHILD_STATES] = {"waiting",  "starting", "ready", "hung",
                                                    "stopping", "killing",  "gone"};

    return names[s];
}
