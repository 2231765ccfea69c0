#include "llm-worker/wordcut.h"

#include <errno.h>

#include "common/base/limits.h"
#include "common/base/utf8.h"
#include "llm-worker/guardrails.h"

void wordcut_init(struct wordcut *w, int64_t max_words)
{
    *w = (struct wordcut){.max_words = max_words, .held = BUF_INIT(ANSWER_MAX)};
}

void wordcut_free(struct wordcut *w)
{
    buf_free(&w->held);
}

static void let_go(struct wordcut *w, struct buf *out)
{
    buf_append(out, w->held.data, w->held.len);
    buf_reset(&w->held);
}

static void begin_word(struct wordcut *w, struct buf *out)
{
    if (w->words == w->max_words) {
        w->truncated = true;
        return;
    }
    w->words++;
    let_go(w, out);
}

/* How much of the text is done with: all but a code point that its end cuts. */
static size_t pass_on(struct wordcut *w, struct str text, bool last, struct buf *out)
{
    size_t i = 0, words_end = 0;

    while (i < text.n) {
        struct str rest = {text.p + i, text.n - i};
        bool space;
        if (!last && utf8_is_cut(rest.p, rest.n))
            break;
        size_t len = guardrails_step(rest, &space);
        if (!space && !w->inside)
            begin_word(w, out);
        if (w->truncated)
            break;
        w->inside = !space;
        i += len;
        if (!space)
            words_end = i;
    }
    buf_append(out, text.p, words_end);
    if (w->truncated)
        buf_puts(out, "…");
    else
        buf_append(&w->held, text.p + words_end, i - words_end);
    return i;
}

static void put_by(struct wordcut *w, struct str rest)
{
    memmove(w->cut, rest.p, rest.n);
    w->cuts = rest.n;
}

int wordcut_feed(struct wordcut *w, struct str piece, struct buf *out)
{
    if (w->max_words < 0) {
        buf_append(&w->held, piece.p, piece.n);
        return w->held.failed ? -EMSGSIZE : 0;
    }
    while (w->cuts > 0 && piece.n > 0 && !w->truncated) {
        w->cut[w->cuts++] = *piece.p++;
        piece.n--;
        size_t done = pass_on(w, (struct str){w->cut, w->cuts}, false, out);
        put_by(w, (struct str){w->cut + done, w->cuts - done});
    }
    if (piece.n > 0 && !w->truncated) {
        size_t done = pass_on(w, piece, false, out);
        if (!w->truncated)
            put_by(w, (struct str){piece.p + done, piece.n - done});
    }
    return w->held.failed ? -EMSGSIZE : 0;
}

static void limit_whole(struct wordcut *w, struct buf *out)
{
    struct str text = buf_str(&w->held);
    struct buf hold = BUF_INIT(text.n + sizeof "…");
    struct str kept = guardrails_limit(text, w->max_words, &hold);

    w->truncated = kept.p != text.p;
    buf_append(out, kept.p, kept.n);
    buf_free(&hold);
}

int wordcut_end(struct wordcut *w, struct buf *out)
{
    if (w->held.failed)
        return -EMSGSIZE;
    if (w->max_words < 0) {
        limit_whole(w, out);
        return 0;
    }
    if (!w->truncated)
        pass_on(w, (struct str){w->cut, w->cuts}, true, out);
    if (!w->truncated)
        let_go(w, out);
    return 0;
}
