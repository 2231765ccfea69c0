/*
 * fake.h - what both fakes do around their server: numbers in options, ready line, port file, TERM
 *
 * Threads  the main thread.
 * Errors   fake_serve() gives an exit code of common/proc/child.h and has said why.
 */
#ifndef ATALAYA_TESTS_FAKES_FAKE_H
#define ATALAYA_TESTS_FAKES_FAKE_H

#include "tests/fakes/httpd.h"

struct fake {
    const char *program; /* "fake-openai" */
    const char *base;    /* behind the port in the ready line: "/v1" */
    const char *host;
    uint16_t port;
    bool ask_only;         /* open nothing: does one answer at host and port? A container's health check */
    const char *port_file; /* gets the port as decimal digits and a newline; NULL: none */
};

/* Opens the server through *server (so that handlers know it), says that it is ready, runs until TERM or INT. With
 * ask_only: EXIT_SUCCESS or EXIT_FAILURE. */
int fake_serve(const struct fake *f, struct loop *l, const struct httpd_handler *handler,
               struct httpd **server);

/* Ends the program with EXIT_USAGE when the text is no number in [min, max]. */
int64_t fake_integer(const char *program, const char *option, const char *text, int64_t min, int64_t max);
double fake_number(const char *program, const char *option, const char *text, double min, double max);
NORETURN void fake_usage_error(const char *program, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Uniform in [0, 1), the same sequence for the same seed. */
double fake_random(uint64_t *state);
uint64_t fake_random_u64(uint64_t *state);

#endif
