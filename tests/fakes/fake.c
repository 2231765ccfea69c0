#include "tests/fakes/fake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/proc/child.h"

void fake_usage_error(const char *program, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s: ", program);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "; try --help\n");
    exit(EXIT_USAGE);
}

int64_t fake_integer(const char *program, const char *option, const char *text, int64_t min, int64_t max)
{
    char *end = NULL;

    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || v < min || v > max)
        fake_usage_error(program, "--%s wants an integer from %lld to %lld, not \"%s\"", option,
                         (long long)min, (long long)max, text);
    return v;
}

double fake_number(const char *program, const char *option, const char *text, double min, double max)
{
    char *end = NULL;
    double v = strtod(text, &end);

    if (end == text || *end || !isfinite(v) || v < min || v > max)
        fake_usage_error(program, "--%s wants a number from %g to %g, not \"%s\"", option, min, max, text);
    return v;
}

/* splitmix64 (Steele, Lea, Flood 2014) */
uint64_t fake_random_u64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double fake_random(uint64_t *state)
{
    return (double)(fake_random_u64(state) >> 11) * 0x1.0p-53;
}

static bool answers(const struct fake *f)
{
    static const char request[] = "GET / HTTP/1.0\r\n\r\n";
    const struct timeval patience = {.tv_sec = 2};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(f->port)};
    char word[5];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    bool yes = fd >= 0 && inet_pton(AF_INET, f->host, &to.sin_addr) == 1 &&
               setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0 &&
               connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
               send(fd, request, sizeof request - 1, MSG_NOSIGNAL) == sizeof request - 1 &&
               recv(fd, word, sizeof word, MSG_WAITALL) == sizeof word &&
               memcmp(word, "HTTP/", sizeof word) == 0;
    if (fd >= 0)
        close(fd);
    return yes;
}

static void on_signal(void *arg, uint32_t events)
{
    (void)events;
    loop_stop(arg);
}

static int write_port(const char *path, uint16_t port)
{
    char part[4096];
    int n = snprintf(part, sizeof part, "%s.part", path);

    if (n < 0 || (size_t)n >= sizeof part)
        return -ENAMETOOLONG;
    FILE *f = fopen(part, "we");
    if (!f)
        return -errno;
    fprintf(f, "%u\n", port);
    /* Renamed into place: whoever waits for the file never reads half a number. */
    if (fclose(f) != 0 || rename(part, path) < 0)
        return -errno;
    return 0;
}

int fake_serve(const struct fake *f, struct loop *l, const struct httpd_handler *handler,
               struct httpd **server)
{
    sigset_t set;
    int code = EXIT_ENVIRONMENT;

    if (f->ask_only)
        return answers(f) ? EXIT_SUCCESS : EXIT_FAILURE;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct loop_io sig = {.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), .fn = on_signal, .arg = l};
    struct httpd *s = httpd_new(l, f->host, f->port, handler);
    if (!s) {
        fprintf(stderr, "%s: cannot listen on %s:%u: %s\n", f->program, f->host, f->port, strerror(errno));
        goto out;
    }
    *server = s;
    int rc = f->port_file ? write_port(f->port_file, httpd_port(s)) : 0;
    if (rc < 0) {
        fprintf(stderr, "%s: cannot write the port file %s: %s\n", f->program, f->port_file, strerror(-rc));
        goto out;
    }
    if (sig.fd < 0 || loop_io_set(l, &sig, EPOLLIN) < 0) {
        fprintf(stderr, "%s: cannot wait for signals\n", f->program);
        goto out;
    }
    printf("%s listening on http://%s:%u%s\n", f->program, f->host, httpd_port(s), f->base);
    fflush(stdout);
    loop_run(l);
    code = EXIT_DONE;
out:
    loop_io_clear(l, &sig);
    if (sig.fd >= 0)
        close(sig.fd);
    httpd_free(s);
    *server = NULL;
    return code;
}
