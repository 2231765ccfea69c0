#include "common/proc/dirs.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/attr.h"

/* Nobody in particular: has no right to /run or /var/lib. */
#define PLAIN_UID 54321

static char home[64];

static void set_up(void)
{
    clearenv();
    snprintf(home, sizeof home, "/tmp/atalaya-dirs-XXXXXX");
    cr_assert_not_null(mkdtemp(home));
    if (geteuid() == 0) /* so that the plain user can use and remove it, too */
        cr_assert_eq(chown(home, PLAIN_UID, PLAIN_UID), 0);
}

static void tear_down(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf '%s'", home);
    cr_assert_eq(system(command), 0);
}

TestSuite(dirs, .init = set_up, .fini = tear_down);

static const char *below(const char *name)
{
    static char path[4][DIRS_PATH_MAX];
    static int next;

    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", home, name);
    return path[next];
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    cr_assert_eq(lstat(path, &st), 0, "%s: %s", path, strerror(errno));
    cr_assert(S_ISDIR(st.st_mode));
    return st.st_mode & 0777;
}

typedef int find(char out[DIRS_PATH_MAX], const char **what);

static void expect(find *f, const char *path)
{
    char out[DIRS_PATH_MAX] = "";
    const char *what = NULL;
    int rc = f(out, &what);

    cr_expect_eq(rc, 0, "%s: %s (%s)", path, strerror(-rc), what);
    cr_expect_str_eq(out, path);
    cr_expect_eq(mode_of(path), 0700);
}

static void expect_error(find *f, int error, const char *variable)
{
    char out[DIRS_PATH_MAX] = "";
    const char *what = NULL;
    int rc = f(out, &what);

    cr_expect_eq(rc, -error, "%d, not %d (%s)", rc, -error, out);
    cr_expect_str_eq(what, variable);
}

Test(dirs, ours_comes_first)
{
    setenv("ATALAYA_RUN_DIR", below("a"), 1);
    setenv("RUNTIME_DIRECTORY", below("b"), 1);
    setenv("XDG_RUNTIME_DIR", home, 1);
    expect(dirs_run, below("a"));
    setenv("ATALAYA_STATE_DIR", below("c"), 1);
    setenv("STATE_DIRECTORY", below("d"), 1);
    setenv("XDG_STATE_HOME", home, 1);
    expect(dirs_state, below("c"));
}

Test(dirs, empty_counts_as_unset_and_systemd_comes_second)
{
    char list[200];

    setenv("ATALAYA_RUN_DIR", "", 1);
    snprintf(list, sizeof list, "%s:%s", below("b"), below("other"));
    setenv("RUNTIME_DIRECTORY", list, 1);
    expect(dirs_run, below("b"));
    setenv("STATE_DIRECTORY", list, 1);
    expect(dirs_state, below("b"));
}

Test(dirs, parents_are_made_and_slashes_trimmed)
{
    char path[200];

    snprintf(path, sizeof path, "%s//", below("one/two/three"));
    setenv("ATALAYA_STATE_DIR", path, 1);
    expect(dirs_state, below("one/two/three"));
    expect(dirs_state, below("one/two/three")); /* being there already is fine */
}

Test(dirs, a_relative_path_becomes_absolute)
{
    cr_assert_eq(chdir(home), 0);
    setenv("ATALAYA_RUN_DIR", "run", 1);
    expect(dirs_run, below("run"));
}

Test(dirs, a_file_in_the_way_is_an_error)
{
    FILE *f = fopen(below("file"), "we");

    cr_assert_not_null(f);
    fclose(f);
    setenv("ATALAYA_RUN_DIR", below("file"), 1);
    expect_error(dirs_run, ENOTDIR, "ATALAYA_RUN_DIR");
    setenv("STATE_DIRECTORY", below("file/x"), 1);
    expect_error(dirs_state, ENOTDIR, "STATE_DIRECTORY");
}

/* sun_path holds 108 bytes: the folder, a slash, DIRS_SOCKET_MAX bytes of name, a NUL. */
Test(dirs, a_socket_must_fit)
{
    char path[200];
    size_t n = strlen(home);

    memcpy(path, home, n);
    path[n] = '/';
    memset(path + n + 1, 'x', sizeof path - n - 1);
    path[82] = '\0';
    setenv("ATALAYA_RUN_DIR", path, 1);
    expect(dirs_run, path);
    setenv("ATALAYA_STATE_DIR", path, 1);
    path[82] = 'x';
    path[83] = '\0';
    setenv("ATALAYA_RUN_DIR", path, 1);
    expect_error(dirs_run, ENAMETOOLONG, "ATALAYA_RUN_DIR");
    setenv("ATALAYA_STATE_DIR", path, 1);
    expect(dirs_state, path); /* no sockets in there */
}

Test(dirs, no_path_is_cut)
{
    char path[DIRS_PATH_MAX + 8];

    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    setenv("ATALAYA_RUN_DIR", path, 1);
    expect_error(dirs_run, ENAMETOOLONG, "ATALAYA_RUN_DIR");
    setenv("ATALAYA_RUN_DIR", path + 1, 1);
    expect_error(dirs_run, ENAMETOOLONG, "ATALAYA_RUN_DIR");
    setenv("STATE_DIRECTORY", path, 1);
    expect_error(dirs_state, ENAMETOOLONG, "STATE_DIRECTORY");
}

/* The fallbacks, as a plain user to whom /run and /var/lib are closed. */
static void become_plain(void)
{
    if (geteuid() == 0) {
        cr_assert_eq(setgroups(0, NULL), 0);
        cr_assert_eq(setresgid(PLAIN_UID, PLAIN_UID, PLAIN_UID), 0);
        cr_assert_eq(setresuid(PLAIN_UID, PLAIN_UID, PLAIN_UID), 0);
    }
}

Test(dirs, a_plain_user_falls_back_to_xdg)
{
    become_plain();
    if (access("/run/atalaya", W_OK) != 0) {
        setenv("XDG_RUNTIME_DIR", home, 1);
        expect(dirs_run, below("atalaya"));
    }
    if (access("/var/lib/atalaya", W_OK) != 0) {
        setenv("XDG_STATE_HOME", below("state"), 1);
        expect(dirs_state, below("state/atalaya"));
        unsetenv("XDG_STATE_HOME");
        setenv("HOME", home, 1);
        expect(dirs_state, below(".local/state/atalaya"));
        unsetenv("HOME");
        /* The usual one is what was meant where it is there. */
        expect_error(dirs_state, access("/var/lib/atalaya", F_OK) == 0 ? EACCES : ENOENT,
                     "ATALAYA_STATE_DIR");
    }
}

/* 0 when this process, made plain, gets the folder in /tmp as it must be. */
static int plain_gets(const char *folder, int error)
{
    char out[DIRS_PATH_MAX];
    const char *what;
    pid_t pid = fork();

    if (pid == 0) {
        become_plain();
        setenv("XDG_RUNTIME_DIR", below("gone"), 1); /* kept by su, not there */
        int rc = dirs_run(out, &what);
        _exit(rc != -error || strcmp(out, folder) != 0 ? 1 : rc == 0 && mode_of(out) != 0700 ? 2 : 0);
    }
    int status = -1;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status;
}

/* One test: its folder has a fixed name. */
Test(dirs, the_last_resort_is_a_folder_of_its_own_in_tmp)
{
    char folder[64];

    if (geteuid() != 0 || access("/run/atalaya", F_OK) == 0) {
        tear_down(); /* a skipped test has no end of its own */
        cr_skip_test("needs root, to become somebody else, and no service on this machine");
    }
    snprintf(folder, sizeof folder, "/tmp/atalaya-%d", PLAIN_UID);
    cr_expect_eq(plain_gets(folder, 0), 0);
    cr_assert_eq(chmod(folder, 0777), 0);
    cr_expect_eq(plain_gets(folder, 0), 0, "it is closed again");
    cr_assert_eq(rmdir(folder), 0);

    cr_assert_eq(mkdir(folder, 0777), 0);
    cr_expect_eq(plain_gets(folder, EPERM), 0, "somebody else's folder");
    cr_assert_eq(rmdir(folder), 0);

    cr_assert_eq(symlink(home, folder), 0);
    cr_expect_eq(plain_gets(folder, EPERM), 0, "somebody else's link");
    cr_assert_eq(lchown(folder, PLAIN_UID, PLAIN_UID), 0);
    cr_expect_eq(plain_gets(folder, EPERM), 0, "a link is no folder, whoever made it");
    cr_assert_eq(unlink(folder), 0);
}

Test(dirs, a_probe_makes_nothing)
{
    char path[DIRS_PATH_MAX];
    const char *what = "";
    struct stat st;

    dirs_probe();
    setenv("ATALAYA_RUN_DIR", below("a/b"), 1);
    cr_expect_eq(dirs_run(path, &what), 0);
    cr_expect_str_eq(path, below("a/b"));
    cr_expect_eq(stat(below("a"), &st), -1);
    setenv("ATALAYA_STATE_DIR", "/dev/null/x", 1);
    cr_expect_eq(dirs_state(path, &what), -ENOTDIR);
}
