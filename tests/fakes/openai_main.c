/* fake-openai: options and start. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/id.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/proc/child.h"
#include "tests/fakes/fake.h"
#include "tests/fakes/openai.h"

#define PROGRAM     "fake-openai"
#define LATENCY_MAX (3600 * 1000)

#define FIXED_CONTENT                                                                                        \
    "Una torre de vigilancia sirve para ver a lo lejos lo que ocurre, avisar a tiempo y dejar constancia "   \
    "de cada "                                                                                               \
    "pregunta y de su respuesta."

static void help(void)
{
    printf("usage: " PROGRAM " [options]\n"
           "\n"
           "An OpenAI-compatible chat completions API for tests, benches and demos. It invents nothing: the "
           "answer is\n"
           "a fixed sentence, the question itself, or says that it is a demo.\n"
           "\n"
           "  --host ADDRESS           IPv4 address to listen on (127.0.0.1)\n"
           "  --port N                 0: any free one (0)\n"
           "  --port-file FILE         write the port into FILE when it is open\n"
           "  --latency MS             wait before every answer (0)\n"
           "  --jitter MS              and up to this much more, uniformly (0)\n"
           "  --tokens-per-second N    pace of an answer, 0: at once (0)\n"
           "  --content TEXT           answer with TEXT\n"
           "  --echo                   answer with the user's message\n"
           "  --demo                   answer with a sentence that says it is a demo; any model will do\n"
           "  --key KEY                accept this key only; may be repeated (any key)\n"
           "  --auth HOW               where the key is: bearer, azure (api-key, and ?api-version=), none: "
           "nowhere "
           "(bearer)\n"
           "  --model NAME             know this model besides gpt-*, o*; may be repeated\n"
           "  --any-model              know every model\n"
           "  --fail WHAT:SHARE        fail that share of the calls; WHAT is a status or one of\n"
           "                           %s\n"
           "  --stall SHARE            never answer      --cut SHARE      close in the middle of the body\n"
           "  --garbage SHARE          answer 200 with what is no JSON\n"
           "  --retry-after SECONDS    send Retry-After with 429 and 5xx\n"
           "  --seed N                 make shares and jitter repeatable\n"
           "  --log N                  requests kept for /_admin/requests (%d)\n"
           "  --answers                start nothing; exit 0 when one answers at --host and --port, else 1\n"
           "  --help                   show this\n"
           "\n"
           "POST /v1/chat/completions, GET /v1/models. For tests: POST /_admin/script, /_admin/defaults, "
           "/_admin/reset,\n"
           "GET /_admin/requests?since=N, /_admin/stats (tests/fakes/README.md).\n",
           error_names(), FAKE_LOG_ENTRIES);
}

enum {
    O_HOST = 256,
    O_PORT,
    O_PORT_FILE,
    O_LATENCY,
    O_JITTER,
    O_TPS,
    O_CONTENT,
    O_ECHO,
    O_DEMO,
    O_KEY,
    O_AUTH,
    O_MODEL,
    O_ANY_MODEL,
    O_FAIL,
    O_STALL,
    O_CUT,
    O_GARBAGE,
    O_RETRY_AFTER,
    O_SEED,
    O_LOG,
    O_ANSWERS,
    O_HELP
};

static const struct option options[] = {
    {"host", required_argument, NULL, O_HOST},
    {"port", required_argument, NULL, O_PORT},
    {"port-file", required_argument, NULL, O_PORT_FILE},
    {"latency", required_argument, NULL, O_LATENCY},
    {"jitter", required_argument, NULL, O_JITTER},
    {"tokens-per-second", required_argument, NULL, O_TPS},
    {"content", required_argument, NULL, O_CONTENT},
    {"echo", no_argument, NULL, O_ECHO},
    {"demo", no_argument, NULL, O_DEMO},
    {"key", required_argument, NULL, O_KEY},
    {"auth", required_argument, NULL, O_AUTH},
    {"model", required_argument, NULL, O_MODEL},
    {"any-model", no_argument, NULL, O_ANY_MODEL},
    {"fail", required_argument, NULL, O_FAIL},
    {"stall", required_argument, NULL, O_STALL},
    {"cut", required_argument, NULL, O_CUT},
    {"garbage", required_argument, NULL, O_GARBAGE},
    {"retry-after", required_argument, NULL, O_RETRY_AFTER},
    {"seed", required_argument, NULL, O_SEED},
    {"log", required_argument, NULL, O_LOG},
    {"answers", no_argument, NULL, O_ANSWERS},
    {"help", no_argument, NULL, O_HELP},
    {0},
};

static void add_share(struct openai *o, const char *what, const char *option, const char *text)
{
    double share = fake_number(PROGRAM, option, text, 0, 1);

    if (!set_share(&o->now, what, share))
        fake_usage_error(PROGRAM, "--%s: no such failure, or too many: \"%s\"", option, what);
}

static void add_fail(struct openai *o, const char *text)
{
    char what[24];
    const char *colon = strchr(text, ':');

    if (!colon || (size_t)(colon - text) >= sizeof what)
        fake_usage_error(PROGRAM, "--fail wants WHAT:SHARE like 429:0.1, not \"%s\"", text);
    memcpy(what, text, (size_t)(colon - text));
    what[colon - text] = '\0';
    add_share(o, what, "fail", colon + 1);
}

static void add_name(const char *option, const char **list, size_t *n, const char *name)
{
    if (*n == NAMES_MAX)
        fake_usage_error(PROGRAM, "--%s can be given %d times", option, NAMES_MAX);
    list[(*n)++] = name;
}

static void set_content(struct openai *o, const char *text)
{
    free(o->now.content);
    o->now.content = xstrdup(text);
    o->now.voice = VOICE_FIXED;
}

static void answer_option(struct openai *o, int option)
{
    switch (option) {
    case O_LATENCY:
        o->now.latency_ms = fake_integer(PROGRAM, "latency", optarg, 0, LATENCY_MAX);
        break;
    case O_JITTER:
        o->now.jitter_ms = fake_integer(PROGRAM, "jitter", optarg, 0, LATENCY_MAX);
        break;
    case O_TPS:
        o->now.tokens_per_second = fake_number(PROGRAM, "tokens-per-second", optarg, 0, 1e6);
        break;
    case O_CONTENT:
        set_content(o, optarg);
        break;
    case O_ECHO:
        o->now.voice = VOICE_ECHO;
        break;
    case O_DEMO:
        o->now.voice = VOICE_DEMO;
        o->any_model = true;
        break;
    case O_FAIL:
        add_fail(o, optarg);
        break;
    case O_STALL:
        add_share(o, "stall", "stall", optarg);
        break;
    case O_CUT:
        add_share(o, "cut", "cut", optarg);
        break;
    case O_GARBAGE:
        add_share(o, "garbage", "garbage", optarg);
        break;
    case O_RETRY_AFTER:
        o->now.retry_after = fake_number(PROGRAM, "retry-after", optarg, 0, 1e6);
        break;
    default:
        fake_usage_error(PROGRAM, "unknown option");
    }
}

static enum auth_style auth_style(const char *word)
{
    static const char *const words[] = {"bearer", "azure", "none"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(word, words[i]) == 0)
            return (enum auth_style)i;
    fake_usage_error(PROGRAM, "--auth is bearer, azure or none, not \"%s\"", word);
}

static int64_t read_options(struct openai *o, struct fake *f, int argc, char **argv)
{
    int64_t log_entries = FAKE_LOG_ENTRIES;
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
        } else if (option == O_KEY) {
            add_name("key", o->keys, &o->n_keys, optarg);
        } else if (option == O_AUTH) {
            o->style = auth_style(optarg);
        } else if (option == O_MODEL) {
            add_name("model", o->models, &o->n_models, optarg);
        } else if (option == O_ANY_MODEL) {
            o->any_model = true;
        } else if (option == O_SEED) {
            o->random = (uint64_t)fake_integer(PROGRAM, "seed", optarg, INT64_MIN, INT64_MAX);
        } else if (option == O_LOG) {
            log_entries = fake_integer(PROGRAM, "log", optarg, 0, 10 * FAKE_LOG_ENTRIES);
        } else if (option == '?') {
            exit(EXIT_USAGE);
        } else {
            answer_option(o, option);
        }
    }
    if (optind < argc)
        fake_usage_error(PROGRAM, "no arguments are expected, not \"%s\"", argv[optind]);
    return log_entries;
}

int main(int argc, char **argv)
{
    struct openai *o = xcalloc(1, sizeof *o);
    struct fake f = {.program = PROGRAM, .base = "/v1", .host = "127.0.0.1"};

    log_init(PROGRAM, LOG_INFO);
    o->now.retry_after = -1;
    o->random = id_u64();
    set_content(o, FIXED_CONTENT);
    o->log = reqlog_new((size_t)read_options(o, &f, argc, argv));
    defaults_copy(&o->at_start, &o->now);
    o->script_end = &o->script;
    o->body = BUF_INIT(2 * FAKE_BODY_MAX);
    o->headers = BUF_INIT(2 * FAKE_HEAD_MAX);
    o->loop = loop_new();
    const struct httpd_handler handler = {.on_request = route_request, .on_done = route_done, .arg = o};
    int code = fake_serve(&f, o->loop, &handler, &o->server);
    calls_free(o);
    script_clear(o);
    defaults_free(&o->now);
    defaults_free(&o->at_start);
    reqlog_free(o->log);
    loop_free(o->loop);
    buf_free(&o->body);
    buf_free(&o->headers);
    free(o);
    return code;
}
