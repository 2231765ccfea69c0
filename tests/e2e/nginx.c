#include "tests/e2e/nginx.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define DAYS_GOOD "2"
#define DAYS_BAD  "-1"

static const char *const plain_env[] = {"OPENSSL_CONF=/dev/null", NULL};

static void openssl(struct e2e *e, const char *const args[])
{
    const char *argv[40] = {"/usr/bin/openssl"};
    struct buf out = BUF_INIT(64u * 1024);

    for (size_t i = 0; args[i]; i++) {
        cr_assert(i + 2 < ARRAY_LEN(argv));
        argv[i + 1] = args[i];
    }
    int code = process_run(argv, plain_env, (struct str){0}, &out);
    cr_assert_eq(code, 0, "openssl %s in %s: %s", args[0], e->dir, out.data);
    buf_free(&out);
}

static void path_of(char out[NGINX_PATH], const struct e2e *e, const char *name, const char *suffix)
{
    cr_assert(snprintf(out, NGINX_PATH, "%s/%s%s", e->dir, name, suffix) < NGINX_PATH);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s", path);
}

#define NEW_KEY "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout"

static void make_authority(struct e2e *e)
{
    char key[NGINX_PATH], pem[NGINX_PATH];

    path_of(key, e, "ca.key", "");
    path_of(pem, e, "ca.pem", "");
    openssl(e, (const char *const[]){"req", "-x509", NEW_KEY, key, "-out", pem, "-days", DAYS_GOOD, "-subj",
                                     "/CN=Authority of a test", "-addext",
                                     "basicConstraints=critical,CA:TRUE", NULL});
}

/* NAME.key and NAME.pem, for `host`. */
static void make_certificate(struct e2e *e, const char *name, const char *host, const char *days)
{
    char key[NGINX_PATH], request[NGINX_PATH], pem[NGINX_PATH], extensions[NGINX_PATH], ca_key[NGINX_PATH],
        ca[NGINX_PATH], text[128];

    path_of(key, e, name, ".key");
    path_of(request, e, name, ".csr");
    path_of(pem, e, name, ".pem");
    path_of(extensions, e, name, ".ext");
    path_of(ca_key, e, "ca", ".key");
    path_of(ca, e, "ca", ".pem");
    openssl(e, (const char *const[]){"req", NEW_KEY, key, "-out", request, "-subj", "/CN=a provider", NULL});
    snprintf(text, sizeof text, "subjectAltName=DNS:%s", host);
    write_file(extensions, text);
    openssl(e, (const char *const[]){"x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-days",
                                     days, "-out", pem, "-extfile", extensions, NULL});
}

static void put_head(struct buf *b, const struct e2e *e)
{
    static const char *const folders[] = {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"};

    buf_printf(b,
               "daemon off;\nworker_processes 1;\npid nginx.pid;\nerror_log nginx.err info;\n%s"
               "events { worker_connections 4096; }\nhttp {\n"
               "log_format calls '$connection $server_protocol $status $server_port $request';\n"
               "access_log nginx.log calls;\n",
               geteuid() == 0 ? "user root root;\n" : "");
    for (size_t i = 0; i < ARRAY_LEN(folders); i++)
        buf_printf(b, "%s_temp_path %s;\n", folders[i], folders[i]);
    buf_printf(b,
               "client_max_body_size 8m;\nproxy_http_version 1.1;\nproxy_set_header Connection \"\";\n"
               "proxy_buffering off;\nproxy_next_upstream off;\n"
               "upstream fake { server 127.0.0.1:%u; keepalive 64; keepalive_timeout 5s; }\n",
               e->openai.port);
}

static void put_doors(struct buf *b, const struct nginx *f)
{
    static const struct {
        const char *listen, *certificate, *more;
    } doors[NGINX_DOORS] = {
        [NGINX_H2] = {"ssl http2", "good", "keepalive_requests 100000;"},
        [NGINX_H1] = {"ssl", "good", "keepalive_requests 100000;"},
        [NGINX_NARROW] = {"ssl http2", "good", "http2_max_concurrent_streams 4;"},
        [NGINX_SHORT] = {"ssl http2", "good", "keepalive_requests 5;"},
        [NGINX_MISNAMED] = {"ssl http2", "misnamed", ""},
        [NGINX_EXPIRED] = {"ssl http2", "expired", ""},
        [NGINX_OLD] = {"ssl", "good", "ssl_protocols TLSv1.1; ssl_ciphers DEFAULT@SECLEVEL=0;"},
        [NGINX_PROXY] = {"", NULL, ""},
    };

    for (size_t i = 0; i < NGINX_DOORS; i++) {
        buf_printf(b, "server {\nlisten 127.0.0.1:%u %s;\n", f->port[i], doors[i].listen);
        if (doors[i].certificate)
            buf_printf(b, "ssl_certificate %s.pem;\nssl_certificate_key %s.key;\n", doors[i].certificate,
                       doors[i].certificate);
        buf_printf(b, "%s\nlocation / { proxy_pass http://fake; }\n}\n", doors[i].more);
    }
    buf_puts(b, "}\n");
}

static bool is_open(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool open = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    close(fd);
    return open;
}

void nginx_again(struct nginx *f)
{
    struct e2e *e = f->e;
    char path[512], prefix[NGINX_PATH], out[NGINX_PATH], err[NGINX_PATH];
    const char *env[] = {path, NULL};

    snprintf(path, sizeof path, "PATH=%s", getenv("PATH"));
    snprintf(prefix, sizeof prefix, "%s/", e->dir);
    path_of(out, e, "nginx.out", "");
    path_of(err, e, "nginx.err", "");
    const char *argv[] = {"/usr/bin/env", "nginx", "-p", prefix, "-e", "nginx.err", "-c", "nginx.conf", NULL};
    e->nginx = process_start(argv, env, e->dir, out, err);
    for (size_t i = 0; i < NGINX_DOORS; i++)
        E2E_WAIT(E2E_WAIT_SECONDS, is_open(f->port[i]));
}

void nginx_start(struct nginx *f, struct e2e *e, enum nginx_door door)
{
    struct buf conf = BUF_INIT(64u * 1024);
    char path[NGINX_PATH];

    *f = (struct nginx){.e = e};
    path_of(f->ca_file, e, "ca.pem", "");
    path_of(f->log, e, "nginx.log", "");
    for (size_t i = 0; i < NGINX_DOORS; i++)
        f->port[i] = free_port();
    make_authority(e);
    make_certificate(e, "good", "localhost", DAYS_GOOD);
    make_certificate(e, "misnamed", "somebody-else.example", DAYS_GOOD);
    make_certificate(e, "expired", "localhost", DAYS_BAD);
    put_head(&conf, e);
    put_doors(&conf, f);
    path_of(path, e, "nginx.conf", "");
    write_file(path, conf.data);
    buf_free(&conf);
    nginx_again(f);
    e2e_env(e, "OPENAI_BASE_URL", "https://localhost:%u/v1", f->port[door]);
}

void nginx_stop(struct nginx *f)
{
    int status = 0;

    kill(f->e->nginx, SIGTERM);
    E2E_WAIT(E2E_WAIT_SECONDS, process_ended(f->e->nginx, &status));
    f->e->nginx = 0;
}

void nginx_reload(struct nginx *f)
{
    kill(f->e->nginx, SIGHUP);
}

size_t nginx_calls(const struct nginx *f, enum nginx_door door, const char *protocol, size_t *connections)
{
    struct buf b = BUF_INIT(16u * 1024 * 1024);
    char *seen[4096], *save = NULL;
    size_t calls = 0, n = 0;

    cr_assert(read_file(f->log, &b));
    for (char *line = b.len ? strtok_r(b.data, "\n", &save) : NULL; line;
         line = strtok_r(NULL, "\n", &save)) {
        char connection[24], spoken[24], status[8], port[8];
        size_t i = 0;
        if (sscanf(line, "%23s %23s %7s %7s", connection, spoken, status, port) != 4 ||
            strtoul(port, NULL, 10) != f->port[door] || (*protocol && strcmp(spoken, protocol) != 0))
            continue;
        calls++;
        line[strlen(connection)] = '\0';
        while (i < n && strcmp(seen[i], line) != 0)
            i++;
        if (i == n && n < ARRAY_LEN(seen))
            seen[n++] = line;
    }
    buf_free(&b);
    *connections = n;
    return calls;
}
