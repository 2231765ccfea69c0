/*
 * fixture.h - a supervisor in its own folder, with scripted children
 *
 * Purpose  copies atalaya and fake-child (as atalaya-gateway …) into a fresh folder and runs them there.
 *          Every wait is bounded by WAIT_MS and fails the test.
 * Owner    house_close() kills what is left, checks that no process of the folder remains and removes
 *          the folder.
 */
#ifndef ATALAYA_TESTS_SUPERVISOR_FIXTURE_H
#define ATALAYA_TESTS_SUPERVISOR_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WAIT_MS 60000

struct house {
    char dir[64];
    char run_dir[96];
    const char *env[64]; /* NAME=value; what the supervisor is started with */
    pid_t pid;           /* of the running supervisor; 0 none */
    bool subreaper;      /* strangers fall to the supervisor */
    bool messy_start;    /* closed 0-2, open descriptors, blocked signals, ignored PIPE and CHLD */
};

void house_open(struct house *h);
void house_close(struct house *h);
void house_env(struct house *h, const char *assignment);                        /* kept, not copied */
void house_script(const struct house *h, const char *role, const char *script); /* NULL: well-behaved */

/* `atalaya` with these arguments (NULL at the end). */
void house_start(struct house *h, const char *const *argv);
int house_wait_exit(struct house *h); /* exit code, or -signal */
void house_signal(const struct house *h, int signo);

/* Runs to its end; output (stdout and stderr) is the caller's to free. */
int house_run(struct house *h, const char *program, const char *const *argv, char **output);

char *house_read(const struct house *h,
                 const char *name); /* a file of the house; "" when missing; caller frees */
char *house_log(const struct house *h);
void house_wait_text(const struct house *h, const char *name, const char *text);
int house_count(const struct house *h, const char *name, const char *text);
long house_position(const struct house *h, const char *name, const char *text); /* -1: not there */

/* Of the status file: pid, or 0 while the child is not in this state. */
pid_t house_child(const struct house *h, const char *role, int index, const char *state);
pid_t house_wait_child(const struct house *h, const char *role, int index, const char *state);
pid_t house_wait_another(const struct house *h, const char *role, int index, pid_t not_this);
void house_wait_all_ready(struct house *h);

int house_processes(const struct house *h); /* that run a program of this folder */
void house_wait_processes(const struct house *h, int n);

#define WAIT_FOR(condition)                                                                                  \
    do {                                                                                                     \
        int64_t until_ = clock_ms() + WAIT_MS;                                                               \
        while (!(condition) && clock_ms() < until_)                                                          \
            poll(NULL, 0, 10);                                                                               \
        cr_assert(condition, "waited %d ms for: %s", WAIT_MS, #condition);                                   \
    } while (0)

#endif
