#include "telemetry/otlp.h"

#include <assert.h>
#include <stdlib.h>

#include "common/base/limits.h"
#include "common/base/mem.h"
#include "telemetry/otlp.pb-c.h"

#define ATTRIBUTES_MAX 64
#define EVENTS_MAX     4
#define SPANS_MAX      (64 * MIB) /* the caller stops far below */

struct attributes {
    Otlp__KeyValue *list[ATTRIBUTES_MAX];
    Otlp__KeyValue pairs[ATTRIBUTES_MAX];
    Otlp__AnyValue values[ATTRIBUTES_MAX];
    size_t n;
};

struct otlp {
    struct buf resource, scope; /* packed, each with its tag and length */
    struct buf frame;           /* both and the lengths around the spans */
    struct buf spans;           /* packed one by one, each with its tag and length */
    size_t n;

    /* the span under way */
    Otlp__Span span;
    Otlp__Status status;
    uint8_t trace_id[16], span_id[8], parent_id[8];
    struct attributes attributes; /* of the span, then of its events */
    Otlp__Span__Event events[EVENTS_MAX], *event_list[EVENTS_MAX];
    Otlp__ArrayValue array;
    Otlp__AnyValue items[TAGS_MAX / 2 + 1], *item_list[TAGS_MAX / 2 + 1];
    char item_text[TAGS_MAX + 1];
};

/* protobuf-c has no const, but packing changes nothing. */
static char *unconst(const char *s)
{
    union {
        const char *in;
        char *out;
    } u = {s};

    return u.out;
}

static void put_varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_putc(b, (char)(v | 0x80));
    buf_putc(b, (char)v);
}

static size_t varint_size(uint64_t v)
{
    size_t n = 1;

    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

/* A field of wire type 2: its tag and its length. */
static void put_head(struct buf *b, unsigned field, size_t n)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, n);
}

static void put_message(struct buf *b, unsigned field, const ProtobufCMessage *m)
{
    size_t n = protobuf_c_message_get_packed_size(m);

    put_head(b, field, n);
    char *to = buf_reserve(b, n);
    if (!to)
        return;
    b->len += protobuf_c_message_pack(m, (uint8_t *)to);
}

static Otlp__AnyValue *attribute(struct attributes *a, const char *key)
{
    size_t i = a->n++;

    assert(i < ATTRIBUTES_MAX);
    a->values[i] = (Otlp__AnyValue)OTLP__ANY_VALUE__INIT;
    a->pairs[i] = (Otlp__KeyValue)OTLP__KEY_VALUE__INIT;
    a->pairs[i].key = unconst(key);
    a->pairs[i].value = &a->values[i];
    a->list[i] = &a->pairs[i];
    return &a->values[i];
}

static void set_text(struct attributes *a, const char *key, const char *value)
{
    if (!value || !*value)
        return;
    Otlp__AnyValue *v = attribute(a, key);
    v->value_case = OTLP__ANY_VALUE__VALUE_STRING_VALUE;
    v->string_value = unconst(value);
}

static void pack_frame(struct otlp *o, const char *scope, const char *version, const struct otlp_pair *pairs,
                       size_t n)
{
    Otlp__Resource resource = OTLP__RESOURCE__INIT;
    Otlp__InstrumentationScope s = OTLP__INSTRUMENTATION_SCOPE__INIT;

    for (size_t i = 0; i < n && i < ATTRIBUTES_MAX; i++)
        set_text(&o->attributes, pairs[i].key, pairs[i].value);
    resource.n_attributes = o->attributes.n;
    resource.attributes = o->attributes.list;
    put_message(&o->resource, 1, &resource.base); /* ResourceSpans.resource */
    s.name = unconst(scope);
    s.version = unconst(version);
    put_message(&o->scope, 1, &s.base); /* ScopeSpans.scope */
}

struct otlp *otlp_new(const char *scope, const char *version, const struct otlp_pair *resource, size_t n)
{
    struct otlp *o = xcalloc(1, sizeof *o);

    o->resource = BUF_INIT(MIB);
    o->scope = BUF_INIT(4 * KIB);
    o->frame = BUF_INIT(2 * MIB);
    o->spans = BUF_INIT(SPANS_MAX);
    pack_frame(o, scope, version, resource, n);
    return o;
}

void otlp_free(struct otlp *o)
{
    if (!o)
        return;
    buf_free(&o->resource);
    buf_free(&o->scope);
    buf_free(&o->frame);
    buf_free(&o->spans);
    free(o);
}

void otlp_reset(struct otlp *o)
{
    buf_reset(&o->frame);
    buf_reset(&o->spans);
    o->n = 0;
}

size_t otlp_bytes(const struct otlp *o)
{
    return o->spans.len;
}

size_t otlp_spans(const struct otlp *o)
{
    return o->n;
}

static unsigned digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static ProtobufCBinaryData from_hex(uint8_t *out, size_t n, struct str hex)
{
    if (hex.n != 2 * n)
        return (ProtobufCBinaryData){0, out};
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(digit(hex.p[2 * i]) << 4 | digit(hex.p[2 * i + 1]));
    return (ProtobufCBinaryData){n, out};
}

void otlp_begin(struct otlp *o, const char *name, struct str trace_id, struct str span_id)
{
    o->span = (Otlp__Span)OTLP__SPAN__INIT;
    o->status = (Otlp__Status)OTLP__STATUS__INIT;
    o->attributes.n = 0;
    o->span.status = &o->status;
    o->span.attributes = o->attributes.list;
    o->span.events = o->event_list;
    o->span.name = unconst(name);
    o->span.kind = OTLP__SPAN__SPAN_KIND__SPAN_KIND_CLIENT;
    o->span.trace_id = from_hex(o->trace_id, sizeof o->trace_id, trace_id);
    o->span.span_id = from_hex(o->span_id, sizeof o->span_id, span_id);
}

void otlp_parent(struct otlp *o, struct str span_id)
{
    o->span.parent_span_id = from_hex(o->parent_id, sizeof o->parent_id, span_id);
}

void otlp_times(struct otlp *o, int64_t start_us, int64_t duration_us)
{
    int64_t end_us = start_us + (duration_us > 0 ? duration_us : 0);

    o->span.start_time_unix_nano = (uint64_t)start_us * 1000;
    o->span.end_time_unix_nano = (uint64_t)end_us * 1000;
}

void otlp_error(struct otlp *o, const char *message)
{
    o->status.code = OTLP__STATUS__STATUS_CODE__STATUS_CODE_ERROR;
    o->status.message = unconst(message);
}

/* Attributes of the span lie before those of its events. */
static Otlp__AnyValue *add_attribute(struct otlp *o, const char *key)
{
    size_t n = o->span.n_events;

    ++*(n ? &o->events[n - 1].n_attributes : &o->span.n_attributes);
    return attribute(&o->attributes, key);
}

void otlp_text(struct otlp *o, const char *key, const char *value)
{
    if (!value || !*value)
        return;
    Otlp__AnyValue *v = add_attribute(o, key);
    v->value_case = OTLP__ANY_VALUE__VALUE_STRING_VALUE;
    v->string_value = unconst(value);
}

void otlp_int(struct otlp *o, const char *key, int64_t value)
{
    Otlp__AnyValue *v = add_attribute(o, key);

    v->value_case = OTLP__ANY_VALUE__VALUE_INT_VALUE;
    v->int_value = value;
}

void otlp_double(struct otlp *o, const char *key, double value)
{
    Otlp__AnyValue *v = add_attribute(o, key);

    v->value_case = OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE;
    v->double_value = value;
}

void otlp_bool(struct otlp *o, const char *key, bool value)
{
    Otlp__AnyValue *v = add_attribute(o, key);

    v->value_case = OTLP__ANY_VALUE__VALUE_BOOL_VALUE;
    v->bool_value = value;
}

/* One list a span: its items lie in the struct. */
void otlp_list(struct otlp *o, const char *key, struct str items)
{
    size_t n = items.n < sizeof o->item_text ? items.n : 0;

    if (n == 0)
        return;
    memcpy(o->item_text, items.p, n);
    o->item_text[n] = '\0';
    o->array = (Otlp__ArrayValue)OTLP__ARRAY_VALUE__INIT;
    o->array.values = o->item_list;
    for (char *rest = o->item_text, *item; (item = strsep(&rest, ",")) != NULL;) {
        size_t i = o->array.n_values;
        if (!*item || i == ARRAY_LEN(o->items))
            continue;
        o->items[i] = (Otlp__AnyValue)OTLP__ANY_VALUE__INIT;
        o->items[i].value_case = OTLP__ANY_VALUE__VALUE_STRING_VALUE;
        o->items[i].string_value = item;
        o->item_list[o->array.n_values++] = &o->items[i];
    }
    Otlp__AnyValue *v = add_attribute(o, key);
    v->value_case = OTLP__ANY_VALUE__VALUE_ARRAY_VALUE;
    v->array_value = &o->array;
}

void otlp_event(struct otlp *o, const char *name, int64_t at_us)
{
    size_t i = o->span.n_events++;

    assert(i < EVENTS_MAX);
    o->events[i] = (Otlp__Span__Event)OTLP__SPAN__EVENT__INIT;
    o->events[i].name = unconst(name);
    o->events[i].time_unix_nano = (uint64_t)at_us * 1000;
    o->events[i].attributes = o->attributes.list + o->attributes.n;
    o->event_list[i] = &o->events[i];
}

void otlp_end(struct otlp *o)
{
    put_message(&o->spans, 2, &o->span.base); /* ScopeSpans.spans */
    o->n++;
}

/* The spans come last in every message around them, so their bytes stay where they were packed. */
void otlp_export(struct otlp *o, struct str parts[OTLP_PARTS])
{
    size_t scope_spans = o->scope.len + o->spans.len;
    size_t resource_spans = o->resource.len + 1 + varint_size(scope_spans) + scope_spans;

    buf_reset(&o->frame);
    put_head(&o->frame, 1, resource_spans); /* ExportTraceServiceRequest.resource_spans */
    buf_append(&o->frame, o->resource.data, o->resource.len);
    put_head(&o->frame, 2, scope_spans); /* ResourceSpans.scope_spans */
    buf_append(&o->frame, o->scope.data, o->scope.len);
    parts[0] = buf_str(&o->frame);
    parts[1] = buf_str(&o->spans);
}

int64_t otlp_rejected(struct otlp *o, struct str body, struct str *why)
{
    Otlp__ExportTraceServiceResponse *r =
        otlp__export_trace_service_response__unpack(NULL, body.n, (const uint8_t *)body.p);
    const Otlp__ExportTracePartialSuccess *p = r ? r->partial_success : NULL;
    int64_t rejected = p ? p->rejected_spans : 0;

    buf_reset(&o->frame);
    if (p && p->error_message)
        buf_puts(&o->frame, p->error_message);
    *why = o->frame.len ? buf_str(&o->frame) : str_of("");
    if (r)
        otlp__export_trace_service_response__free_unpacked(r, NULL);
    return rejected > 0 ? rejected : 0;
}
