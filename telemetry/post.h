/*
 * post.h - HTTP POST, and a GET, through libcurl's multi interface, driven by the loop
 *
 * Purpose  the only file that includes curl.h. Connections are kept and used again; certificates are always
 *          verified; redirects are not followed.
 * Owner    a post is made once and used for one request after the other. The body of a request is borrowed until
 *          its `done`; the answer until `done` returns. `done` may start the next request.
 * Threads  the loop's.
 * Errors   an answer with status 0 and `error` says that there was none.
 * Limits   UPLOAD_ANSWER_MAX of an answer's body: the rest is not read, and its status counts nevertheless.
 */
#ifndef ATALAYA_TELEMETRY_POST_H
#define ATALAYA_TELEMETRY_POST_H

#include "common/base/attr.h"
#include "common/base/str.h"
#include "common/proc/loop.h"

struct post_client;
struct post_target; /* where to, with which headers */
struct post;

struct post_conf {
    const char *user; /* HTTP Basic; "" = none */
    const char *password;
    int64_t timeout_ms;
    const char *ca_file, *ca_dir; /* "" = the system's */
};

struct post_answer {
    int status;        /* 0: none */
    const char *error; /* why there is none */
    struct str body;
    struct str retry_after;
};

struct post_client *post_client_new(struct loop *l,
                                    const struct post_conf *c); /* strings are kept, not copied */
void post_client_free(struct post_client *c);                   /* after its posts and targets */

struct post_target *post_target_new(const char *base_url, const char *path, const char *const *headers);
void post_target_free(struct post_target *t);

struct post *post_new(struct post_client *c, void (*done)(void *arg, const struct post_answer *a), void *arg);
void post_free(struct post *p); /* a request under way is given up, without `done` */
void post_send(struct post *p, const struct post_target *t, struct str body);
void post_get(struct post *p, const struct post_target *t); /* instead of post_send(), for all its life */
void post_set_timeout(struct post *p, int64_t ms);          /* in place of the client's */

#endif
