#include "gateway/openapi.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/attr.h"
#include "common/base/buf.h"
#include "common/base/limits.h"
#include "common/base/mem.h"

/* The assembler copies a file as it is, so that neither a generator nor a generated source is needed.
 * CMakeLists.txt gives the folder and the hashes, and compiles this file again when one of them changes. */
#define ASSET(name, file)                                                                                    \
    __asm__(".pushsection .rodata\n"                                                                         \
            ".hidden asset_" #name "\n.hidden asset_" #name "_end\n"                                         \
            ".globl asset_" #name "\n.globl asset_" #name "_end\n"                                           \
            "asset_" #name ": .incbin \"" ATALAYA_ASSETS "/" file "\"\n"                                     \
            "asset_" #name "_end:\n"                                                                         \
            ".popsection\n");                                                                                \
    extern __attribute__((visibility("hidden"))) const char asset_##name[], asset_##name##_end[]

#define ASSET_STR(name) ((struct str){asset_##name, (size_t)(asset_##name##_end - asset_##name)})

ASSET(json, "openapi.json");
ASSET(html, "docs.html");
ASSET(css, "docs.css");
ASSET(js, "docs.js");

const char openapi_page_policy[] =
    "default-src 'none'; script-src 'sha256-" ATALAYA_DOCS_JS_HASH
    "'; style-src 'sha256-" ATALAYA_DOCS_CSS_HASH
    "'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct openapi {
    struct buf json;
    struct buf page;
};

struct mark {
    const char *name;
    struct str text;
};

static const struct mark *mark_at(struct str rest, const struct mark *marks, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t length = strlen(marks[i].name);
        if (length <= rest.n && memcmp(rest.p, marks[i].name, length) == 0)
            return &marks[i];
    }
    return NULL;
}

static void expand(struct buf *out, struct str rest, const struct mark *marks, size_t n)
{
    while (rest.n > 0) {
        const struct mark *m = mark_at(rest, marks, n);
        size_t step = m ? strlen(m->name) : 1;
        if (m)
            buf_append(out, m->text.p, m->text.n);
        else
            buf_putc(out, *rest.p);
        rest.p += step;
        rest.n -= step;
    }
}

/* In openapi.json a value that is no string stands as a string, so that the file is JSON by itself. */
static void expand_json(struct buf *out, const struct openapi_conf *c)
{
    char max_words[24], body_max[24], chat_body_max[24];

    snprintf(max_words, sizeof max_words, "%" PRId64, c->max_words);
    snprintf(body_max, sizeof body_max, "%" PRId64, c->body_max);
    snprintf(chat_body_max, sizeof chat_body_max, "%" PRId64, c->chat_body_max);
    const struct mark marks[] = {
        {"@version@", str_of(c->version)},
        {"\"@max_words@\"", str_of(max_words)},
        {"@body_max@", str_of(body_max)},
        {"@chat_body_max@", str_of(chat_body_max)},
        {"\"@security@\"", str_of(c->tokens ? "[{\"bearer\": []}]" : "[]")},
    };

    expand(out, ASSET_STR(json), marks, ARRAY_LEN(marks));
}

static void expand_page(struct buf *out)
{
    const struct mark marks[] = {{"@docs.css@", ASSET_STR(css)}, {"@docs.js@", ASSET_STR(js)}};

    expand(out, ASSET_STR(html), marks, ARRAY_LEN(marks));
}

struct openapi *openapi_new(const struct openapi_conf *c)
{
    struct openapi *o = xcalloc(1, sizeof *o);

    o->json = o->page = BUF_INIT(MIB);
    expand_json(&o->json, c);
    expand_page(&o->page);
    return o;
}

void openapi_free(struct openapi *o)
{
    if (!o)
        return;
    buf_free(&o->json);
    buf_free(&o->page);
    free(o);
}

struct str openapi_json(const struct openapi *o)
{
    return buf_str(&o->json);
}

struct str openapi_page(const struct openapi *o)
{
    return buf_str(&o->page);
}
