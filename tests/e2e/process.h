/*
 * process.h - starting, watching and counting processes for the tests
 *
 * Purpose  whatever a test starts stays in its own process tree: the test is a subreaper, so that an
 *          orphan of a killed supervisor becomes its child instead of init's, and cannot hide.
 * Threads  the test's main thread.
 * Errors   fail the test.
 */
#ifndef ATALAYA_TESTS_PROCESS_H
#define ATALAYA_TESTS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/buf.h"

void process_adopt_orphans(void); /* once, before the first start */

/* argv[0] is a path. Output goes to the end of the two files. The child is killed when the test dies. */
pid_t process_start(const char *const argv[], const char *const env[], const char *folder, const char *out,
                    const char *err);
bool process_ended(pid_t pid, int *status); /* reaps; status as of waitpid() */

/* Runs argv to its end with `input` on stdin; the exit code, and stdout plus stderr in out. */
int process_run(const char *const argv[], const char *const env[], struct str input, struct buf *out);

struct process {
    pid_t pid;
    pid_t parent;
    char state; /* of /proc/PID/stat: 'Z' is a zombie */
};

#define PROCESS_MAX 4096

/* Every descendant of the test. Their number; at most PROCESS_MAX. */
size_t process_tree(struct process out[PROCESS_MAX]);
void process_cmdline(pid_t pid, char *out, size_t size);

/* The whole file; false when it cannot be read. */
bool read_file(const char *path, struct buf *out);

/* A port of 127.0.0.1 that nobody listens on and that no other running test is given. */
uint16_t free_port(void);

#endif
