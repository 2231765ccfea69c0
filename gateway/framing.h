/*
 * framing.h - what comes in on a client's connection, byte by byte: strict, and before civetweb sees it
 *
 * Purpose  civetweb forgives: two lengths, a bare LF, spaces before a colon, more headers than it has room for. A proxy
 *          in front may read such a request in another way, and then one client's bytes become another one's
 *          request. This filter refuses them, knows where each request ends, and writes what is allowed but unknown to
 *          civetweb in the way it knows: other methods, absolute targets, tabs in header values, chunk extensions, trailers.
 *
 * How      framing_filter() is given what has just been received and returns how much of it is left. A
 *          refusal leaves one byte 0x01 at the place of the offence, which no parser of civetweb's accepts: so it
 *          gives up there, after the requests before it and in its own thread.
 *
 * Threads  one connection, one thread.
 * Limits   HTTP_HEADERS_MAX, HTTP_FIELDS_MAX, HTTP_TARGET_MAX, HTTP_CHUNK_LINE_MAX, HTTP_LENGTH_DIGITS_MAX
 * Source   RFC 9112 (message syntax), RFC 9110 5.5, 8.6, 10.1.1
 */
#ifndef ATALAYA_GATEWAY_FRAMING_H
#define ATALAYA_GATEWAY_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAMING_WORD_SIZE  24
#define FRAMING_GROWTH_MAX 40 /* put in before one byte: a method, a path, blanks */

/* What n bytes may become: what was held back before them, and a longer name for each method among them. */
#define FRAMING_ROOM(n) (2 * (n) + FRAMING_GROWTH_MAX)

/* Where the next byte belongs. */
enum framing_state {
    FRAMING_START, /* between two requests: nothing of the next one has come */
    FRAMING_START_LF,
    FRAMING_METHOD,
    FRAMING_TARGET_FIRST,
    FRAMING_SCHEME,
    FRAMING_AUTHORITY,
    FRAMING_ASTERISK,
    FRAMING_TARGET,
    FRAMING_VERSION,
    FRAMING_LINE_LF,
    FRAMING_FIELD_FIRST,
    FRAMING_FIELD_NAME,
    FRAMING_FIELD_BLANK,
    FRAMING_FIELD_VALUE,
    FRAMING_FIELD_LF,
    FRAMING_HEAD_LF,
    FRAMING_BODY,
    FRAMING_CHUNK_FIRST,
    FRAMING_CHUNK_SIZE,
    FRAMING_CHUNK_EXTENSION,
    FRAMING_CHUNK_LF,
    FRAMING_CHUNK_DATA,
    FRAMING_CHUNK_DATA_CR,
    FRAMING_CHUNK_DATA_LF,
    FRAMING_TRAILER_FIRST,
    FRAMING_TRAILER,
    FRAMING_TRAILER_LF,
    FRAMING_END_LF,
    FRAMING_REFUSED,
};

enum framing_field { FIELD_OTHER, FIELD_HOST, FIELD_LENGTH, FIELD_CODING, FIELD_EXPECT };

struct framing {
    enum framing_state state;
    uint64_t complete; /* requests that have come in as a whole */
    int status;        /* FRAMING_REFUSED: what to answer, */
    const char *why;   /* and why */

    size_t empty_lines; /* before a request */
    char insert[FRAMING_GROWTH_MAX];
    size_t inserts;

    /* of the request that is coming in */
    size_t head; /* bytes of its head */
    size_t fields;
    size_t hosts;
    size_t n; /* bytes of the current word in `word`, or of the target, or of a chunk's line */
    char word[FRAMING_WORD_SIZE];
    enum framing_field field;
    bool options;  /* the method is OPTIONS */
    bool one_zero; /* HTTP/1.0 */
    size_t blanks; /* that have come in a value and are held back */
    bool has_length, chunked, expects;
    uint64_t length; /* Content-Length */
    uint64_t left;   /* of the body or the chunk */
};

/* Filters n bytes; returns how many civetweb may see, in out, which has FRAMING_ROOM(n) bytes. Once it refused, all that
 * comes after is one 0x01. In FRAMING_BODY nothing is left out or put in, and `in` may be `out`. */
size_t framing_filter(struct framing *f, char *out, const char *in, size_t n);

/* A part of a request has come in and more must follow. */
bool framing_inside(const struct framing *f);
bool framing_in_head(const struct framing *f);

/* Ends the connection's input with that answer, at whatever place it is. */
void framing_refuse(struct framing *f, int status, const char *why);

#endif
