#include "supervisor/check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/visible.h"
#include "common/proc/child.h"
#include "supervisor/spawn.h"
#include "supervisor/status.h"
#include "supervisor/unknown.h"

#define OWN         ROLES /* the supervisor's own part, behind those of the roles */
#define PARTS       (ROLES + 1)
#define UNKNOWN_MAX 20 /* told one by one */

struct part {
    const char *name;
    pid_t pid; /* 0: not asked */
    int fd;    /* -1: nothing more comes */
    struct buf text;
    bool listed; /* variables are in it with their values */
};

struct row {
    const char *part, *name, *value, *origin;
};

struct check {
    struct part parts[PARTS];
    struct row *rows;
    const char **known, **warnings, **errors;
    size_t n_rows, n_known, n_warnings, n_errors;
    char **owned; /* texts of our own among them */
    size_t n_owned;
};

static const char **push(const char **list, size_t *n, const char *text)
{
    list = xrealloc(list, (*n + 1) * sizeof *list);
    list[(*n)++] = text;
    return list;
}

/* What several programs say in the same words is said once. */
static const char **push_once(const char **list, size_t *n, const char *text)
{
    for (size_t i = 0; i < *n; i++) {
        if (strcmp(list[i], text) == 0)
            return list;
    }
    return push(list, n, text);
}

static void warn(struct check *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void warn(struct check *c, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0)
        abort();
    c->owned = xrealloc(c->owned, (c->n_owned + 1) * sizeof *c->owned);
    c->owned[c->n_owned++] = text;
    c->warnings = push_once(c->warnings, &c->n_warnings, text);
}

static int start(const char *path, char *const argv[], char *const env[], int out, pid_t *pid)
{
    posix_spawn_file_actions_t actions;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    int rc = posix_spawn(pid, path, &actions, NULL, argv, env);
    posix_spawn_file_actions_destroy(&actions);
    return -rc;
}

static void ask(struct check *c, const struct settings *s, int role)
{
    struct part *p = &c->parts[role];
    char name[64], option[16];
    char *argv[] = {name, option, NULL};
    int fds[2];

    p->listed = s->wanted[role];
    snprintf(name, sizeof name, "%s", kinds[role].program);
    snprintf(option, sizeof option, "%s", p->listed ? "--check" : "--variables");
    int rc = pipe2(fds, O_CLOEXEC) < 0 ? -errno : 0;
    if (rc == 0) {
        char **env = spawn_env(&kinds[role], environ, s);
        rc = start(s->programs[role], argv, env, fds[1], &p->pid);
        spawn_env_free(env);
        close(fds[1]);
        p->fd = fds[0];
    }
    if (rc == 0)
        return;
    p->pid = 0;
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    warn(c, "cannot ask %s about its configuration: %s", s->programs[role], strerror(-rc));
}

static void hear(struct part *p)
{
    char *to = buf_reserve(&p->text, 4096);
    ssize_t n = to ? read(p->fd, to, 4096) : 0;

    if (n > 0) {
        p->text.len += (size_t)n;
        to[n] = '\0';
    } else if (n == 0 || errno != EINTR) {
        close(p->fd);
        p->fd = -1;
    }
}

static void hear_all(struct check *c)
{
    int64_t until = clock_ms() + CHECK_MS;

    for (;;) {
        struct pollfd fds[ROLES];
        bool any = false;

        for (int i = 0; i < ROLES; i++) {
            fds[i] = (struct pollfd){.fd = c->parts[i].fd, .events = POLLIN};
            any = any || c->parts[i].fd >= 0;
        }
        int64_t left = until - clock_ms();
        if (!any || left <= 0 || (poll(fds, ROLES, (int)left) < 0 && errno != EINTR))
            return;
        for (int i = 0; i < ROLES; i++) {
            if (fds[i].revents)
                hear(&c->parts[i]);
        }
    }
}

/* It has said all it had to say, or its time is over: KILL hurts neither. */
static void end(struct check *c, struct part *p)
{
    char text[STATUS_END_SIZE];
    int status = 0;
    bool late = p->fd >= 0;

    if (!p->pid)
        return;
    if (late) {
        close(p->fd);
        p->fd = -1;
        kill(p->pid, SIGKILL);
    }
    if (waitpid(p->pid, &status, 0) != p->pid)
        return;
    if (WIFEXITED(status) && (WEXITSTATUS(status) == EXIT_DONE || WEXITSTATUS(status) == EXIT_CONFIG) &&
        !late)
        return;
    status_end(text, true, status);
    warn(c, "%s could not tell about its configuration (%s)", p->name, late ? "no end after 10 s" : text);
}

/* Cuts the next field off; the last one has none behind it. */
static char *field(char **rest)
{
    char *at = *rest;

    if (at) {
        *rest = strchr(at, '\t');
        if (*rest)
            *(*rest)++ = '\0';
    }
    return at;
}

static void take_line(struct check *c, const struct part *p, char *line)
{
    char *rest = line;
    const char *kind = field(&rest);
    const char *first = field(&rest);

    if (!p->listed) {
        c->known = push(c->known, &c->n_known, kind);
    } else if (!first) {
        return;
    } else if (strcmp(kind, "name") == 0) {
        c->known = push(c->known, &c->n_known, first);
    } else if (strcmp(kind, "warning") == 0) {
        c->warnings = push_once(c->warnings, &c->n_warnings, first);
    } else if (strcmp(kind, "error") == 0) {
        c->errors = push_once(c->errors, &c->n_errors, first);
    } else if (strcmp(kind, "variable") == 0) {
        const char *value = field(&rest);
        const char *origin = field(&rest);
        const char *file = origin && strcmp(origin, "environment") == 0 ? settings_env_file_of(first) : NULL;

        c->known = push(c->known, &c->n_known, first);
        c->rows = xrealloc(c->rows, (c->n_rows + 1) * sizeof *c->rows);
        c->rows[c->n_rows++] = (struct row){p->name, first, value ? value : "",
                                            file     ? file
                                            : origin ? origin
                                                     : ""};
    }
}

static void take_text(struct check *c, struct part *p)
{
    char *line = p->text.data;
    char *newline;

    for (; line && (newline = strchr(line, '\n')) != NULL; line = newline + 1) {
        *newline = '\0';
        take_line(c, p, line);
    }
}

static void find_unknown(struct check *c)
{
    size_t more = 0;

    for (char **e = environ; *e; e++) {
        char name[256];
        const char *meant = NULL;
        size_t n = strcspn(*e, "=");

        if (n == 0 || n >= sizeof name)
            continue;
        memcpy(name, *e, n);
        name[n] = '\0';
        if (!unknown_suspicious(name, settings_env_file_of(name) != NULL, c->known, c->n_known, &meant))
            continue;
        if (c->n_warnings >= UNKNOWN_MAX)
            more++;
        else if (meant)
            warn(c, "%s is read by no program; did you mean %s?", name, meant);
        else
            warn(c, "%s is read by no program", name);
    }
    if (more)
        warn(c, "%zu more variables are read by no program", more);
}

/* Runs settings_load() with its words and rows as the text of our own part. */
static int load_own(struct part *p, struct settings *s)
{
    size_t n = 0;
    char *text = NULL;
    FILE *f = open_memstream(&text, &n);

    if (!f)
        abort();
    conf_begin_check(f);
    int code = settings_load(s);
    conf_end_check();
    if (fclose(f) != 0)
        abort();
    buf_append(&p->text, text, n);
    free(text);
    return code;
}

struct check *check_new(struct settings *s, int *code)
{
    struct check *c = xcalloc(1, sizeof *c);

    for (int i = 0; i < PARTS; i++)
        c->parts[i] = (struct part){.name = i == OWN ? "supervisor" : kinds[i].role,
                                    .fd = -1,
                                    .text = BUF_INIT(CHECK_TEXT_MAX),
                                    .listed = i == OWN};
    signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it would hide the exit codes */
    *code = load_own(&c->parts[OWN], s);
    bool askable = *s->programs[ROLES - 1];
    for (int i = 0; askable && i < ROLES; i++)
        ask(c, s, i);
    hear_all(c);
    for (int i = 0; i < ROLES; i++)
        end(c, &c->parts[i]);
    take_text(c, &c->parts[OWN]);
    for (int i = ROLES - 1; i >= 0; i--)
        take_text(c, &c->parts[i]);
    if (askable)
        find_unknown(c);
    if (*code == EXIT_DONE && c->n_errors)
        *code = EXIT_CONFIG;
    return c;
}

void check_free(struct check *c)
{
    if (!c)
        return;
    for (int i = 0; i < PARTS; i++)
        buf_free(&c->parts[i].text);
    for (size_t i = 0; i < c->n_owned; i++)
        free(c->owned[i]);
    free(c->owned);
    free(c->rows);
    free(c->known);
    free(c->warnings);
    free(c->errors);
    free(c);
}

void check_log(const struct check *c)
{
    for (size_t i = 0; i < c->n_warnings; i++)
        log_warning("%s", c->warnings[i]);
    for (size_t i = 0; i < c->n_errors; i++)
        log_error("%s", c->errors[i]);
}

/* The texts have been made visible by whoever wrote them; names from the environment have not. */
static void print_all(FILE *out, const char *what, const char *const *texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct buf b = BUF_INIT(16 * KIB);
        visible_put(&b, texts[i], strlen(texts[i]), "");
        fprintf(out, "%s: %s\n", what, b.data);
        buf_free(&b);
    }
}

void check_print(const struct check *c, FILE *out)
{
    fprintf(out, "%-11s %-29s %-29s %s\n", "PROCESS", "VARIABLE", "VALUE", "FROM");
    for (size_t i = 0; i < c->n_rows; i++) {
        const struct row *r = &c->rows[i];
        fprintf(out, "%-11s %-29s %-29s %s\n", r->part, r->name, r->value, r->origin);
    }
    print_all(out, "warning", c->warnings, c->n_warnings);
    print_all(out, "error", c->errors, c->n_errors);
    fprintf(out, "%s (errors: %zu, warnings: %zu)\n", c->n_errors ? "bad" : "good", c->n_errors,
            c->n_warnings);
}
