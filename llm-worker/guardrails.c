#include "llm-worker/guardrails.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/utf8.h"

#define TEXT(number)  TEXT_(number)
#define TEXT_(number) #number

/* Folded, sorted, each once; the words that begin with byte c are those from first[c] to first[c + 1]. A bit a
 * pair of bytes: some word begins with it. */
struct wordlist {
    struct str *words;
    size_t n;
    size_t first[257];
    unsigned char pairs[65536 / 8];
};

size_t guardrails_step(struct str text, bool *space)
{
    uint32_t cp = (unsigned char)text.p[0];
    int got = cp < 0x80 ? 1 : utf8_next(text.p, text.n, &cp);

    *space = (cp <= ' ' || cp >= 0x80) && got > 0 && utf8_is_space(cp);
    return got > 0 ? (size_t)got : 1;
}

/* The next word at or after *at; false when there is none. */
static bool next_word(struct str text, size_t *at, struct str *word)
{
    size_t start = 0;
    bool inside = false;
    size_t i = *at;

    while (i < text.n) {
        bool space;
        size_t len = guardrails_step((struct str){text.p + i, text.n - i}, &space);
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

/* Code points that neither compose with a neighbour nor change in NFC: everything below the combining marks, general
 * punctuation, currency signs, emoji. Most answers have nothing else, and need no normalisation. */
static bool is_inert(uint32_t cp)
{
    return cp < 0x300 || (cp >= 0x2010 && cp < 0x20d0) || (cp >= 0x1f300 && cp < 0x20000);
}

/* Unicode's lower case. The sigma at the end of a word counts as the other one, in words and in text. */
static size_t put_lower(char *to, uint32_t cp)
{
    if (cp == 0x130) { /* the one letter whose lower case has two code points: i and a dot above */
        memcpy(to, "i\xcc\x87", 3);
        return 3;
    }
    if (cp == 0x3c2)
        cp = 0x3c3;
    return utf8_encode(to, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp));
}

/* Lower case, up to the end or, when `inert`, to the first code point that is not; *n says how far. */
static size_t lower(char *to, struct str text, bool inert, size_t *n)
{
    size_t len = 0, i = 0;

    while (i < text.n) {
        uint32_t cp = (unsigned char)text.p[i];
        if (cp < 0x80) {
            to[len++] = (char)(cp - 'A' < 26 ? cp | 0x20 : cp);
            i++;
            continue;
        }
        int got = utf8_next(text.p + i, text.n - i, &cp);
        if (got < 0 || (inert && !is_inert(cp)))
            break;
        len += put_lower(to + len, cp);
        i += (size_t)got;
    }
    *n = i;
    return len;
}

static char *room_for(size_t n)
{
    return xmalloc(n + n / 2 + 4); /* U+023A and its like grow from two bytes to three */
}

/* NFC, then lower case, with a NUL behind it; the caller's to free. Text that is no UTF-8 stays as it is. */
static struct str fold(struct str text)
{
    utf8proc_uint8_t *composed = NULL;
    char *out = room_for(text.n);
    size_t done;
    size_t len = lower(out, text, true, &done);

    out[len] = '\0';
    if (done == text.n)
        return (struct str){out, len};
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text.p, (utf8proc_ssize_t)text.n, &composed,
                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0) {
        memcpy(out, text.p, text.n);
        out[text.n] = '\0';
        return (struct str){out, text.n};
    }
    free(out);
    out = room_for((size_t)n);
    len = lower(out, (struct str){(const char *)composed, (size_t)n}, false, &done);
    out[len] = '\0';
    free(composed);
    return (struct str){out, len};
}

static bool is_utf8(struct str s)
{
    uint32_t cp;
    int got = 0;

    for (size_t i = 0; i < s.n && got >= 0; i += got > 0 ? (size_t)got : 0)
        got = utf8_next(s.p + i, s.n - i, &cp);
    return got >= 0;
}

static struct str strip(struct str s)
{
    struct str word;
    size_t at = 0, end = 0, start = s.n;

    while (next_word(s, &at, &word)) {
        if (start == s.n)
            start = (size_t)(word.p - s.p);
        end = at;
    }
    return end ? (struct str){s.p + start, end - start} : (struct str){s.p, 0};
}

/* NULL, or why the word cannot be on the list. */
static const char *add(struct wordlist *l, struct str word)
{
    word = strip(word);
    if (word.n == 0)
        return NULL;
    if (!is_utf8(word))
        return "this is no UTF-8";
    if (word.n > GUARDRAIL_WORD_MAX)
        return "this word is longer than " TEXT(GUARDRAIL_WORD_MAX) " bytes";
    if (l->n == GUARDRAIL_WORDS_MAX)
        return "there are more than " TEXT(GUARDRAIL_WORDS_MAX) " words";
    l->words[l->n++] = fold(word);
    return NULL;
}

static int compare(const void *a, const void *b)
{
    const struct str *x = a, *y = b;
    int order = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);

    return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* A word of one byte begins with every pair that it is the first of. */
static void add_pairs(struct wordlist *l, struct str word)
{
    unsigned pair = (unsigned)(unsigned char)word.p[0] << 8;

    if (word.n == 1)
        memset(l->pairs + pair / 8, 0xff, 256 / 8);
    else
        l->pairs[(pair | (unsigned char)word.p[1]) / 8] |= (unsigned char)(1u << (word.p[1] & 7));
}

static void put_in_order(struct wordlist *l)
{
    size_t kept = 0;

    qsort(l->words, l->n, sizeof *l->words, compare);
    for (size_t i = 0; i < l->n; i++) {
        if (kept && compare(&l->words[kept - 1], &l->words[i]) == 0)
            free((char *)(uintptr_t)l->words[i].p);
        else
            l->words[kept++] = l->words[i];
    }
    l->n = kept;
    for (size_t i = 0; i < l->n; i++)
        add_pairs(l, l->words[i]);
    for (size_t c = 0, i = 0; c <= 256; c++) {
        while (i < l->n && (unsigned char)l->words[i].p[0] < c)
            i++;
        l->first[c] = i;
    }
}

/* The text up to the next `end`, which is taken off with it. */
static struct str take(struct str *rest, char end)
{
    const char *at = memchr(rest->p, end, rest->n);
    struct str item = {rest->p, at ? (size_t)(at - rest->p) : rest->n};
    size_t taken = item.n + (at != NULL);

    rest->p += taken;
    rest->n -= taken;
    return item;
}

static int add_list(struct wordlist *l, const char *setting)
{
    struct str rest = str_of(setting);

    while (rest.n > 0) {
        struct str word = take(&rest, ',');
        const char *why = add(l, word);
        if (why) {
            log_error("GUARDRAIL_WORDS: \"%.*s\": %s", (int)(word.n < 40 ? word.n : 40), word.p, why);
            return -EINVAL;
        }
    }
    return 0;
}

static int add_file(struct wordlist *l, const char *path)
{
    struct buf text = BUF_INIT(GUARDRAIL_FILE_MAX);
    int rc = file_read(path, &text);

    if (rc < 0)
        log_error("GUARDRAIL_WORDS=%s: cannot read this file: %s", path, strerror(-rc));
    struct str rest = buf_str(&text);
    if (rest.n >= 3 && memcmp(rest.p, "\xef\xbb\xbf", 3) == 0)
        take(&rest, rest.p[2]); /* a byte order mark */
    for (unsigned line = 1; rc == 0 && rest.n > 0; line++) {
        struct str word = strip(take(&rest, '\n'));
        const char *why = word.n > 0 && word.p[0] == '#' ? NULL : add(l, word);
        if (why) {
            log_error("GUARDRAIL_WORDS=%s, line %u: %s", path, line, why);
            rc = -EINVAL;
        }
    }
    buf_free(&text);
    return rc < 0 ? -EINVAL : 0;
}

int wordlist_new(struct wordlist **out, const char *setting)
{
    struct wordlist *l = xcalloc(1, sizeof *l);
    bool is_path = setting[0] == '/' || strncmp(setting, "./", 2) == 0;

    l->words = xcalloc(GUARDRAIL_WORDS_MAX, sizeof *l->words);
    int rc = is_path ? add_file(l, setting) : add_list(l, setting);
    put_in_order(l);
    if (rc < 0) {
        wordlist_free(l);
        l = NULL;
    }
    *out = l;
    return rc;
}

void wordlist_free(struct wordlist *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->n; i++)
        free((char *)(uintptr_t)l->words[i].p);
    free(l->words);
    free(l);
}

/* How many words that have not been seen the n bytes at p begin with. */
static size_t count_new(const struct wordlist *l, const char *p, size_t n, bool *seen)
{
    unsigned char c = (unsigned char)*p;
    size_t hits = 0;

    for (size_t w = l->first[c]; w < l->first[c + 1]; w++)
        if (!seen[w] && l->words[w].n <= n && memcmp(p, l->words[w].p, l->words[w].n) == 0) {
            seen[w] = true;
            hits++;
        }
    return hits;
}

double guardrails_toxicity_safe(const struct wordlist *l, struct str text)
{
    bool seen[GUARDRAIL_WORDS_MAX] = {false};
    struct str folded = fold(text);
    size_t hits = 0;

    for (size_t i = 0; i < folded.n; i++) {
        unsigned pair = (unsigned)(unsigned char)folded.p[i] << 8 | (unsigned char)folded.p[i + 1];
        if (l->pairs[pair / 8] >> (pair % 8) & 1)
            hits += count_new(l, folded.p + i, folded.n - i, seen);
    }
    free((char *)(uintptr_t)folded.p);
    double score = 1.0 - 0.2 * (double)hits;
    return score > 0 ? score : 0.0;
}
