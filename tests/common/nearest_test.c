#include "common/base/nearest.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "common/base/attr.h"

Test(nearest, counts_typing_errors)
{
    static const struct {
        const char *a, *b;
        size_t distance;
    } table[] = {
        {"", "", 0},         {"", "ABC", 3},     {"PORT", "PORT", 0},  {"PORT", "port", 0},
        {"PORT", "PROT", 1}, {"PORT", "PRT", 1}, {"PORT", "POORT", 1}, {"PORT", "SORT", 1},
        {"HSOT", "HOST", 1}, {"CA", "ABC", 3},   {"ABCD", "BADC", 2},  {"kitten", "sitting", 3},
        {"HOST", "PORT", 2},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        cr_expect_eq(nearest_distance(table[i].a, table[i].b), table[i].distance, "%s, %s: %zu", table[i].a,
                     table[i].b, nearest_distance(table[i].a, table[i].b));
        cr_expect_eq(nearest_distance(table[i].b, table[i].a), table[i].distance);
    }
}

Test(nearest, very_long_names_are_near_to_nothing)
{
    char name[NEAREST_NAME_MAX + 2];

    memset(name, 'A', sizeof name);
    name[NEAREST_NAME_MAX] = '\0';
    cr_expect_eq(nearest_distance(name, name), 0);
    memset(name, 'A', sizeof name);
    name[NEAREST_NAME_MAX + 1] = '\0';
    cr_expect_eq(nearest_distance(name, name), SIZE_MAX);
    cr_expect_eq(nearest_distance("A", name), SIZE_MAX);
}

Test(nearest, finds_the_nearest_and_of_equals_the_first)
{
    static const char *const names[] = {"LANGFUSE_HOST", "LOG_LEVEL", "LOG_FORMAT", "CORS_A", "CORS_B"};

    cr_expect_str_eq(nearest_name("LANGFUSE_HSOT", names, ARRAY_LEN(names), 2), "LANGFUSE_HOST");
    cr_expect_str_eq(nearest_name("LOG_LVL", names, ARRAY_LEN(names), 2), "LOG_LEVEL");
    cr_expect_str_eq(nearest_name("CORS_C", names, ARRAY_LEN(names), 2), "CORS_A");
    cr_expect_null(nearest_name("LOG_LVL", names, ARRAY_LEN(names), 1));
    cr_expect_null(nearest_name("X", names, 0, 9));
}
