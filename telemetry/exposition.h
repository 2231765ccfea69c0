/*
 * exposition.h - pages that the loop's thread makes and HTTP threads hand out
 *
 * Purpose  the one object that both sides touch. An HTTP thread asks and waits; the loop makes the wanted pages
 *          between two turns and wakes everybody who asked before that, so a page never shows half a turn, and ten
 *          scrapes at once cost one.
 * Owner    exposition_close() before the HTTP threads are stopped; exposition_free() after.
 * Threads  exposition_get() any; the rest the loop's.
 * Errors   exposition_get(): 0, -ETIMEDOUT (the loop is stuck), -ESHUTDOWN.
 */
#ifndef ATALAYA_TELEMETRY_EXPOSITION_H
#define ATALAYA_TELEMETRY_EXPOSITION_H

#include "common/base/accept.h"
#include "common/base/attr.h"
#include "common/base/buf.h"
#include "common/proc/loop.h"

/* The metrics in each of their formats, under the format's number; and the health. */
enum exposition_page { EXPOSITION_HEALTH = METRICS_FORMATS, EXPOSITION_PAGES };

struct exposition;

/* Fills a page; called on the loop's thread, between turns. */
typedef void exposition_fill(void *arg, unsigned page, struct buf *out);

int exposition_new(struct exposition **out, struct loop *l, exposition_fill *fill, void *arg) NODISCARD;
void exposition_close(struct exposition *x); /* whoever waits leaves */
void exposition_free(struct exposition *x);

int exposition_get(struct exposition *x, unsigned page, struct buf *out) NODISCARD;

#endif
