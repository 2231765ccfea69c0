/*
 * processes.h - the processes beside this one, as metrics
 *
 * Purpose  reads RUN_DIR/status (one line a process: role index pid state since restarts last_exit) at every
 *          scrape, and /proc for those that it names. Without a supervisor there is no such file, and telemetry shows
 *          itself only. Those of other containers and machines are not seen: docs/decisions/0029.
 * Threads  the loop's.
 */
#ifndef ATALAYA_TELEMETRY_PROCESSES_H
#define ATALAYA_TELEMETRY_PROCESSES_H

#include "telemetry/metrics.h"

void processes_read(const char *run_dir, struct metrics *m);
void processes_parse(const char *text, struct metrics *m);

#endif
