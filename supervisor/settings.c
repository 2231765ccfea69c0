#include "supervisor/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/dotenv.h"
#include "common/base/log.h"
#include "common/proc/child.h"

static const struct number drain_timeout = {"DRAIN_TIMEOUT_MS", 10000, 0, 600000};

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

static int load_env_file(void)
{
    const char *named = variable("ATALAYA_ENV_FILE");
    const char *path = named ? named : ".env";
    int bad_line = 0;

    if (named && access(named, R_OK) < 0) {
        log_error("ATALAYA_ENV_FILE is '%s': %s", named, strerror(errno));
        return EXIT_CONFIG;
    }
    int rc = dotenv_load(path, &bad_line);
    if (rc == 0)
        return EXIT_DONE;
    if (rc == -EINVAL)
        log_error("%s, line %d is no assignment: write NAME=value, or # before a comment", path, bad_line);
    else
        log_error("cannot read %s: %s", path, strerror(-rc));
    return EXIT_CONFIG;
}

static int set_log_level(void)
{
    enum log_level level = LOG_INFO;
    const char *text = variable("LOG_LEVEL");

    if (text && !log_level_parse(text, &level)) {
        log_error("LOG_LEVEL is '%s': use DEBUG, INFO, WARNING or ERROR", text);
        return EXIT_CONFIG;
    }
    log_init("supervisor", level);
    return EXIT_DONE;
}

int number_read(const struct number *n, int64_t *out)
{
    const char *text = n->name ? variable(n->name) : NULL;
    char *end;

    *out = n->def;
    if (!text)
        return EXIT_DONE;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || *end || strspn(text, "-0123456789") != strlen(text) || value < n->min || value > n->max) {
        log_error("%s is '%s': it must be a whole number from %lld to %lld", n->name, text, (long long)n->min,
                  (long long)n->max);
        return EXIT_CONFIG;
    }
    *out = value;
    return EXIT_DONE;
}

static int read_numbers(struct settings *s)
{
    int code = number_read(&drain_timeout, &s->drain_ms);

    for (int i = 0; i < ROLES && code == EXIT_DONE; i++) {
        int64_t count = 0;
        code = number_read(&kinds[i].count, &count);
        s->count[i] = s->wanted[i] ? (int)count : 0;
    }
    return code;
}

static int find_programs(struct settings *s)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    if (n < 0) {
        log_error("cannot find my own folder in /proc/self/exe: %s", strerror(errno));
        return EXIT_ENVIRONMENT;
    }
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    for (int i = 0; i < ROLES; i++) {
        int len = snprintf(s->programs[i], sizeof s->programs[i], "%s/%s", self, kinds[i].program);
        if (len < 0 || (size_t)len >= sizeof s->programs[i]) {
            log_error("the path of my own folder is too long: %s", self);
            return EXIT_ENVIRONMENT;
        }
    }
    return EXIT_DONE;
}

static int folder(int (*find)(char *, const char **), char out[DIRS_PATH_MAX])
{
    const char *what = "";
    int rc = find(out, &what);

    if (rc == 0)
        return EXIT_DONE;
    if (rc == -ENAMETOOLONG)
        log_error("%s: the path is too long for the sockets inside it; choose a shorter one", what);
    else if (rc == -EPERM)
        log_error("%s: %s belongs to somebody else; name a folder of your own in it", what, out);
    else
        log_error("%s: cannot use folder '%s': %s; name one that can be written in it", what, out,
                  strerror(-rc));
    return EXIT_CONFIG;
}

int settings_find_run_dir(char run_dir[DIRS_PATH_MAX])
{
    int code = load_env_file();

    return code == EXIT_DONE ? folder(dirs_run, run_dir) : code;
}

int settings_load(struct settings *s)
{
    int code = load_env_file();

    if (code == EXIT_DONE)
        code = set_log_level();
    if (code == EXIT_DONE)
        code = read_numbers(s);
    if (code == EXIT_DONE)
        code = find_programs(s);
    if (code == EXIT_DONE)
        code = folder(dirs_run, s->run_dir);
    if (code == EXIT_DONE && s->wanted[ROLE_TELEMETRY])
        code = folder(dirs_state, s->state_dir);
    return code;
}
