#include "llm-worker/conf.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "common/base/conf.h"
#include "common/base/log.h"
#include "common/wire/endpoint.h"
#include "llm-worker/proxy.h"
#include "llm-worker/trust.h"

#define AT(member) offsetof(struct worker_conf, member)

static char *unconst(const char *text)
{
    return (char *)(uintptr_t)text;
}

static const struct conf_row rows[] = {
    {.name = "OPENAI_API_KEY",
     .type = CONF_STR,
     .offset = AT(api_key),
     .max = 1024,
     .flags = CONF_SECRET,
     .example = CONF_PROVIDER,
     .doc = "Key of the provider; without it /ask answers 502."},
    {.name = "OPENAI_BASE_URL",
     .type = CONF_URL,
     .offset = AT(base_url),
     .def = "https://api.openai.com/v1",
     .max = 1024,
     .example = CONF_PROVIDER,
     .doc = "Base URL of an OpenAI-compatible API, up to and without /chat/completions."},
    {.name = "OPENAI_MODEL",
     .type = CONF_STR,
     .offset = AT(model),
     .def = "gpt-4o-mini",
     .max = 256,
     .example = CONF_PROVIDER,
     .doc = "Model that answers."},
    {.name = "OPENAI_DEMO_BASE_URL",
     .type = CONF_URL,
     .offset = AT(demo_base_url),
     .max = 1024,
     .empty = "none",
     .doc = "Base URL of a demo upstream, used only while OPENAI_API_KEY is not set."},
    {.name = "LLM_UPSTREAMS_FILE",
     .type = CONF_STR,
     .offset = AT(upstreams_file),
     .max = 1024,
     .empty = "one upstream: OPENAI_BASE_URL",
     .example = CONF_PROVIDER,
     .doc = "JSON file that lists several upstreams, in place of OPENAI_API_KEY and OPENAI_BASE_URL; see "
            "docs/upstreams.md. "
            "Their keys are in variables LLM_KEY_…, which it names."},
    {.name = "LLM_CA_FILE",
     .type = CONF_STR,
     .offset = AT(ca_file),
     .max = 1024,
     .empty = "SSL_CERT_FILE",
     .example = CONF_PROVIDER,
     .doc =
         "File of certificate authorities (PEM) that providers are verified by, in place of the system's; an "
         "upstream may have its own: docs/upstreams.md."},
    {.name = "SSL_CERT_FILE",
     .type = CONF_STR,
     .offset = AT(ssl_cert_file),
     .empty = "the system's",
     .doc = "File of certificate authorities, in place of the system's."},
    {.name = "LLM_WORKER_SLOTS",
     .type = CONF_INT,
     .offset = AT(slots),
     .def = "4096",
     .min = 1,
     .max = 20000,
     .unit = "questions",
     .doc = "Questions that one worker holds at once."},
    {.name = "LLM_MAX_ATTEMPTS",
     .type = CONF_INT,
     .offset = AT(attempts),
     .def = "3",
     .min = 1,
     .max = 10,
     .unit = "calls",
     .doc = "Calls to one upstream per question, the first included."},
    {.name = "LLM_RETRY_AFTER_MAX",
     .type = CONF_SECONDS,
     .offset = AT(retry_after_ms),
     .def = "60",
     .min = 0,
     .max = 3600000,
     .doc = "Longest time that the provider may ask to wait before the next call (Retry-After); beyond it "
            "the question "
            "is not tried there again."},
    {.name = "LLM_RETRY_BUDGET",
     .type = CONF_INT,
     .offset = AT(retry_budget),
     .def = "20",
     .min = 0,
     .max = 1000,
     .unit = "percent",
     .doc = "Repeated calls in a hundred first ones, beside a few a second that are always allowed; 0 = no "
            "call is "
            "repeated."},
    {.name = "LLM_HEDGE",
     .type = CONF_BOOL,
     .offset = AT(hedge),
     .def = "false",
     .doc = "Asks a second time, at another upstream where there is one, when an answer (of a stream: its "
            "first piece) takes "
            "longer than 95 in 100 of the last ones; the first to come is taken, the other call is ended. "
            "Each one costs a "
            "call of LLM_RETRY_BUDGET, and perhaps the provider's tokens."},
    {.name = "LLM_BREAKER_FAILURES",
     .type = CONF_INT,
     .offset = AT(breaker_failures),
     .def = "30",
     .min = 0,
     .max = 1000000,
     .unit = "calls",
     .doc = "Calls in a row that must fail by the upstream's fault for a worker to leave it alone for a "
            "while; half of "
            "at least 50 calls in 30 seconds does so too. 0 = never."},
    {.name = "LLM_CONNECT_TIMEOUT_MS",
     .type = CONF_INT,
     .offset = AT(connect_timeout_ms),
     .def = "5000",
     .min = 10,
     .max = 600000,
     .unit = "milliseconds",
     .doc = "Longest wait for a connection to the provider."},
    {.name = "LLM_FIRST_BYTE_TIMEOUT_MS",
     .type = CONF_INT,
     .offset = AT(first_byte_timeout_ms),
     .def = "30000",
     .min = 10,
     .max = 3600000,
     .unit = "milliseconds",
     .doc =
         "Longest silence of the provider from the start of a call to the first byte of its answer, "
         "connection included. A model that thinks for longer needs more, here and in REQUEST_TIMEOUT_MS."},
    {.name = "LLM_STALL_TIMEOUT_MS",
     .type = CONF_INT,
     .offset = AT(stall_timeout_ms),
     .def = "10000",
     .min = 10,
     .max = 3600000,
     .unit = "milliseconds",
     .doc = "Longest silence of the provider in the middle of an answer."},
    {.name = "LLM_CALL_TIMEOUT_MS",
     .type = CONF_INT,
     .offset = AT(call_timeout_ms),
     .def = "60000",
     .min = 10,
     .max = 3600000,
     .unit = "milliseconds",
     .doc = "Longest that one call to the provider may take as a whole; the request's deadline may end it "
            "before."},
    {.name = "GUARDRAIL_WORDS",
     .type = CONF_STR,
     .offset = AT(guardrail_words),
     .def = "estúpido,idiota,odiar,matar",
     .doc = "Words that lower an answer's toxicity_safe score, with commas between; or the path of a file, "
            "which "
            "begins with / or ./, with one word a line and # before comments."},
    {.name = "LLM_PRICES_FILE",
     .type = CONF_STR,
     .offset = AT(prices_file),
     .max = 1024,
     .empty = "no costs",
     .example = CONF_PROVIDER,
     .doc =
         "File with the prices of models, like infra/prices.conf (which ./dev run and compose use): what an "
         "answer cost then is in its trace, its log line and the metrics."},
    {.name = "DRAIN_TIMEOUT_MS",
     .type = CONF_INT,
     .offset = AT(drain_timeout_ms),
     .def = "10000",
     .min = 0,
     .max = 600000,
     .unit = "milliseconds",
     .example = CONF_LIMITS,
     .doc = "How long TERM waits for what is in flight."},
    {.name = "ATALAYA_JOBS_ENDPOINT",
     .type = CONF_STR,
     .offset = AT(jobs_endpoint),
     .max = 200,
     .empty = "ipc socket jobs.sock in ATALAYA_RUN_DIR",
     .doc = "ZeroMQ endpoint of the jobs wire: the gateway binds it, the workers connect to it."},
};

const struct conf_table worker_conf_table = {rows, ARRAY_LEN(rows)};

static struct roster *one_by_openai(const struct worker_conf *c)
{
    bool demo = worker_conf_is_demo(c);

    if (!*c->api_key && !demo)
        return NULL;
    return roster_of_one(&(struct target){
        .name = unconst(demo ? "demo" : "openai"),
        .base_url = demo ? c->demo_base_url : c->base_url,
        .query = unconst(""),
        .key = demo ? unconst("demo") : c->api_key,
        .key_name = unconst("OPENAI_API_KEY"),
        .model = c->model,
        .ca_file = unconst(""),
        .weight = 1,
        .direct = demo, /* it is beside us, whatever proxy leads to the world */
    });
}

static int check_base_url(const struct worker_conf *c)
{
    if (!roster_url_is_endpoint(c->base_url))
        return 0;
    log_error("OPENAI_BASE_URL=%s: it ends before /chat/completions, which is added to it", c->base_url);
    return -EINVAL;
}

/* What the upstreams are verified by that name no file of their own. */
static int check_authorities(const struct worker_conf *c)
{
    const char *path = worker_conf_ca_file(c), *why;

    if (!*path || trust_check(path, &why) == 0)
        return 0;
    log_error("%s=%s: cannot take certificate authorities from this file: %s",
              *c->ca_file ? "LLM_CA_FILE" : "SSL_CERT_FILE", path, why);
    return -EINVAL;
}

int worker_conf_load(struct worker_conf *c)
{
    proxy_tell();
    if (conf_load(rows, ARRAY_LEN(rows), c) < 0 || wordlist_new(&c->wordlist, c->guardrail_words) < 0 ||
        check_authorities(c) < 0 || check_base_url(c) < 0)
        return -EINVAL;
    if (!*c->upstreams_file)
        c->roster = one_by_openai(c);
    else if (roster_new(&c->roster, c->upstreams_file, c->model) < 0)
        return -EINVAL;
    if (prices_new(&c->prices, c->prices_file) < 0)
        return -EINVAL;
    if (worker_conf_is_demo(c)) { /* whose answers cost nothing, whatever model they name */
        prices_free(c->prices);
        c->prices = NULL;
    }
    return endpoint_default(&c->jobs_endpoint, ENDPOINT_JOBS);
}

void worker_conf_free(struct worker_conf *c)
{
    wordlist_free(c->wordlist);
    c->wordlist = NULL;
    roster_free(c->roster);
    c->roster = NULL;
    prices_free(c->prices);
    c->prices = NULL;
    conf_free(rows, ARRAY_LEN(rows), c);
}

const char *worker_conf_ca_file(const struct worker_conf *c)
{
    return *c->ca_file ? c->ca_file : c->ssl_cert_file;
}

bool worker_conf_is_demo(const struct worker_conf *c)
{
    return !*c->upstreams_file && !*c->api_key && *c->demo_base_url;
}
