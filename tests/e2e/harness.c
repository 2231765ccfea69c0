#include "tests/e2e/harness.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/mem.h"

#define INSTANCES_MAX 4
#define ENV_MAX       64
#define TAIL_LINES    40

static struct e2e *instances[INSTANCES_MAX];

/* Signs that a program of ours did what none may do; the last: the supervisor had to kill a child that hung. */
static const char *const alarms[] = {"AddressSanitizer", "LeakSanitizer", "ThreadSanitizer",
                                     "runtime error:",   "Assertion `",   "stack smashing",
                                     "corrupted"};

void e2e_nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
}

static const char *bin_dir(void)
{
    const char *dir = getenv("ATALAYA_BIN");

    cr_assert(dir && *dir, "ATALAYA_BIN must name the folder of the programs");
    return dir;
}

static bool env_is(const char *entry, const char *name)
{
    size_t n = strlen(name);

    return strncmp(entry, name, n) == 0 && entry[n] == '=';
}

static void env_drop(struct buf *env, const char *name)
{
    struct buf kept = BUF_INIT(env->max);

    for (size_t i = 0; i < env->len; i += strlen(env->data + i) + 1)
        if (!env_is(env->data + i, name))
            buf_append(&kept, env->data + i, strlen(env->data + i) + 1);
    buf_free(env);
    *env = kept;
}

void e2e_env(struct e2e *e, const char *name, const char *fmt, ...)
{
    char value[2048];
    va_list ap;

    env_drop(&e->env, name);
    if (!fmt)
        return;
    va_start(ap, fmt);
    vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    buf_printf(&e->env, "%s=%s", name, value);
    buf_putc(&e->env, '\0');
}

/* The environment of a child of the test: what e2e_env() said and nothing of whoever runs the test. */
static void env_list(const struct buf *env, const char *out[ENV_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < env->len; i += strlen(env->data + i) + 1) {
        cr_assert(n + 1 < ENV_MAX);
        out[n++] = env->data + i;
    }
    out[n] = NULL;
}

static void env_inherit(struct e2e *e, const char *name)
{
    if (getenv(name))
        e2e_env(e, name, "%s", getenv(name));
}

static bool port_is_open(uint16_t port)
{
    struct http_reply r = e2e_get(port, "/_admin/stats");
    bool ok = r.status == 200;

    http_reply_free(&r);
    return ok;
}

static void fake_start(struct e2e *e, struct e2e_fake *f, const char *program, const char *name,
                       const char *const more[4])
{
    char path[512], port[8], port_file[128];
    const char *env[ENV_MAX];

    snprintf(path, sizeof path, "%s/%s", bin_dir(), program);
    snprintf(port, sizeof port, "%u", f->port);
    snprintf(port_file, sizeof port_file, "%s/%s.port", e->dir, name);
    snprintf(f->out, sizeof f->out, "%s/%s.out", e->dir, name);
    snprintf(f->err, sizeof f->err, "%s/%s.err", e->dir, name);
    env_list(&e->env, env);
    const char *argv[] = {path,    "--port", port,    "--port-file", port_file,
                          more[0], more[1],  more[2], more[3],       NULL};
    f->pid = process_start(argv, env, e->dir, f->out, f->err);
    E2E_WAIT(E2E_WAIT_SECONDS, port_is_open(f->port));
}

void e2e_openai_start(struct e2e *e)
{
    static const char *const more[4] = {NULL};

    fake_start(e, &e->openai, "fake-openai", "fake-openai", more);
}

void e2e_other_start(struct e2e *e, const char *auth)
{
    const char *const more[4] = {"--auth", auth};

    if (!e->other.port)
        e->other.port = free_port();
    fake_start(e, &e->other, "fake-openai", "fake-other", more);
}

void e2e_langfuse_start(struct e2e *e)
{
    static const char *const keys[4] = {"--public-key", E2E_LF_PUBLIC, "--secret-key", E2E_LF_SECRET};

    fake_start(e, &e->langfuse, "fake-langfuse", "fake-langfuse", keys);
}

void e2e_fake_stop(struct e2e_fake *f)
{
    int status = 0;

    kill(f->pid, SIGTERM);
    E2E_WAIT(E2E_WAIT_SECONDS, process_ended(f->pid, &status));
    f->pid = 0;
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a fake ended with wait status %#x",
              (unsigned)status);
}

static void default_env(struct e2e *e)
{
    static const char *const inherited[] = {
        "PATH",         "ASAN_OPTIONS", "UBSAN_OPTIONS",    "LSAN_OPTIONS",
        "TSAN_OPTIONS", "GCOV_PREFIX",  "GCOV_PREFIX_STRIP"};

    for (size_t i = 0; i < ARRAY_LEN(inherited); i++)
        env_inherit(e, inherited[i]);
    e2e_env(e, "HOME", "%s", e->dir);
    e2e_env(e, "ATALAYA_RUN_DIR", "%s", e->run_dir);
    e2e_env(e, "ATALAYA_STATE_DIR", "%s", e->state_dir);
    e2e_env(e, "HOST", "127.0.0.1");
    e2e_env(e, "PORT", "%u", e->port);
    e2e_env(e, "TELEMETRY_HOST", "127.0.0.1");
    e2e_env(e, "TELEMETRY_PORT", "%u", e->telemetry_port);
    e2e_env(e, "OPENAI_API_KEY", "%s", E2E_OPENAI_KEY);
    e2e_env(e, "OPENAI_BASE_URL", "http://127.0.0.1:%u/v1", e->openai.port);
    e2e_env(e, "LANGFUSE_PUBLIC_KEY", "%s", E2E_LF_PUBLIC);
    e2e_env(e, "LANGFUSE_SECRET_KEY", "%s", E2E_LF_SECRET);
    e2e_env(e, "LANGFUSE_HOST", "http://127.0.0.1:%u", e->langfuse.port);
    e2e_env(e, "LANGFUSE_FLUSH_INTERVAL", "0.2");
}

struct e2e *e2e_new(void)
{
    struct e2e *e = xcalloc(1, sizeof *e);
    size_t place = 0;

    while (place < INSTANCES_MAX && instances[place])
        place++;
    cr_assert(place < INSTANCES_MAX);
    process_adopt_orphans();
    /* Short, because the path of a Unix socket has 107 bytes. */
    snprintf(e->dir, sizeof e->dir, "/tmp/atalaya-e2e-XXXXXX");
    cr_assert(mkdtemp(e->dir), "%s: %s", e->dir, strerror(errno));
    instances[place] = e;
    snprintf(e->run_dir, sizeof e->run_dir, "%s/run", e->dir);
    snprintf(e->state_dir, sizeof e->state_dir, "%s/state", e->dir);
    snprintf(e->out, sizeof e->out, "%s/atalaya.out", e->dir);
    snprintf(e->err, sizeof e->err, "%s/atalaya.err", e->dir);
    e->env = BUF_INIT(64u * 1024);
    e->port = free_port();
    e->telemetry_port = free_port();
    e->openai.port = free_port();
    e->langfuse.port = free_port();
    default_env(e);
    e2e_openai_start(e);
    e2e_langfuse_start(e);
    return e;
}

pid_t e2e_launch(struct e2e *e, const char *const args[])
{
    char path[512];
    const char *argv[16] = {path};
    const char *env[ENV_MAX];
    size_t n = 1;

    snprintf(path, sizeof path, "%s/atalaya", bin_dir());
    for (; *args && n + 1 < ARRAY_LEN(argv); args++)
        argv[n++] = *args;
    env_list(&e->env, env);
    return process_start(argv, env, e->dir, e->out, e->err);
}

size_t e2e_children(const struct e2e *e, struct e2e_child out[E2E_CHILDREN_MAX])
{
    char path[128];
    struct buf b = BUF_INIT(64u * 1024);
    size_t n = 0;

    snprintf(path, sizeof path, "%s/status", e->run_dir);
    read_file(path, &b);
    char *save = NULL;
    for (char *line = b.data ? strtok_r(b.data, "\n", &save) : NULL; line && n < E2E_CHILDREN_MAX;
         line = strtok_r(NULL, "\n", &save)) {
        struct e2e_child *c = &out[n];
        int pid = 0;
        if (sscanf(line, "%23s %d %d %23s %*s %ld", c->role, &c->index, &pid, c->state, &c->restarts) != 5)
            continue;
        if (strcmp(c->role, "supervisor") == 0)
            continue;
        c->pid = pid;
        n++;
    }
    buf_free(&b);
    return n;
}

static bool is_up(const struct e2e_child *c)
{
    return strcmp(c->state, "ready") == 0 && c->pid > 0;
}

pid_t e2e_pid(const struct e2e *e, const char *role, int index)
{
    struct e2e_child list[E2E_CHILDREN_MAX];
    size_t n = e2e_children(e, list);

    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].role, role) == 0 && list[i].index == index)
            return is_up(&list[i]) ? list[i].pid : 0;
    return 0;
}

bool e2e_all_up(const struct e2e *e)
{
    struct e2e_child list[E2E_CHILDREN_MAX];
    size_t n = e2e_children(e, list);

    for (size_t i = 0; i < n; i++)
        if (!is_up(&list[i]))
            return false;
    return n > 0;
}

/* The gateway counts a worker from its first word on, which comes a moment after it is ready. */
static bool all_workers_joined(const struct e2e *e)
{
    struct e2e_child list[E2E_CHILDREN_MAX];
    size_t n = e2e_children(e, list);
    json_int_t workers = 0;
    struct http_reply r = e2e_get(e->port, "/health");
    json_t *health = json_loadb(r.body.data ? r.body.data : "", r.body.len, 0, NULL);

    for (size_t i = 0; i < n; i++)
        workers += strcmp(list[i].role, "llm-worker") == 0;
    bool all = health && json_integer_value(json_object_get(health, "workers")) == workers;
    json_decref(health);
    http_reply_free(&r);
    return all;
}

void e2e_start(struct e2e *e)
{
    int status = 0;
    int64_t end = clock_ms() + E2E_WAIT_SECONDS * 1000;
    char path[128];

    snprintf(path, sizeof path, "%s/status", e->run_dir);
    unlink(path); /* of an earlier life that was killed */
    e->supervisor = e2e_launch(e, (const char *const[]){"run", NULL});
    while (!e2e_all_up(e)) {
        if (process_ended(e->supervisor, &status)) {
            e->supervisor = 0;
            cr_assert_fail("atalaya run ended with wait status %#x instead of coming up", (unsigned)status);
        }
        cr_assert(clock_ms() < end, "atalaya run is not up after %d s", E2E_WAIT_SECONDS);
        e2e_nap();
    }
    E2E_WAIT(E2E_WAIT_SECONDS, all_workers_joined(e));
}

/* Children of ours that are the root of something legitimate. */
static bool is_looked_after(const struct e2e *e, pid_t pid)
{
    for (size_t i = 0; i < INSTANCES_MAX; i++) {
        const struct e2e *o = instances[i];
        if (o && (pid == o->openai.pid || pid == o->other.pid || pid == o->langfuse.pid || pid == o->nginx ||
                  (o != e && pid == o->supervisor)))
            return true;
    }
    return false;
}

/* Whether p hangs below a child of the test that is looked after. */
static bool has_keeper(const struct e2e *e, const struct process *tree, size_t n, const struct process *p)
{
    for (size_t depth = 0; depth < n; depth++) {
        if (p->parent == getpid())
            return is_looked_after(e, p->pid);
        size_t i = 0;
        while (i < n && tree[i].pid != p->parent)
            i++;
        if (i == n)
            return false;
        p = &tree[i];
    }
    return false;
}

size_t e2e_survivors(const struct e2e *e, struct buf *who)
{
    static struct process tree[PROCESS_MAX];
    size_t n = process_tree(tree);
    size_t found = 0;

    for (size_t i = 0; i < n; i++) {
        if (has_keeper(e, tree, n, &tree[i]))
            continue;
        if (tree[i].state == 'Z' && tree[i].parent == getpid() && tree[i].pid != e->supervisor) {
            waitpid(tree[i].pid, NULL, WNOHANG); /* an orphan that we adopted, dead already */
            continue;
        }
        char line[256];
        process_cmdline(tree[i].pid, line, sizeof line);
        buf_printf(who, "%d %c %s\n", (int)tree[i].pid, tree[i].state, line);
        found++;
    }
    return found;
}

int e2e_stop(struct e2e *e)
{
    struct buf who = BUF_INIT(64u * 1024);
    int status = 0;

    kill(e->supervisor, SIGTERM);
    E2E_WAIT(E2E_WAIT_SECONDS, process_ended(e->supervisor, &status));
    e->supervisor = 0;
    cr_assert_eq(e2e_survivors(e, &who), 0, "still running after the supervisor:\n%s", who.data);
    buf_free(&who);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

static void forget(struct e2e *e)
{
    for (size_t i = 0; i < INSTANCES_MAX; i++)
        if (instances[i] == e)
            instances[i] = NULL;
    if (!getenv("E2E_KEEP"))
        nftw(e->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    buf_free(&e->env);
    free(e);
}

static void check_alarms(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(alarms); i++)
        cr_assert(!e2e_file_contains(path, alarms[i]), "%s contains \"%s\"", path, alarms[i]);
}

/* P8, in every test. */
static void check_log(const char *path)
{
    static const char *const private[] = {E2E_OPENAI_KEY, E2E_LF_SECRET, E2E_CANARY};

    check_alarms(path);
    for (size_t i = 0; i < ARRAY_LEN(private); i++)
        cr_assert(!e2e_file_contains(path, private[i]), "%s contains \"%s\"", path, private[i]);
}

/* Logs for machines: every line is one JSON object with at least level, name and msg. */
static void check_log_lines(const char *path)
{
    struct buf b = BUF_INIT(256u * 1024 * 1024);
    char *save = NULL;

    cr_assert(read_file(path, &b));
    for (char *line = b.len ? strtok_r(b.data, "\n", &save) : NULL; line;
         line = strtok_r(NULL, "\n", &save)) {
        json_error_t error;
        json_t *o = json_loads(line, 0, &error);
        cr_assert(o, "a log line is no JSON: %s", line);
        cr_assert(json_is_string(json_object_get(o, "level")) && json_is_string(json_object_get(o, "name")) &&
                      json_is_string(json_object_get(o, "msg")),
                  "a log line lacks level, name or msg: %s", line);
        json_decref(o);
    }
    buf_free(&b);
}

/* Its exit code is its own business; its workers go before it does. */
static void nginx_end(struct e2e *e)
{
    int status;

    kill(e->nginx, SIGTERM);
    E2E_WAIT(E2E_WAIT_SECONDS, process_ended(e->nginx, &status));
    e->nginx = 0;
}

void e2e_end(struct e2e *e)
{
    if (e->supervisor)
        cr_assert_eq(e2e_stop(e), 0);
    if (e->langfuse.pid) {
        json_t *stats = e2e_admin(&e->langfuse, "GET", "/_admin/stats", NULL);
        cr_assert_eq(json_integer_value(json_object_get(stats, "violations_seen")), 0,
                     "Langfuse dislikes: %s", json_dumps(json_object_get(stats, "violations"), 0));
        json_decref(stats);
        e2e_fake_stop(&e->langfuse);
    }
    if (e->openai.pid)
        e2e_fake_stop(&e->openai);
    if (e->other.pid)
        e2e_fake_stop(&e->other);
    if (e->nginx)
        nginx_end(e);
    if (access(e->out, F_OK) == 0) {
        check_log(e->out);
        check_log(e->err);
        check_log_lines(e->out);
    }
    check_alarms(e->openai.err);
    check_alarms(e->langfuse.err);
    forget(e);
}

static void show_tail(const char *path)
{
    struct buf b = BUF_INIT(256u * 1024 * 1024);

    if (read_file(path, &b) && b.len) {
        const char *from = b.data + b.len;
        for (int lines = 0; from > b.data && (from[-1] != '\n' || lines++ < TAIL_LINES);)
            from--;
        fprintf(stderr, "==> the end of %s\n%s\n", path, from);
    }
    buf_free(&b);
}

static void kill_and_reap(pid_t pid)
{
    if (pid <= 0)
        return;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* Only instances whose test failed are still here. */
void e2e_cleanup(void)
{
    static struct process tree[PROCESS_MAX];

    for (size_t i = 0; i < INSTANCES_MAX; i++) {
        struct e2e *e = instances[i];
        char status[128];
        if (!e)
            continue;
        snprintf(status, sizeof status, "%s/status", e->run_dir);
        const char *logs[] = {e->out, e->err, e->openai.err, e->langfuse.err, status};
        for (size_t j = 0; j < ARRAY_LEN(logs); j++)
            show_tail(logs[j]);
        kill_and_reap(e->supervisor);
        kill_and_reap(e->openai.pid);
        kill_and_reap(e->other.pid);
        kill_and_reap(e->nginx);
        kill_and_reap(e->langfuse.pid);
        forget(e);
    }
    size_t n = process_tree(tree);
    for (size_t i = 0; i < n; i++)
        kill(tree[i].pid, SIGKILL);
}

struct http_reply e2e_get(uint16_t port, const char *path)
{
    struct http_client c = http_open(port);
    struct http_reply r;

    http_call(&c, "GET", path, (struct str){0}, &r);
    http_close(&c);
    return r;
}

struct http_reply e2e_post(uint16_t port, const char *path, const char *json)
{
    struct http_client c = http_open(port);
    struct http_reply r;

    http_call(&c, "POST", path, str_of(json), &r);
    http_close(&c);
    return r;
}

struct http_reply e2e_ask(const struct e2e *e, const char *user, const char *question, const char *max_words)
{
    json_t *o =
        json_pack("{s:s, s:o}", "user_id", user, "question", json_sprintf("%s %s", question, E2E_CANARY));

    cr_assert(o);
    if (max_words)
        json_object_set_new(o, "max_words", json_loads(max_words, JSON_DECODE_ANY, NULL));
    char *text = json_dumps(o, JSON_COMPACT);
    struct http_reply r = e2e_post(e->port, "/ask", text);
    free(text);
    json_decref(o);
    return r;
}

json_t *e2e_json(const struct http_reply *r)
{
    json_error_t error;
    json_t *o = json_loadb(r->body.data ? r->body.data : "", r->body.len, JSON_DECODE_ANY, &error);

    cr_assert(o, "status %d (%s), body is no JSON (%s): %.200s", r->status,
              r->trouble ? r->trouble : "answered", error.text, r->body.data ? r->body.data : "");
    return o;
}

const char *e2e_string(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    cr_assert(s, "no string \"%s\" in %s", key, json_dumps(object, JSON_ENCODE_ANY));
    return s;
}

json_t *e2e_admin(const struct e2e_fake *f, const char *method, const char *path, const char *json)
{
    struct http_client c = http_open(f->port);
    struct http_reply r;

    http_call(&c, method, path, str_of(json), &r);
    http_close(&c);
    cr_assert(r.status >= 200 && r.status < 300, "%s %s %s: status %d %s %.300s", method, path,
              json ? json : "", r.status, r.trouble ? r.trouble : "", r.body.data ? r.body.data : "");
    json_t *o = r.body.len ? e2e_json(&r) : json_null();
    http_reply_free(&r);
    return o;
}

void e2e_tell(const struct e2e_fake *f, const char *path, const char *json)
{
    json_decref(e2e_admin(f, "POST", path, json));
}

int64_t e2e_stat(const struct e2e_fake *f, const char *name)
{
    json_t *stats = e2e_admin(f, "GET", "/_admin/stats", NULL);
    json_t *v = json_object_get(stats, name);

    cr_assert(json_is_integer(v), "no number \"%s\" in %s", name, json_dumps(stats, 0));
    int64_t n = json_integer_value(v);
    json_decref(stats);
    return n;
}

json_t *e2e_traces(const struct e2e *e)
{
    json_t *answer = e2e_admin(&e->langfuse, "GET", "/_admin/traces?limit=1000000", NULL);
    json_t *by_id = json_object();
    size_t i;
    json_t *t;

    json_array_foreach(json_object_get(answer, "traces"), i, t)
        json_object_set(by_id, e2e_string(t, "id"), t);
    json_decref(answer);
    return by_id;
}

json_t *e2e_trace(const struct e2e *e, const char *trace_id)
{
    json_t *answer = NULL, *t = NULL;
    char path[96];
    int64_t end = clock_ms() + E2E_WAIT_SECONDS * 1000;

    snprintf(path, sizeof path, "/_admin/traces?traceId=%s", trace_id);
    while (!t) {
        cr_assert(clock_ms() < end, "no trace %s after %d s", trace_id, E2E_WAIT_SECONDS);
        e2e_nap();
        json_decref(answer);
        answer = e2e_admin(&e->langfuse, "GET", path, NULL);
        t = json_incref(json_array_get(json_object_get(answer, "traces"), 0));
    }
    json_decref(answer);
    return t;
}

int64_t e2e_raw(const json_t *trace)
{
    int64_t n = 0;
    size_t i;
    json_t *o;

    json_array_foreach(json_object_get(trace, "observations"), i, o) n +=
        json_integer_value(json_object_get(o, "raw"));
    return n;
}

double e2e_metric(uint16_t port, const char *series)
{
    struct http_reply r = e2e_get(port, "/metrics");
    size_t n = strlen(series);
    double value = -1;

    cr_assert_eq(r.status, 200, "/metrics on port %u: %d %s", port, r.status, r.trouble ? r.trouble : "");
    for (const char *line = r.body.data; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, series, n) == 0 && line[n] == ' ')
            value = strtod(line + n + 1, NULL);
    http_reply_free(&r);
    return value;
}

bool e2e_file_contains(const char *path, const char *text)
{
    struct buf b = BUF_INIT(1024u * 1024 * 1024);
    bool found = read_file(path, &b) && b.len && memmem(b.data, b.len, text, strlen(text)) != NULL;

    buf_free(&b);
    return found;
}

static const char *wanted;

static int look_into(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)where;
    return type == FTW_F && e2e_file_contains(path, wanted);
}

bool e2e_tree_contains(const char *folder, const char *text)
{
    wanted = text;
    return nftw(folder, look_into, 16, FTW_PHYS) != 0;
}
