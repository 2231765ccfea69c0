#include "tests/llm-worker/wordcut_property.h"

#include <stdlib.h>

#include "common/base/mem.h"
#include "llm-worker/guardrails.h"
#include "llm-worker/wordcut.h"

static bool same(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* The words, each with a blank behind it. */
static void put_words(struct buf *to, struct str text)
{
    bool inside = false, space;

    for (size_t i = 0, n; i < text.n; i += n) {
        n = guardrails_step((struct str){text.p + i, text.n - i}, &space);
        if (space && inside)
            buf_putc(to, ' ');
        if (!space)
            buf_append(to, text.p + i, n);
        inside = !space;
    }
    if (inside)
        buf_putc(to, ' ');
}

static bool same_words(struct str a, struct str b)
{
    struct buf x = BUF_INIT(2 * a.n + 1), y = BUF_INIT(2 * b.n + 1);

    put_words(&x, a);
    put_words(&y, b);
    bool is = same(buf_str(&x), buf_str(&y));
    buf_free(&x);
    buf_free(&y);
    return is;
}

/* Pieces of 0 to 7 bytes; each in memory of its own, so that what is read beyond it or kept of it shows. */
static int feed(struct wordcut *w, struct str text, uint32_t cuts, struct buf *out)
{
    int rc = 0;

    for (size_t i = 0, n; i < text.n && rc == 0; i += n) {
        cuts = cuts * 1664525 + 1013904223;
        n = cuts >> 29;
        n = n < text.n - i ? n : text.n - i;
        char *copy = xmalloc(n);
        memcpy(copy, text.p + i, n);
        rc = wordcut_feed(w, (struct str){copy, n}, out);
        free(copy);
    }
    return rc < 0 ? rc : wordcut_end(w, out);
}

static const char *compare(const struct wordcut *w, struct str got, struct str want, bool cut_off)
{
    if (w->truncated != cut_off)
        return "cut off, or not, unlike guardrails_limit()";
    if (!same_words(got, want))
        return "not the words of guardrails_limit()";
    return (cut_off && w->max_words >= 0) || same(got, want) ? NULL : "not its text";
}

const char *wordcut_property(struct str text, int64_t max_words, uint32_t cuts)
{
    struct buf hold = BUF_INIT(text.n + sizeof "…"), out = BUF_INIT(text.n + sizeof "…");
    struct str want = guardrails_limit(text, max_words, &hold);
    const char *broken = "refused";
    struct wordcut w;

    wordcut_init(&w, max_words);
    if (feed(&w, text, cuts, &out) == 0)
        broken = compare(&w, buf_str(&out), want, want.p != text.p);
    wordcut_free(&w);
    buf_free(&hold);
    buf_free(&out);
    return broken;
}
