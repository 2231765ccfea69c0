#include "telemetry/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

int reserve_make(const char *path, int64_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return -errno;
    int rc = ftruncate(fd, bytes) < 0 ? -errno : -posix_fallocate(fd, 0, bytes);
    close(fd);
    if (rc < 0)
        reserve_release(path);
    return rc;
}

void reserve_release(const char *path)
{
    unlink(path);
}

int64_t reserve_space(const char *path)
{
    struct statvfs v;

    return statvfs(path, &v) < 0 ? -1 : (int64_t)v.f_bavail * (int64_t)v.f_frsize;
}
