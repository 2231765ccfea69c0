#include "supervisor/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/log.h"

static struct {
    int fd; /* connected; -1: nobody wants to know */
    int64_t watchdog_ms;
} manager = {.fd = -1};

static int reach(const char *name)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = strlen(name);

    if (*name != '/' && *name != '@')
        return -EAFNOSUPPORT;
    if (n < 2 || n >= sizeof to.sun_path)
        return -EINVAL;
    memcpy(to.sun_path, name, n);
    if (*name == '@')
        to.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&to, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) <
        0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

/* The variables outlive the process they were meant for where somebody hands an environment down. */
static int64_t watchdog(const char *usec, const char *pid)
{
    if (!usec || (pid && strtol(pid, NULL, 10) != (long)getpid()))
        return 0;
    int64_t ms = strtoll(usec, NULL, 10) / 1000;
    return ms > 1 ? ms / 2 : ms > 0;
}

void notify_open(void)
{
    const char *name = getenv("NOTIFY_SOCKET");

    if (name && *name) {
        manager.fd = reach(name);
        if (manager.fd < 0)
            log_warning("NOTIFY_SOCKET=%s: cannot tell the service manager anything: %s", name,
                        strerror(-manager.fd));
    }
    if (manager.fd >= 0)
        manager.watchdog_ms = watchdog(getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"));
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void notify_close(void)
{
    if (manager.fd >= 0)
        close(manager.fd);
    manager.fd = -1;
    manager.watchdog_ms = 0;
}

void notify(const char *fmt, ...)
{
    char text[NOTIFY_MAX];
    va_list ap;

    if (manager.fd < 0)
        return;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n <= 0 || (size_t)n >= sizeof text)
        return;
    ssize_t ignored = send(manager.fd, text, (size_t)n, MSG_NOSIGNAL);
    (void)ignored;
}

int64_t notify_watchdog_ms(void)
{
    return manager.watchdog_ms;
}
