#include "gateway/conf.h"

#include <errno.h>
#include <stddef.h>

#include "common/base/log.h"
#include "common/conf/conf.h"
#include "common/wire/endpoint.h"

#define AT(member) offsetof(struct gateway_conf, member)

static const struct conf_row rows[] = {
    {.name = "HOST",
     .type = CONF_STR,
     .offset = AT(host),
     .def = "0.0.0.0",
     .max = 64,
     .doc = "IPv4 address that the gateway listens on."},
    {.name = "PORT",
     .type = CONF_INT,
     .offset = AT(port),
     .def = "8000",
     .min = 1,
     .max = 65535,
     .doc = "TCP port of /ask, /health and /metrics."},
    {.name = "GATEWAY_THREADS",
     .type = CONF_INT,
     .offset = AT(threads),
     .def = "1024",
     .min = 2,
     .max = 20000,
     .doc =
         "Client connections served at once, idle ones included; each is a thread with a stack of 100 KiB."},
    {.name = "GATEWAY_MAX_IN_FLIGHT",
     .type = CONF_INT,
     .offset = AT(max_in_flight),
     .def = "1000",
     .min = 1,
     .max = 19990,
     .doc = "Questions being answered or waiting for a worker at once; one more is 503. Keep it below "
            "GATEWAY_THREADS."},
    {.name = "REQUEST_TIMEOUT_MS",
     .type = CONF_INT,
     .offset = AT(request_timeout_ms),
     .def = "60000",
     .min = 100,
     .max = 3600000,
     .unit = "milliseconds",
     .doc = "From the request to its answer, queueing and every try included."},
    {.name = "GATEWAY_QUEUE_TIMEOUT_MS",
     .type = CONF_INT,
     .offset = AT(queue_timeout_ms),
     .def = "10000",
     .min = 10,
     .max = 3600000,
     .unit = "milliseconds",
     .doc = "Longest wait for a worker with a free slot; then 503."},
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
     .doc = "ZeroMQ endpoint that the workers connect to; default: ipc socket jobs.sock in ATALAYA_RUN_DIR."},
    {.name = "ATALAYA_EVENTS_ENDPOINT",
     .type = CONF_STR,
     .offset = AT(events_endpoint),
     .max = 200,
     .doc = "ZeroMQ endpoint of telemetry; default: ipc socket events.sock in ATALAYA_RUN_DIR."},
};

int gateway_conf_load(struct gateway_conf *c)
{
    if (conf_load(rows, ARRAY_LEN(rows), c) < 0)
        return -EINVAL;
    if (c->max_in_flight >= c->threads) {
        log_error("GATEWAY_MAX_IN_FLIGHT=%d must be below GATEWAY_THREADS=%d: /health and /metrics need "
                  "threads too",
                  (int)c->max_in_flight, (int)c->threads);
        return -EINVAL;
    }
    if (endpoint_default(&c->jobs_endpoint, ENDPOINT_JOBS) < 0)
        return -EINVAL;
    return endpoint_default(&c->events_endpoint, ENDPOINT_EVENTS);
}

void gateway_conf_free(struct gateway_conf *c)
{
    conf_free(rows, ARRAY_LEN(rows), c);
}

void gateway_conf_names(void)
{
    conf_print_names(rows, ARRAY_LEN(rows));
}
