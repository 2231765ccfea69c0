#include "gateway/cors.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "common/base/limits.h"
#include "common/base/mem.h"

#define SITE "https://app.example"

static const struct cors_conf as_python = {"*", "GET, POST", "*", true, 600};

static struct buf headers = {.max = 64 * KIB};
static char text[CORS_TEXT_SIZE];

/* Status of a preflight, 0 for another request; its lines are in `headers`. */
static int answer(const struct cors_conf *conf, const struct cors_question *q)
{
    struct cors *c;
    int status = 0;

    cr_assert_eq(cors_new(&c, conf), 0);
    buf_free(&headers);
    if (cors_is_preflight(q))
        status = cors_preflight(c, q, &headers, text);
    else
        cors_headers(c, q, &headers);
    cors_free(c);
    cr_assert_not(headers.failed);
    return status;
}

static const char *lines(void)
{
    return headers.data ? headers.data : "";
}

Test(cors, a_request_without_origin_is_nobodys_business)
{
    answer(&as_python, &(struct cors_question){.method = "GET", .has_cookie = true});
    cr_assert_str_eq(lines(), "");
    cr_assert_not(cors_is_preflight(&(struct cors_question){.method = "OPTIONS", .asked_method = "POST"}));
    cr_assert_not(cors_is_preflight(&(struct cors_question){.method = "OPTIONS", .origin = SITE}));
    cr_assert_not(
        cors_is_preflight(&(struct cors_question){.method = "POST", .origin = SITE, .asked_method = "POST"}));
}

Test(cors, any_origin_and_the_exact_one_with_a_cookie)
{
    answer(&as_python, &(struct cors_question){.method = "GET", .origin = SITE});
    cr_expect_str_eq(lines(), "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n");
    answer(&as_python, &(struct cors_question){.method = "GET", .origin = ""});
    cr_expect_str_eq(lines(), "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n");
    answer(&as_python, &(struct cors_question){.method = "GET", .origin = SITE, .has_cookie = true});
    cr_expect_str_eq(lines(), "Vary: Origin\r\nAccess-Control-Allow-Origin: " SITE
                              "\r\nAccess-Control-Allow-Credentials: true\r\n");
}

Test(cors, preflight_echoes_origin_and_headers)
{
    struct cors_question q = {.method = "OPTIONS", .origin = SITE, .asked_method = "POST"};

    cr_expect_eq(answer(&as_python, &q), 200);
    cr_expect_str_eq(text, "OK");
    cr_expect_str_eq(lines(), "Vary: Origin\r\nAccess-Control-Allow-Origin: " SITE
                              "\r\nAccess-Control-Allow-Methods: GET, POST\r\nAccess-Control-Max-Age: 600\r\n"
                              "Access-Control-Allow-Credentials: true\r\n");
    q.asked_headers = "content-type, x-custom";
    cr_expect_eq(answer(&as_python, &q), 200);
    cr_expect(strstr(lines(), "\r\nAccess-Control-Allow-Headers: content-type, x-custom\r\n"));
}

Test(cors, methods_are_compared_to_the_letter)
{
    static const char *const bad[] = {"PUT", "post", "", "GET, POST", "*"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cr_expect_eq(answer(&as_python, &(struct cors_question){"OPTIONS", SITE, bad[i], NULL, false}), 400);
        cr_expect_str_eq(text, "Disallowed CORS method", "%s", bad[i]);
        cr_expect(strstr(lines(), "Access-Control-Allow-Origin: " SITE "\r\n"));
    }
}

Test(cors, a_restricted_service_names_all_that_is_wrong)
{
    const struct cors_conf conf = {SITE ", http://localhost:3000", "POST", "X-Custom", false, 5};
    struct cors_question q = {"OPTIONS", "https://evil.example", "GET", "content-type, x-other", false};

    cr_expect_eq(answer(&conf, &q), 400);
    cr_expect_str_eq(text, "Disallowed CORS origin, method, headers");
    cr_expect_str_eq(lines(),
                     "Vary: Origin\r\nAccess-Control-Allow-Methods: POST\r\nAccess-Control-Max-Age: 5\r\n"
                     "Access-Control-Allow-Headers: Accept, Accept-Language, Content-Language, "
                     "Content-Type, X-Custom\r\n");
    q.origin = "http://localhost:3000";
    q.asked_headers = "content-type , X-CUSTOM";
    cr_expect_eq(answer(&conf, &q), 400);
    cr_expect_str_eq(text, "Disallowed CORS method");
    q.asked_method = "POST";
    q.asked_headers = "";
    cr_expect_eq(answer(&conf, &q), 400);
    cr_expect_str_eq(text, "Disallowed CORS headers");
    q.asked_headers = NULL;
    cr_expect_eq(answer(&conf, &q), 200);
}

Test(cors, with_a_list_of_origins_every_answer_varies)
{
    const struct cors_conf conf = {SITE, "GET", "*", false, 600};

    answer(&conf, &(struct cors_question){.method = "GET"});
    cr_expect_str_eq(lines(), "Vary: Origin\r\n");
    answer(&conf, &(struct cors_question){.method = "GET", .origin = "https://evil.example"});
    cr_expect_str_eq(lines(), "Vary: Origin\r\n");
    answer(&conf, &(struct cors_question){.method = "GET", .origin = SITE});
    cr_expect_str_eq(lines(), "Vary: Origin\r\nAccess-Control-Allow-Origin: " SITE "\r\n");
}

Test(cors, none_lets_nobody_in)
{
    const struct cors_conf conf = {"none", "*", "*", false, 600};

    cr_expect_eq(answer(&conf, &(struct cors_question){"OPTIONS", SITE, "DELETE", NULL, false}), 400);
    cr_expect_str_eq(text, "Disallowed CORS origin");
    cr_expect(strstr(lines(), "-Methods: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n"));
}

Test(cors, what_could_split_an_answer_is_never_echoed)
{
    static const char *const bad[] = {"https://a\r\nX: y", "https://a\n", "https://a\x01", "https://a\x7f"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cr_expect_eq(answer(&as_python, &(struct cors_question){"OPTIONS", bad[i], "GET", NULL, false}), 400);
        cr_expect_str_eq(text, "Disallowed CORS origin");
        cr_expect_not(strstr(lines(), bad[i]));
        cr_expect_eq(answer(&as_python, &(struct cors_question){"OPTIONS", SITE, "GET", bad[i], false}), 400);
        cr_expect_str_eq(text, "Disallowed CORS headers");
        cr_expect_not(strstr(lines(), bad[i]));
        answer(&as_python, &(struct cors_question){"GET", bad[i], NULL, NULL, true});
        cr_expect_str_eq(lines(),
                         "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n");
    }
}

Test(cors, what_is_echoed_has_a_greatest_length)
{
    char *asked = xcalloc(1, CORS_ECHO_MAX + 2);

    memset(asked, 'x', CORS_ECHO_MAX);
    cr_expect_eq(answer(&as_python, &(struct cors_question){"OPTIONS", SITE, "GET", asked, false}), 200);
    asked[CORS_ECHO_MAX] = 'x';
    cr_expect_eq(answer(&as_python, &(struct cors_question){"OPTIONS", SITE, "GET", asked, false}), 400);
    cr_expect_lt(headers.len, 1000);
    free(asked);
}

Test(cors, configuration_that_can_never_match_is_refused)
{
    static const char *const good[] = {"*",
                                       "none",
                                       SITE,
                                       "http://[::1]:9000",
                                       "chrome-extension://abc",
                                       "http://a,*",
                                       " http://a , https://b:8443 "};
    static const char *const bad[] = {"",
                                      "null",
                                      "app.example",
                                      "https://",
                                      "https://a/",
                                      "https://A",
                                      "HTTPS://a",
                                      "https://a:",
                                      "https://a:0",
                                      "https://a:443",
                                      "http://a:80",
                                      "https://a,",
                                      "http://a:99999",
                                      "http://a b",
                                      "http://[::1",
                                      "https://*.a",
                                      "http://a http://b"};
    struct cors_conf conf = as_python;
    struct cors *c;

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        conf.origins = good[i];
        cr_expect_eq(cors_new(&c, &conf), 0, "%s", good[i]);
        cors_free(c);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        conf.origins = bad[i];
        cr_expect_lt(cors_new(&c, &conf), 0, "%s", bad[i]);
        cr_expect_null(c);
    }
    cr_expect_lt(cors_new(&c, &(struct cors_conf){"*", "GET POST", "*", true, 600}), 0);
    cr_expect_lt(cors_new(&c, &(struct cors_conf){"*", "GET", "x-a;x-b", true, 600}), 0);
}
