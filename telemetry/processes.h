/*
 * processes.h - what the supervisor says about its children, as metrics
 *
 * Purpose  reads RUN_DIR/status (one line a process: role index pid state since restarts last_exit) at every
 *          scrape. Without a supervisor there is no such file and the metrics have no series.
 * Threads  the loop's.
 */
#ifndef ATALAYA_TELEMETRY_PROCESSES_H
#define ATALAYA_TELEMETRY_PROCESSES_H

#include "telemetry/metrics.h"

void processes_read(const char *run_dir, struct metrics *m);
void processes_parse(const char *text, struct metrics *m);

#endif
