#include "telemetry/privacy.h"

#include <errno.h>
#include <stdlib.h>

#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "telemetry/digest.h"
#include "telemetry/jsonwalk.h"
#include "telemetry/redact.h"

#define HASH_HEAD    "hmac-sha256:"
#define HASH_KEY_MIN 16 /* bytes: a short question can be guessed, so its key must not be */

struct privacy {
    enum capture capture;
    struct redact redact;
    struct str hash_key;
    struct buf text;
};

int privacy_new(struct privacy **out, const struct privacy_conf *c)
{
    struct privacy *p = xcalloc(1, sizeof *p);

    p->capture = (enum capture)c->capture;
    p->hash_key = str_of(c->hash_key);
    p->text = BUF_INIT(2 * RECORD_BYTES_MAX);
    int rc = redact_init(&p->redact, c->redact, c->redact_prefixes);
    if (rc < 0) {
        log_error("REDACT is a list of email, card, phone and key, REDACT_PREFIXES one of %d words at most, "
                  "both with "
                  "commas between; not \"%s\" and \"%s\"",
                  REDACT_PREFIXES_MAX, c->redact, c->redact_prefixes);
    } else if (p->capture == CAPTURE_HASHED && p->hash_key.n < HASH_KEY_MIN) {
        log_error(
            "CAPTURE_CONTENT=hashed needs a CAPTURE_HASH_KEY of at least %d characters, or who can guess a "
            "question can find it; `openssl rand -hex 32` makes one",
            HASH_KEY_MIN);
        rc = -EINVAL;
    }
    if (rc < 0) {
        privacy_free(p);
        return rc;
    }
    digest_init();
    *out = p;
    return 0;
}

void privacy_free(struct privacy *p)
{
    if (!p)
        return;
    buf_free(&p->text);
    free(p);
}

static void put_hash(struct privacy *p, struct buf *out, struct str text)
{
    uint8_t hash[DIGEST_SIZE];

    digest_hmac_sha256(hash, p->hash_key, text);
    buf_puts(out, HASH_HEAD);
    for (size_t i = 0; i < sizeof hash; i++)
        buf_printf(out, "%02x", hash[i]);
}

static void hash_value(void *arg, struct buf *out, const struct jsonwalk_value *v)
{
    if (v->key) {
        buf_append(out, v->source.p, v->source.n);
        return;
    }
    buf_putc(out, '"');
    put_hash(arg, out, v->text);
    buf_putc(out, '"');
}

/* What is one text. Of a chat it is JSON; when it is none it stays what it is, and is a text to whom looks for shapes. */
static void put_words(struct privacy *p, struct str s, bool json)
{
    struct buf *out = &p->text;

    if (p->capture == CAPTURE_FULL) {
        (json && jsonwalk_reads(s) ? redact_json : redact_text)(&p->redact, out, s);
    } else if (p->capture == CAPTURE_HASHED) {
        buf_puts(out, json ? "\"" : "");
        put_hash(p, out, s);
        buf_puts(out, json ? "\"" : "");
    }
}

static void put_metadata(struct privacy *p, struct str s)
{
    if (!jsonwalk_reads(s))
        put_words(p, s, false);
    else if (p->capture == CAPTURE_FULL)
        redact_json(&p->redact, &p->text, s);
    else if (p->capture == CAPTURE_HASHED)
        jsonwalk(&p->text, s, hash_value, p);
}

void privacy_apply(struct privacy *p, struct record *r)
{
    struct str *const texts[] = {&r->question,   &r->answer,     &r->comment,
                                 &r->score_text, &r->error_text, &r->metadata};
    size_t ends[ARRAY_LEN(texts)];
    enum { SCORE_TEXT = 3, ERROR_TEXT, METADATA };

    if (p->capture == CAPTURE_FULL && redact_is_off(&p->redact))
        return;
    buf_reset(&p->text);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct str s = *texts[i];
        if (i == METADATA && s.n)
            put_metadata(p, s);
        else if (i == SCORE_TEXT || (i == ERROR_TEXT && p->capture == CAPTURE_FULL))
            redact_text(&p->redact, &p->text, s);
        else if (i < SCORE_TEXT && s.n)
            put_words(p, s, r->chat && i < 2);
        ends[i] = p->text.len;
    }
    /* Only now: the buffer has stopped moving. What does not fit is left out, not let through. */
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        size_t from = i ? ends[i - 1] : 0;
        *texts[i] =
            p->text.failed || !p->text.data ? str_of("") : (struct str){p->text.data + from, ends[i] - from};
    }
    record_measure(r);
}
