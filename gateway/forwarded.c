#include "gateway/forwarded.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/str.h"

struct address {
    uint8_t bytes[16];
    unsigned bits; /* 32 or 128 */
};

struct block {
    struct address from;
    unsigned prefix;
};

struct proxies {
    size_t n;
    struct block block[];
};

static struct str trim(struct str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s.p++, s.n--;
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

static bool parse_bare(struct address *a, struct str s)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char text[CLIENT_ADDRESS_SIZE];

    if (s.n >= sizeof text)
        return false;
    snprintf(text, sizeof text, "%.*s", (int)s.n, s.p);
    *a = (struct address){.bits = 32};
    if (inet_pton(AF_INET, text, a->bytes) == 1)
        return true;
    if (inet_pton(AF_INET6, text, a->bytes) != 1)
        return false;
    if (memcmp(a->bytes, mapped, sizeof mapped) == 0)
        memmove(a->bytes, a->bytes + 12, 4);
    else
        a->bits = 128;
    return true;
}

static bool is_number(struct str s, size_t digits_max)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n >= 1 && s.n <= digits_max;
}

/* Also 192.0.2.1:80, [2001:db8::1] and [2001:db8::1]:80, as some proxies write it. */
static bool parse_hop(struct address *a, struct str s)
{
    const char *end = s.p + s.n;
    const char *colon = memchr(s.p, ':', s.n);
    struct str host = s;

    if (s.n > 0 && s.p[0] == '[') {
        const char *close = memchr(s.p, ']', s.n);
        if (!close)
            return false;
        host = (struct str){s.p + 1, (size_t)(close - s.p - 1)};
        colon = close + 1 < end ? close + 1 : NULL;
    } else if (colon && !memchr(colon + 1, ':', (size_t)(end - colon - 1))) {
        host = (struct str){s.p, (size_t)(colon - s.p)};
    } else {
        colon = NULL;
    }
    if (colon && (*colon != ':' || !is_number((struct str){colon + 1, (size_t)(end - colon - 1)}, 5)))
        return false;
    return parse_bare(a, host);
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    return memcmp(a, b, whole) == 0 && (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
}

/* NULL, or what is wrong with it. */
static const char *parse_block(struct block *b, struct str s)
{
    const char *slash = memchr(s.p, '/', s.n);
    struct str address = {s.p, slash ? (size_t)(slash - s.p) : s.n};

    if (!parse_bare(&b->from, address))
        return "is no address and no block like 10.0.0.0/8";
    b->prefix = b->from.bits;
    if (!slash)
        return NULL;
    struct str digits = {slash + 1, s.n - address.n - 1};
    if (!is_number(digits, 3))
        return "has no prefix length behind the slash";
    b->prefix = (unsigned)strtoul(digits.p, NULL, 10);
    if (b->prefix > b->from.bits)
        return "has a prefix longer than the address";
    for (unsigned i = b->prefix; i < b->from.bits; i++)
        if (b->from.bytes[i / 8] & 0x80 >> i % 8)
            return "has bits set behind its prefix, and may trust more than was meant";
    return NULL;
}

int proxies_parse(struct proxies **out, const char *list)
{
    *out = NULL;
    if (!list || !*list)
        return 0;

    size_t commas = 0;
    for (const char *c = list; *c; c++)
        commas += *c == ',';
    struct proxies *p = xcalloc(1, sizeof *p + (commas + 1) * sizeof p->block[0]);
    for (const char *at = list; p->n <= commas; p->n++) {
        struct str item = {at, strcspn(at, ",")};
        at += item.n + 1;
        item = trim(item);
        const char *why = parse_block(&p->block[p->n], item);
        if (why) {
            log_error("GATEWAY_TRUSTED_PROXIES: \"%.*s\" %s", (int)item.n, item.p, why);
            free(p);
            return -EINVAL;
        }
    }
    *out = p;
    return 0;
}

void proxies_free(struct proxies *p)
{
    free(p);
}

static bool is_trusted(const struct proxies *p, const struct address *a)
{
    for (size_t i = 0; p && i < p->n; i++) {
        const struct block *b = &p->block[i];
        if (b->from.bits == a->bits && same_prefix(b->from.bytes, a->bytes, b->prefix))
            return true;
    }
    return false;
}

/* The last item of a comma list, which gets shorter by it; false when nothing is left. */
static bool last_item(struct str *list, struct str *item)
{
    if (!list->p)
        return false;
    const char *comma = memrchr(list->p, ',', list->n);
    const char *from = comma ? comma + 1 : list->p;
    *item = trim((struct str){from, (size_t)(list->p + list->n - from)});
    *list = comma ? (struct str){list->p, (size_t)(comma - list->p)} : (struct str){NULL, 0};
    return true;
}

void client_address(const struct proxies *p, const char *peer, const char *x_forwarded_for,
                    char out[CLIENT_ADDRESS_SIZE])
{
    struct str rest = str_of(x_forwarded_for);
    struct address good;
    struct address hop;
    struct str item;

    if (!parse_bare(&good, str_of(peer))) {
        snprintf(out, CLIENT_ADDRESS_SIZE, "unknown");
        return;
    }
    for (int hops = 0; hops < FORWARDED_HOPS_MAX && is_trusted(p, &good); hops++) {
        if (!last_item(&rest, &item) || !parse_hop(&hop, item))
            break;
        good = hop;
    }
    inet_ntop(good.bits == 32 ? AF_INET : AF_INET6, good.bytes, out, CLIENT_ADDRESS_SIZE);
}
