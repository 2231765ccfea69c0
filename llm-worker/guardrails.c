#include "llm-worker/guardrails.h"

#include <stdbool.h>
#include <stdlib.h>
#include <utf8proc.h>

#include "common/base/mem.h"
#include "common/base/utf8.h"

static const char *const bad_words[] = {"estúpido", "idiota", "odiar", "matar"};

/* The next word at or after *at; false when there is none. */
static bool next_word(struct str text, size_t *at, struct str *word)
{
    size_t start = 0;
    bool inside = false;
    size_t i = *at;

    while (i < text.n) {
        uint32_t cp = (unsigned char)text.p[i];
        int got = cp < 0x80 ? 1 : utf8_next(text.p + i, text.n - i, &cp);
        size_t len = got > 0 ? (size_t)got : 1;
        bool space = (cp <= ' ' || cp >= 0x80) && got > 0 && utf8_is_space(cp);
        if (!space && !inside) {
            start = i;
            inside = true;
        } else if (space && inside) {
            break;
        }
        i += len;
    }
    *at = i;
    *word = (struct str){text.p + start, i - start};
    return inside;
}

static int64_t count_words(struct str text)
{
    struct str word;
    int64_t n = 0;

    for (size_t at = 0; next_word(text, &at, &word);)
        n++;
    return n;
}

struct str guardrails_limit(struct str text, int64_t max_words, struct buf *hold)
{
    int64_t n = count_words(text);
    struct str word;
    size_t at = 0;

    if (n <= max_words)
        return text;
    int64_t keep = max_words >= 0 ? max_words : n + max_words > 0 ? n + max_words : 0;
    buf_reset(hold);
    for (int64_t i = 0; i < keep && next_word(text, &at, &word); i++) {
        if (i > 0)
            buf_putc(hold, ' ');
        buf_append(hold, word.p, word.n);
    }
    buf_puts(hold, "…");
    return buf_str(hold);
}

double guardrails_non_empty(struct str text)
{
    struct str word;
    size_t at = 0;

    return next_word(text, &at, &word) ? 1.0 : 0.0;
}

/* U+0130 alone has a lower case of two code points (i and a dot above), which is never the letter i. */
static utf8proc_int32_t lower(utf8proc_int32_t cp, void *unused)
{
    (void)unused;
    return cp == 0x130 ? cp : utf8proc_tolower(cp);
}

/* Code points that neither compose with a neighbour nor change in NFC: everything below the combining marks, general
 * punctuation, currency signs, emoji. Most answers have nothing else, and need no normalisation. */
static bool is_inert(uint32_t cp)
{
    return cp < 0x300 || (cp >= 0x2010 && cp < 0x20d0) || cp >= 0x1f300;
}

/* Lower case of text that is in NFC by its looks; NULL when it may not be. */
static char *fold_inert(struct str text, size_t *n)
{
    char *out = xmalloc(2 * text.n + 4); /* U+0250 and its like grow from two bytes to three */
    size_t len = 0;

    for (size_t i = 0; i < text.n;) {
        uint32_t cp = (unsigned char)text.p[i];
        int got = cp < 0x80 ? 1 : utf8_next(text.p + i, text.n - i, &cp);
        if (got < 0 || !is_inert(cp)) {
            free(out);
            return NULL;
        }
        if (cp < 0x80)
            out[len++] = (char)(cp >= 'A' && cp <= 'Z' ? cp | 0x20 : cp);
        else
            len += utf8_encode(out + len, (uint32_t)lower((utf8proc_int32_t)cp, NULL));
        i += (size_t)got;
    }
    *n = len;
    return out;
}

/* NFC, then lower case. NULL when the text is no UTF-8. */
static char *fold(struct str text, size_t *n)
{
    utf8proc_uint8_t *composed = NULL;
    utf8proc_uint8_t *lowered = NULL;
    char *quick = fold_inert(text, n);

    if (quick)
        return quick;
    utf8proc_ssize_t len = utf8proc_map((const utf8proc_uint8_t *)text.p, (utf8proc_ssize_t)text.n, &composed,
                                        UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (len >= 0)
        len = utf8proc_map_custom(composed, len, &lowered, UTF8PROC_STABLE, lower, NULL);
    free(composed);
    if (len < 0)
        return NULL;
    *n = (size_t)len;
    return (char *)lowered;
}

double guardrails_toxicity_safe(struct str text)
{
    size_t n = text.n;
    char *folded = fold(text, &n);
    const char *p = folded ? folded : text.p;
    int hits = 0;

    for (size_t i = 0; n && i < ARRAY_LEN(bad_words); i++)
        hits += memmem(p, n, bad_words[i], strlen(bad_words[i])) != NULL;
    free(folded);
    double score = 1.0 - 0.2 * hits;
    return hits == 0 ? 1.0 : score > 0 ? score : 0.0;
}
