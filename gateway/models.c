#include "gateway/models.h"

#include "common/base/json.h"

void models_init(struct models *m)
{
    pthread_mutex_init(&m->lock, NULL);
    m->n = 0;
    *m->refusing = '\0';
}

static size_t place_of(const struct models *m, struct str id)
{
    size_t i = 0;

    while (i < m->n && !str_eq(id, m->list[i].id))
        i++;
    return i;
}

static void learn_refusing(struct models *m, const struct event_upstream *upstreams, size_t n)
{
    struct buf b = {.data = m->refusing, .cap = sizeof m->refusing, .max = sizeof m->refusing - 1};

    buf_reset(&b);
    for (size_t i = 0; i < n; i++)
        if (upstreams[i].refused)
            buf_printf(&b, "%s%.*s", b.len ? ", " : "", (int)upstreams[i].name.n, upstreams[i].name.p);
}

void models_learn(struct models *m, const struct event_upstream *upstreams, size_t n)
{
    if (n == 0)
        return;
    pthread_mutex_lock(&m->lock);
    m->n = 0;
    for (size_t i = 0; i < n && m->n < UPSTREAMS_MAX; i++) {
        const struct event_upstream *u = &upstreams[i];
        if (u->model.n == 0 || place_of(m, u->model) < m->n)
            continue;
        str_copy(m->list[m->n].id, sizeof m->list[0].id, u->model);
        str_copy(m->list[m->n].owner, sizeof m->list[0].owner, u->name);
        m->n++;
    }
    learn_refusing(m, upstreams, n);
    pthread_mutex_unlock(&m->lock);
}

/* When a model was made nobody has told us. */
static void put(struct buf *out, const struct models *m, size_t i)
{
    buf_putc(out, '{');
    json_field_str(out, "id", str_of(m->list[i].id));
    json_field_str(out, "object", str_of("model"));
    json_field_int(out, "created", 0);
    json_field_str(out, "owned_by", str_of(m->list[i].owner));
    buf_putc(out, '}');
}

void models_refusing(struct models *m, struct buf *out)
{
    pthread_mutex_lock(&m->lock);
    buf_puts(out, m->refusing);
    pthread_mutex_unlock(&m->lock);
}

void models_write(struct models *m, struct buf *out)
{
    buf_puts(out, "{\"object\":\"list\",\"data\":[");
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n; i++) {
        if (i)
            buf_putc(out, ',');
        put(out, m, i);
    }
    pthread_mutex_unlock(&m->lock);
    buf_puts(out, "]}");
}

bool models_write_one(struct models *m, struct str id, struct buf *out)
{
    pthread_mutex_lock(&m->lock);
    size_t i = place_of(m, id);
    bool known = i < m->n;
    if (known)
        put(out, m, i);
    pthread_mutex_unlock(&m->lock);
    return known;
}
