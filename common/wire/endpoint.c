#include "common/wire/endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/proc/dirs.h"

int endpoint_default(char **endpoint, const char *name)
{
    char dir[DIRS_PATH_MAX];
    char text[DIRS_PATH_MAX + 64];
    const char *what = "";

    if (*endpoint && **endpoint)
        return 0;
    int ret = dirs_run(dir, &what);
    if (ret < 0) {
        log_error("%s: the folder for sockets cannot be used: %s", what, strerror(-ret));
        return -EINVAL;
    }
    snprintf(text, sizeof text, "ipc://%s/%s", dir, name);
    free(*endpoint);
    *endpoint = xstrdup(text);
    return 0;
}
