#include "common/base/dotenv.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/attr.h"
#include "common/base/limits.h"

static char path[64];

static void set_up(void)
{
    clearenv();
    snprintf(path, sizeof path, "/tmp/atalaya-dotenv-XXXXXX");
    close(mkstemp(path));
}

static void tear_down(void)
{
    unlink(path);
}

TestSuite(dotenv, .init = set_up, .fini = tear_down);

static void write_file(const char *text, size_t n)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

    cr_assert_eq(write(fd, text, n), (ssize_t)n);
    close(fd);
}

static int load(const char *text, int *bad_line)
{
    write_file(text, strlen(text));
    return dotenv_load(path, bad_line);
}

static const struct {
    const char *text;
    const char *value; /* of A; NULL: not set */
} values[] = {
    {"A=1", "1"},
    {"A=1\n", "1"},
    {"A=1\r\n", "1"},
    {"A=1\rB=2", "1"},
    {"A=", ""},
    {"A=\nB=2", ""},
    {"A", NULL},
    {"  A = 1  ", "1"},
    {"\t\n\n  A=1", "1"},
    {"export A=1", "1"},
    {"export\tA=1", "1"},
    {"exportA=1", NULL},
    {"A=a b  c", "a b  c"},
    {"A=a=b==", "a=b=="},
    {"A=http://x/#y", "http://x/#y"},
    {"A=x#y", "x#y"},
    {"A=#y", "#y"},
    {"A=x #y", "x"},
    {"A=x\t# y", "x"},
    {"A=x  # y # z", "x"},
    {"A= # nothing", ""},
    {"A=  x", "x"},
    {"A=it's", "it's"},
    {"A=say \"x\"", "say \"x\""},
    {"A=\\n$B${C}", "\\n$B${C}"},
    {"A=\xc3\xa9", "\xc3\xa9"},
    /* white space as Python has it: no-break, ideographic */
    {"A=\xc2\xa0x\xc2\xa0", "x"},
    {"\xc2\xa0"
     "A\xc2\xa0=\xe3\x80\x80x",
     "x"},
    {"A=x\xe3\x80\x80#y", "x"},
    {"A=x\xe3\x80\x80y", "x\xe3\x80\x80y"},
    {"A=\xff \xff", "\xff \xff"},
    {"A=x \t #", "x"},
    {"A=x #y\nB=2", "x"},
    {"A=# y", "# y"},
    {"A= ", ""},
    {"export\xc2\xa0"
     "A=1",
     "1"},
    {"\xef\xbb\xbf"
     "A=1",
     "1"},
    {"# A=2\nA=1", "1"},
    {"  # A=2\nA=1", "1"},
    {"A=1\nA=2", "2"},
    {"A=1\n#A=2", "1"},
    /* single quotes */
    {"A=''", ""},
    {"A=' x # y '", " x # y "},
    {"A='x' # y", "x"},
    {"A='x'#y", "x"},
    {"A= 'x' ", "x"},
    {"A='a\\nb'", "a\\nb"},
    {"A='it\\'s'", "it's"},
    {"A='a\\\\'", "a\\"},
    {"A='a\\\"b'", "a\\\"b"},
    {"A='a\nb'", "a\nb"},
    {"A='$B'", "$B"},
    /* double quotes */
    {"A=\"\"", ""},
    {"A=\" x # y \"", " x # y "},
    {"A=\"x\" # y", "x"},
    {"A=\"a\\nb\\tc\\rd\"", "a\nb\tc\rd"},
    {"A=\"a\\\"b\\\\\"", "a\"b\\"},
    {"A=\"a\\qb\"", "a\\qb"},
    {"A=\"$B ${C}\"", "$B ${C}"},
    {"A=\"one\ntwo\r\nthree\"\n", "one\ntwo\nthree"},
    {"A=\"it's\"", "it's"},
    {"A='{\"a\": 1}'", "{\"a\": 1}"},
};

Test(dotenv, reads_values)
{
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        int bad_line = 0;

        clearenv();
        int rc = load(values[i].text, &bad_line);
        const char *got = getenv("A");
        if (!values[i].value) {
            cr_expect_null(got, "%s", values[i].text);
            continue;
        }
        cr_expect_eq(rc, 0, "%s: %d in line %d", values[i].text, rc, bad_line);
        cr_expect(got && strcmp(got, values[i].value) == 0, "%s: '%s', not '%s'", values[i].text,
                  got ? got : "(none)", values[i].value);
    }
}

static const struct {
    const char *text;
    int line;
} bad[] = {
    {"A", 1},
    {"A\n", 1},
    {"export A", 1},
    {"export =1", 1},
    {"=1", 1},
    {"# x\n\nA=1\nthis is none\n", 4},
    {"A B=1", 1},
    {"A='x", 1},
    {"\nA=\"x\ny\nz", 2},
    {"A=\"x\ny\"\nB", 3},
    {"A=\"x\" y", 1},
    {"A='x'y", 1},
    {"A=\"x\\\"", 1},
    {"'A'=1", 1},
    {"{\"A\": 1}", 1},
    {"A=1\r\nB=2\r\n!\r\n", 3},
};

Test(dotenv, names_the_first_bad_line)
{
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int bad_line = 0;

        cr_expect_eq(load(bad[i].text, &bad_line), -EINVAL, "%s", bad[i].text);
        cr_expect_eq(bad_line, bad[i].line, "%s: line %d, not %d", bad[i].text, bad_line, bad[i].line);
    }
}

Test(dotenv, lines_before_a_bad_one_count)
{
    int bad_line = 0;

    cr_assert_eq(load("A=1\n!\nB=2\n", &bad_line), -EINVAL);
    cr_expect_str_eq(getenv("A"), "1");
    cr_expect_null(getenv("B"));
}

Test(dotenv, the_environment_wins_even_when_empty)
{
    int bad_line = 0;

    setenv("A", "old", 1);
    setenv("B", "", 1);
    setenv("AB", "", 1);
    cr_assert_eq(load("A=1\nB=2\nC=3\nA=4\nC=5\n", &bad_line), 0);
    cr_expect_str_eq(getenv("A"), "old");
    cr_expect_str_eq(getenv("B"), "");
    cr_expect_str_eq(getenv("C"), "5");
}

Test(dotenv, a_nul_byte_is_no_value)
{
    static const char text[] = "A=1\nB=x\0y\n";
    int bad_line = 0;

    write_file(text, sizeof text - 1);
    cr_assert_eq(dotenv_load(path, &bad_line), -EINVAL);
    cr_assert_eq(bad_line, 2);
    cr_assert_null(getenv("B"));
}

Test(dotenv, no_file_is_fine_and_a_folder_is_not)
{
    int bad_line = 0;

    cr_expect_eq(dotenv_load("/nonexistent/.env", &bad_line), 0);
    cr_expect_eq(dotenv_load("/tmp", &bad_line), -EISDIR);
}

Test(dotenv, the_size_is_bounded)
{
    static char text[DOTENV_FILE_MAX + 1];
    int bad_line = 0;

    memset(text, '#', sizeof text);
    write_file(text, sizeof text - 1);
    cr_expect_eq(dotenv_load(path, &bad_line), 0);
    write_file(text, sizeof text);
    cr_expect_eq(dotenv_load(path, &bad_line), -EFBIG);
}
