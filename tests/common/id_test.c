#include "common/base/id.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

Test(id, shapes)
{
    char trace[ID_TRACE_SIZE], span[ID_SPAN_SIZE], uuid[ID_UUID_SIZE];

    id_trace(trace);
    id_span(span);
    id_uuid(uuid);
    cr_expect_eq(strspn(trace, "0123456789abcdef"), 32);
    cr_expect_eq(strspn(span, "0123456789abcdef"), 16);
    cr_expect_eq(strlen(uuid), 36);
    cr_expect(uuid[8] == '-' && uuid[13] == '-' && uuid[18] == '-' && uuid[23] == '-');
    cr_expect_eq(uuid[14], '4');
    cr_expect_not_null(strchr("89ab", uuid[19]));
}

Test(id, a_forked_child_does_not_repeat_its_parent)
{
    int pipes[2];
    uint64_t mine, its = 0;

    id_u64();
    cr_assert_eq(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        uint64_t v = id_u64();
        _exit(write(pipes[1], &v, sizeof v) == sizeof v ? 0 : 1);
    }
    mine = id_u64();
    cr_assert_eq(read(pipes[0], &its, sizeof its), (ssize_t)sizeof its);
    waitpid(pid, NULL, 0);
    cr_assert_neq(mine, its);
}
