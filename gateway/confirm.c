#include "gateway/confirm.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#define WARN_EVERY_MS 60000

static void told(void *arg, bool committed)
{
    static struct log_limit limit = LOG_LIMIT(1, WARN_EVERY_MS, "answers without a confirmed record");
    struct confirm_wait *w = arg;

    if (!committed) {
        w->confirm->unconfirmed++;
        if (log_allowed(LOG_WARNING, &limit))
            log_warning("telemetry does not confirm what it is sent: answers go out before their records are "
                        "known to be on disk");
    }
    w->fn(w->arg);
}

void confirm_put(struct confirm *c, const struct event *e, struct confirm_wait *w, void (*fn)(void *arg),
                 void *arg)
{
    *w = (struct confirm_wait){c, fn, arg};
    if (sink_telemetry_awaited(c->sink)) {
        sink_put_notify(c->sink, e, clock_ms() + c->timeout_ms, told, w);
        return;
    }
    sink_put(c->sink, e);
    told(w, false);
}

void confirm_tell(struct confirm *c)
{
    if (c->unconfirmed == 0)
        return;
    sink_put(c->sink, &(struct event){.kind = EVENT_UNCONFIRMED, .count = c->unconfirmed});
    c->unconfirmed = 0;
}
