#include "gateway/feedback.h"

#include <math.h>
#include <stdlib.h>

#include "gateway/problem.h"

static const char numeric[] = "NUMERIC";
static const char boolean[] = "BOOLEAN";
static const char categorical[] = "CATEGORICAL";

static bool is_trace_id(struct str s)
{
    bool zero = true;

    for (size_t i = 0; i < s.n; i++) {
        if (!(s.p[i] >= '0' && s.p[i] <= '9') && !(s.p[i] >= 'a' && s.p[i] <= 'f'))
            return false;
        zero &= s.p[i] == '0';
    }
    return s.n == 32 && !zero;
}

static void check_trace_id(struct buf *error, const struct value *v, struct feedback *out)
{
    size_t before = error->len;

    problem_string(error, "trace_id", v, 0, 0, &out->trace_id);
    if (error->len == before && !is_trace_id(out->trace_id))
        problem_add(error, "string_pattern_mismatch", "trace_id",
                    "String should match pattern '^(?!0{32}$)[0-9a-f]{32}$'", v,
                    "{\"pattern\":\"^(?!0{32}$)[0-9a-f]{32}$\"}");
}

/* The type that the value has by itself. */
static void check_value(struct buf *error, const struct value *v, struct feedback *out)
{
    switch (v->type) {
    case VALUE_TRUE:
    case VALUE_FALSE:
        out->type = boolean;
        out->value = v->type == VALUE_TRUE;
        break;
    case VALUE_INT:
    case VALUE_FLOAT:
        out->type = numeric;
        out->value = strtod(v->source.p, NULL);
        if (!isfinite(out->value))
            problem_add(error, "finite_number", "value", "Input should be a finite number", v, NULL);
        break;
    case VALUE_STRING:
        out->type = categorical;
        problem_string(error, "value", v, 1, FEEDBACK_TEXT_LENGTH, &out->text);
        break;
    case VALUE_NULL:
    case VALUE_ARRAY:
    case VALUE_OBJECT:
        problem_add(error, "value_error", "value",
                    "Value error, a score is a number, true or false, or a string", v, NULL);
        break;
    }
}

/* NULL when v names none. */
static const char *type_named(const struct value *v)
{
    static const char *const names[] = {numeric, boolean, categorical};

    for (size_t i = 0; v->type == VALUE_STRING && i < ARRAY_LEN(names); i++)
        if (str_eq(v->text, names[i]))
            return names[i];
    return NULL;
}

/* What is wrong with out's value as a score of that type; NULL: it is one. */
static const char *misfit(const struct feedback *out, const char *type)
{
    if (type == out->type)
        return NULL;
    if (type == numeric)
        return "Value error, a NUMERIC score needs a number as value";
    if (type == categorical)
        return "Value error, a CATEGORICAL score needs a string as value";
    bool bit = out->type == numeric && (out->value == 0 || out->value == 1);
    return bit ? NULL : "Value error, a BOOLEAN score needs true, false, 1 or 0 as value";
}

/* value_ok: the value is a score of some type. */
static void check_type(struct buf *error, const struct value *v, const struct value *value, bool value_ok,
                       struct feedback *out)
{
    const char *type = type_named(v);

    if (!type) {
        problem_add(error, "literal_error", "data_type",
                    "Input should be 'NUMERIC', 'BOOLEAN' or 'CATEGORICAL'", v,
                    "{\"expected\":\"'NUMERIC', 'BOOLEAN' or 'CATEGORICAL'\"}");
        return;
    }
    const char *why = value_ok ? misfit(out, type) : NULL;
    if (why)
        problem_add(error, "value_error", "value", why, value, NULL);
    out->type = type;
}

static void check_fields(const struct jsonscan *j, struct feedback *out, struct buf *error)
{
    const struct value *trace_id = jsonscan_get(j, "trace_id");
    const struct value *name = jsonscan_get(j, "name");
    const struct value *value = jsonscan_get(j, "value");
    const struct value *comment = jsonscan_get(j, "comment");
    const struct value *data_type = jsonscan_get(j, "data_type");

    if (trace_id)
        check_trace_id(error, trace_id, out);
    else
        problem_missing(error, "trace_id", &j->top);
    if (name)
        problem_string(error, "name", name, 1, FEEDBACK_NAME_LENGTH, &out->name);
    else
        problem_missing(error, "name", &j->top);
    size_t before = error->len;
    if (value)
        check_value(error, value, out);
    else
        problem_missing(error, "value", &j->top);
    bool value_ok = error->len == before;
    if (comment && comment->type != VALUE_NULL)
        problem_string(error, "comment", comment, 0, FEEDBACK_COMMENT_LENGTH, &out->comment);
    if (data_type && data_type->type != VALUE_NULL)
        check_type(error, data_type, value, value_ok, out);
}

int validate_feedback(struct str body, const char *content_type, struct jsonscan *hold, struct feedback *out,
                      struct buf *error)
{
    static const char *const keys[] = {"trace_id", "name", "value", "comment", "data_type", NULL};
    int status = problem_read(error, body, content_type, keys, hold);

    *out = (struct feedback){.type = numeric};
    if (status == 200)
        check_fields(hold, out, error);
    return problem_finish(error, status);
}
