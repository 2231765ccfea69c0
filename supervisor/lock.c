#include "supervisor/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/proc/dirs.h"

/* `atalaya status` holds the lock for a moment when it asks: a refusal counts only when it lasts. */
#define TRIES  10
#define TRY_MS 20

static int open_lock(const char *dir, int flags)
{
    char path[DIRS_PATH_MAX + 32];

    snprintf(path, sizeof path, "%s/supervisor.lock", dir);
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0644);
    return fd < 0 ? -errno : fd;
}

static pid_t read_pid(int fd)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return (pid_t)strtol(text, NULL, 10);
}

static int lock_wait(int fd)
{
    for (int i = 0; i < TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK)
            return -errno;
        poll(NULL, 0, TRY_MS);
    }
    return -EWOULDBLOCK;
}

int lock_take(const char *dir, pid_t *holder)
{
    int fd = open_lock(dir, O_RDWR | O_CREAT);

    *holder = 0;
    if (fd < 0)
        return fd;
    int rc = lock_wait(fd);
    if (rc < 0) {
        *holder = read_pid(fd);
        close(fd);
        return rc;
    }
    if (ftruncate(fd, 0) < 0 || dprintf(fd, "%ld\n", (long)getpid()) < 0) {
        rc = -errno;
        close(fd);
        return rc;
    }
    return 0;
}

int lock_probe(const char *dir, pid_t *holder)
{
    int fd = open_lock(dir, O_RDONLY);
    int rc = 0;

    *holder = 0;
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    if (flock(fd, LOCK_SH | LOCK_NB) < 0) {
        rc = -errno;
        *holder = read_pid(fd);
    }
    close(fd);
    return rc;
}
