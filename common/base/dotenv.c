#include "common/base/dotenv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/utf8.h"

struct reader {
    const char *p;
    const char *end;
    int line;
};

static bool at(const struct reader *r, char c)
{
    return r->p < r->end && *r->p == c;
}

/* Bytes of the white space at p, 0 when there is none; any of Unicode's, because keys are pasted from web pages. */
static size_t blank(const char *p, const char *end)
{
    uint32_t cp;
    int n = utf8_next(p, (size_t)(end - p), &cp);

    return n > 0 && cp != '\n' && utf8_is_space(cp) ? (size_t)n : 0;
}

static void skip_blanks(struct reader *r)
{
    size_t n;

    while ((n = blank(r->p, r->end)) > 0)
        r->p += n;
}

static void skip_to_line_end(struct reader *r)
{
    while (r->p < r->end && *r->p != '\n')
        r->p++;
}

static char take(struct reader *r)
{
    if (*r->p == '\n')
        r->line++;
    return *r->p++;
}

/* What a backslash and c stand for between quotes of this kind; 0: the backslash is only a backslash. */
static char unescape(char quote, char c)
{
    static const char from[] = "\"abfnrtv";
    static const char to[] = "\"\a\b\f\n\r\t\v";

    if (c == '\\' || c == '\'')
        return c;
    const char *found = quote == '"' && c ? strchr(from, c) : NULL;
    return found ? to[found - from] : 0;
}

static int read_quoted(struct reader *r, struct buf *value)
{
    char quote = take(r);

    while (r->p < r->end) {
        char c = take(r);

        if (c == quote) {
            skip_blanks(r);
            if (at(r, '#'))
                skip_to_line_end(r);
            return r->p == r->end || *r->p == '\n' ? 0 : -EINVAL;
        }
        if (c == '\\' && r->p < r->end && unescape(quote, *r->p))
            c = unescape(quote, take(r));
        buf_putc(value, c);
    }
    return -EINVAL;
}

/* Starts right behind the equals sign: a # behind white space begins a comment, also where no value is before it. */
static void read_plain(struct reader *r, struct buf *value)
{
    const char *from = NULL, *to = NULL; /* the value without the white space around it */
    bool after_blank = false;

    while (r->p < r->end && *r->p != '\n' && !(after_blank && *r->p == '#')) {
        size_t n = blank(r->p, r->end);
        after_blank = n > 0;
        if (!n && !from)
            from = r->p;
        r->p += n ? n : 1;
        if (!n)
            to = r->p;
    }
    skip_to_line_end(r);
    if (from)
        buf_append(value, from, (size_t)(to - from));
}

static bool is_name(char c)
{
    return c != '\n' && c != '=' && c != '#' && c != '\'' && c != '"' && c != '\0';
}

static int read_name(struct reader *r, struct buf *name)
{
    const char *from = r->p;

    while (r->p < r->end && is_name(*r->p) && !blank(r->p, r->end))
        r->p++;
    buf_append(name, from, (size_t)(r->p - from));
    return name->len ? 0 : -EINVAL;
}

static int read_assignment(struct reader *r, struct buf *name, struct buf *value)
{
    static const char export[] = "export";
    size_t n = sizeof export - 1;

    if ((size_t)(r->end - r->p) > n && memcmp(r->p, export, n) == 0 && blank(r->p + n, r->end)) {
        r->p += n;
        skip_blanks(r);
    }
    if (read_name(r, name) < 0)
        return -EINVAL;
    skip_blanks(r);
    if (!at(r, '='))
        return -EINVAL;
    r->p++;

    const char *behind = r->p;
    skip_blanks(r);
    if (at(r, '\'') || at(r, '"'))
        return read_quoted(r, value);
    r->p = behind;
    read_plain(r, value);
    return 0;
}

static bool is_in(char *const *env, const char *name)
{
    size_t n = strlen(name);

    for (; env && *env; env++) {
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
            return true;
    }
    return false;
}

/* The last of several lines for one name counts, as long as none was in the environment before. */
static int assign(char *const *before, const struct buf *name, const struct buf *value)
{
    const char *text = value->data ? value->data : "";

    if (strlen(text) != value->len)
        return -EINVAL; /* a NUL byte would silently cut the value */
    if (is_in(before, name->data))
        return 0;
    return setenv(name->data, text, 1) < 0 ? -errno : 0;
}

static int read_all(struct reader *r, char *const *before, int *bad_line)
{
    struct buf name = BUF_INIT(DOTENV_FILE_MAX);
    struct buf value = BUF_INIT(DOTENV_FILE_MAX);
    int rc = 0;

    while (rc == 0 && r->p < r->end) {
        skip_blanks(r);
        if (at(r, '#'))
            skip_to_line_end(r);
        if (r->p == r->end)
            break;
        if (at(r, '\n')) {
            take(r);
            continue;
        }
        buf_reset(&name);
        buf_reset(&value);
        *bad_line = r->line;
        rc = read_assignment(r, &name, &value);
        if (rc == 0)
            rc = assign(before, &name, &value);
    }
    buf_free(&name);
    buf_free(&value);
    return rc;
}

static int read_file(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = 0;

    if (fd < 0)
        return -errno;
    for (;;) {
        char *to = buf_reserve(out, 4096);
        if (!to) {
            rc = -EFBIG;
            break;
        }
        ssize_t n = read(fd, to, 4096);
        if (n > 0) {
            out->len += (size_t)n;
        } else if (n == 0) {
            break;
        } else if (errno != EINTR) {
            rc = -errno;
            break;
        }
    }
    close(fd);
    return rc;
}

/* CR LF and CR end a line like LF, and are one LF inside quotes. */
static void normalise(struct buf *b)
{
    size_t to = 0;

    for (size_t i = 0; i < b->len; i++) {
        char c = b->data[i];
        if (c == '\r') {
            c = '\n';
            if (i + 1 < b->len && b->data[i + 1] == '\n')
                i++;
        }
        b->data[to++] = c;
    }
    b->len = to;
}

/* The strings stay where they are: only names that are not among them are set later. */
static char **environment_before(void)
{
    size_t n = 0;

    while (environ && environ[n])
        n++;
    char **copy = xcalloc(n + 1, sizeof *copy);
    if (n)
        memcpy(copy, environ, n * sizeof *copy);
    return copy;
}

int dotenv_load(const char *path, int *bad_line)
{
    static const char mark[] = "\xef\xbb\xbf";
    struct buf text = BUF_INIT(DOTENV_FILE_MAX + 4096);
    int rc = read_file(path, &text);

    *bad_line = 0;
    if (rc == 0 && text.len > DOTENV_FILE_MAX)
        rc = -EFBIG;
    if (rc == 0 && text.len) {
        char **before = environment_before();
        normalise(&text);
        struct reader r = {text.data, text.data + text.len, 1};
        if (text.len >= 3 && memcmp(text.data, mark, 3) == 0)
            r.p += 3; /* some editors begin a file with a byte order mark */
        rc = read_all(&r, before, bad_line);
        free(before);
    }
    buf_free(&text);
    return rc == -ENOENT ? 0 : rc;
}
