/*
 * fake_child.c - a child that does as it is told; installed under the name of any real one
 *
 * What it shall do stands in RUN_DIR/<role>.script, one word with an optional number:
 *   (no file)       a well-behaved daemon on daemon_run()
 *   slow N          the same, ready after N ms
 *   linger N        the same, drains for N ms
 *   exit N          exits with N at once
 *   flash N         is ready, then exits with N
 *   never           is never ready, leaves on TERM
 *   stubborn        is ready, ignores TERM and INT
 *   stranger        the same as no file, and leaves an orphan behind
 *   excuse N        says why it cannot be ready, then exits with N
 *   refuse          its configuration is bad, as --check says too
 *   crash           aborts when it is asked with --check, is well-behaved otherwise
 * What it sees and does goes to RUN_DIR/journal: "<role> <pid> <word> …", one line a write.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/conf.h"
#include "common/base/log.h"
#include "common/proc/child.h"
#include "common/proc/daemon.h"

static struct {
    char role[32];
    char word[32];
    int number;
    bool checking;
    struct loop *loop;
    struct loop_timer timer;
    struct daemon daemon;
} fake;

static void run_path(char *out, size_t size, const char *name)
{
    const char *dir = getenv("ATALAYA_RUN_DIR");

    snprintf(out, size, "%s/%s", dir ? dir : ".", name);
}

static void journal(const char *fmt, ...) PRINTF_LIKE(1, 2);

static void journal(const char *fmt, ...)
{
    char path[600], line[1024];
    va_list ap;

    run_path(path, sizeof path, "journal");
    int n = snprintf(line, sizeof line, "%s %d ", fake.role, (int)getpid());
    va_start(ap, fmt);
    n += vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
    va_end(ap);
    line[n++] = '\n';
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, line, (size_t)n) != n)
        abort();
    close(fd);
}

static void read_script(void)
{
    char path[600], name[64];

    snprintf(name, sizeof name, "%s.script", fake.role);
    run_path(path, sizeof path, name);
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    if (fscanf(f, "%31s %d", fake.word, &fake.number) < 1)
        fake.word[0] = '\0';
    fclose(f);
}

static bool told(const char *word)
{
    return strcmp(fake.word, word) == 0;
}

/* Before anything of ours is open: only what was inherited counts. */
static void note_descriptors(void)
{
    char seen[256] = "";
    size_t n = 0;

    for (int fd = 0; fd < 256; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            n += (size_t)snprintf(seen + n, sizeof seen - n, " %d", fd);
    }
    journal("fds%s", seen);
}

static void note_signals(void)
{
    sigset_t mask;
    struct sigaction pipe_action;
    int blocked = 0;

    sigprocmask(SIG_SETMASK, NULL, &mask);
    for (int i = 1; i < NSIG; i++)
        blocked += sigismember(&mask, i) == 1;
    sigaction(SIGPIPE, NULL, &pipe_action);
    journal("signals blocked=%d pipe=%s group=%s", blocked,
            pipe_action.sa_handler == SIG_DFL ? "default" : "other", getpgrp() == getpid() ? "own" : "other");
}

/* Its father leaves at once, so that it falls to whoever reaps strangers. */
static void leave_orphan(void)
{
    pid_t father = fork();

    if (father == 0) {
        pid_t was = getpid();
        if (fork() == 0) {
            while (getppid() == was)
                poll(NULL, 0, 5);
            journal("orphan");
            _exit(0);
        }
        _exit(0);
    }
    waitpid(father, NULL, 0);
}

static void on_timer(void *arg)
{
    (void)arg;
    daemon_drained(&fake.daemon);
}

static struct configured {
    char *text, *key;
} configured;

static const struct conf_row rows[] = {{.name = "LLM_FAKE",
                                        .type = CONF_STR,
                                        .offset = offsetof(struct configured, text),
                                        .max = 5,
                                        .doc = "A text."},
                                       {.name = "OPENAI_FAKE_KEY",
                                        .type = CONF_STR,
                                        .offset = offsetof(struct configured, key),
                                        .flags = CONF_SECRET,
                                        .doc = "A key."}};
static const struct conf_table table = {rows, ARRAY_LEN(rows)};

static int on_configure(void *self)
{
    (void)self;
    read_script();
    if (told("crash") && fake.checking)
        abort();
    if (told("refuse"))
        log_error("FAKE=x: expected something else. A text.");
    int rc = conf_load(rows, ARRAY_LEN(rows), &configured);
    return told("refuse") ? -EINVAL : rc;
}

static int on_init(void *self, struct loop *loop)
{
    (void)self;
    fake.loop = loop;
    fake.timer.fn = on_timer;
    if (told("slow"))
        poll(NULL, 0, fake.number);
    journal("ready");
    return EXIT_DONE;
}

static void on_drain(void *self)
{
    (void)self;
    journal("drain");
    if (told("linger"))
        loop_timer_set(fake.loop, &fake.timer, loop_now(fake.loop) + fake.number);
    else
        daemon_drained(&fake.daemon);
}

static void on_reload(void *self)
{
    (void)self;
    journal("reload");
}

static void on_fini(void *self)
{
    (void)self;
    conf_free(rows, ARRAY_LEN(rows), &configured);
    if (!fake.checking)
        journal("left");
}

static void be_stubborn(void)
{
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    journal("ready");
    child_ready();
    for (;;)
        pause();
}

static int well_behaved(int argc, char **argv)
{
    fake.daemon = (struct daemon){.name = fake.role,
                                  .program = "fake-child",
                                  .purpose = "does as it is told",
                                  .conf = &table,
                                  .configure = on_configure,
                                  .init = on_init,
                                  .drain = on_drain,
                                  .reload = on_reload,
                                  .fini = on_fini,
                                  .drain_ms = 120000};
    return daemon_run(&fake.daemon, argc, argv);
}

int main(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/');

    name = name ? name + 1 : argv[0];
    snprintf(fake.role, sizeof fake.role, "%s", strncmp(name, "atalaya-", 8) == 0 ? name + 8 : name);
    fake.checking = argc > 1;
    if (fake.checking)
        return well_behaved(argc, argv);
    note_descriptors();
    note_signals();
    journal("start %lld", (long long)clock_ms());
    read_script();
    if (told("exit"))
        return fake.number;
    if (told("excuse")) {
        child_failed("the port is taken");
        return fake.number;
    }
    if (told("flash")) {
        journal("ready");
        child_ready();
        return fake.number;
    }
    if (told("never")) {
        for (;;)
            pause();
    }
    if (told("stubborn"))
        be_stubborn();
    if (told("stranger"))
        leave_orphan();
    return well_behaved(argc, argv);
}
