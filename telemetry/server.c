#include "telemetry/server.h"

#include <stdio.h>
#include <string.h>

#define ASK_EVERY_MS 3600000 /* when all is well */
#define ASK_AGAIN_MS 30000   /* after failures */
#define ASK_SOON_MS  1000    /* the same, as long as it has not told anything */

enum server_form server_form_of(const char *version)
{
    unsigned major, minor;

    if (sscanf(version, "%u.%u.", &major, &minor) != 2)
        return SERVER_OTLP;
    return major < 3 || (major == 3 && minor < 63) ? SERVER_BATCH : SERVER_OTLP;
}

bool server_is_due(const struct server *s, int64_t now)
{
    int64_t wait = !s->failed ? ASK_EVERY_MS : *s->version ? ASK_AGAIN_MS : ASK_SOON_MS;

    return !s->asked || now - s->asked_ms >= wait;
}

void server_ask(struct server *s, int64_t now)
{
    s->asked = true;
    s->failed = false;
    s->asked_ms = now;
}

bool server_told(struct server *s, const char *version)
{
    if (!*version || strcmp(version, s->version) == 0)
        return false;
    snprintf(s->version, sizeof s->version, "%s", version);
    s->refuses_batch = false;
    s->form = server_form_of(version);
    return true;
}

void server_failed(struct server *s)
{
    s->failed = true;
}

void server_refused_batch(struct server *s)
{
    s->refuses_batch = true;
    s->form = SERVER_OTLP;
    s->failed = true; /* it is another one: ask which */
}
