#include "tests/e2e/load.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "tests/e2e/harness.h"

#define PATIENCE_MS 60000

struct load {
    uint16_t port;
    size_t total;
    size_t clients;
    pthread_t *threads; /* NULL once joined */
    struct load_outcome *outcomes;
    atomic_size_t next;
    atomic_size_t done;
};

/* The closing bracket keeps question 1 from being found in the answer to question 10. */
static void mark(char out[32], size_t i)
{
    snprintf(out, 32, "[pregunta %zu]", i);
}

static void read_answer(struct load_outcome *o, const struct http_reply *r, const char *own)
{
    json_t *body = json_loadb(r->body.data ? r->body.data : "", r->body.len, 0, NULL);
    const char *trace = json_string_value(json_object_get(body, "trace_id"));
    const char *answer = json_string_value(json_object_get(body, "answer"));

    if (trace)
        snprintf(o->trace_id, sizeof o->trace_id, "%s", trace);
    o->answer_is_own = answer && strstr(answer, own);
    json_decref(body);
}

static void ask_one(struct http_client *c, struct load_outcome *o, size_t i)
{
    struct http_reply r;
    char own[32], body[256], v[16];
    int64_t start = clock_ms();

    mark(own, i);
    snprintf(body, sizeof body,
             "{\"user_id\":\"user-%zu\",\"question\":\"%s " E2E_CANARY "\",\"max_words\":null}", i, own);
    http_call(c, "POST", "/ask", str_of(body), &r);
    o->took_ms = clock_ms() - start;
    o->status = r.status;
    o->trouble = r.trouble;
    o->retry_after = http_header(&r, "Retry-After", v, sizeof v) && strtol(v, NULL, 10) > 0;
    if (r.status == 200)
        read_answer(o, &r, own);
    http_reply_free(&r);
}

static void *client(void *arg)
{
    struct load *l = arg;
    struct http_client c = http_open(l->port);

    c.timeout_ms = PATIENCE_MS;
    for (size_t i; (i = atomic_fetch_add(&l->next, 1)) < l->total;) {
        ask_one(&c, &l->outcomes[i], i);
        if (l->outcomes[i].status == 0)
            e2e_nap(); /* or nobody being there would cost all questions at once */
        atomic_fetch_add(&l->done, 1);
    }
    http_close(&c);
    return NULL;
}

struct load *load_start(uint16_t port, size_t total, size_t clients)
{
    struct load *l = xcalloc(1, sizeof *l);

    l->port = port;
    l->total = total;
    l->clients = clients;
    l->outcomes = xcalloc(total, sizeof *l->outcomes);
    l->threads = xcalloc(clients, sizeof *l->threads);
    for (size_t i = 0; i < clients; i++)
        cr_assert_eq(pthread_create(&l->threads[i], NULL, client, l), 0);
    return l;
}

size_t load_done(struct load *l)
{
    return atomic_load(&l->done);
}

size_t load_stop(struct load *l)
{
    size_t asked = atomic_exchange(&l->next, l->total);

    load_outcomes(l);
    return asked < l->total ? asked : l->total;
}

bool load_finished(struct load *l)
{
    return load_done(l) == l->total;
}

const struct load_outcome *load_outcomes(struct load *l)
{
    for (size_t i = 0; l->threads && i < l->clients; i++)
        pthread_join(l->threads[i], NULL);
    free(l->threads);
    l->threads = NULL;
    return l->outcomes;
}

void load_free(struct load *l)
{
    if (!l)
        return;
    load_outcomes(l);
    free(l->outcomes);
    free(l);
}
