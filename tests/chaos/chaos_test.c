/* Death as a habit: processes killed with -9 again and again under load, and the books balanced afterwards.
 */
#include <signal.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/load.h"

#define KILL_EVERY_MS 500

TestSuite(chaos, .fini = e2e_cleanup, .timeout = 240);

static const char answered[] = "app_requests_total{endpoint=\"/ask\",method=\"POST\",status=\"200\"}";

/* The same victims in every run. */
static unsigned next_of(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return *seed >> 16;
}

/* Kills one of the role's `count` processes every half second until the load is through. The number of kills.
 */
static int kill_until_finished(struct e2e *e, struct load *l, const char *role, unsigned count)
{
    unsigned seed = 20261124;
    int64_t next = clock_ms() + KILL_EVERY_MS;
    int kills = 0;

    while (!load_finished(l)) {
        if (clock_ms() >= next) {
            pid_t pid = e2e_pid(e, role, (int)(next_of(&seed) % count));
            if (pid && kill(pid, SIGKILL) == 0)
                kills++;
            next += KILL_EVERY_MS;
        }
        e2e_nap();
    }
    return kills;
}

/* P1: every request got one answer, its own. */
static void expect_every_answer(const struct load_outcome *o, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        cr_assert_eq(o[i].status, 200, "question %zu: status %d %s after %lld ms", i, o[i].status,
                     o[i].trouble ? o[i].trouble : "", (long long)o[i].took_ms);
        cr_assert(o[i].answer_is_own, "question %zu got another's answer", i);
    }
}
