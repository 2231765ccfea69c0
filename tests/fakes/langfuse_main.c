/* fake-langfuse: options and start. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/proc/child.h"
#include "tests/fakes/fake.h"
#include "tests/fakes/langfuse.h"

#define PROGRAM     "fake-langfuse"
#define LOG_DEFAULT 200 /* bodies here are large */

static void help(void)
{
    printf("usage: " PROGRAM " [options]\n"
           "\n"
           "The part of Langfuse's API that takes traces and scores, as strict as the real one, for tests "
           "and benches.\n"
           "\n"
           "  --host ADDRESS       IPv4 address to listen on (127.0.0.1)\n"
           "  --port N             0: any free one (0)\n"
           "  --port-file FILE     write the port into FILE when it is open\n"
           "  --public-key KEY     accept these two only (any)\n"
           "  --secret-key KEY\n"
           "  --version VERSION    behave like that version: 2.x, 3.x, 4.x (4.16.0)\n"
           "  --mode MODE          of version 4: events_only, dual, legacy (events_only)\n"
           "  --discard            judge and count, keep nothing\n"
           "  --log N              requests kept for /_admin/requests (%d)\n"
           "  --answers            start nothing; exit 0 when one answers at --host and --port, else 1\n"
           "  --help               show this\n"
           "\n"
           "For tests: POST /_admin/behaviour, /_admin/reset, GET /_admin/traces, /_admin/scores, "
           "/_admin/stats,\n"
           "/_admin/requests (tests/fakes/README.md).\n",
           LOG_DEFAULT);
}

enum {
    O_HOST = 256,
    O_PORT,
    O_PORT_FILE,
    O_PUBLIC,
    O_SECRET,
    O_VERSION,
    O_MODE,
    O_DISCARD,
    O_LOG,
    O_ANSWERS,
    O_HELP
};

static const struct option options[] = {
    {"host", required_argument, NULL, O_HOST},
    {"port", required_argument, NULL, O_PORT},
    {"port-file", required_argument, NULL, O_PORT_FILE},
    {"public-key", required_argument, NULL, O_PUBLIC},
    {"secret-key", required_argument, NULL, O_SECRET},
    {"version", required_argument, NULL, O_VERSION},
    {"mode", required_argument, NULL, O_MODE},
    {"discard", no_argument, NULL, O_DISCARD},
    {"log", required_argument, NULL, O_LOG},
    {"answers", no_argument, NULL, O_ANSWERS},
    {"help", no_argument, NULL, O_HELP},
    {0},
};

static enum mode read_mode(const char *text)
{
    static const char *const modes[] = {"events_only", "dual", "legacy"};

    for (size_t i = 0; i < ARRAY_LEN(modes); i++)
        if (strcmp(text, modes[i]) == 0)
            return (enum mode)i;
    fake_usage_error(PROGRAM, "--mode wants events_only, dual or legacy, not \"%s\"", text);
}

static size_t read_options(struct langfuse *l, struct fake *f, int argc, char **argv)
{
    int64_t log_entries = LOG_DEFAULT;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (option == O_HELP) {
            help();
            exit(EXIT_DONE);
        } else if (option == O_HOST) {
            f->host = optarg;
        } else if (option == O_PORT) {
            f->port = (uint16_t)fake_integer(PROGRAM, "port", optarg, 0, 65535);
        } else if (option == O_PORT_FILE) {
            f->port_file = optarg;
        } else if (option == O_ANSWERS) {
            f->ask_only = true;
        } else if (option == O_PUBLIC) {
            l->public_key = optarg;
        } else if (option == O_SECRET) {
            l->secret_key = optarg;
        } else if (option == O_VERSION && !set_version(l, optarg)) {
            fake_usage_error(PROGRAM, "--version wants something like 4.16.0, not \"%s\"", optarg);
        } else if (option == O_MODE) {
            l->mode = read_mode(optarg);
        } else if (option == O_DISCARD) {
            l->discard = true;
        } else if (option == O_LOG) {
            log_entries = fake_integer(PROGRAM, "log", optarg, 0, 10 * FAKE_LOG_ENTRIES);
        } else if (option == '?') {
            exit(EXIT_USAGE);
        }
    }
    if (optind < argc)
        fake_usage_error(PROGRAM, "no arguments are expected, not \"%s\"", argv[optind]);
    return (size_t)log_entries;
}

int main(int argc, char **argv)
{
    struct langfuse *l = xcalloc(1, sizeof *l);
    struct fake f = {.program = PROGRAM, .base = "", .host = "127.0.0.1"};

    log_init(PROGRAM, LOG_INFO);
    l->behaviour = (struct behaviour){.retry_after = -1, .only = R_COUNT};
    if (!set_version(l, "4.16.0"))
        abort();
    l->log = reqlog_new(read_options(l, &f, argc, argv));
    store_init(&l->store);
    l->body = BUF_INIT(2 * FAKE_BODY_MAX);
    l->unpacked = BUF_INIT(FAKE_BODY_MAX);
    l->loop = loop_new();
    const struct httpd_handler handler = {.on_request = route_request, .on_done = route_done, .arg = l};
    int code = fake_serve(&f, l->loop, &handler, &l->server);
    store_free(&l->store);
    reqlog_free(l->log);
    loop_free(l->loop);
    buf_free(&l->body);
    buf_free(&l->unpacked);
    free(l);
    return code;
}
