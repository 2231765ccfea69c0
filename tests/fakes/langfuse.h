/*
 * langfuse.h - the parts of fake-langfuse and what they share
 *
 * Purpose  Langfuse's write API for tests and benches, as strict as the real one; and stricter in one way:
 *          what the real server takes and then hides, loses or misreads is remembered as a violation.
 *          langfuse_main.c options                langfuse_otlp.c   spans: read, judge, show
 *          langfuse_route.c  keys, paths, faults langfuse_batch.c  POST /api/public/ingestion
 *          langfuse_store.c  what was accepted      langfuse_score.c scores langfuse_rules.c  times,
 *          environments    langfuse_gunzip.c gzip langfuse_admin.c  the /_admin/ paths
 * Threads  one.
 */
#ifndef ATALAYA_TESTS_FAKES_LANGFUSE_H
#define ATALAYA_TESTS_FAKES_LANGFUSE_H

#include "common/base/limits.h"
#include "tests/fakes/httpd.h"
#include "tests/fakes/reqlog.h"

#define INGESTION_BODY_MAX 4718592 /* 4.5 MB, as Langfuse's own */
#define SCOPE_PREFIX       "langfuse-sdk"

enum route { R_HEALTH, R_READY, R_PROJECTS, R_INGESTION, R_OTEL, R_SCORES, R_READ, R_OTHER, R_COUNT };
enum mode { MODE_EVENTS_ONLY, MODE_DUAL, MODE_LEGACY };

/* How the server misbehaves, until the next POST /_admin/behaviour or for `count` requests. */
struct behaviour {
    bool down;       /* connections are closed at once */
    bool stall;      /* never answers, stores nothing */
    bool cut;        /* stores, then closes without an answer */
    int64_t slow_ms; /* stores at once, answers late */
    int status;      /* refuses with it, stores nothing */
    double retry_after;
    int64_t max_body;    /* larger bodies are 413 */
    int64_t padding;     /* so many blanks behind each answer */
    char says[256];      /* the body of what it refuses */
    char containing[64]; /* status is for requests with these words only */
    double share;        /* status is for this share of them, by lot; 0: for all */
    int64_t count;       /* requests left for it; 0: for ever */
    enum route only;     /* R_COUNT: all that write */
};

/* Content of one kind, keyed by what Langfuse merges on. The newest content wins; `raw` counts arrivals. */
struct item {
    struct item *hash_next;
    struct item *next; /* of the same trace, or in the list of all scores; oldest first */
    struct trace *trace;
    char *key;
    char *bytes; /* a packed span, or JSON */
    size_t key_n, n;
    uint64_t hash;
    uint64_t raw;
    uint64_t serial;
    bool json;
};

struct trace {
    struct trace *hash_next, *next; /* next: in order of arrival */
    char *id;                       /* hex digits, or as sent by the batch route */
    size_t id_n;
    struct item *items, **items_end;
    size_t n_items;
    struct item *batch;          /* the trace itself as the batch route gave it */
    char *name, *user, *session; /* as the latest span said, to find spans that disagree */
    uint64_t serial;
};

struct store {
    struct trace **traces;
    struct item **items;
    struct trace *oldest, **newest_end;
    struct item *scores, **scores_end;
    size_t n_traces, n_items, n_scores, bytes;
    uint64_t serial;
    uint64_t evicted_traces, evicted_items, evicted_scores;
};

struct violation {
    char text[240];
    uint64_t times;
};

struct langfuse {
    struct loop *loop;
    struct httpd *server;
    struct reqlog *log;
    struct store store;
    struct behaviour behaviour;
    const char *public_key, *secret_key;
    char version[32];
    unsigned major, minor;
    enum mode mode;
    bool discard;
    uint64_t requests, client_left;
    size_t in_flight, max_in_flight;
    uint64_t by_route[R_COUNT][600];
    uint64_t spans_raw, spans_unique, spans_repeated, spans_changed, exports;
    uint64_t scores_raw, scores_unique, events_raw, events_refused;
    struct violation violations[FAKE_VIOLATIONS_MAX];
    size_t n_violations;
    uint64_t violations_seen;
    struct buf body, unpacked; /* scratch */
};

/* The server is at least that version. */
static inline bool at_least(const struct langfuse *l, unsigned major, unsigned minor)
{
    return l->major > major || (l->major == major && l->minor >= minor);
}

bool set_version(struct langfuse *l, const char *text);

/* langfuse_route.c */
void route_request(void *arg, struct exchange *x);
void route_done(void *arg, struct exchange *x, enum httpd_end end);
const char *route_name(enum route r);
/* Answers now, or later when the server is slow, or not when it cuts. */
void reply(struct langfuse *l, struct exchange *x, int status, const char *type, const char *headers,
           struct str body);
void reply_json(struct langfuse *l, struct exchange *x, int status, const char *json);
void violation(struct langfuse *l, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* langfuse_store.c */
void store_init(struct store *s);
void store_free(struct store *s);
struct trace *store_trace(struct store *s, struct str id);
struct trace *store_find_trace(const struct store *s, struct str id);
/* The item of that key, made when it is new (n == 0 and bytes NULL then). */
struct item *store_item(struct store *s, struct trace *t, struct str key);
/* The trace itself, as the batch route describes it. */
struct item *store_trace_body(struct store *s, struct trace *t);
struct item *store_score(struct store *s, struct str key);
void store_set(struct store *s, struct item *i, const void *bytes, size_t n, uint64_t hash);
void store_trim(struct store *s); /* the oldest go until everything is within bounds */
uint64_t store_hash(const void *p, size_t n);

/* langfuse_otlp.c */
void otlp_export(struct langfuse *l, struct exchange *x);

/* langfuse_batch.c, langfuse_score.c */
void batch_ingest(struct langfuse *l, struct exchange *x, bool scores_only);
void score_post(struct langfuse *l, struct exchange *x);

/* langfuse_rules.c */
bool rule_time(const char *s, unsigned major);
bool rule_environment(const char *s); /* needs no repair by the server */
bool rule_level(const char *s);

/* langfuse_gunzip.c: 0, -EINVAL (no gzip), -EFBIG. */
int gunzip(struct str in, struct buf *out) NODISCARD;

/* langfuse_admin.c */
void admin_request(struct langfuse *l, struct exchange *x);
void read_observations(struct langfuse *l, struct exchange *x);
void read_scores(struct langfuse *l, struct exchange *x);

#endif
