#include "llm-worker/wordcut.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "common/base/limits.h"
#include "tests/llm-worker/wordcut_property.h"

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

/* A text of words, white space of all kinds, cut and wrong bytes. */
static struct str any_text(char *to)
{
    static const char *const parts[] = {"a", "uno",      " ",    "  ",   "\n",   "\u00a0", "\u2028", "ñ",
                                        "😀", "\xe2\x80", "\xc2", "\xa0", "\x1c", "\xff",   "…"};
    size_t n = 0;

    for (int left = rand() % 12; left > 0; left--) {
        const char *part = parts[(size_t)rand() % ARRAY_LEN(parts)];
        memcpy(to + n, part, strlen(part));
        n += strlen(part);
    }
    return (struct str){to, n};
}

Test(wordcut, is_guardrails_limit_however_it_is_cut)
{
    srand(6);
    for (int round = 0; round < 200000; round++) {
        char bytes[64];
        struct str text = any_text(bytes);
        int64_t max = rand() % 12 - 4;
        const char *broken = wordcut_property(text, max, (uint32_t)rand());
        cr_assert_null(broken, "<%.*s> by %d: %s", (int)text.n, text.p, (int)max, broken);
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
