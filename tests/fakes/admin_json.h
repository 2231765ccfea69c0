/*
 * admin_json.h - reading what a test sends to /_admin/, shared by the fakes' admin files
 *
 * Purpose  a test that mistypes a key must hear of it: unknown keys, wrong types and values out of range are
 *          refused with a sentence.
 * Errors   the readers give 1 when the key was there, 0 when not, -1 with a.error filled.
 */
#ifndef ATALAYA_TESTS_FAKES_ADMIN_JSON_H
#define ATALAYA_TESTS_FAKES_ADMIN_JSON_H

#include <jansson.h>

#include "tests/fakes/httpd.h"

struct admin_reader {
    json_t *object;
    char error[256];
};

/* The body as JSON, or NULL after the exchange was answered with 400. An empty body counts as {}. */
json_t *admin_body(struct exchange *x);

int admin_only(struct admin_reader *a, const char *const *keys);
int admin_int(struct admin_reader *a, const char *key, int64_t min, int64_t max, int64_t *out);
int admin_double(struct admin_reader *a, const char *key, double min, double max, double *out);
int admin_bool(struct admin_reader *a, const char *key, bool *out);
int admin_text(struct admin_reader *a, const char *key, const char **out,
               size_t *n); /* lives in the object */

uint64_t admin_query(const struct exchange *x, const char *name, uint64_t otherwise);

void admin_answer(struct exchange *x, int status, const struct buf *json);
void admin_ok(struct exchange *x);
void admin_refuse(struct exchange *x, int status, const char *message);

#endif
