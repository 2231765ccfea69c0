#include "common/proc/door.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/mem.h"

int door_check(const char *host, int port, const char *host_variable, const char *port_variable)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;

    if (inet_pton(AF_INET, host, &a.sin_addr) != 1) {
        log_error("%s=%s is not an IPv4 address", host_variable, host);
        return -EINVAL;
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    int ret = bind(fd, (struct sockaddr *)&a, sizeof a) < 0 ? -errno : 0;
    close(fd);
    if (ret < 0)
        log_error("cannot listen on %s port %d: %s; choose another one with %s", host, port, strerror(-ret),
                  port_variable);
    return ret;
}

struct knock {
    pthread_t thread;
    struct sockaddr_in door;
    atomic_bool answered;
};

static void *run(void *arg)
{
    struct knock *k = arg;

    while (!atomic_load(&k->answered)) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd >= 0)
            (void)connect(fd, (struct sockaddr *)&k->door, sizeof k->door); /* on its way is enough */
        poll(NULL, 0, 20);
        if (fd >= 0)
            close(fd);
    }
    return NULL;
}

struct knock *door_knock(const char *host, int port)
{
    struct knock *k = xcalloc(1, sizeof *k);

    k->door = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &k->door.sin_addr) != 1 || k->door.sin_addr.s_addr == htonl(INADDR_ANY))
        k->door.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (pthread_create(&k->thread, NULL, run, k) == 0)
        return k;
    free(k);
    return NULL;
}

void door_answered(struct knock *k)
{
    if (!k)
        return;
    atomic_store(&k->answered, true);
    pthread_join(k->thread, NULL);
    free(k);
}
