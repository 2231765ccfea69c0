#include "common/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define PIECE 4096

int file_read(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would wait for its writer */
    ssize_t n = 0;
    int rc = 0;

    if (fd < 0)
        return -errno;
    for (char *at; (at = buf_reserve(out, PIECE)) && (n = read(fd, at, PIECE)) > 0;)
        out->len += (size_t)n;
    if (n < 0)
        rc = -errno;
    else if (out->failed)
        rc = -EFBIG;
    close(fd);
    return rc;
}
