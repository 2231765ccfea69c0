#include "gateway/sender.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/limits.h"

static struct conns conns = {.limit = 10, .slow_ms = HTTP_SLOW_MS};
static struct conn *conn;
static struct loop *loop;
static struct senders senders;
static struct sender sender;
static int client, moved, gone;

static void on_moved(void *arg)
{
    moved++;
    loop_stop(arg);
}

static void on_gone(void *arg)
{
    (void)arg;
    gone++;
}

static void setup(void)
{
    int pair[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    client = pair[1];
    loop = loop_new();
    senders_init(&senders, loop);
    conns_init(&conns);
    conn = conn_new(&conns);
    conn->fd = pair[0];
    conn->busy = true;
    conn->gone = on_gone;
    sender = (struct sender){.all = &senders,
                             .conn = conn,
                             .out = BUF_INIT(8 * MIB),
                             .grows = true,
                             .moved = on_moved,
                             .arg = loop};
}

static void teardown(void)
{
    sender_drop(&sender);
    close(conn->fd);
    close(client);
    conn_close(conn);
    loop_free(loop);
}

TestSuite(sender, .init = setup, .fini = teardown, .timeout = 20);

static enum sender_state send_much(void)
{
    char *at = buf_reserve(&sender.out, 4 * MIB);

    memset(at, 'x', 4 * MIB);
    sender.out.len += 4 * MIB;
    return sender_now(&sender);
}

/* Reads until the loop has sent more of what waits. */
static void read_some(void)
{
    static char waste[MIB];

    cr_assert_gt(recv(client, waste, sizeof waste, 0), 0);
    loop_run(loop);
}

Test(sender, what_is_added_in_one_turn_waits_for_its_end)
{
    char got[16] = "";

    buf_puts(&sender.out, "one ");
    sender_soon(&sender);
    buf_puts(&sender.out, "two");
    sender_soon(&sender);
    cr_assert_eq(recv(client, got, sizeof got, MSG_DONTWAIT), -1);
    struct loop_timer end = {.at = 1, .fn = on_moved, .arg = loop};
    loop_timer_set(loop, &end, 1);
    loop_run(loop);
    cr_assert_eq(recv(client, got, sizeof got, MSG_DONTWAIT), 7);
    cr_assert_str_eq(got, "one two");
    cr_assert_eq(sender.state, SENDER_IDLE);
}

/* Nobody else calls it here: there is no thread that reads the connection. */
Test(sender, a_cut_tells_that_the_client_is_lost)
{
    cr_assert_eq(send_much(), SENDER_WAITING);
    sender_cut(&sender);
    cr_assert_eq(gone, 1);
    sender_cut(&sender);
    cr_assert_eq(gone, 1);
    cr_assert(conn->cut && !conn->writing);
    cr_assert_eq(sender.out.cap, 0);
}

Test(sender, a_client_that_has_closed_is_lost_at_the_next_piece)
{
    shutdown(client, SHUT_RD);
    cr_assert_eq(send_much(), SENDER_BROKEN);
    cr_assert_eq(gone, 1);
}

/* HTTP_WRITING_MS is for the rest of an answer, not for one that still grows. */
Test(sender, a_long_stream_is_not_ended_while_its_client_reads)
{
    for (int i = 0; i < 2; i++) {
        sender.grows = i == 0;
        if (i == 0)
            cr_assert_eq(send_much(), SENDER_WAITING);
        conn->since_ms = clock_ms() - HTTP_WRITING_MS - 1;
        read_some();
        cr_assert_eq(sender.state, SENDER_WAITING);
        conns_sweep(&conns, clock_ms());
        cr_assert_eq(conn->cut, i == 1);
    }
}

Test(sender, stopping_breaks_what_waits)
{
    cr_assert_eq(send_much(), SENDER_WAITING);
    senders_stop(&senders);
    cr_assert_eq(sender.state, SENDER_BROKEN);
    cr_assert_eq(moved, 1);
}
