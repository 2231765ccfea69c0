#include "llm-worker/roster.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/conf.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "llm-worker/trust.h"

#define VARIABLE    "LLM_UPSTREAMS_FILE"
#define KEY_PREFIX  "LLM_KEY_"
#define KEY_MAX     1024
#define NAME_BYTES  64
#define CALLS_LIMIT 1000000

/* An entry while it is read. */
struct entry {
    const char *path;
    size_t place; /* from 1 */
    const json_t *o;
    const char *key_name;
    bool bad;
};

static void complain(struct entry *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void complain(struct entry *e, const char *fmt, ...)
{
    char why[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    log_error(VARIABLE "=%s: upstream %zu: %s", e->path, e->place, why);
    e->bad = true;
}

static bool is_line(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || *text == 0x7f)
            return false;
    return true;
}

/* A text without blanks in it; what is absent is `otherwise`. */
static char *text_of(struct entry *e, const char *key, const char *otherwise)
{
    const json_t *v = json_object_get(e->o, key);
    const char *text = json_string_value(v);

    if (!v)
        return xstrdup(otherwise);
    if (!text || !*text || !is_line(text) || strlen(text) > KIB) {
        complain(e, "\"%s\" must be a text without blanks, of at most %u bytes", key, KIB);
        return xstrdup("");
    }
    return xstrdup(text);
}

static int64_t number_of(struct entry *e, const char *key, int64_t otherwise, int64_t min, int64_t max)
{
    const json_t *v = json_object_get(e->o, key);

    if (!v)
        return otherwise;
    if (json_is_integer(v) && json_integer_value(v) >= min && json_integer_value(v) <= max)
        return json_integer_value(v);
    complain(e, "\"%s\" must be a whole number from %lld to %lld", key, (long long)min, (long long)max);
    return otherwise;
}

static bool flag_of(struct entry *e, const char *key, bool otherwise)
{
    const json_t *v = json_object_get(e->o, key);

    if (v && !json_is_boolean(v))
        complain(e, "\"%s\" must be true or false", key);
    return v ? json_is_true(v) : otherwise;
}

static void take_name(struct entry *e, struct target *t)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

    t->name = text_of(e, "name", "");
    if (!*t->name || strspn(t->name, letters) != strlen(t->name) || strlen(t->name) >= NAME_BYTES)
        complain(e, "\"name\" must be letters, digits, - _ or ., at most %d of them", NAME_BYTES - 1);
}

bool roster_url_is_endpoint(const char *url)
{
    static const char end[] = "/chat/completions";
    size_t n = strlen(url);

    while (n > 0 && url[n - 1] == '/')
        n--;
    return n >= sizeof end - 1 && strncmp(url + n - (sizeof end - 1), end, sizeof end - 1) == 0;
}

static void take_url(struct entry *e, struct target *t)
{
    t->base_url = text_of(e, "base_url", "");
    if (!conf_is_url(t->base_url))
        complain(e, "\"base_url\" must begin with http:// or https://, without user and password");
    for (size_t n = strlen(t->base_url); n > 0 && t->base_url[n - 1] == '/'; n--)
        t->base_url[n - 1] = '\0';
    if (roster_url_is_endpoint(t->base_url))
        complain(e, "\"base_url\" ends before /chat/completions, which is added to it");
    t->query = text_of(e, "query", "");
    if (strchr(t->query, '#') || t->query[0] == '?')
        complain(e, "\"query\" is what stands behind the ?, like api-version=2024-10-21");
}

static void take_auth(struct entry *e, struct target *t)
{
    static const char *const words[] = {"bearer", "api-key", "none"};
    char *word = text_of(e, "auth", json_object_get(e->o, "key") ? "bearer" : "none");
    size_t i = 0;

    while (i < ARRAY_LEN(words) && strcmp(word, words[i]) != 0)
        i++;
    if (i == ARRAY_LEN(words))
        complain(e, "\"auth\" must be bearer, api-key or none");
    t->auth = (enum auth)i;
    free(word);
}

/* The key comes from the environment, so that only the workers see it and the list may be shown to anybody. */
static void take_key(struct entry *e, struct target *t)
{
    char *name = text_of(e, "key", "");
    struct conf_row row = {
        .name = name, .type = CONF_STR, .max = KEY_MAX, .flags = CONF_SECRET, .doc = "Key of an upstream."};

    t->key = NULL;
    if (t->auth == AUTH_NONE) {
        if (*name)
            complain(e, "\"auth\" is none, so there must be no \"key\"");
    } else if (strncmp(name, KEY_PREFIX, strlen(KEY_PREFIX)) != 0 && strcmp(name, "OPENAI_API_KEY") != 0) {
        complain(e, "\"key\" must name the variable that holds the key: " KEY_PREFIX "… or OPENAI_API_KEY");
    } else if (conf_load_more(&row, 1, &t->key) < 0) {
        e->bad = true;
    } else if (!*t->key) {
        complain(e, "%.100s, which \"key\" names, is not set", name);
    }
    if (!t->key)
        t->key = xstrdup("");
    t->key_name = name;
}

static void take_ca_file(struct entry *e, struct target *t)
{
    const char *why;

    t->ca_file = text_of(e, "ca_file", "");
    if (*t->ca_file && trust_check(t->ca_file, &why) < 0)
        complain(e, "\"ca_file\" %.120s: cannot use it: %s", t->ca_file, why);
}

static void refuse_unknown(struct entry *e)
{
    static const char *const known[] = {
        "name",     "base_url", "query",           "auth",    "key",           "model",
        "priority", "weight",   "max_concurrency", "ca_file", "stream_options"};
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)e->o, key, v)
    {
        size_t i = 0;
        while (i < ARRAY_LEN(known) && strcmp(key, known[i]) != 0)
            i++;
        if (i == ARRAY_LEN(known))
            complain(e, "there is no setting \"%.60s\"", key);
    }
}

static void show(const struct target *t)
{
    static const char *const auths[] = {"Bearer, key ***", "api-key ***", "no key"};
    struct buf name = BUF_INIT(KIB), text = BUF_INIT(8 * KIB);

    buf_printf(&name, "upstream %s", t->name);
    buf_printf(&text, "%s%s%s model %s, priority %lld, weight %lld, %s", t->base_url, *t->query ? " ?" : "",
               t->query, t->model, (long long)t->priority, (long long)t->weight, auths[t->auth]);
    if (t->max_concurrency)
        buf_printf(&text, ", at most %lld calls at once", (long long)t->max_concurrency);
    if (*t->ca_file)
        buf_printf(&text, ", authorities in %s", t->ca_file);
    conf_tell(name.data, text.data, VARIABLE);
    buf_free(&name);
    buf_free(&text);
}

static bool take_target(struct entry *e, struct target *t, const char *default_model)
{
    if (!json_is_object(e->o)) {
        complain(e, "it must be an object");
        return false;
    }
    refuse_unknown(e);
    take_name(e, t);
    take_url(e, t);
    take_auth(e, t);
    take_key(e, t);
    take_ca_file(e, t);
    t->model = text_of(e, "model", default_model);
    t->priority = number_of(e, "priority", 0, 0, 1000);
    t->weight = number_of(e, "weight", 1, 1, 1000);
    t->bare_streams = !flag_of(e, "stream_options", true);
    t->max_concurrency = number_of(e, "max_concurrency", 0, 0, CALLS_LIMIT);
    if (!e->bad)
        show(t);
    return !e->bad;
}

static int take_all(struct roster *r, const json_t *list, const char *path, const char *default_model)
{
    bool good = true;

    r->n = json_array_size(list);
    r->targets = xcalloc(r->n, sizeof *r->targets);
    for (size_t i = 0; i < r->n; i++) {
        struct entry e = {.path = path, .place = i + 1, .o = json_array_get(list, i)};
        good &= take_target(&e, &r->targets[i], default_model);
        for (size_t k = 0; k < i && r->targets[i].name; k++)
            if (r->targets[k].name && strcmp(r->targets[k].name, r->targets[i].name) == 0) {
                complain(&e, "its name is that of upstream %zu", k + 1);
                good = false;
            }
    }
    return good ? 0 : -EINVAL;
}

static json_t *read_list(const char *path, json_t **root)
{
    json_error_t error;
    json_t *list;

    *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!*root) {
        if (error.line > 0)
            log_error(VARIABLE "=%s: line %d: %s", path, error.line, error.text);
        else
            log_error(VARIABLE "=%s: %s", path, error.text);
        return NULL;
    }
    list = json_object_get(*root, "upstreams");
    if (json_is_array(list) && json_array_size(list) > 0 && json_array_size(list) <= UPSTREAMS_MAX)
        return list;
    log_error(VARIABLE "=%s: {\"upstreams\": [ … ]} wanted, a list of 1 to %d", path, UPSTREAMS_MAX);
    return NULL;
}

int roster_new(struct roster **out, const char *path, const char *default_model)
{
    struct roster *r = xcalloc(1, sizeof *r);
    json_t *root = NULL;
    const json_t *list = read_list(path, &root);
    int rc = list ? take_all(r, list, path, default_model) : -EINVAL;

    json_decref(root);
    if (rc < 0) {
        roster_free(r);
        r = NULL;
    }
    *out = r;
    return rc;
}

struct roster *roster_of_one(const struct target *t)
{
    struct roster *r = xcalloc(1, sizeof *r);

    r->n = 1;
    r->targets = xcalloc(1, sizeof *r->targets);
    *r->targets = *t;
    r->targets->name = xstrdup(t->name);
    r->targets->base_url = xstrdup(t->base_url);
    r->targets->query = xstrdup(t->query);
    r->targets->key = xstrdup(t->key);
    r->targets->key_name = xstrdup(t->key_name);
    r->targets->model = xstrdup(t->model);
    r->targets->ca_file = xstrdup(t->ca_file);
    return r;
}

void roster_free(struct roster *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++) {
        struct target *t = &r->targets[i];
        if (t->key)
            explicit_bzero(t->key, strlen(t->key));
        free(t->name);
        free(t->base_url);
        free(t->query);
        free(t->key);
        free(t->key_name);
        free(t->model);
        free(t->ca_file);
    }
    free(r->targets);
    free(r);
}
