/*
 * run.h - the supervisor's loop
 *
 * Purpose  starts telemetry, llm-workers, gateway in that order, keeps them alive, stops them in the
 *          opposite order. One poll over the signals and the ready pipes; deadlines are absolute; its
 *          own code allocates nothing after the start.
 * Promise  P9: leaves no child. P5: a telemetry that does not come up delays the others for
 *          ROLE_PATIENCE_MS only.
 * Threads  the only one of the process.
 * Errors   run() returns an exit code of child.h; EXIT_DONE after TERM or INT, EXIT_SOFTWARE when a
 *          child died too often, EXIT_CONFIG when a child refused its configuration.
 */
#ifndef ATALAYA_SUPERVISOR_RUN_H
#define ATALAYA_SUPERVISOR_RUN_H

#include "common/base/attr.h"
#include "supervisor/settings.h"

#define ROLE_PATIENCE_MS 5000 /* the next role starts then although this one is not ready */

int run(const struct settings *s) NODISCARD;

#endif
