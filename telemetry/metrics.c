#include "telemetry/metrics.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "telemetry/text.h"
#include "telemetry/usage.h"

#define OTHER         "other"
#define SEPARATOR     '\x1f' /* between label values; no value keeps one */
#define BUCKETS_BYTES 2048   /* of a histogram's text in the spool */

#define EXEMPLAR_MAX 128 /* code points of an exemplar's labels, names and values */
#define REQUEST_ID_FIT                                                                                       \
    (EXEMPLAR_MAX - (sizeof "trace_id" - 1) - (ID_TRACE_SIZE - 1) - (sizeof "request_id" - 1))

/* An exemplar as it is shown. */
struct mark {
    char trace_id[ID_TRACE_SIZE];
    char request_id[REQUEST_ID_FIT + 1];
    double value;
    int64_t at_us; /* 0: there is none */
};

struct series {
    struct series *next; /* in order of creation */
    enum metric id;
    uint32_t hash;
    char *values[METRIC_LABELS];
    char *labels;       /* as they are printed; the text after its NUL comes after `le` */
    double created;     /* seconds since 1970 */
    double value;       /* sum of a histogram */
    uint64_t *buckets;  /* not cumulated; one more than the row has, for +Inf */
    struct mark *marks; /* one a bucket; NULL until there is one */
    bool dirty;
};

struct family {
    struct series *first, *last;
    size_t n;
};

struct metrics {
    struct family families[METRICS];
    char (*bounds[METRICS])[METRIC_NUMBER_SIZE]; /* of the buckets, as they are printed; NULL: it has none */
    bool dirty;
};

struct metrics *metrics_new(void)
{
    struct metrics *m = xcalloc(1, sizeof *m);

    for (enum metric id = 0; id < METRICS; id++) {
        const struct metric_row *row = &metric_table[id];
        if (row->n_buckets)
            m->bounds[id] = xcalloc(row->n_buckets + 1, sizeof *m->bounds[id]);
        for (size_t i = 0; m->bounds[id] && i <= row->n_buckets; i++)
            metric_number(m->bounds[id][i], i < row->n_buckets ? row->buckets[i] : INFINITY);
        if (metric_labels(id) == 0)
            metrics_add(m, id, METRIC_PLAIN, 0);
    }
    return m;
}

void metrics_clear(struct metrics *m, enum metric id)
{
    struct series *s = m->families[id].first;

    while (s) {
        struct series *next = s->next;
        for (size_t i = 0; i < METRIC_LABELS; i++)
            free(s->values[i]);
        free(s->labels);
        free(s->buckets);
        free(s->marks);
        free(s);
        s = next;
    }
    m->families[id] = (struct family){0};
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    for (enum metric id = 0; id < METRICS; id++) {
        metrics_clear(m, id);
        free(m->bounds[id]);
    }
    free(m);
}

static uint32_t hash_of(const char *const values[METRIC_LABELS], size_t n)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < n; i++) {
        assert(values[i]);
        for (const char *c = values[i]; *c; c++)
            h = (h ^ (unsigned char)*c) * 16777619u;
        h = (h ^ SEPARATOR) * 16777619u;
    }
    return h;
}

static struct series *find(const struct family *f, const char *const values[METRIC_LABELS], size_t n)
{
    uint32_t hash = hash_of(values, n);

    for (struct series *s = f->first; s; s = s->next) {
        size_t i = 0;

        if (s->hash != hash)
            continue;
        while (i < n && strcmp(s->values[i], values[i]) == 0)
            i++;
        if (i == n)
            return s;
    }
    return NULL;
}

static void print_label(struct buf *out, const char *name, const char *value)
{
    buf_puts(out, name);
    buf_puts(out, "=\"");
    for (; *value; value++) {
        if (*value == '\\' || *value == '"')
            buf_putc(out, '\\');
        if (*value == '\n')
            buf_puts(out, "\\n");
        else
            buf_putc(out, *value);
    }
    buf_putc(out, '"');
}

/* A comma between all; `le` stands in its alphabetical place among them. */
static char *labels_text(const struct metric_row *row, const char *const values[METRIC_LABELS])
{
    struct buf out = BUF_INIT(METRIC_LABELS * (2 * METRIC_LABEL_MAX + METRIC_LABEL_MAX));
    bool behind = false;

    for (size_t i = 0; i < METRIC_LABELS && row->labels[i]; i++) {
        if (!behind && row->n_buckets && strcmp("le", row->labels[i]) < 0) {
            buf_putc(&out, '\0');
            behind = true;
        } else if (i) {
            buf_putc(&out, ',');
        }
        assert(values[i]);
        print_label(&out, row->labels[i], values[i]);
    }
    if (!behind)
        buf_putc(&out, '\0');
    buf_putc(&out, '\0');
    return out.data;
}

static struct series *create(struct metrics *m, enum metric id, const char *const values[METRIC_LABELS])
{
    const struct metric_row *row = &metric_table[id];
    struct family *f = &m->families[id];
    struct series *s = xcalloc(1, sizeof *s);

    s->id = id;
    s->hash = hash_of(values, metric_labels(id));
    for (size_t i = 0; i < metric_labels(id); i++)
        s->values[i] = xstrdup(values[i]);
    s->labels = labels_text(row, values);
    s->created = (double)wall_us() / 1e6;
    if (row->type == METRIC_HISTOGRAM)
        s->buckets = xcalloc(row->n_buckets + 1, sizeof *s->buckets);
    *(f->last ? &f->last->next : &f->first) = s;
    f->last = s;
    f->n++;
    return s;
}

static size_t most_series(enum metric id)
{
    switch (id) {
    case METRIC_COST:
    case METRIC_FEEDBACK:
        return METRIC_NAMES_MAX;
    case METRIC_TOKENS:
    case METRIC_TOKENS_ESTIMATED:
        return METRIC_NAMES_MAX * USAGE_KINDS;
    case METRIC_GENAI_TOKENS: /* input and output */
        return METRIC_NAMES_MAX * 2;
    case METRIC_REQUEST_LATENCY:
        return METRIC_ROUTES_MAX;
    default:
        return metric_table[id].type == METRIC_HISTOGRAM ? METRIC_NAMES_MAX : METRIC_SERIES_MAX;
    }
}

static bool printable(const char *value)
{
    return text_is_clean(str_of(value)) && !strchr(value, SEPARATOR);
}

static struct series *get(struct metrics *m, enum metric id, const char *const labels[METRIC_LABELS])
{
    const char *values[METRIC_LABELS] = {NULL};
    char cut[METRIC_LABELS][METRIC_LABEL_MAX + 1];
    size_t n = metric_labels(id);

    for (size_t i = 0; i < n; i++) {
        const char *v = labels[i] ? labels[i] : "";
        size_t len = utf8_clip(v, strlen(v), METRIC_LABEL_MAX);
        memcpy(cut[i], v, len);
        cut[i][len] = '\0';
        values[i] = printable(cut[i]) ? cut[i] : OTHER;
    }
    struct series *s = find(&m->families[id], values, n);
    if (s)
        return s;
    if (m->families[id].n >= most_series(id)) {
        for (size_t i = 0; i < n; i++)
            values[i] = OTHER;
        s = find(&m->families[id], values, n);
    }
    return s ? s : create(m, id, values);
}

static void touch(struct metrics *m, struct series *s)
{
    if (!metric_table[s->id].kept)
        return;
    s->dirty = true;
    m->dirty = true;
}

void metrics_add(struct metrics *m, enum metric id, const char *const labels[METRIC_LABELS], double by)
{
    struct series *s = get(m, id, labels);

    s->value += by;
    touch(m, s);
}

void metrics_set(struct metrics *m, enum metric id, const char *const labels[METRIC_LABELS], double value)
{
    get(m, id, labels)->value = value;
}

void metrics_raise(struct metrics *m, enum metric id, const char *const labels[METRIC_LABELS], double value)
{
    struct series *s = get(m, id, labels);

    if (value > s->value)
        s->value = value;
}

static size_t bucket_of(const struct metric_row *row, double value)
{
    size_t i = 0;

    while (i < row->n_buckets && value > row->buckets[i])
        i++;
    return i;
}

/* x: NULL, or perhaps of no trace. */
static void mark_bucket(struct series *s, size_t bucket, double value, const struct exemplar *x)
{
    if (!x || x->at_us <= 0 || !text_is_hex(x->trace_id, ID_TRACE_SIZE - 1))
        return;
    bool fits = x->request_id.n <= REQUEST_ID_FIT && text_is_clean(x->request_id);
    if (!s->marks)
        s->marks = xcalloc(metric_table[s->id].n_buckets + 1, sizeof *s->marks);
    struct mark *m = &s->marks[bucket];
    *m = (struct mark){.value = value, .at_us = x->at_us};
    memcpy(m->trace_id, x->trace_id.p, ID_TRACE_SIZE - 1);
    if (fits && x->request_id.n)
        memcpy(m->request_id, x->request_id.p, x->request_id.n);
}

void metrics_add_from(struct metrics *m, enum metric id, const char *const labels[METRIC_LABELS], double by,
                      const struct exemplar *x)
{
    struct series *s = get(m, id, labels);

    s->value += by;
    mark_bucket(s, 0, by, x);
    touch(m, s);
}

void metrics_observe(struct metrics *m, enum metric id, const char *const labels[METRIC_LABELS], double value,
                     const struct exemplar *x)
{
    struct series *s = get(m, id, labels);
    size_t bucket = bucket_of(&metric_table[id], value);

    s->value += value;
    s->buckets[bucket]++;
    mark_bucket(s, bucket, value, x);
    touch(m, s);
}

bool metrics_dirty(const struct metrics *m)
{
    return m->dirty;
}

static struct str buckets_text(const struct metrics *m, const struct series *s, struct buf *b)
{
    for (size_t i = 0; s->buckets && i <= metric_table[s->id].n_buckets; i++)
        if (s->buckets[i])
            buf_printf(b, "%s%s:%llu", b->len ? " " : "", m->bounds[s->id][i],
                       (unsigned long long)s->buckets[i]);
    return buf_str(b);
}

static int save_series(const struct metrics *m, const struct series *s, struct spool *spool)
{
    struct buf labels = BUF_INIT(METRIC_LABELS * (METRIC_LABEL_MAX + 1));
    struct buf buckets = BUF_INIT(BUCKETS_BYTES);

    for (size_t i = 0; i < metric_labels(s->id); i++) {
        if (i)
            buf_putc(&labels, SEPARATOR);
        buf_puts(&labels, s->values[i]);
    }
    struct spool_series v = {
        .metric = str_of(metric_table[s->id].name),
        .labels = buf_str(&labels),
        .created = s->created,
        .value = s->value,
        .buckets = buckets_text(m, s, &buckets),
    };
    int rc = spool_put_series(spool, &v);
    buf_free(&labels);
    buf_free(&buckets);
    return rc;
}

int metrics_save(struct metrics *m, struct spool *spool)
{
    int rc = 0;

    for (enum metric id = 0; m->dirty && id < METRICS; id++)
        for (const struct series *s = m->families[id].first; s && rc == 0; s = s->next)
            if (s->dirty)
                rc = save_series(m, s, spool);
    return rc;
}

static void set_dirty(struct metrics *m, bool dirty)
{
    for (enum metric id = 0; id < METRICS; id++)
        for (struct series *s = m->families[id].first; s; s = s->next)
            s->dirty = dirty && metric_table[id].kept;
    m->dirty = dirty;
}

void metrics_saved(struct metrics *m)
{
    if (m->dirty)
        set_dirty(m, false);
}

void metrics_unsaved(struct metrics *m)
{
    set_dirty(m, true);
}

/* A bound that the row no longer has counts in the next one above. */
static void load_buckets(struct series *s, const char *text)
{
    while (*text) {
        char *end;
        double bound = strtod(text, &end);
        if (end == text || *end != ':')
            return;
        uint64_t count = strtoull(end + 1, &end, 10);
        s->buckets[bucket_of(&metric_table[s->id], bound)] += count;
        text = *end == ' ' ? end + 1 : end;
    }
}

static bool split_labels(struct str text, enum metric id, const char *values[METRIC_LABELS], char *copy)
{
    size_t n = metric_labels(id);
    size_t found = 1;

    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    values[0] = copy;
    for (char *c = copy; *c; c++)
        if (*c == SEPARATOR) {
            *c = '\0';
            if (found < METRIC_LABELS)
                values[found] = c + 1;
            found++;
        }
    return n == 0 ? text.n == 0 : found == n;
}

/* What an older or newer version kept under a name or with labels that we do not have is left alone. */
static void load_series(void *arg, const struct spool_series *v)
{
    struct metrics *m = arg;
    const char *values[METRIC_LABELS] = {NULL};
    char copy[METRIC_LABELS * (METRIC_LABEL_MAX + 1)];
    enum metric id = 0;

    while (id < METRICS && !(metric_table[id].kept && str_eq(v->metric, metric_table[id].name)))
        id++;
    if (id == METRICS || v->labels.n >= sizeof copy || !split_labels(v->labels, id, values, copy))
        return;
    struct series *s = get(m, id, values);
    s->created = v->created;
    s->value += v->value; /* several may have become "other" */
    if (s->buckets)
        load_buckets(s, v->buckets.p);
}

int metrics_load(struct metrics *m, struct spool *s)
{
    return spool_each_series(s, load_series, m);
}

static void print_value(struct buf *out, double v)
{
    char text[METRIC_NUMBER_SIZE];

    metric_number(text, v);
    buf_putc(out, ' ');
    buf_puts(out, text);
}

static void print_labels(struct buf *out, const struct series *s, const char *le)
{
    const char *behind = s->labels + strlen(s->labels) + 1;

    if (!le && !*s->labels && !*behind)
        return;
    buf_putc(out, '{');
    buf_puts(out, s->labels);
    if (le) {
        buf_puts(out, *s->labels ? ",le=\"" : "le=\"");
        buf_puts(out, le);
        buf_putc(out, '"');
    }
    if (*behind && (le || *s->labels))
        buf_putc(out, ',');
    buf_puts(out, behind);
    buf_putc(out, '}');
}

static void print_mark(struct buf *out, const struct mark *m)
{
    buf_puts(out, " # {");
    print_label(out, "trace_id", m->trace_id);
    if (*m->request_id) {
        buf_putc(out, ',');
        print_label(out, "request_id", m->request_id);
    }
    buf_putc(out, '}');
    print_value(out, m->value);
    buf_printf(out, " %lld.%03d", (long long)(m->at_us / 1000000), (int)(m->at_us / 1000 % 1000));
}

static void print_line(struct buf *out, const struct series *s, const char *suffix, const char *le, double v,
                       const struct mark *m)
{
    buf_puts(out, metric_table[s->id].name);
    buf_puts(out, suffix);
    print_labels(out, s, le);
    print_value(out, v);
    if (m && m->at_us)
        print_mark(out, m);
    buf_putc(out, '\n');
}

static void print_histogram(struct buf *out, const struct metrics *m, const struct series *s, bool marks)
{
    uint64_t sum = 0;

    for (size_t i = 0; i <= metric_table[s->id].n_buckets; i++) {
        sum += s->buckets[i];
        print_line(out, s, "_bucket", m->bounds[s->id][i], (double)sum,
                   marks && s->marks ? &s->marks[i] : NULL);
    }
    print_line(out, s, "_count", NULL, (double)sum, NULL);
    print_line(out, s, "_sum", NULL, s->value, NULL);
}

static void print_head(struct buf *out, const char *name, size_t len, const char *suffix, const char *help,
                       const char *type)
{
    int n = (int)len;

    buf_printf(out, "# HELP %.*s%s %s\n# TYPE %.*s%s %s\n", n, name, suffix, help, n, name, suffix, type);
}

/* What stands before _total, _bucket and the like. */
static size_t family_name(const struct metric_row *row)
{
    return strlen(row->name) - (row->type == METRIC_COUNTER ? sizeof "_total" - 1 : 0);
}

static void print_created(struct buf *out, const struct series *s)
{
    const struct metric_row *row = &metric_table[s->id];

    buf_append(out, row->name, family_name(row));
    buf_puts(out, "_created");
    print_labels(out, s, NULL);
    print_value(out, s->created);
    buf_putc(out, '\n');
}

static void print_series(struct buf *out, const struct metrics *m, const struct series *s, bool open)
{
    if (metric_table[s->id].type == METRIC_HISTOGRAM)
        print_histogram(out, m, s, open);
    else
        print_line(out, s, "", NULL, s->value, open ? s->marks : NULL);
    if (open && metric_table[s->id].created)
        print_created(out, s);
}

static void print_family(struct buf *out, const struct metrics *m, enum metric id, bool open)
{
    const struct family *f = &m->families[id];
    static const char *const types[] = {"counter", "gauge", "histogram"};
    const struct metric_row *row = &metric_table[id];

    print_head(out, row->name, open ? family_name(row) : strlen(row->name), "", row->help, types[row->type]);
    for (const struct series *s = f->first; s; s = s->next)
        print_series(out, m, s, open);
    /* The text format has no such samples: the Python client prints a family of gauges behind it. */
    if (open || !row->created || !f->first)
        return;
    print_head(out, row->name, family_name(row), "_created", row->help, "gauge");
    for (const struct series *s = f->first; s; s = s->next)
        print_created(out, s);
}

void metrics_print(const struct metrics *m, enum metrics_format format, struct buf *out)
{
    bool open = format == METRICS_OPENMETRICS;

    for (enum metric id = 0; id < METRICS; id++)
        print_family(out, m, id, open);
    if (open)
        buf_puts(out, "# EOF\n");
}
