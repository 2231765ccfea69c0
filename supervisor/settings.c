#include "supervisor/settings.h"

#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/dotenv.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/proc/child.h"

#define AT(member) offsetof(struct settings, member)

static const struct conf_row rows[] = {
    {.name = "LLM_WORKERS",
     .type = CONF_INT,
     .offset = AT(llm_workers),
     .def = "2",
     .min = 1,
     .max = LLM_WORKERS_MAX,
     .unit = "processes",
     .example = CONF_DEPLOYMENT,
     .doc = "How many llm-workers run."},
    {.name = "DRAIN_TIMEOUT_MS",
     .type = CONF_INT,
     .offset = AT(drain_ms),
     .def = "10000",
     .min = 0,
     .max = 600000,
     .unit = "milliseconds",
     .example = CONF_LIMITS,
     .doc = "How long TERM waits for what is in flight."},
    {.name = "ATALAYA_GIVE_UP",
     .type = CONF_BOOL,
     .offset = AT(give_up),
     .def = "true",
     .doc = "Whether everything stops, so that systemd, compose or a person acts, when a process dies ten "
            "times in a row before it has lived for a second. false: it is tried again every five seconds. A "
            "configuration that is refused stops everything in any case, telemetry's deaths never do where "
            "others run beside it."},
    {.name = "ATALAYA_STATE_DIR",
     .type = CONF_STR,
     .offset = AT(named_state_dir),
     .empty = "/var/lib/atalaya or, where that cannot be written, ~/.local/state/atalaya",
     .example = CONF_FOLDERS,
     .doc = "Folder of what must outlive a restart: the spool."},
    {.name = "ATALAYA_RUN_DIR",
     .type = CONF_STR,
     .offset = AT(named_run_dir),
     .empty = "/run/atalaya or, where that cannot be written, a folder of the user's own",
     .example = CONF_FOLDERS,
     .doc = "Folder of sockets, lock and status."},
    {.name = "ATALAYA_ENV_FILE",
     .type = CONF_STR,
     .offset = AT(env_file),
     .empty = sizeof ATALAYA_SYSTEM_ENV_FILE > 1 ? ".env, else " ATALAYA_SYSTEM_ENV_FILE : ".env",
     .doc = "File of further variables, taken from the environment only: what is set in both counts as the "
            "environment "
            "has it."},
};

const struct conf_table supervisor_conf_table = {rows, ARRAY_LEN(rows)};

static const char *env_file = ".env";
static char **inherited; /* the environment without what the file has added */

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

static char **copy_environment(void)
{
    size_t n = 0;

    while (environ[n])
        n++;
    char **copy = xcalloc(n + 1, sizeof *copy);
    memcpy(copy, environ, n * sizeof *copy);
    return copy;
}

static int load_env_file(void)
{
    const char *named = variable("ATALAYA_ENV_FILE");
    int bad_line = 0;

    if (named)
        env_file = xstrdup(named);
    else if (*ATALAYA_SYSTEM_ENV_FILE && access(env_file, F_OK) < 0 &&
             access(ATALAYA_SYSTEM_ENV_FILE, R_OK) == 0)
        env_file = ATALAYA_SYSTEM_ENV_FILE;
    if (named && access(named, R_OK) < 0) {
        log_error("ATALAYA_ENV_FILE=%s: cannot read it: %s", named, strerror(errno));
        return EXIT_CONFIG;
    }
    inherited = copy_environment();
    int rc = dotenv_load(env_file, &bad_line);
    if (rc == 0)
        return EXIT_DONE;
    if (rc == -EINVAL)
        log_error("%s, line %d is no assignment: write NAME=value, or # before a comment", env_file,
                  bad_line);
    else
        log_error("cannot read %s: %s", env_file, strerror(-rc));
    return EXIT_CONFIG;
}

const char *settings_env_file_of(const char *name)
{
    size_t n = strcspn(name, "=");

    for (char **e = inherited; e && *e; e++) {
        if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
            return NULL;
    }
    return env_file;
}

/* What systemd hands over as a credential NAME is what NAME_FILE names. Only the path passes through here, and only to
 * the kind of process that the table lets see it. */
static int take_credential(const char *dir, const char *name)
{
    char file[NAME_MAX + sizeof "_FILE"], path[PATH_MAX];

    snprintf(file, sizeof file, "%s_FILE", name);
    const char *rival = variable(name) ? name : variable(file) ? file : NULL;
    if (rival) {
        log_error("%s is set, and there is a credential %s too: keep one of them", rival, name);
        return EXIT_CONFIG;
    }
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof path || setenv(file, path, 1) < 0) {
        log_error("cannot use the credential %s: its path is too long", name);
        return EXIT_CONFIG;
    }
    return EXIT_DONE;
}

static int take_credentials(void)
{
    const char *dir = variable("CREDENTIALS_DIRECTORY");
    int code = EXIT_DONE;
    const struct dirent *e;

    if (!dir)
        return EXIT_DONE;
    DIR *d = opendir(dir);
    if (!d) {
        log_error("CREDENTIALS_DIRECTORY=%s: cannot read it: %s", dir, strerror(errno));
        return EXIT_CONFIG;
    }
    while ((e = readdir(d)) != NULL) {
        if (*e->d_name != '.' && take_credential(dir, e->d_name) != EXIT_DONE)
            code = EXIT_CONFIG;
    }
    closedir(d);
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
    else if (rc == -EACCES)
        log_error("%s: user %lu may not write into folder '%s'; chown it, or name another one in it", what,
                  (unsigned long)geteuid(), out);
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

    if (code !=
        EXIT_DONE) /* half of the variables would be missing: nothing that follows could be believed */
        return code;
    code = take_credentials();
    if (conf_load(rows, ARRAY_LEN(rows), s) < 0)
        code = EXIT_CONFIG;
    for (int role = 0; role < ROLES; role++)
        s->count[role] = !s->wanted[role] ? 0 : role == ROLE_LLM_WORKER ? (int)s->llm_workers : 1;
    if (folder(dirs_run, s->run_dir) != EXIT_DONE)
        code = EXIT_CONFIG;
    if (s->wanted[ROLE_TELEMETRY] && folder(dirs_state, s->state_dir) != EXIT_DONE)
        code = EXIT_CONFIG;
    int found = find_programs(s);
    return found != EXIT_DONE ? found : code;
}
