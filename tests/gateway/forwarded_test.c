#include "gateway/forwarded.h"

#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "common/base/buf.h"
#include "common/base/limits.h"

#define TRUSTED "10.0.0.0/8, 192.168.1.7,2001:db8:1::/48, ::1, 172.16.0.0/12"

static const struct {
    const char *peer, *header, *client;
} who[] = {
    /* nobody in between */
    {"203.0.113.9", NULL, "203.0.113.9"},
    {"10.0.0.1", NULL, "10.0.0.1"},
    {"10.0.0.1", "", "10.0.0.1"},
    /* a stranger's header is his invention */
    {"203.0.113.9", "198.51.100.1", "203.0.113.9"},
    {"11.0.0.1", "198.51.100.1", "11.0.0.1"},
    {"192.168.1.8", "198.51.100.1", "192.168.1.8"},
    /* one proxy, two, and what the client made up before them */
    {"10.0.0.1", "198.51.100.1", "198.51.100.1"},
    {"10.255.255.255", "198.51.100.1, 192.168.1.7", "198.51.100.1"},
    {"10.0.0.1", "1.1.1.1, 10.9.9.9, 198.51.100.1,172.31.255.255 ,\t10.0.0.2", "198.51.100.1"},
    {"10.0.0.1", "1.1.1.1,198.51.100.1,172.32.0.0", "172.32.0.0"},
    /* only proxies: the farthest */
    {"10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"},
    /* what is no address ends the search */
    {"10.0.0.1", "unknown", "10.0.0.1"},
    {"10.0.0.1", "198.51.100.1, unknown, 10.0.0.2", "10.0.0.2"},
    {"10.0.0.1", "198.51.100.1,", "10.0.0.1"},
    {"10.0.0.1", ",", "10.0.0.1"},
    {"10.0.0.1", "198.51.100.1, _hidden", "10.0.0.1"},
    {"10.0.0.1", "256.1.1.1", "10.0.0.1"},
    {"10.0.0.1", "1.2.3", "10.0.0.1"},
    {"10.0.0.1", "198.51.100.1 198.51.100.2", "10.0.0.1"},
    {"10.0.0.1", "fe80::1%eth0", "10.0.0.1"},
    {"10.0.0.1", "evil\r\nX: y", "10.0.0.1"},
    {"10.0.0.1", "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc", "10.0.0.1"},
    {"10.0.0.1", "0000:0000:0000:0000:0000:ffff:198.151.100.228", "198.151.100.228"},
    {"10.0.0.1", "0000:0000:0000:0000:0000:ffff:198.151.100.2289", "10.0.0.1"},
    /* ports and brackets */
    {"10.0.0.1", "198.51.100.1:4711", "198.51.100.1"},
    {"10.0.0.1", "198.51.100.1, 10.0.0.2:80", "198.51.100.1"},
    {"10.0.0.1", "[2001:db8::5]:80", "2001:db8::5"},
    {"10.0.0.1", "[2001:db8::5]", "2001:db8::5"},
    {"10.0.0.1", "198.51.100.1:", "10.0.0.1"},
    {"10.0.0.1", "198.51.100.1:http", "10.0.0.1"},
    {"10.0.0.1", "198.51.100.1:123456", "10.0.0.1"},
    {"10.0.0.1", ":80", "10.0.0.1"},
    {"10.0.0.1", "[2001:db8::5", "10.0.0.1"},
    {"10.0.0.1", "[2001:db8::5]80", "10.0.0.1"},
    {"10.0.0.1", "[2001:db8::5]:", "10.0.0.1"},
    {"10.0.0.1", "[]", "10.0.0.1"},
    {"10.0.0.1", "[", "10.0.0.1"},
    /* IPv6, and IPv4 in its clothes */
    {"::1", "2001:DB8:0:0::5", "2001:db8::5"},
    {"2001:db8:1:ffff::9", "198.51.100.1", "198.51.100.1"},
    {"2001:db8:2::9", "198.51.100.1", "2001:db8:2::9"},
    {"::ffff:10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"},
    {"10.0.0.1", "198.51.100.1, ::ffff:10.0.0.2", "198.51.100.1"},
    {"10.0.0.1", "[::ffff:198.51.100.1]:80", "198.51.100.1"},
    {"", "198.51.100.1", "unknown"},
    {"/run/socket", "198.51.100.1", "unknown"},
};

Test(forwarded, who_counts_as_the_client)
{
    struct proxies *p;

    cr_assert_eq(proxies_parse(&p, TRUSTED), 0);
    for (size_t i = 0; i < ARRAY_LEN(who); i++) {
        char out[CLIENT_ADDRESS_SIZE];
        client_address(p, who[i].peer, who[i].header, out);
        cr_expect_str_eq(out, who[i].client, "%s + \"%s\": %s, not %s", who[i].peer,
                         who[i].header ? who[i].header : "", out, who[i].client);
    }
    proxies_free(p);
}

Test(forwarded, without_a_list_nobody_is_trusted)
{
    static const char *const none[] = {NULL, ""};

    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        struct proxies *p;
        char out[CLIENT_ADDRESS_SIZE];
        cr_assert_eq(proxies_parse(&p, none[i]), 0);
        client_address(p, "127.0.0.1", "198.51.100.1", out);
        cr_expect_str_eq(out, "127.0.0.1");
        proxies_free(p);
    }
}

Test(forwarded, everybody_of_a_family_and_nobody_of_the_other)
{
    struct proxies *p;
    char out[CLIENT_ADDRESS_SIZE];

    cr_assert_eq(proxies_parse(&p, "0.0.0.0/0"), 0);
    client_address(p, "203.0.113.9", "2001:db8::5, 198.51.100.1", out);
    cr_expect_str_eq(out, "2001:db8::5");
    client_address(p, "2001:db8::1", "198.51.100.1", out);
    cr_expect_str_eq(out, "2001:db8::1");
    proxies_free(p);
    cr_assert_eq(proxies_parse(&p, "::/0"), 0);
    client_address(p, "203.0.113.9", "198.51.100.1", out);
    cr_expect_str_eq(out, "203.0.113.9");
    proxies_free(p);
}

Test(forwarded, a_header_of_proxies_without_end_has_one)
{
    struct proxies *p;
    struct buf header = BUF_INIT(64 * KIB);
    char out[CLIENT_ADDRESS_SIZE];
    char expected[CLIENT_ADDRESS_SIZE];

    for (int i = 0; i < 4 * FORWARDED_HOPS_MAX; i++)
        buf_printf(&header, "%s10.0.%d.%d", i ? "," : "", i / 256, i % 256);
    cr_assert_eq(proxies_parse(&p, "10.0.0.0/8"), 0);
    client_address(p, "10.1.1.1", header.data, out);
    snprintf(expected, sizeof expected, "10.0.0.%d", 3 * FORWARDED_HOPS_MAX);
    cr_assert_str_eq(out, expected);
    proxies_free(p);
    buf_free(&header);
}

Test(forwarded, a_list_that_is_wrong_or_says_too_much_is_refused)
{
    static const char *const good[] = {"10.0.0.1/32",   "0.0.0.0/0",       "::/0", "::1/128", "2001:db8::/33",
                                       "10.0.0.128/25", " 10.0.0.1 , ::1 "};
    static const char *const bad[] = {
        "localhost",  "10.0.0.1/8",    "10.0.0.0/33",   "::/129",           "10.0.0.0/",
        "10.0.0.0/x", "10.0.0.0/ 8",   "10.0.0.0/-1",   "10.0.0.0/8/8",     "/8",
        ",",          "10.0.0.1,",     "10.0.0",        "2001:db8::1/32",   "10.0.0.1:80",
        "[::1]",      "10.0.0.129/25", "10.0.0.0/0008", "10.0.0.1 10.0.0.2"};
    struct proxies *p;

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        cr_expect_eq(proxies_parse(&p, good[i]), 0, "%s", good[i]);
        proxies_free(p);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cr_expect_lt(proxies_parse(&p, bad[i]), 0, "%s", bad[i]);
        cr_expect_null(p);
    }
}
