#include "telemetry/refusal.h"

#include <string.h>

#include "common/base/attr.h"

#define HEAD_MAX 4096 /* of a server's words: more of them than anybody keeps */
#define WORD_MIN 4

/* Of Langfuse 2 to 4, the OpenTelemetry Collector, Tempo, Jaeger, nginx and libcurl; the more telling ones first. */
static const char *const phrases[] = {
    "Usage threshold exceeded",
    "Event type not accepted",
    "Failed to parse",
    "Body exceeded",
    "Failed to upload events to blob storage",
    "invalid_type",
    "Invalid request data",
    "unmarshal",
    "invalid UTF-8",
    "trace too large",
    "TRACE_TOO_LARGE",
    "LIVE_TRACES_EXCEEDED",
    "rate limit",
    "resource exhausted",
    "permission denied",
    "unauthenticated",
    "Invalid credentials",
    "Too Large",
    "Forbidden",
    "Not Acceptable",
    "Bad Gateway",
    "Service Unavailable",
    "time-out",
    "timed out",
    "Empty reply from server",
    "Connection reset",
    "Internal Server Error",
    "Bad Request",
};

const char *refusal_phrase(struct str words)
{
    char text[HEAD_MAX];

    str_copy(text, sizeof text, words);
    for (size_t i = 0; i < ARRAY_LEN(phrases); i++)
        if (strcasestr(text, phrases[i]))
            return phrases[i];
    return NULL;
}

/* Length of the longest secret at i. */
static size_t secret_at(struct str words, size_t i, const struct str *secrets, size_t n)
{
    size_t longest = 0;

    for (size_t k = 0; k < n; k++)
        if (secrets[k].n >= WORD_MIN && secrets[k].n > longest && secrets[k].n <= words.n - i &&
            memcmp(words.p + i, secrets[k].p, secrets[k].n) == 0)
            longest = secrets[k].n;
    return longest;
}

void refusal_clean(struct buf *out, struct str words, const struct str *secrets, size_t n)
{
    for (size_t i = 0; i < words.n && i < HEAD_MAX;) {
        size_t secret = secret_at(words, i, secrets, n);
        if (secret)
            buf_puts(out, "[key]");
        else
            buf_putc(out, words.p[i]);
        i += secret ? secret : 1;
    }
}

static bool is_word(char c)
{
    unsigned char u = (unsigned char)c;

    return u >= 0x80 || (u >= '0' && u <= '9') || ((u | 0x20) >= 'a' && (u | 0x20) <= 'z');
}

/* What parts words beyond ASCII's punctuation: an escape of JSON, and characters from where the punctuation of others is
 * (Latin-1's, general, CJK's, fullwidth); 0: none. */
static size_t mark_at(struct str words, size_t i)
{
    const unsigned char *p = (const unsigned char *)words.p + i;
    size_t left = words.n - i, n = 0;

    if (*p == '\\')
        n = left > 1 && p[1] == 'u' ? 6 : 2;
    else if (*p == 0xc2)
        n = 2;
    else if (*p == 0xe2 || *p == 0xef || (*p == 0xe3 && left > 1 && p[1] == 0x80))
        n = 3;
    return n < left ? n : left;
}

static bool is_part(struct str words, size_t i)
{
    return is_word(words.p[i]) && mark_at(words, i) == 0;
}

static bool is_in(struct str word, const struct str *texts, size_t n)
{
    for (size_t k = 0; k < n; k++)
        if (texts[k].n >= word.n && memmem(texts[k].p, texts[k].n, word.p, word.n))
            return true;
    return false;
}

void refusal_show(struct buf *out, struct str words, const struct str *texts, size_t n)
{
    for (size_t i = 0; i < words.n;) {
        bool part = is_part(words, i);
        size_t end = i + mark_at(words, i);
        while (part && end < words.n && is_part(words, end))
            end++;
        end += end == i;
        struct str word = {words.p + i, end - i};
        if (part && word.n >= WORD_MIN && is_in(word, texts, n))
            buf_puts(out, "…");
        else
            buf_append(out, word.p, word.n);
        i = end;
    }
}
