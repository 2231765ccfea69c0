/* The description of the API: what it promises to whom it was written for, and that nothing dangles. */
#include "gateway/openapi.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/attr.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "gateway/digest.h"

static struct openapi *make(bool tokens)
{
    return openapi_new(&(struct openapi_conf){.version = ATALAYA_VERSION,
                                              .max_words = 77,
                                              .body_max = 4242,
                                              .chat_body_max = 8484,
                                              .tokens = tokens});
}

static json_t *document(const struct openapi *o)
{
    struct str s = openapi_json(o);
    json_error_t error;
    json_t *root = json_loadb(s.p, s.n, JSON_REJECT_DUPLICATES, &error);

    cr_assert_not_null(root, "line %d: %s", error.line, error.text);
    return root;
}

static char *source(const char *path)
{
    char full[1024];
    char *text = NULL;
    size_t cap = 0;

    snprintf(full, sizeof full, "%s/%s", getenv("ATALAYA_SOURCE"), path);
    FILE *f = fopen(full, "r");
    cr_assert_not_null(f, "%s", full);
    cr_assert_gt(getdelim(&text, &cap, '\0', f), 0);
    fclose(f);
    return text;
}

/* #/a/b~1c of root; NULL when it leads nowhere. */
static json_t *resolve(json_t *root, const char *ref)
{
    json_t *at = root;

    if (strncmp(ref, "#/", 2) != 0)
        return NULL;
    char *path = xstrdup(ref + 2), *rest = NULL;
    for (char *part = strtok_r(path, "/", &rest); part && at; part = strtok_r(NULL, "/", &rest)) {
        for (char *slash; (slash = strstr(part, "~1"));) {
            *slash = '/';
            memmove(slash + 1, slash + 2, strlen(slash + 2) + 1);
        }
        at = json_object_get(at, part);
    }
    free(path);
    return at;
}

/* Calls itself on every value below; returns how many $refs it has seen. */
static size_t check_refs(json_t *root, json_t *value)
{
    const char *ref = json_string_value(json_object_get(value, "$ref"));
    size_t seen = ref ? 1 : 0, i;
    const char *key;
    json_t *each;

    if (ref)
        cr_expect_not_null(resolve(root, ref), "%s leads nowhere", ref);
    json_object_foreach(value, key, each) seen += check_refs(root, each);
    json_array_foreach(value, i, each) seen += check_refs(root, each);
    return seen;
}

Test(openapi, every_reference_resolves)
{
    struct openapi *o = make(true);
    json_t *root = document(o);

    cr_expect_gt(check_refs(root, root), 100);
    json_decref(root);
    openapi_free(o);
}

Test(openapi, the_configuration_is_in_it)
{
    struct openapi *o = make(false);
    json_t *root = document(o);
    json_t *ask = resolve(root, "#/components/schemas/Ask/properties/max_words");

    cr_expect_str_eq(json_string_value(resolve(root, "#/info/version")), ATALAYA_VERSION);
    cr_expect_eq(json_integer_value(json_object_get(ask, "default")), 77);
    cr_expect_not_null(strstr(
        json_string_value(resolve(root, "#/components/responses/ContentTooLarge/description")), "4242"));
    cr_expect_not_null(
        strstr(json_string_value(resolve(root, "#/components/responses/OpenAIContentTooLarge/description")),
               "8484"));
    cr_expect_null(memmem(openapi_json(o).p, openapi_json(o).n, "@security@", 10));
    json_decref(root);
    openapi_free(o);
}

Test(openapi, tokens_are_asked_for_where_they_are_needed)
{
    static const struct {
        const char *operation;
        bool guarded;
    } cases[] = {
        {"#/paths/~1v1~1chat~1completions/post", true},
        {"#/paths/~1v1~1models/get", true},
        {"#/paths/~1v1~1models~1{model}/get", true},
        {"#/paths/~1ask/post", true},
        {"#/paths/~1feedback/post", true},
        {"#/paths/~1metrics/get", true},
        {"#/paths/~1health/get", false},
        {"#/paths/~1livez/get", false},
        {"#/paths/~1readyz/get", false},
        {"#/paths/~1docs/get", false},
        {"#/paths/~1redoc/get", false},
        {"#/paths/~1openapi.json/get", false},
    };

    for (int tokens = 0; tokens < 2; tokens++) {
        struct openapi *o = make(tokens);
        json_t *root = document(o);
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            json_t *operation = resolve(root, cases[i].operation);
            cr_assert_not_null(operation, "%s", cases[i].operation);
            cr_expect_eq(json_array_size(json_object_get(operation, "security")) > 0,
                         tokens && cases[i].guarded, "%s with tokens %d", cases[i].operation, tokens);
        }
        json_decref(root);
        openapi_free(o);
    }
}

/* Not as an included set: whoever fulfils theirs must fulfil ours. */
static bool is_exact(const char *key)
{
    return strcmp(key, "required") == 0 || strcmp(key, "default") == 0;
}

/* Everything of theirs but its prose stands at the same place of ours. */
static void check_included(json_t *root, json_t *ours, json_t *theirs, const char *where)
{
    const char *ref = json_string_value(json_object_get(ours, "$ref"));
    const char *key;
    json_t *each;
    size_t i;

    if (ref && !json_object_get(theirs, "$ref"))
        ours = resolve(root, ref);
    json_object_foreach(theirs, key, each)
    {
        char below[1024];
        json_t *mine = json_object_get(ours, key);
        snprintf(below, sizeof below, "%s/%s", where, key);
        if (!mine || is_exact(key))
            cr_expect(json_equal(mine, each), "%s is missing or differs", below);
        else if (strcmp(key, "description") != 0 && strcmp(key, "info") != 0)
            check_included(root, mine, each, below);
    }
    json_array_foreach(theirs, i, each) check_included(root, json_array_get(ours, i), each, where);
    if (!json_is_object(theirs) && !json_is_array(theirs))
        cr_expect(json_equal(ours, theirs), "%s differs", where);
}

Test(openapi, what_the_python_service_promised_is_included)
{
    struct openapi *o =
        openapi_new(&(struct openapi_conf){.version = ATALAYA_VERSION, .max_words = 150, .body_max = MIB});
    json_t *ours = document(o);
    char *text = source("tests/golden/openapi-python.json");
    json_t *theirs = json_loads(text, 0, NULL);

    cr_assert_not_null(theirs);
    check_included(ours, ours, theirs, "#");
    free(text);
    json_decref(theirs);
    json_decref(ours);
    openapi_free(o);
}

/* The rows of the table in routes.c: {"/path", METHOD, … */
Test(openapi, every_route_is_described_and_nothing_else)
{
    struct openapi *o = make(false);
    json_t *root = document(o);
    char *routes = source("gateway/routes.c");
    size_t found = 0;

    for (char *row = routes; (row = strstr(row, "{\"/")); row++) {
        char path[64], method[16];
        cr_assert_eq(sscanf(row, "{\"%63[^\"]\", %15[A-Z]", path, method), 2, "%.40s", row);
        json_t *operation = json_object_get(json_object_get(json_object_get(root, "paths"), path),
                                            strcmp(method, "POST") == 0 ? "post" : "get");
        cr_expect_not_null(operation, "%s %s", method, path);
        found++;
    }
    cr_expect_eq(json_object_size(json_object_get(root, "paths")), found);
    free(routes);
    json_decref(root);
    openapi_free(o);
}

static void check_hash(struct str page, const char *open, const char *close, const char *directive)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t hash[DIGEST_SHA256_SIZE + 1] = {0};
    char want[128];
    const char *from = strstr(page.p, open);
    const char *to = from ? strstr(from, close) : NULL;
    int n = snprintf(want, sizeof want, "%s 'sha256-", directive);

    cr_assert_not_null(to, "the page has no %s", open);
    from += strlen(open);
    digest_sha256(hash, from, (size_t)(to - from));
    for (size_t bit = 0; bit < 8 * DIGEST_SHA256_SIZE; bit += 6)
        want[n++] = digits[(hash[bit / 8] << 8 | hash[bit / 8 + 1]) >> (10 - bit % 8) & 63];
    snprintf(want + n, sizeof want - (size_t)n, "=';");
    cr_expect_not_null(strstr(openapi_page_policy, want), "%s is not in: %s", want, openapi_page_policy);
}

Test(openapi, the_policy_allows_the_pages_own_script_and_style_only)
{
    struct openapi *o = make(false);
    struct str page = openapi_page(o);

    check_hash(page, "<script>", "</script>", "script-src");
    check_hash(page, "<style>", "</style>", "style-src");
    cr_expect_not_null(strstr(openapi_page_policy, "default-src 'none';"));
    cr_expect_null(strstr(openapi_page_policy, "unsafe"));
    openapi_free(o);
}

Test(openapi, the_page_is_small_and_needs_nobody_else)
{
    struct openapi *o = make(false);
    struct str page = openapi_page(o);

    cr_expect_lt(page.n, 40 * KIB);
    cr_expect_null(strstr(page.p, "@docs"), "a mark was left");
    cr_expect_null(strstr(page.p, "src="), "something is loaded");
    cr_expect_null(strstr(page.p, "@import"));
    cr_expect_null(strstr(page.p, "url("));
    cr_expect_null(strstr(page.p, "\"/"), "an absolute path does not work behind a prefix");
    openapi_free(o);
}
