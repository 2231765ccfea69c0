#include "llm-worker/trust.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/attr.h"
#include "common/base/limits.h"

static int check_file(const char *text, size_t times, const char **why)
{
    char path[] = "/tmp/atalaya-trust-XXXXXX";
    FILE *f = fdopen(mkstemp(path), "w");

    cr_assert(f);
    while (times--)
        cr_assert(fputs(text, f) >= 0);
    cr_assert_eq(fclose(f), 0);
    int rc = trust_check(path, why);
    unlink(path);
    return rc;
}

Test(trust, a_file_of_authorities)
{
    const char *why;

    cr_expect_eq(check_file("# ours\n-----BEGIN CERTIFICATE-----\nMIIB\n", 1, &why), 0);
    cr_expect_null(why);
    cr_expect_eq(check_file("-----BEGIN TRUSTED CERTIFICATE-----\nMIIB\n", 1, &why), 0);
    cr_expect_eq(check_file("-----BEGIN PRIVATE KEY-----\nMIIB\n", 1, &why), -EINVAL);
    cr_expect(strstr(why, "no certificate"), "%s", why);
    cr_expect_eq(check_file("", 1, &why), -EINVAL);
    cr_expect(strstr(why, "no certificate"), "%s", why);
    cr_expect_eq(check_file("-----BEGIN CERTIFICATE-----\n", CA_FILE_MAX / 27, &why), -EINVAL);
    cr_expect(strstr(why, "too large"), "%s", why);
    cr_expect_eq(trust_check("/nonexistent/ca.pem", &why), -EINVAL);
    cr_expect_str_eq(why, "No such file or directory");
    cr_expect_eq(trust_check("/tmp", &why), -EINVAL);
    cr_expect_str_eq(why, "Is a directory");
}

Test(trust, what_to_do)
{
    static const struct {
        long verified;
        const char *advice;
    } table[] = {{0, "base URL"},     {1, "base URL"},     {9, "clock"},        {10, "renew it"},
                 {18, "LLM_CA_FILE"}, {19, "LLM_CA_FILE"}, {20, "LLM_CA_FILE"}, {21, "LLM_CA_FILE"},
                 {2, "LLM_CA_FILE"},  {7, "replace it"},   {68, "replace it"}};

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        cr_expect(strstr(trust_advice(table[i].verified), table[i].advice), "%ld", table[i].verified);
}
