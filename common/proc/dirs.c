#include "common/proc/dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static bool probing;

void dirs_probe(void)
{
    probing = true;
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

static int join(char out[DIRS_PATH_MAX], const char *base, const char *name)
{
    int n = snprintf(out, DIRS_PATH_MAX, "%s/%s", base, name);

    return n < 0 || n >= DIRS_PATH_MAX ? -ENAMETOOLONG : 0;
}

/* Symbolic links stay: they may be there to keep the path of a socket short. */
static int absolute(char out[DIRS_PATH_MAX], const char *path)
{
    char cwd[DIRS_PATH_MAX] = "";
    int rc;

    if (*path != '/' && !getcwd(cwd, sizeof cwd))
        return errno == ERANGE ? -ENAMETOOLONG : -errno;
    rc = join(out, cwd, *path == '/' ? path + 1 : path);
    for (size_t n = rc < 0 ? 0 : strlen(out); n > 1 && out[n - 1] == '/'; n--)
        out[n - 1] = '\0';
    return rc;
}

static int is_folder(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int make(const char *path)
{
    if (mkdir(path, 0700) == 0)
        return 0;
    return errno == EEXIST ? is_folder(path) : -errno;
}

static int make_with_parents(const char *path)
{
    char part[DIRS_PATH_MAX];
    size_t n = strlen(path);

    memcpy(part, path, n + 1);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        /* A parent we may not write to is fine as long as it is there. */
        int rc = is_folder(part) == 0 ? 0 : make(part);
        if (rc < 0)
            return rc;
        *slash = '/';
    }
    return make(part);
}

/* The folder itself, or the nearest one above it that is there. */
static int find_existing(char out[DIRS_PATH_MAX], const char *path)
{
    int rc;

    snprintf(out, DIRS_PATH_MAX, "%s", path);
    while ((rc = is_folder(out)) == -ENOENT) {
        char *slash = strrchr(out, '/');
        if (!slash || slash == out)
            return is_folder("/");
        *slash = '\0';
    }
    return rc;
}

static int usable(const char *path)
{
    char existing[DIRS_PATH_MAX];
    int rc = probing ? find_existing(existing, path) : make_with_parents(path);

    if (rc < 0)
        return rc;
    if (probing)
        path = existing;
    return faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

static int use(char out[DIRS_PATH_MAX], const char *path)
{
    int rc = absolute(out, path);

    return rc < 0 ? rc : usable(out);
}

/* systemd names several folders with colons between; the first is ours. */
static int use_first(char out[DIRS_PATH_MAX], const char *list)
{
    char first[DIRS_PATH_MAX];
    size_t n = strcspn(list, ":");

    if (n >= sizeof first)
        return -ENAMETOOLONG;
    memcpy(first, list, n);
    first[n] = '\0';
    return use(out, first);
}

/* /tmp is everybody's: a folder or link that somebody else has put there first is a trap. */
static int use_tmp(char out[DIRS_PATH_MAX])
{
    struct stat st;

    snprintf(out, DIRS_PATH_MAX, "/tmp/atalaya-%lu", (unsigned long)geteuid());
    if (!probing && mkdir(out, 0700) < 0 && errno != EEXIST)
        return -errno;
    if (lstat(out, &st) < 0)
        return probing && errno == ENOENT ? 0 : -errno;
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid())
        return -EPERM;
    return !probing && chmod(out, 0700) < 0 ? -errno : 0;
}

static int use_below(char out[DIRS_PATH_MAX], const char *base, const char *name)
{
    char path[DIRS_PATH_MAX];
    int rc = join(path, base, name);

    return rc < 0 ? rc : use(out, path);
}

static int find_run(char out[DIRS_PATH_MAX], const char **what)
{
    const char *value;

    if ((value = variable(*what = "ATALAYA_RUN_DIR")) != NULL)
        return use(out, value);
    if ((value = variable(*what = "RUNTIME_DIRECTORY")) != NULL)
        return use_first(out, value);
    *what = "ATALAYA_RUN_DIR";
    if (use(out, "/run/atalaya") == 0)
        return 0;
    /* The variable outlives its folder where su or sudo keep the environment. */
    value = variable("XDG_RUNTIME_DIR");
    if (value && is_folder(value) == 0 && faccessat(AT_FDCWD, value, W_OK | X_OK, AT_EACCESS) == 0) {
        *what = "XDG_RUNTIME_DIR";
        return use_below(out, value, "atalaya");
    }
    return use_tmp(out);
}

int dirs_run(char out[DIRS_PATH_MAX], const char **what)
{
    int rc = find_run(out, what);

    if (rc == 0 && strlen(out) + 1 + DIRS_SOCKET_MAX >= sizeof((struct sockaddr_un){0}.sun_path))
        return -ENAMETOOLONG;
    return rc;
}

int dirs_state(char out[DIRS_PATH_MAX], const char **what)
{
    static const char usual[] = "/var/lib/atalaya";
    const char *value;

    if ((value = variable(*what = "ATALAYA_STATE_DIR")) != NULL)
        return use(out, value);
    if ((value = variable(*what = "STATE_DIRECTORY")) != NULL)
        return use_first(out, value);
    int usual_rc = use(out, usual);
    if (usual_rc == 0)
        return 0;
    if ((value = variable(*what = "XDG_STATE_HOME")) != NULL)
        return use_below(out, value, "atalaya");
    *what = "ATALAYA_STATE_DIR";
    int rc = (value = variable("HOME")) != NULL ? use_below(out, value, ".local/state/atalaya") : -ENOENT;
    /* It was meant, as in a container where it is a volume of root's. */
    if (rc < 0 && is_folder(usual) == 0) {
        memcpy(out, usual, sizeof usual);
        rc = usual_rc;
    }
    return rc;
}
