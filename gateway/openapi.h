/*
 * openapi.h - the description of the API, and the page that shows it
 *
 * Purpose  /openapi.json and /docs, from the files in gateway/assets, which are part of the program. What the
 *          configuration decides is put in at birth.
 * Owner    the strs belong to the openapi.
 * Threads  any; nothing changes after openapi_new().
 * Source   OpenAPI 3.1.0; Content Security Policy Level 3
 */
#ifndef ATALAYA_GATEWAY_OPENAPI_H
#define ATALAYA_GATEWAY_OPENAPI_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/str.h"

struct openapi;

struct openapi_conf {
    const char *version;
    int64_t max_words;               /* the default of Ask.max_words */
    int64_t body_max, chat_body_max; /* bytes; for the words of 413 */
    bool tokens;                     /* clients need one */
};

struct openapi *openapi_new(const struct openapi_conf *c);
void openapi_free(struct openapi *o);

struct str openapi_json(const struct openapi *o); /* application/json */
struct str openapi_page(const struct openapi *o); /* text/html; charset=utf-8 */

/* The page's Content-Security-Policy: its own script and style by their hashes, requests to its own origin. */
extern const char openapi_page_policy[];

#endif
