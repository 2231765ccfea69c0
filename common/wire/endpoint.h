/*
 * endpoint.h - where the wires meet when nothing else is configured
 *
 * Purpose  ipc://ATALAYA_RUN_DIR/<name>: the same folder for all processes of an instance
 *          (common/proc/dirs.h).
 * Owner    *endpoint is a malloc'd string; an empty or NULL one is replaced, another is left alone.
 * Errors   0 or -EINVAL, having logged which folder cannot be used and why.
 */
#ifndef ATALAYA_WIRE_ENDPOINT_H
#define ATALAYA_WIRE_ENDPOINT_H

#include "common/base/attr.h"

#define ENDPOINT_JOBS   "jobs.sock"
#define ENDPOINT_EVENTS "events.sock"

int endpoint_default(char **endpoint, const char *name) NODISCARD;

#endif
