/* The times and environments that Langfuse's schemas take (seen on 2.95, 3.225 and 4.16). */
#include <criterion/criterion.h>

#include "tests/fakes/langfuse.h"

Test(langfuse_rules, times)
{
    static const struct {
        const char *text;
        bool v2, v3;
    } table[] = {
        {"2026-11-24T10:00:00Z", true, true},
        {"2026-11-24T10:00:00.1Z", true, true},
        {"2026-11-24T10:00:00.123456789Z", true, true},
        {"2026-11-24T10:00:00+00:00", true, true},
        {"2026-11-24T10:00:00-05:30", true, true},
        {"2024-02-29T10:00:00Z", true, true},
        {"2026-11-24T10:00:00+0200", true, false},
        {"2026-11-24T10:00Z", false, true},
        {"2026-11-24T10:00:00", false, false},
        {"2026-11-24 10:00:00Z", false, false},
        {"2026-11-24t10:00:00Z", false, false},
        {"2026-11-24T10:00:00z", false, false},
        {"2026-11-24T10:00:00+02", false, false},
        {"2026-11-24T10:00:60Z", false, false},
        {"2026-11-24T24:00:00Z", false, false},
        {"2026-02-30T10:00:00Z", false, false},
        {"2026-13-01T10:00:00Z", false, false},
        {"2026-11-24T10:00:00.Z", false, false},
        {"2026-11-24T10:00:00Zx", false, false},
        {"1795493767", false, false},
        {"", false, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        cr_expect_eq(rule_time(table[i].text, 2), table[i].v2, "2: %s", table[i].text);
        cr_expect_eq(rule_time(table[i].text, 3), table[i].v3, "3: %s", table[i].text);
        cr_expect_eq(rule_time(table[i].text, 4), table[i].v3, "4: %s", table[i].text);
    }
}

Test(langfuse_rules, environments)
{
    static const char *const good[] = {"dev", "default", "a", "prod-1_b",
                                       "0123456789012345678901234567890123456789"};
    static const char *const bad[] = {
        "", "Dev", "a b", "langfuse", "langfuse-x", "ñ", "a.b", "01234567890123456789012345678901234567890"};

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        cr_expect(rule_environment(good[i]), "%s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_expect_not(rule_environment(bad[i]), "%s", bad[i]);
}
