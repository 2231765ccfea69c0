#include "common/base/conf.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/log.h"

struct c {
    char *text, *key, *url, *address;
    int64_t number, interval;
    bool flag;
    int choice;
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
     .unit = "apples",
     .doc = "A number."},
    {.name = "T_SECONDS",
     .type = CONF_SECONDS,
     .offset = offsetof(struct c, interval),
     .def = "0.5",
     .min = 0,
     .max = 60000,
     .doc = "Seconds."},
    {.name = "T_URL",
     .type = CONF_URL,
     .offset = offsetof(struct c, url),
     .empty = "T_TEXT",
     .doc = "A URL."},
    {.name = "T_ADDRESS",
     .type = CONF_IPV4,
     .offset = offsetof(struct c, address),
     .def = "0.0.0.0",
     .doc = "An address."},
    {.name = "T_CHOICE",
     .type = CONF_CHOICE,
     .offset = offsetof(struct c, choice),
     .def = "blue",
     .choices = "red|green|blue",
     .flags = CONF_RELOADABLE,
     .example = CONF_LIMITS,
     .doc = "A colour."},
    {.name = "T_FLAG", .type = CONF_BOOL, .offset = offsetof(struct c, flag), .def = "no", .doc = "A flag."},
    {.name = "T_LEVEL",
     .type = CONF_LEVEL,
     .offset = offsetof(struct c, level),
     .def = "INFO",
     .doc = "A level."},
};

static void set_up(void)
{
    unsetenv("LOG_LEVEL");
    unsetenv("LOG_FORMAT");
}

TestSuite(conf, .init = set_up);

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
    cr_expect(c.number == 7 && c.interval == 500 && !c.flag && c.level == LOG_INFO && c.choice == 2);
    cr_expect_str_eq(c.url, "");
    cr_expect_str_eq(c.address, "0.0.0.0");
    conf_free(rows, ARRAY_LEN(rows), &c);
    cr_expect_null(c.text);
}

/* What conf_load() writes down of itself; the caller's to free. */
static char *checked(int *rc)
{
    struct c c;
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    conf_begin_check(f);
    *rc = load(&c);
    conf_end_check();
    cr_assert_eq(fclose(f), 0);
    conf_free(rows, ARRAY_LEN(rows), &c);
    return text;
}

static void expect_said(int wanted, const char *line)
{
    int rc = 0;
    char *text = checked(&rc);

    cr_expect_eq(rc, wanted, "%s", text);
    cr_expect_not_null(strstr(text, line), "'%s' is not in:\n%s", line, text);
    free(text);
}

Test(conf, what_is_taken)
{
    static const struct {
        const char *name, *value;
    } table[] = {
        {"T_NUMBER", "+3"},
        {"T_SECONDS", ".5"},
        {"T_SECONDS", "60"},
        {"T_FLAG", "ON"},
        {"T_CHOICE", "GREEN"},
        {"T_LEVEL", "warn"},
        {"T_TEXT", "\xc3\xa9#\xc3\xa9"},
        {"T_URL", "http://x/a@b"},
        {"T_URL", "https://[::1]:8/"},
        {"T_ADDRESS", "127.0.0.1"},
        {"LOG_FORMAT", "Text"},
        {"LOG_LEVEL", "debug"},
        {"T_KEY", "0123456789"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct c c;
        setenv(table[i].name, table[i].value, 1);
        cr_expect_eq(load(&c), 0, "%s=%s", table[i].name, table[i].value);
        conf_free(rows, ARRAY_LEN(rows), &c);
        unsetenv(table[i].name);
    }
}

Test(conf, a_bad_value_is_told_with_what_would_be_good)
{
    static const struct {
        const char *name, *value, *said;
    } table[] = {
        {"T_NUMBER", "0", "T_NUMBER=0: expected a whole number of apples from 1 to 9. A number."},
        {"T_NUMBER", "10", "T_NUMBER=10: expected"},
        {"T_NUMBER", "3x", "T_NUMBER=3x: expected"},
        {"T_NUMBER", " 3", "T_NUMBER= 3: expected"},
        {"T_NUMBER", "0x3", "T_NUMBER=0x3: expected"},
        {"T_NUMBER", "99999999999999999999", "T_NUMBER=99999999999999999999: expected"},
        {"T_SECONDS", "-1", "T_SECONDS=-1: expected seconds from 0 to 60. Seconds."},
        {"T_SECONDS", "61", "T_SECONDS=61: expected"},
        {"T_SECONDS", "nan", "T_SECONDS=nan: expected"},
        {"T_SECONDS", "1e1", "T_SECONDS=1e1: expected"},
        {"T_FLAG", "maybe", "T_FLAG=maybe: expected true or false. A flag."},
        {"T_LEVEL", "LOUD", "T_LEVEL=LOUD: expected DEBUG, INFO, WARNING or ERROR. A level."},
        {"T_CHOICE", "redgreen", "T_CHOICE=redgreen: expected one of red|green|blue. A colour."},
        {"T_CHOICE", "re", "T_CHOICE=re: expected"},
        {"T_TEXT", "123456", "T_TEXT=123456: expected one line of at most 5 bytes"},
        {"T_TEXT", "a\nb", "T_TEXT=a\\nb: expected one line"},
        {"T_TEXT", "a\xc3\xa9\xe9", "error\tT_TEXT: its text is no UTF-8 at byte 4. A text.\n"},
        {"T_KEY", "\xc3(", "error\tT_KEY: its text is no UTF-8 at byte 1. A key.\n"},
        {"T_URL", "http://\xff", "error\tT_URL: its text is no UTF-8 at byte 8. A URL.\n"},
        {"T_URL", "ftp://x", "T_URL=ftp://x: expected a URL that begins with http:// or https://"},
        {"T_URL", "http://", "T_URL=http://: expected"},
        {"T_URL", "https://me:pw@x/v1", "T_URL=***: expected a URL that begins with"},
        {"T_URL", "https://x/v1?key=pw", "T_URL=***: expected"},
        {"T_URL", "http://a b", "T_URL=http://a b: expected"},
        {"T_ADDRESS", "localhost", "T_ADDRESS=localhost: expected an IPv4 address. An address."},
        {"T_KEY", "much too long", "T_KEY=***: expected one line of at most 10 bytes"},
        {"LOG_FORMAT", "xml", "LOG_FORMAT=xml: expected one of json|text."},
        {"LOG_LEVEL", "LOUD", "LOG_LEVEL=LOUD: expected DEBUG, INFO, WARNING or ERROR."},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        char line[300];

        snprintf(line, sizeof line, "%s", table[i].said);
        setenv(table[i].name, table[i].value, 1);
        expect_said(-EINVAL, line);
        unsetenv(table[i].name);
    }
}

Test(conf, all_bad_ones_are_told_at_once)
{
    setenv("T_NUMBER", "0", 1);
    setenv("T_FLAG", "maybe", 1);
    setenv("LOG_LEVEL", "LOUD", 1);
    expect_said(-EINVAL, "error\tT_NUMBER=0");
    expect_said(-EINVAL, "error\tT_FLAG=maybe");
    expect_said(-EINVAL, "error\tLOG_LEVEL=LOUD");
}

Test(conf, a_long_bad_value_leaves_room_for_the_rest)
{
    char value[4000];

    memset(value, '7', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    setenv("T_NUMBER", value, 1);
    expect_said(-EINVAL, "777…: expected a whole number of apples from 1 to 9. A number.\n");
}

Test(conf, a_check_tells_what_holds_and_where_it_comes_from)
{
    setenv("T_NUMBER", "3", 1);
    setenv("T_KEY", "s3cret", 1);
    setenv("T_TEXT", "", 1);
    expect_said(0, "variable\tT_NUMBER\t3\tenvironment\n");
    expect_said(0, "variable\tT_KEY\t(set, 6 bytes)\tenvironment\n");
    expect_said(0, "name\tT_KEY_FILE\n");
    expect_said(0, "variable\tT_TEXT\tx\tdefault\n");
    expect_said(0, "variable\tT_URL\t(T_TEXT)\tdefault\n");
    expect_said(0, "variable\tLOG_FORMAT\tjson\tdefault\n");
    setenv("T_TEXT", "\x1b[2J", 1);
    expect_said(-EINVAL, "variable\tT_TEXT\t\\u001b[2J\tenvironment\n"); /* shown, if bad, and harmless */
}

static void write_secret(const char *path, const char *text, size_t n)
{
    FILE *f = fopen(path, "we");

    cr_assert_not_null(f);
    cr_assert_eq(fwrite(text, 1, n, f), n);
    fclose(f);
}

Test(conf, a_secret_comes_from_a_file_too_and_is_never_shown, .init = cr_redirect_stdout)
{
    char path[] = "/tmp/conf_test.XXXXXX";
    struct c c;
    char said[4096] = "";

    close(mkstemp(path));
    write_secret(path, "s3cret\r\n\n", 9);
    setenv("T_KEY_FILE", path, 1);
    cr_assert_eq(load(&c), 0);
    cr_expect_str_eq(c.key, "s3cret");
    conf_free(rows, ARRAY_LEN(rows), &c);

    setenv("T_KEY", "s3cret", 1); /* both */
    cr_expect_eq(load(&c), -EINVAL);
    conf_free(rows, ARRAY_LEN(rows), &c);
    unsetenv("T_KEY_FILE");
    setenv("T_KEY", "much too long s3cret", 1);
    cr_expect_eq(load(&c), -EINVAL);
    conf_free(rows, ARRAY_LEN(rows), &c);
    fflush(stdout);
    FILE *out = cr_get_redirected_stdout();
    size_t n = fread(said, 1, sizeof said - 1, out);
    cr_expect(n > 0 && strstr(said, "T_KEY=***"), "the variable is named: %s", said);
    cr_expect_not_null(strstr(said, "T_KEY and T_KEY_FILE are both set: keep one of them."), "%s", said);
    cr_expect_null(strstr(said, "s3cret"), "the secret is shown: %s", said);
    unlink(path);
}

Test(conf, what_is_wrong_with_a_secrets_file_is_told)
{
    char path[] = "/tmp/conf_test.XXXXXX";
    static char large[8192];

    memset(large, 'x', sizeof large);
    close(mkstemp(path));
    setenv("T_KEY_FILE", path, 1);
    expect_said(-EINVAL, "cannot take the secret from this file: it is empty. A key.");
    write_secret(path, "\n\n", 2);
    expect_said(-EINVAL, "cannot take the secret from this file: it is empty. A key.");
    write_secret(path, large, sizeof large);
    expect_said(-EINVAL, "cannot take the secret from this file: it is too large. A key.");
    write_secret(path, "a\0b", 3);
    expect_said(-EINVAL, "cannot take the secret from this file: it has a NUL byte. A key.");
    write_secret(path, "a\nb", 3);
    expect_said(-EINVAL, "T_KEY=***: expected one line");
    unlink(path);
    expect_said(-EINVAL, "cannot take the secret from this file: No such file or directory. A key.");
    cr_assert_eq(mkfifo(path, 0600), 0);
    expect_said(-EINVAL, "cannot take the secret from this file: it is not a regular file. A key.");
    unlink(path);
    setenv("T_KEY_FILE", "/tmp", 1);
    expect_said(-EINVAL, "T_KEY_FILE=/tmp: cannot take the secret from this file: it is a folder. A key.");
}

/* Root may read everything: somebody else asks. */
Test(conf, who_may_not_read_a_secrets_file_is_told)
{
    char path[] = "/tmp/conf_test.XXXXXX", wanted[64];

    close(mkstemp(path));
    write_secret(path, "key", 3);
    cr_assert_eq(chmod(path, 0), 0);
    if (geteuid() == 0)
        cr_assert_eq(seteuid(65534), 0);
    setenv("T_KEY_FILE", path, 1);
    snprintf(wanted, sizeof wanted, "from this file: user %lu may not read it. A key.",
             (unsigned long)geteuid());
    expect_said(-EINVAL, wanted);
    cr_assert_eq(seteuid(getuid()), 0);
    unlink(path);
}

/* docker run --env-file */
Test(conf, quotes_that_nobody_took_away_are_told)
{
    setenv("T_KEY", "\"s3cret\"", 1);
    expect_said(-EINVAL, "T_KEY: the quotes around it are part of the value here: take them away. A key.");
    setenv("T_KEY", "\"", 1);
    expect_said(0, "");
    unsetenv("T_KEY");
    setenv("T_TEXT", "'x'", 1);
    expect_said(-EINVAL, "T_TEXT: the quotes around it");
}

Test(conf, base_urls_end_without_slashes)
{
    struct c c;

    setenv("T_URL", "https://api.example/v1//", 1);
    cr_assert_eq(load(&c), 0);
    cr_expect_str_eq(c.url, "https://api.example/v1");
    conf_free(rows, ARRAY_LEN(rows), &c);
}

Test(conf, tells_names_and_rows, .init = cr_redirect_stdout)
{
    char said[8192] = "";

    conf_print_names(rows, ARRAY_LEN(rows));
    conf_print_rows(rows, ARRAY_LEN(rows));
    fflush(stdout);
    FILE *out = cr_get_redirected_stdout();
    cr_assert_gt(fread(said, 1, sizeof said - 1, out), 0);
    cr_expect_eq(strncmp(said, "LOG_LEVEL\nLOG_FORMAT\nT_TEXT\nT_KEY\nT_KEY_FILE\nT_NUMBER\n", 51), 0, "%s",
                 said);
    cr_expect_not_null(strstr(said, "\nT_NUMBER\twhole number\t7\t1 to 9\tapples\t\t\t0\tA number.\n"), "%s",
                       said);
    cr_expect_not_null(strstr(said, "\nT_KEY\ttext\t\tup to 10 bytes\t\tsecret\t\t0\tA key.\n"), "%s", said);
    cr_expect_not_null(strstr(said, "\nT_URL\tURL\t(T_TEXT)\t\t\t\t\t0\tA URL.\n"), "%s", said);
    cr_expect_not_null(strstr(said, "\nT_SECONDS\tseconds\t0.5\t0 to 60\t\t\t\t0\tSeconds.\n"), "%s", said);
    cr_expect_not_null(
        strstr(said, "\nT_CHOICE\tchoice\tblue\tred, green, blue\t\t\treloadable\t5\tA colour.\n"), "%s",
        said);
}
