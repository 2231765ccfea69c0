#include "gateway/cache.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define ROOM 10000
#define AGE  1000

static struct same key(unsigned char n)
{
    struct same s = {{0}};

    memset(s.digest, n, sizeof s.digest);
    return s;
}

static void put(struct cache *c, unsigned char n, int64_t now, const char *answer)
{
    struct same k = key(n);

    cache_put(c, &k, now, &(struct job){.kind = JOB_DONE, .answer = str_of(answer), .total_tokens = 7});
}

/* NULL: it is not there. */
static const char *get(struct cache *c, unsigned char n, int64_t now)
{
    static char text[64];
    struct same k = key(n);
    struct job done;

    if (!cache_get(c, &k, now, &done))
        return NULL;
    cr_expect_eq(done.total_tokens, 0, "it has cost nothing");
    snprintf(text, sizeof text, "%.*s", (int)done.answer.n, done.answer.p);
    return text;
}

Test(cache, an_answer_lives_as_long_as_it_may)
{
    struct cache *c = cache_new(ROOM, AGE);

    put(c, 1, 0, "uno");
    cr_expect_str_eq(get(c, 1, AGE - 1), "uno");
    cr_expect_null(get(c, 1, AGE), "asking for it does not make it younger");
    cr_expect_eq(cache_bytes(c), 0);
    put(c, 1, AGE, "uno");
    put(c, 1, AGE + 1, "otro");
    cr_expect_str_eq(get(c, 1, 2 * AGE), "otro");
    cr_expect_eq(cache_bytes(c), CACHE_OVERHEAD + strlen("otro"));
    cache_free(c);
}

Test(cache, what_nobody_asks_for_makes_room)
{
    struct cache *c = cache_new(ROOM, AGE);
    const int fit = ROOM / (CACHE_OVERHEAD + 3);

    for (int i = 0; i < fit; i++)
        put(c, (unsigned char)i, 0, "uno");
    cr_expect_str_eq(get(c, 0, 0), "uno"); /* now the second one is the oldest */
    put(c, 200, 0, "dos");
    cr_expect_null(get(c, 1, 0));
    cr_expect_str_eq(get(c, 0, 0), "uno");
    cr_expect_str_eq(get(c, 200, 0), "dos");
    for (int i = 0; i < 1000; i++) {
        put(c, (unsigned char)(i % 256), 0, "tres");
        cr_assert_leq(cache_bytes(c), ROOM);
    }
    cache_free(c);
}

Test(cache, what_is_larger_than_the_room_is_not_kept_and_takes_nothing_along)
{
    static char large[ROOM];
    struct cache *c = cache_new(ROOM, AGE);

    memset(large, 'a', sizeof large - 1);
    put(c, 1, 0, "uno");
    put(c, 2, 0, large);
    cr_expect_null(get(c, 2, 0));
    cr_expect_str_eq(get(c, 1, 0), "uno");
    put(c, 1, 0, large);
    cr_expect_null(get(c, 1, 0), "the old answer is no longer the last one");
    cr_expect_eq(cache_bytes(c), 0);
    cache_free(c);
}
