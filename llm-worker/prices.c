#include "llm-worker/prices.h"

#include <errno.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/base/mem.h"

#define FIELDS       5
#define DECIMALS     6 /* of a price: dollars a million tokens are then whole pico-dollars a token */
#define PICO         1e12
#define DAY_US       (86400 * (int64_t)1000000)
#define TEXT(x)      TEXT_OF(x)
#define TEXT_OF(x)   #x
#define BLANKS       " \t\r"
#define WHOLE_DIGITS 5 /* of PRICE_USD_MAX */

struct price {
    char *model;
    size_t n;
    bool is_beginning;
    int64_t from;                   /* day */
    uint64_t input, cached, output; /* pico-dollars a token */
};

struct prices {
    struct price rows[PRICES_MAX];
    size_t n;
};

int64_t prices_today(void)
{
    return wall_us() / DAY_US;
}

static bool all_digits(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0;
}

static uint64_t number(struct str digits)
{
    uint64_t v = 0;

    for (size_t i = 0; i < digits.n; i++)
        v = 10 * v + (uint64_t)(digits.p[i] - '0');
    return v;
}

/* What follows returns NULL or what is wrong. */

static const char *read_price(struct str text, uint64_t *pico)
{
    const char *dot = memchr(text.p, '.', text.n);
    struct str whole = {text.p, dot ? (size_t)(dot - text.p) : text.n};
    struct str part = {whole.p + whole.n + (dot != NULL), text.n - whole.n - (dot != NULL)};

    if (!all_digits(whole) || (dot && !all_digits(part)))
        return "a price is a number like 0.15, in USD for a million tokens";
    if (part.n > DECIMALS)
        return "a price has " TEXT(DECIMALS) " decimals at most";
    if (whole.n > WHOLE_DIGITS || number(whole) >= PRICE_USD_MAX)
        return "a price must be below " TEXT(PRICE_USD_MAX) " USD for a million tokens";
    *pico = number(whole);
    for (size_t i = 0; i < DECIMALS; i++)
        *pico = 10 * *pico + (i < part.n ? (uint64_t)(part.p[i] - '0') : 0);
    return NULL;
}

static bool is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Days before that year of the Gregorian calendar. */
static int64_t days_before(int64_t year)
{
    int64_t y = year - 1;

    return 365 * y + y / 4 - y / 100 + y / 400;
}

static const char *read_date(struct str text, int64_t *day)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool form = text.n == 10 && text.p[4] == '-' && text.p[7] == '-' && all_digits((struct str){text.p, 4}) &&
                all_digits((struct str){text.p + 5, 2}) && all_digits((struct str){text.p + 8, 2});
    int64_t year = form ? (int64_t)number((struct str){text.p, 4}) : 0;
    uint64_t month = form ? number((struct str){text.p + 5, 2}) : 0;
    int64_t of_month = form ? (int64_t)number((struct str){text.p + 8, 2}) : 0;
    int64_t days = 0;

    if (year < 1970 || month < 1 || month > 12 || of_month < 1 ||
        of_month > lengths[month - 1] + (month == 2 && is_leap(year)))
        return "the last column is the day from which the price is valid, like 2024-07-18";
    for (uint64_t m = 1; m < month; m++)
        days += lengths[m - 1] + (m == 2 && is_leap(year));
    *day = days_before(year) - days_before(1970) + days + of_month - 1;
    return NULL;
}

static const char *read_model(struct str text, struct price *row)
{
    row->is_beginning = text.p[text.n - 1] == '*';
    row->n = text.n - row->is_beginning;
    if (row->n == 0)
        return "a * alone would give every unknown model this price";
    if (memchr(text.p, '*', row->n))
        return "a * is the last character of a name, or none of them";
    if (row->n > PRICE_MODEL_MAX)
        return "the model's name is longer than " TEXT(PRICE_MODEL_MAX) " bytes";
    return NULL;
}

static bool same_model(const struct price *a, const struct price *b)
{
    return a->is_beginning == b->is_beginning && a->n == b->n && memcmp(a->model, b->model, a->n) == 0;
}

static const char *add(struct prices *p, struct price row, struct str name)
{
    if (p->n == PRICES_MAX)
        return "there are more than " TEXT(PRICES_MAX) " prices";
    row.model = xmemdup(name.p, row.n);
    for (size_t i = 0; i < p->n; i++)
        if (same_model(&p->rows[i], &row) && p->rows[i].from == row.from) {
            free(row.model);
            return "this model has another price from the same day";
        }
    p->rows[p->n++] = row;
    return NULL;
}

/* The words of a line up to a comment; FIELDS + 1: there are more. */
static size_t split(struct str line, struct str fields[FIELDS])
{
    size_t n = 0;

    for (size_t i = 0; i < line.n;) {
        size_t start = i;
        while (i < line.n && !strchr(BLANKS, line.p[i]))
            i++;
        if (i > start && line.p[start] == '#')
            break;
        if (i > start && n == FIELDS)
            return FIELDS + 1;
        if (i > start)
            fields[n++] = (struct str){line.p + start, i - start};
        i += i < line.n;
    }
    return n;
}

static const char *add_line(struct prices *p, struct str line)
{
    struct str f[FIELDS];
    struct price row = {.n = 0};
    size_t n = split(line, f);
    const char *why = NULL;

    if (memchr(line.p, '\0', line.n))
        return "this is no text";
    if (n == 0)
        return NULL;
    if (n != FIELDS)
        return "a line is: MODEL INPUT CACHED OUTPUT FROM, with blanks between";
    why = read_model(f[0], &row);
    if (!why)
        why = read_price(f[1], &row.input);
    if (!why && str_eq(f[2], "-"))
        row.cached = row.input;
    else if (!why)
        why = read_price(f[2], &row.cached);
    if (!why)
        why = read_price(f[3], &row.output);
    if (!why)
        why = read_date(f[4], &row.from);
    return why ? why : add(p, row, f[0]);
}

/* The text up to the next end of line, which is taken off with it. */
static struct str take_line(struct str *rest)
{
    const char *at = memchr(rest->p, '\n', rest->n);
    struct str line = {rest->p, at ? (size_t)(at - rest->p) : rest->n};

    rest->p += line.n + (at != NULL);
    rest->n -= line.n + (at != NULL);
    return line;
}

static int read_table(struct prices *p, const char *path)
{
    struct buf text = BUF_INIT(PRICES_FILE_MAX);
    int rc = file_read(path, &text);

    if (rc < 0)
        log_error("LLM_PRICES_FILE=%s: cannot read this file: %s", path, strerror(-rc));
    struct str rest = buf_str(&text);
    for (unsigned line = 1; rc == 0 && rest.n > 0; line++) {
        const char *why = add_line(p, take_line(&rest));
        if (why) {
            log_error("LLM_PRICES_FILE=%s, line %u: %s", path, line, why);
            rc = -EINVAL;
        }
    }
    buf_free(&text);
    return rc < 0 ? -EINVAL : 0;
}

int prices_new(struct prices **out, const char *path)
{
    *out = NULL;
    if (!*path)
        return 0;
    struct prices *p = xcalloc(1, sizeof *p);
    int rc = read_table(p, path);
    if (rc < 0)
        prices_free(p);
    else
        *out = p;
    return rc;
}

void prices_free(struct prices *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++)
        free(p->rows[i].model);
    free(p);
}

static bool fits(const struct price *row, struct str model)
{
    bool length = row->is_beginning ? model.n >= row->n : model.n == row->n;

    return length && memcmp(model.p, row->model, row->n) == 0;
}

/* Of two that fit the same name. */
static bool counts_before(const struct price *a, const struct price *b)
{
    if (a->is_beginning != b->is_beginning)
        return b->is_beginning;
    return a->n != b->n ? a->n > b->n : a->from > b->from;
}

static const struct price *find(const struct prices *p, struct str model, int64_t today)
{
    const struct price *best = NULL;

    for (size_t i = 0; p && i < p->n; i++) {
        const struct price *row = &p->rows[i];
        if (row->from <= today && fits(row, model) && (!best || counts_before(row, best)))
            best = row;
    }
    return best;
}

/* Some providers count reasoning beside the output, or cached input beside the input. */
static bool adds_up(const struct job *j)
{
    if (!j->has_usage || j->prompt_tokens > PRICE_TOKENS_MAX || j->completion_tokens > PRICE_TOKENS_MAX)
        return false;
    return j->cached_tokens <= j->prompt_tokens && j->reasoning_tokens <= j->completion_tokens &&
           (j->total_tokens == 0 || j->total_tokens == j->prompt_tokens + j->completion_tokens);
}

bool prices_cost(const struct prices *p, int64_t today, const struct job *j, double *usd)
{
    const struct price *row = adds_up(j) ? find(p, j->model, today) : NULL;

    if (!row)
        return false;
    uint64_t pico = (j->prompt_tokens - j->cached_tokens) * row->input + j->cached_tokens * row->cached +
                    j->completion_tokens * row->output;
    *usd = (double)pico / PICO;
    return true;
}
