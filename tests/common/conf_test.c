#include "common/conf/conf.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/log.h"

struct c {
    char *text, *key;
    int64_t number, interval;
    bool flag;
    enum log_level level;
};

static const struct conf_row rows[] = {
    {.name = "T_TEXT",
     .type = CONF_STR,
     .offset = offsetof(struct c, text),
     .def = "x",
     .max = 5,
     .doc = "A text."},
    {.name = "T_KEY",
     .type = CONF_STR,
     .offset = offsetof(struct c, key),
     .flags = CONF_SECRET,
     .max = 10,
     .doc = "A key."},
    {.name = "T_NUMBER",
     .type = CONF_INT,
     .offset = offsetof(struct c, number),
     .def = "7",
     .min = 1,
     .max = 9,
     .doc = "A number."},
    {.name = "T_SECONDS",
     .type = CONF_SECONDS,
     .offset = offsetof(struct c, interval),
     .def = "0.5",
     .min = 0,
     .max = 60000,
     .doc = "Seconds."},
    {.name = "T_FLAG", .type = CONF_BOOL, .offset = offsetof(struct c, flag), .def = "no", .doc = "A flag."},
    {.name = "T_LEVEL",
     .type = CONF_LEVEL,
     .offset = offsetof(struct c, level),
     .def = "INFO",
     .doc = "A level."},
};

static int load(struct c *c)
{
    *c = (struct c){0};
    return conf_load(rows, ARRAY_LEN(rows), c);
}

Test(conf, defaults_and_an_empty_value_is_unset)
{
    struct c c;

    setenv("T_NUMBER", "", 1);
    cr_assert_eq(load(&c), 0);
    cr_expect_str_eq(c.text, "x");
    cr_expect_str_eq(c.key, "");
    cr_expect(c.number == 7 && c.interval == 500 && !c.flag && c.level == LOG_INFO);
    conf_free(rows, ARRAY_LEN(rows), &c);
    cr_expect_null(c.text);
}

Test(conf, what_is_refused)
{
    static const struct {
        const char *name, *value;
    } table[] = {
        {"T_NUMBER", "0"},   {"T_NUMBER", "10"},
        {"T_NUMBER", "3x"},  {"T_NUMBER", "99999999999999999999"},
        {"T_NUMBER", " "},   {"T_SECONDS", "-1"},
        {"T_SECONDS", "61"}, {"T_SECONDS", "nan"},
        {"T_SECONDS", "1s"}, {"T_FLAG", "maybe"},
        {"T_LEVEL", "LOUD"}, {"T_TEXT", "123456"},
        {"T_TEXT", "a\nb"},  {"T_KEY_FILE", "/nonexistent"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct c c;
        setenv(table[i].name, table[i].value, 1);
        cr_expect_eq(load(&c), -EINVAL, "%s=%s", table[i].name, table[i].value);
        conf_free(rows, ARRAY_LEN(rows), &c);
        unsetenv(table[i].name);
    }
}

Test(conf, a_secret_comes_from_a_file_too_and_is_never_shown, .init = cr_redirect_stdout)
{
    char path[] = "/tmp/conf_test.XXXXXX";
    struct c c;
    char said[512] = "";
    int fd = mkstemp(path);

    cr_assert(fd >= 0 && write(fd, "s3cret\n", 7) == 7);
    close(fd);
    setenv("T_KEY_FILE", path, 1);
    cr_assert_eq(load(&c), 0);
    cr_expect_str_eq(c.key, "s3cret");
    conf_free(rows, ARRAY_LEN(rows), &c);

    setenv("T_KEY", "much too long s3cret", 1);
    cr_expect_eq(load(&c), -EINVAL);
    conf_free(rows, ARRAY_LEN(rows), &c);
    fflush(stdout);
    FILE *out = cr_get_redirected_stdout();
    size_t n = fread(said, 1, sizeof said - 1, out);
    cr_expect(n > 0 && strstr(said, "T_KEY"), "the variable is named: %s", said);
    cr_expect_null(strstr(said, "s3cret"), "the secret is shown: %s", said);
    unlink(path);
}

Test(conf, base_urls)
{
    char good[] = "https://api.example/v1//", plain[] = "ftp://api.example",
         secret[] = "https://me:s3cret@api.example/v1", late[] = "http://api.example/a@b";

    cr_expect_eq(conf_check_url("T_URL", good), 0);
    cr_expect_str_eq(good, "https://api.example/v1");
    cr_expect_eq(conf_check_url("T_URL", plain), -EINVAL);
    cr_expect_eq(conf_check_url("T_URL", secret), -EINVAL);
    cr_expect_eq(conf_check_url("T_URL", late), 0);
}
