#include "llm-worker/wordcut.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/utf8.h"
#include "llm-worker/guardrails.h"

/* A text in pieces with a | between them. want: what each lets out, and the end. */
Test(wordcut, pieces)
{
    static const struct {
        const char *pieces;
        int64_t max;
        const char *want;
        bool truncated;
    } table[] = {
        {"uno| dos| tres", INT64_MAX, "uno| dos| tres|", false},
        {"uno |dos|  ", 3, "uno| dos||  ", false},
        {"  |\t|uno", 3, "||  \tuno|", false},
        {"u|n|o| |d|o|s", 2, "u|n|o|| d|o|s|", false},
        {"uno| dos| tres| x", 2, "uno| dos|…||", true},
        {"uno dos \n tres cuatro|cinco", 2, "uno dos…||", true},
        {"uno dos|tres cuatro", 2, "uno dos|tres…|", true},
        {"uno dos \n |  ", 2, "uno dos|| \n   ", false},
        {"uno dos \n |  \t|\xe2\x80\xa8|tres", 2, "uno dos|||…|", true},
        {" |uno", 0, "|…|", true},
        {" | ", 0, "||  ", false},
        {"", 0, "|", false},
        /* Python's notion of white space */
        {"a\u00a0|\x1c|"
         "b\u200bc|\u3000|d",
         2,
         "a||\xc2\xa0\x1c"
         "b\u200b"
         "c||…|",
         true},
        /* code points that are cut */
        {"se\xc3|\xb1or", 1, "se|\xc3\xb1or|", false},
        {"a\xe2|\x80|\xa8|b", 1, "a|||…|", true},
        {"a\xf0|\x9f|\x98|\x80 b", 2, "a|||\xf0\x9f\x98\x80 b|", false},
        {"a |\xf0|\x9f", 2, "a||| \xf0\x9f", false},
        {"a |\xf0|\x9f", 1, "a|||…", true},
        {"a\xe2|\xe2| \xe2|z", 2, "a|\xe2|\xe2| \xe2z|", false},
        {"a\xe2|\x80| \xff|\x80", 1, "a||\xe2\x80…||", true},
        {"\xed\xa0\xbd|\xed\xb8\x80", 1, "\xed\xa0\xbd|\xed\xb8\x80|", false},
        /* from the end */
        {"uno| dos|  tres ", -1, "|||uno dos…", true},
        {"uno| dos", -5, "||…", true},
        {"", -1, "|…", true},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct buf out = BUF_INIT(KIB);
        struct wordcut w;
        wordcut_init(&w, table[i].max);
        for (const char *p = table[i].pieces;; p++) {
            size_t n = strcspn(p, "|");
            cr_expect_eq(wordcut_feed(&w, (struct str){p, n}, &out), 0);
            buf_putc(&out, '|');
            p += n;
            if (!*p)
                break;
        }
        cr_expect_eq(wordcut_end(&w, &out), 0);
        cr_expect_str_eq(out.data, table[i].want, "%s by %lld", table[i].pieces, (long long)table[i].max);
        cr_expect_eq(w.truncated, table[i].truncated, "%s", table[i].pieces);
        wordcut_free(&w);
        buf_free(&out);
    }
}

/* Texts of words, white space of all kinds, cut and wrong bytes. */
static struct str any_text(char *to)
{
    static const char *const parts[] = {
        "a",        "uno",  " ",    "  ",   "\n",   "\xc2\xa0", "\xe2\x80\xa8", "ñ", "\xf0\x9f\x98\x80",
        "\xe2\x80", "\xc2", "\xa0", "\x1c", "\xff", "…"};
    size_t n = 0;

    for (int left = rand() % 12; left > 0; left--) {
        const char *part = parts[(size_t)rand() % ARRAY_LEN(parts)];
        memcpy(to + n, part, strlen(part));
        n += strlen(part);
    }
    return (struct str){to, n};
}

static void feed_any(struct wordcut *w, struct str text, struct buf *out)
{
    for (size_t i = 0, n; i < text.n; i += n) {
        n = (size_t)rand() % 6;
        if (n > text.n - i)
            n = text.n - i;
        char *copy = xmemdup(text.p + i, n);
        cr_assert_eq(wordcut_feed(w, (struct str){copy, n}, out), 0);
        free(copy);
    }
    cr_assert_eq(wordcut_end(w, out), 0);
}

static bool same_words(struct str a, struct str b)
{
    struct buf x = BUF_INIT(KIB), y = BUF_INIT(KIB);
    struct buf *to[] = {&x, &y};
    struct str from[] = {a, b};

    for (size_t k = 0; k < 2; k++) {
        bool space = true, before;
        for (size_t i = 0, n; i < from[k].n; i += n) {
            before = space;
            n = guardrails_step((struct str){from[k].p + i, from[k].n - i}, &space);
            if (space != before)
                buf_putc(to[k], ' ');
            if (!space)
                buf_append(to[k], from[k].p + i, n);
        }
        if (!space)
            buf_putc(to[k], ' ');
    }
    bool same = x.len == y.len && (x.len == 0 || memcmp(x.data, y.data, x.len) == 0);
    buf_free(&x);
    buf_free(&y);
    return same;
}

Test(wordcut, is_guardrails_limit_however_it_is_cut)
{
    srand(6);
    for (int round = 0; round < 200000; round++) {
        struct buf hold = BUF_INIT(KIB), out = BUF_INIT(KIB);
        char bytes[64];
        struct wordcut w;
        struct str text = any_text(bytes);
        int64_t max = rand() % 12 - 4;
        struct str want = guardrails_limit(text, max, &hold);

        wordcut_init(&w, max);
        feed_any(&w, text, &out);
        cr_assert_eq(w.truncated, want.p != text.p);
        struct str got = buf_str(&out);
        cr_assert(same_words(got, want), "<%.*s> by %d: <%.*s>, not <%.*s>", (int)text.n, text.p, (int)max,
                  (int)got.n, got.p, (int)want.n, want.p);
        if (!w.truncated || max < 0)
            cr_assert(got.n == want.n && (got.n == 0 || memcmp(got.p, want.p, got.n) == 0));
        wordcut_free(&w);
        buf_free(&hold);
        buf_free(&out);
    }
}

Test(wordcut, holds_back_no_more_than_an_answer)
{
    static char blanks[64 * KIB];
    struct buf out = BUF_INIT(2 * ANSWER_MAX);
    struct wordcut w;

    memset(blanks, ' ', sizeof blanks);
    for (int64_t max = -1; max < 2; max++) {
        wordcut_init(&w, max);
        for (size_t n = 0; n < ANSWER_MAX; n += sizeof blanks)
            cr_assert_eq(wordcut_feed(&w, (struct str){blanks, sizeof blanks}, &out), 0);
        cr_expect_eq(wordcut_feed(&w, str_of(" "), &out), -EMSGSIZE);
        cr_expect_eq(wordcut_end(&w, &out), -EMSGSIZE);
        cr_expect_eq(out.len, 0);
        wordcut_free(&w);
    }
    buf_free(&out);
}
