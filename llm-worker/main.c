#include "common/base/log.h"
#include "common/proc/child.h"
#include "common/proc/daemon.h"
#include "llm-worker/conf.h"
#include "llm-worker/link.h"

struct llm_worker {
    struct daemon daemon;
    struct worker_conf conf;
    struct link *link;
};

static int configure(void *self)
{
    struct llm_worker *w = self;
    int rc = worker_conf_load(&w->conf);

    w->daemon.drain_ms = w->conf.drain_timeout_ms;
    return rc;
}

static void say_whom(const struct worker_conf *c)
{
    if (worker_conf_is_demo(c))
        log_warning("OPENAI_API_KEY is not set: questions go to the demo upstream %s", c->demo_base_url);
    else if (!c->roster)
        log_warning("OPENAI_API_KEY is not set: /ask will answer 502");
    for (size_t i = 0; c->roster && i < c->roster->n; i++) {
        const struct target *t = &c->roster->targets[i];
        log_event(LOG_INFO,
                  LOG_FIELDS(LOG_CSTR("upstream", t->name), LOG_INT("priority", t->priority),
                             LOG_INT("weight", t->weight)),
                  "asks %s, model %s", t->base_url, t->model);
    }
}

static int init(void *self, struct loop *loop)
{
    struct llm_worker *w = self;

    if (link_new(&w->link, loop, &w->conf) < 0)
        return EXIT_ENVIRONMENT;
    say_whom(&w->conf);
    return 0;
}

static void drained(void *arg)
{
    daemon_drained(arg);
}

static void drain(void *self)
{
    struct llm_worker *w = self;

    link_drain(w->link, drained, &w->daemon);
}

static void fini(void *self)
{
    struct llm_worker *w = self;

    link_free(w->link);
    worker_conf_free(&w->conf);
}

int main(int argc, char **argv)
{
    struct llm_worker w = {.daemon = {
                               .name = "llm-worker",
                               .program = "atalaya-llm-worker",
                               .purpose = "asks an OpenAI-compatible API for the gateway",
                               .conf = &worker_conf_table,
                               .configure = configure,
                               .init = init,
                               .drain = drain,
                               .fini = fini,
                           }};

    w.daemon.self = &w;
    return daemon_run(&w.daemon, argc, argv);
}
