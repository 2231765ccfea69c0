#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/attr.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/proc/child.h"
#include "supervisor/check.h"
#include "supervisor/lock.h"
#include "supervisor/notify.h"
#include "supervisor/run.h"
#include "supervisor/settings.h"
#include "supervisor/spawn.h"
#include "supervisor/status.h"

#define OLD_KERNEL_FD_MAX 65536 /* without close_range(2); nobody hands down more */

static const char help[] =
    "atalaya answers questions with a language model and never loses sight of one.\n"
    "\n"
    "  atalaya run [gateway|llm-worker|telemetry]...   run these processes, all without a name, in the "
    "foreground\n"
    "  atalaya check [gateway|llm-worker|telemetry]... what of the configuration holds, where it comes from "
    "and "
    "what\n"
    "                                                  is wrong; starts nothing; exit 0: good, 78: bad\n"
    "  atalaya status                                  what runs; exit 0: all ready, 1: not all, 3: not "
    "running\n"
    "  atalaya telemetry dead-letters                  what Langfuse or the OTLP backend has refused for "
    "good, and "
    "why\n"
    "  atalaya telemetry replay ID...|--all            send it again\n"
    "  atalaya version\n"
    "  atalaya help\n"
    "\n"
    "Configuration comes from the environment and from ./.env (or the file named by ATALAYA_ENV_FILE); the "
    "environment\n"
    "wins. TERM finishes what is in flight and leaves; a second TERM leaves at once.\n";

/* A descriptor below 3 that is closed would be given to the next file we open, and a log line would go into
 * it; one above that we inherited would keep somebody's pipe open in every child. */
static void clean_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (close_range(3, ~0u, 0) == 0)
        return;
    for (int i = 3; i < OLD_KERNEL_FD_MAX; i++)
        close(i);
}

static int take_lock(const char *dir, const char *variable)
{
    pid_t holder;
    int rc = lock_take(dir, &holder);

    if (rc == 0)
        return EXIT_DONE;
    if (rc == -EWOULDBLOCK)
        log_error(
            "another atalaya (pid %ld) works in %s: stop it first, or give this one its own folder with %s",
            (long)holder, dir, variable);
    else if (rc == -EACCES)
        log_error("cannot lock %s/supervisor.lock: another user has worked there; chown the folder with all "
                  "that is in it, or name another one with %s",
                  dir, variable);
    else
        log_error("cannot lock %s/supervisor.lock: %s", dir, strerror(-rc));
    return EXIT_ENVIRONMENT;
}

/* What root leaves in the folder of a service keeps its user out from then on. */
static int refuse_as_root(const char *dir, const char *variable)
{
    struct stat st;

    if (geteuid() != 0 || stat(dir, &st) < 0 || st.st_uid == 0)
        return EXIT_DONE;
    const struct passwd *owner = getpwuid(st.st_uid);
    log_error(
        "%s belongs to user %lu%s%s%s, not to root: run as that user (the Debian package: systemctl start "
        "atalaya), or name another folder with %s",
        dir, (unsigned long)st.st_uid, owner ? " (" : "", owner ? owner->pw_name : "", owner ? ")" : "",
        variable);
    return EXIT_CONFIG;
}

/* Run and state folder may be one and the same; the pid in the lock does not tell, it is 1 in every
 * container. */
static bool same_folder(const char *a, const char *b)
{
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static void announce(const struct settings *s)
{
    log_event(LOG_INFO,
              LOG_FIELDS(LOG_INT("gateway", s->count[ROLE_GATEWAY]),
                         LOG_INT("llm_workers", s->count[ROLE_LLM_WORKER]),
                         LOG_INT("telemetry", s->count[ROLE_TELEMETRY]), LOG_CSTR("run_dir", s->run_dir),
                         LOG_CSTR("state_dir", s->state_dir)),
              "atalaya %s starts", ATALAYA_VERSION);
}

static int take_roles(struct settings *s, const char *command, int n, char **roles)
{
    for (int i = 0; i < n; i++) {
        int role = role_parse(roles[i]);
        if (role < 0) {
            fprintf(stderr,
                    "atalaya %s: there is no process '%s'; choose from gateway, llm-worker, telemetry\n",
                    command, roles[i]);
            return EXIT_USAGE;
        }
        s->wanted[role] = true;
    }
    for (int role = 0; n == 0 && role < ROLES; role++)
        s->wanted[role] = true;
    return EXIT_DONE;
}

static int command_check(int n, char **roles)
{
    static struct settings s;
    int code = take_roles(&s, "check", n, roles);

    if (code != EXIT_DONE)
        return code;
    dirs_probe();
    struct check *c = check_new(&s, &code);
    check_print(c, stdout);
    check_free(c);
    return fflush(stdout) == 0 ? code : EXIT_ENVIRONMENT;
}

static int command_run(int n, char **roles)
{
    static struct settings s;
    int code = take_roles(&s, "run", n, roles);

    if (code != EXIT_DONE)
        return code;
    log_init("supervisor", LOG_INFO);
    notify_open();
    struct check *c = check_new(&s, &code);
    check_log(c);
    check_free(c);
    if (code == EXIT_CONFIG)
        log_error("the configuration is bad, so nothing is started; `atalaya check` shows all of it");
    if (code == EXIT_DONE)
        code = refuse_as_root(s.run_dir, "ATALAYA_RUN_DIR");
    if (code == EXIT_DONE && *s.state_dir)
        code = refuse_as_root(s.state_dir, "ATALAYA_STATE_DIR");
    if (code == EXIT_DONE)
        code = take_lock(s.run_dir, "ATALAYA_RUN_DIR");
    if (code == EXIT_DONE && *s.state_dir && !same_folder(s.run_dir, s.state_dir))
        code = take_lock(s.state_dir, "ATALAYA_STATE_DIR");
    if (code != EXIT_DONE)
        return code;
    announce(&s);
    return run(&s);
}

static int command_status(void)
{
    char run_dir[DIRS_PATH_MAX];

    log_init("supervisor", LOG_INFO);
    int code = settings_find_run_dir(run_dir);
    return code == EXIT_DONE ? status_show(run_dir) : code;
}

/* The file is telemetry's: its own program reads it, with its own environment. Returns only when it cannot be run. */
static int command_telemetry(int n, char **words)
{
    static const struct {
        const char *word, *option;
    } commands[] = {{"dead-letters", "--dead-letters"}, {"replay", "--replay"}};
    static struct settings s;
    char option[32], name[64];

    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (n == 0 || strcmp(words[0], commands[i].word) != 0)
            continue;
        log_init("supervisor", LOG_INFO);
        dirs_probe();
        s.wanted[ROLE_TELEMETRY] = true;
        int code = settings_load(&s);
        if (code != EXIT_DONE)
            return code;
        snprintf(name, sizeof name, "%s", kinds[ROLE_TELEMETRY].program);
        snprintf(option, sizeof option, "%s", commands[i].option);
        char **argv = xcalloc((size_t)n + 2, sizeof *argv);
        argv[0] = name;
        argv[1] = option;
        memcpy(argv + 2, words + 1, (size_t)(n - 1) * sizeof *argv);
        execve(s.programs[ROLE_TELEMETRY], argv, spawn_env(&kinds[ROLE_TELEMETRY], environ, &s));
        log_error("cannot run %s: %s", s.programs[ROLE_TELEMETRY], strerror(errno));
        return EXIT_ENVIRONMENT;
    }
    fputs("atalaya telemetry: dead-letters, or replay with numbers or --all\n", stderr);
    return EXIT_USAGE;
}

static int usage(const char *what)
{
    fprintf(stderr, "atalaya: %s; `atalaya help` lists the commands\n", what);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    clean_descriptors();
    const char *command = argc > 1 ? argv[1] : "";

    if (strcmp(command, "run") == 0)
        return command_run(argc - 2, argv + 2);
    if (strcmp(command, "check") == 0)
        return command_check(argc - 2, argv + 2);
    if (strcmp(command, "telemetry") == 0)
        return command_telemetry(argc - 2, argv + 2);
    if (argc > 2)
        return usage("too many arguments");
    if (strcmp(command, "status") == 0)
        return command_status();
    if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0) {
        printf("atalaya %s\n", ATALAYA_VERSION);
        return EXIT_DONE;
    }
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0) {
        fputs(help, stdout);
        return EXIT_DONE;
    }
    if (strcmp(command, "--variables") == 0) {
        conf_print_names(supervisor_conf_table.rows, supervisor_conf_table.n);
        return EXIT_DONE;
    }
    if (strcmp(command, "--configuration") == 0) {
        conf_print_rows(supervisor_conf_table.rows, supervisor_conf_table.n);
        return EXIT_DONE;
    }
    return usage(*command ? "unknown command" : "no command");
}
