#include "gateway/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/ascii.h"
#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "gateway/digest.h"

#define LINE_SIZE   256
#define LINES_MAX   (2 * TOKENS_MAX)
#define HASH_DIGITS ((size_t)2 * DIGEST_SHA256_SIZE)

struct token {
    uint8_t hash[DIGEST_SHA256_SIZE];
    int line;
    char name[TOKEN_NAME_SIZE];
};

struct set {
    struct token *token; /* sorted by hash */
    size_t n;
};

struct token_store {
    char *path;
    pthread_rwlock_t lock; /* for set */
    struct set set;
};

/* Why the line is no token; NULL when it is one. */
static const char *parse_line(struct token *t, const char *s)
{
    if (strspn(s, "0123456789abcdefABCDEF") != HASH_DIGITS)
        return "64 hex digits wanted, as sha256sum prints them";
    for (size_t i = 0; i < DIGEST_SHA256_SIZE; i++)
        t->hash[i] = (uint8_t)(ascii_hex(s[2 * i]) << 4 | ascii_hex(s[2 * i + 1]));

    const char *name = s + HASH_DIGITS + strspn(s + HASH_DIGITS, " \t");
    size_t n = strlen(name);
    if (name == s + HASH_DIGITS || n == 0 || strcmp(name, "-") == 0)
        return "a name wanted behind the hash";
    if (n > TOKEN_NAME_MAX)
        return "the name is longer than 64 bytes";
    for (size_t i = 0; i < n; i++)
        if (name[i] < ' ' || name[i] > '~')
            return "the name may have printable ASCII characters only";
    memcpy(t->name, name, n + 1);
    return NULL;
}

static int bad_line(const char *path, int line, const char *why)
{
    log_error("GATEWAY_TOKENS_FILE: %s, line %d: %s", path, line, why);
    return -EINVAL;
}

static int set_add(struct set *s, const char *path, const char *text, int line)
{
    struct token t = {.line = line};
    const char *why = parse_line(&t, text);

    if (!why && s->n == TOKENS_MAX)
        why = "more than 10000 tokens";
    if (why)
        return bad_line(path, line, why);
    if ((s->n & (s->n - 1)) == 0)
        s->token = xrealloc(s->token, (s->n ? 2 * s->n : 1) * sizeof *s->token);
    s->token[s->n++] = t;
    return 0;
}

static int by_hash(const void *a, const void *b)
{
    return memcmp(((const struct token *)a)->hash, ((const struct token *)b)->hash, DIGEST_SHA256_SIZE);
}

static int set_finish(struct set *s, const char *path)
{
    if (s->n == 0) {
        log_error("GATEWAY_TOKENS_FILE: %s: no token in it, so nobody could come in", path);
        return -EINVAL;
    }
    qsort(s->token, s->n, sizeof *s->token, by_hash);
    for (size_t i = 1; i < s->n; i++) {
        const struct token *a = &s->token[i - 1];
        const struct token *b = &s->token[i];
        if (by_hash(a, b) == 0)
            return bad_line(path, a->line > b->line ? a->line : b->line, "this token is there already");
    }
    return 0;
}

static int read_lines(struct set *s, const char *path, FILE *f)
{
    char line[LINE_SIZE];

    for (int number = 1; fgets(line, sizeof line, f); number++) {
        size_t n = strlen(line);
        if (number > LINES_MAX)
            return bad_line(path, number, "too many lines");
        if (!(n > 0 && line[n - 1] == '\n') && !feof(f))
            return bad_line(path, number, "longer than 254 bytes, or binary");
        while (n > 0 && strchr(" \t\r\n", line[n - 1]))
            line[--n] = '\0';
        const char *text = line + strspn(line, " \t");
        if (*text == '\0' || *text == '#')
            continue;
        int rc = set_add(s, path, text, number);
        if (rc < 0)
            return rc;
    }
    return ferror(f) ? -EIO : 0;
}

/* Not blocking, for the path may name a pipe. A file without a name: it was mounted into this container, and on the host
 * another one has taken its place, which is how most editors save. */
static FILE *open_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
        close(fd);
        errno = EINVAL;
        return NULL;
    }
    if (st.st_nlink == 0) {
        close(fd);
        errno = ESTALE;
        return NULL;
    }
    if (st.st_mode & S_IWOTH)
        log_warning("GATEWAY_TOKENS_FILE: %s can be written by every user of this machine: chmod o-w", path);
    return fdopen(fd, "r");
}

static int set_read(struct set *s, const char *path)
{
    FILE *f = open_file(path);

    if (!f) {
        int rc = -errno;
        log_error("GATEWAY_TOKENS_FILE: %s: %s", path,
                  rc == -EINVAL ? "not a regular file"
                  : rc == -ESTALE
                      ? "it was replaced outside of this container, which still sees the old one: restart "
                        "the container, and mount the folder next time"
                      : strerror(-rc));
        return rc;
    }
    int rc = read_lines(s, path, f);
    if (rc == -EIO)
        log_error("GATEWAY_TOKENS_FILE: %s: cannot be read", path);
    fclose(f);
    return rc < 0 ? rc : set_finish(s, path);
}

int tokens_open(struct token_store **out, const char *path)
{
    struct set set = {0};
    int rc = set_read(&set, path);

    *out = NULL;
    if (rc < 0) {
        free(set.token);
        return rc;
    }
    digest_init();
    struct token_store *s = xcalloc(1, sizeof *s);
    s->path = xstrdup(path);
    s->set = set;
    pthread_rwlock_init(&s->lock, NULL);
    *out = s;
    return 0;
}

void tokens_free(struct token_store *s)
{
    if (!s)
        return;
    pthread_rwlock_destroy(&s->lock);
    free(s->set.token);
    free(s->path);
    free(s);
}

/* Names of what is in a and not in b, as many as fit. */
static int missing(const struct set *a, const struct set *b, struct buf *names)
{
    int count = 0;

    for (size_t i = 0, j = 0; i < a->n; i++) {
        while (j < b->n && by_hash(&b->token[j], &a->token[i]) < 0)
            j++;
        if (j < b->n && by_hash(&b->token[j], &a->token[i]) == 0)
            continue;
        if (names->len + TOKEN_NAME_SIZE + 2 <= names->max)
            buf_printf(names, "%s%s", count ? ", " : "", a->token[i].name);
        count++;
    }
    return count;
}

static void log_difference(const struct set *old, const struct set *new)
{
    struct buf came = BUF_INIT(1 * KIB);
    struct buf went = BUF_INIT(1 * KIB);
    int added = missing(new, old, &came);
    int removed = missing(old, new, &went);

    log_event(LOG_INFO,
              LOG_FIELDS(LOG_INT("tokens", new->n), LOG_STR("added", buf_str(&came)),
                         LOG_STR("removed", buf_str(&went))),
              "tokens read again: %d added, %d removed", added, removed);
    buf_free(&came);
    buf_free(&went);
}

int tokens_reload(struct token_store *s)
{
    struct set new = {0};
    int rc = set_read(&new, s->path);

    if (rc < 0) {
        log_warning("GATEWAY_TOKENS_FILE: the tokens read before stay in force");
        free(new.token);
        return rc;
    }
    pthread_rwlock_wrlock(&s->lock);
    struct set old = s->set;
    s->set = new;
    pthread_rwlock_unlock(&s->lock);
    log_difference(&old, &new);
    free(old.token);
    return 0;
}

/* b64token of RFC 6750 2.1 */
static bool is_b64token(const char *s, size_t n)
{
    size_t body = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/");

    return body > 0 && body + strspn(s + body, "=") == n;
}

/* Looks at every hash, whatever it has found. */
static const struct token *find(const struct set *s, const uint8_t hash[DIGEST_SHA256_SIZE])
{
    const struct token *found = NULL;

    for (size_t i = 0; i < s->n; i++)
        if (digest_equal(s->token[i].hash, hash))
            found = &s->token[i];
    return found;
}

enum token_check tokens_check(struct token_store *s, const char *authorization, char name[TOKEN_NAME_SIZE])
{
    uint8_t hash[DIGEST_SHA256_SIZE];

    name[0] = '\0';
    if (!authorization || strncasecmp(authorization, "Bearer", 6) != 0)
        return TOKEN_MISSING;
    const char *token = authorization + 6 + strspn(authorization + 6, " ");
    size_t n = strlen(token);
    if (n == 0 || token == authorization + 6)
        return TOKEN_MISSING;
    if (n > TOKEN_LENGTH_MAX || !is_b64token(token, n))
        return TOKEN_WRONG;
    digest_sha256(hash, token, n);

    pthread_rwlock_rdlock(&s->lock);
    const struct token *t = find(&s->set, hash);
    if (t)
        memcpy(name, t->name, TOKEN_NAME_SIZE);
    pthread_rwlock_unlock(&s->lock);
    return t ? TOKEN_OK : TOKEN_WRONG;
}
