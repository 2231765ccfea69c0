/*
 * models.h - the models that can be asked for, as GET /v1/models tells, and who refuses our key, as GET /readyz does
 *
 * Purpose  those that the workers' upstreams are configured for, each once. A provider may know more, and takes them.
 * Promise  what was known stays while no worker is there.
 * Owner    plain struct; models_init(), no release.
 * Threads  models_learn() the I/O thread, the rest any.
 * Source   https://platform.openai.com/docs/api-reference/models
 */
#ifndef ATALAYA_GATEWAY_MODELS_H
#define ATALAYA_GATEWAY_MODELS_H

#include <pthread.h>
#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/limits.h"
#include "common/wire/event.h"

struct models {
    pthread_mutex_t lock;
    size_t n;
    struct {
        char id[CHAT_MODEL_MAX + 1];
        char owner[UPSTREAM_NAME_MAX + 1];
    } list[UPSTREAMS_MAX];
    char refusing[UPSTREAMS_MAX * (UPSTREAM_NAME_MAX + 2)];
};

void models_init(struct models *m);
void models_learn(struct models *m, const struct event_upstream *upstreams, size_t n);

void models_refusing(struct models *m, struct buf *out);                 /* names of those, for people */
void models_write(struct models *m, struct buf *out);                    /* all */
bool models_write_one(struct models *m, struct str id, struct buf *out); /* false: there is no such model */

#endif
