#include "gateway/conf.h"

#include <errno.h>
#include <stddef.h>

#include "common/base/conf.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/wire/endpoint.h"

#define RATE_MAX   1000000
#define AT(member) offsetof(struct gateway_conf, member)

static const struct conf_row rows[] = {
    {.name = "HOST",
     .type = CONF_IPV4,
     .offset = AT(host),
     .def = "0.0.0.0",
     .example = CONF_DEPLOYMENT,
     .doc = "IPv4 address that the gateway listens on."},
    {.name = "PORT",
     .type = CONF_INT,
     .offset = AT(port),
     .def = "8000",
     .min = 1,
     .max = 65535,
     .example = CONF_DEPLOYMENT,
     .doc = "TCP port of the API."},
    {.name = "GATEWAY_THREADS",
     .type = CONF_INT,
     .offset = AT(threads),
     .def = "1024",
     .min = 2,
     .max = 20000,
     .example = CONF_LIMITS,
     .doc = "Client connections at once, each a thread with a stack of 100 KiB; beyond them the one that has "
            "been idle "
            "or incomplete for longest is closed."},
    {.name = "GATEWAY_MAX_IN_FLIGHT",
     .type = CONF_INT,
     .offset = AT(max_in_flight),
     .min = 0,
     .max = 19999,
     .def = "0",
     .example = CONF_LIMITS,
     .doc = "Questions being answered or waiting for a worker at once, below GATEWAY_THREADS; one more is "
            "503. 0: "
            "GATEWAY_THREADS less one in forty."},
    {.name = "REQUEST_TIMEOUT_MS",
     .type = CONF_INT,
     .offset = AT(request_timeout_ms),
     .def = "60000",
     .min = 100,
     .max = 3600000,
     .unit = "milliseconds",
     .example = CONF_LIMITS,
     .doc = "From the request to its answer, queueing and every try included."},
    {.name = "GATEWAY_QUEUE_TIMEOUT_MS",
     .type = CONF_INT,
     .offset = AT(queue_timeout_ms),
     .def = "10000",
     .min = 10,
     .max = 3600000,
     .unit = "milliseconds",
     .doc = "Longest wait for a worker with a free slot; then 503."},
    {.name = "GATEWAY_HEARTBEAT_MS",
     .type = CONF_INT,
     .offset = AT(heartbeat_ms),
     .def = "10000",
     .min = 10,
     .max = 3600000,
     .unit = "milliseconds",
     .doc = "Silence after which a streamed answer gets a comment, so that nobody in between closes the "
            "connection. Until "
            "the first piece or comment has gone out, a failure still is an error status."},
    {.name = "GATEWAY_SINGLE_FLIGHT",
     .type = CONF_BOOL,
     .offset = AT(single_flight),
     .def = "false",
     .doc = "Of questions that are the same (text and word limit; of a chat completion the whole request) "
            "and under way at "
            "the same time only one is asked, and all get its answer; streams are not among them."},
    {.name = "GATEWAY_CACHE_BYTES",
     .type = CONF_INT,
     .offset = AT(cache_bytes),
     .def = "0",
     .min = 0,
     .max = 268435456,
     .unit = "bytes",
     .doc = "Memory for answers that are given again when the same question comes; 0: none. Whoever asks may "
            "get what "
            "another one was answered."},
    {.name = "GATEWAY_CACHE_AGE",
     .type = CONF_SECONDS,
     .offset = AT(cache_age_ms),
     .def = "3600",
     .min = 1,
     .max = 2592000000,
     .doc = "How long an answer may be given again."},
    {.name = "GATEWAY_BODY_MAX",
     .type = CONF_INT,
     .offset = AT(body_max),
     .def = "1048576",
     .min = 1024,
     .max = REQUEST_BODY_MAX,
     .unit = "bytes",
     .doc = "Largest body of a request; a larger one is 413."},
    {.name = "GATEWAY_CHAT_BODY_MAX",
     .type = CONF_INT,
     .offset = AT(chat_body_max),
     .def = "8388608",
     .min = 1024,
     .max = CHAT_BODY_MAX,
     .unit = "bytes",
     .doc = "The same for a chat completion, which may hold images; each request in flight can take twice as "
            "much memory."},
    {.name = "GATEWAY_HEAD_TIMEOUT_MS",
     .type = CONF_INT,
     .offset = AT(head_timeout_ms),
     .def = "10000",
     .min = 100,
     .max = 600000,
     .unit = "milliseconds",
     .doc = "A request's head must have come in so long after its first byte; then 408."},
    {.name = "GATEWAY_BODY_TIMEOUT_MS",
     .type = CONF_INT,
     .offset = AT(body_timeout_ms),
     .def = "30000",
     .min = 100,
     .max = 600000,
     .unit = "milliseconds",
     .doc = "And its body so long after its head; then 408."},
    {.name = "GATEWAY_KEEP_ALIVE_MS",
     .type = CONF_INT,
     .offset = AT(keep_alive_ms),
     .def = "75000",
     .min = 100,
     .max = 3600000,
     .unit = "milliseconds",
     .doc = "A connection without a request is closed after so long; above that of a proxy in front."},
    {.name = "GATEWAY_TOKENS_FILE",
     .type = CONF_STR,
     .offset = AT(tokens_file),
     .flags = CONF_RELOADABLE,
     .empty = "no token is asked for",
     .example = CONF_CLIENTS,
     .doc = "File with the SHA-256 of every bearer token that may ask and scrape, as sha256sum prints them, "
            "each with "
            "a name."},
    {.name = "RATE_LIMIT_USER_PER_MINUTE",
     .type = CONF_INT,
     .offset = AT(rate_user),
     .def = "0",
     .max = RATE_MAX,
     .example = CONF_CLIENTS,
     .doc =
         "Questions a minute of one user_id, or chat completions of one `safety_identifier` or `user`; one "
         "more is 429. 0: no limit."},
    {.name = "RATE_LIMIT_TOKEN_PER_MINUTE",
     .type = CONF_INT,
     .offset = AT(rate_token),
     .def = "0",
     .max = RATE_MAX,
     .example = CONF_CLIENTS,
     .doc = "Requests a minute with tokens of one name. 0: no limit."},
    {.name = "RATE_LIMIT_ADDRESS_PER_MINUTE",
     .type = CONF_INT,
     .offset = AT(rate_address),
     .def = "0",
     .max = RATE_MAX,
     .example = CONF_CLIENTS,
     .doc = "Requests a minute from one address. 0: no limit."},
    {.name = "RATE_LIMIT_BURST",
     .type = CONF_INT,
     .offset = AT(rate_burst),
     .def = "0",
     .max = RATE_MAX,
     .doc = "So many at once before the limits above count. 0: as many as a minute gives."},
    {.name = "GATEWAY_TRUSTED_PROXIES",
     .type = CONF_STR,
     .offset = AT(trusted_proxies),
     .empty = "X-Forwarded-For is ignored",
     .example = CONF_CLIENTS,
     .doc = "Addresses and CIDR blocks of proxies whose X-Forwarded-For counts, separated by commas."},
    {.name = "CORS_ALLOW_ORIGINS",
     .type = CONF_STR,
     .offset = AT(cors.origins),
     .def = "*",
     .example = CONF_CLIENTS,
     .doc = "Origins whose pages may call the API, separated by commas; * for all, none for nobody."},
    {.name = "CORS_ALLOW_METHODS",
     .type = CONF_STR,
     .offset = AT(cors.methods),
     .def = "GET, POST",
     .doc = "Methods that such a page may use."},
    {.name = "CORS_ALLOW_HEADERS",
     .type = CONF_STR,
     .offset = AT(cors.headers),
     .def = "*",
     .doc = "Request headers that such a page may send; * for all."},
    {.name = "CORS_ALLOW_CREDENTIALS",
     .type = CONF_BOOL,
     .offset = AT(cors.credentials),
     .def = "true",
     .doc = "Whether browsers may send cookies along."},
    {.name = "CORS_MAX_AGE",
     .type = CONF_INT,
     .offset = AT(cors.max_age_s),
     .def = "600",
     .max = 86400,
     .unit = "seconds",
     .doc = "How long a browser may remember what it was allowed."},
    {.name = "GUARDRAIL_MAX_WORDS",
     .type = CONF_INT,
     .offset = AT(max_words),
     .def = "150",
     .min = 1,
     .max = 1000000,
     .example = CONF_LIMITS,
     .doc = "Words of an answer at most when a request names no max_words."},
    {.name = "LOG_USER_ID",
     .type = CONF_CHOICE,
     .offset = AT(log_user_id),
     .def = "hashed",
     .choices = "hashed|plain|none",
     .example = CONF_DEPLOYMENT,
     .doc = "What the log shows of user ids."},
    {.name = "LOG_USER_ID_KEY",
     .type = CONF_STR,
     .offset = AT(log_user_id_key),
     .max = 256,
     .flags = CONF_SECRET,
     .doc = "Key of that hash; without one, whoever guesses a user id can find it in the log."},
    {.name = "DRAIN_TIMEOUT_MS",
     .type = CONF_INT,
     .offset = AT(drain_timeout_ms),
     .def = "10000",
     .min = 0,
     .max = 600000,
     .unit = "milliseconds",
     .doc = "How long TERM waits for what is in flight."},
    {.name = "ATALAYA_JOBS_ENDPOINT",
     .type = CONF_STR,
     .offset = AT(jobs_endpoint),
     .max = 200,
     .empty = "ipc socket jobs.sock in ATALAYA_RUN_DIR",
     .doc = "ZeroMQ endpoint of the jobs wire: the gateway binds it, the workers connect to it."},
    {.name = "ATALAYA_EVENTS_ENDPOINT",
     .type = CONF_STR,
     .offset = AT(events_endpoint),
     .max = 200,
     .empty = "ipc socket events.sock in ATALAYA_RUN_DIR",
     .doc = "ZeroMQ endpoint of the events wire: telemetry binds it, the gateway connects to it."},
    {.name = "TELEMETRY_ACK",
     .type = CONF_CHOICE,
     .offset = AT(telemetry_ack),
     .def = "async",
     .choices = "async|before-answer",
     .example = CONF_LIMITS,
     .doc = "before-answer: an answer goes out when its record is on telemetry's disk, so that it has one "
            "although "
            "the gateway is killed in that moment; it takes some 10 ms longer. async: at once."},
    {.name = "TELEMETRY_ACK_TIMEOUT_MS",
     .type = CONF_INT,
     .offset = AT(telemetry_ack_timeout_ms),
     .def = "3000",
     .min = 1,
     .max = 600000,
     .unit = "milliseconds",
     .doc = "Longest wait of an answer for that; then it goes out and is counted. A telemetry that has been "
            "silent for "
            "some seconds is not waited for."},
};

const struct conf_table gateway_conf_table = {rows, ARRAY_LEN(rows)};

/* Some threads must be left for health and metrics. */
static int derive_in_flight(struct gateway_conf *c)
{
    if (c->max_in_flight == 0)
        c->max_in_flight = c->threads - 1 - (c->threads - 1) / 40;
    if (c->max_in_flight < c->threads)
        return 0;
    log_error(
        "GATEWAY_MAX_IN_FLIGHT=%d must be below GATEWAY_THREADS=%d: /health and /metrics need threads too",
        (int)c->max_in_flight, (int)c->threads);
    return -EINVAL;
}

int gateway_conf_load(struct gateway_conf *c)
{
    int ret = conf_load(rows, ARRAY_LEN(rows), c);

    /* Whatever is wrong is told at once; what could not be read is NULL. */
    if (c->cors.origins && c->cors.methods && c->cors.headers && cors_new(&c->allowed, &c->cors) < 0)
        ret = -EINVAL;
    if (proxies_parse(&c->proxies, c->trusted_proxies) < 0)
        ret = -EINVAL;
    if (ret < 0 || derive_in_flight(c) < 0)
        return -EINVAL;
    userhash_init(&c->users, (enum userhash_mode)c->log_user_id, c->log_user_id_key);
    if (endpoint_default(&c->jobs_endpoint, ENDPOINT_JOBS) < 0)
        return -EINVAL;
    return endpoint_default(&c->events_endpoint, ENDPOINT_EVENTS);
}

void gateway_conf_free(struct gateway_conf *c)
{
    cors_free(c->allowed);
    proxies_free(c->proxies);
    conf_free(rows, ARRAY_LEN(rows), c);
}
