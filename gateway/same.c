#include "gateway/same.h"

#include <string.h>

#include "common/base/buf.h"
#include "common/base/id.h"

static uint64_t salt[2];

void same_init(void)
{
    digest_init();
    salt[0] = id_u64();
    salt[1] = id_u64();
}

void same_of(struct same *s, const struct ask_input *in)
{
    struct str what = in->chat ? in->request : in->question;
    struct buf all = BUF_INIT(what.n + 64);
    const int64_t max_words = in->has_max_words ? in->max_words : INT64_MAX;

    buf_append(&all, salt, sizeof salt);
    buf_putc(&all, in->chat ? 'c' : 'q');
    buf_append(&all, &max_words, sizeof max_words);
    buf_append(&all, what.p, what.n);
    digest_sha256(s->digest, all.data, all.len);
    buf_free(&all);
}

bool same_equal(const struct same *a, const struct same *b)
{
    return memcmp(a->digest, b->digest, sizeof a->digest) == 0;
}

uint64_t same_hash(const struct same *s)
{
    uint64_t hash;

    memcpy(&hash, s->digest, sizeof hash);
    return hash;
}
