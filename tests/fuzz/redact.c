/* Whatever a text says, taking things out of it ends in time, keeps UTF-8 and JSON what they are, and takes nothing out
 * of what has nothing in it. */
#include "telemetry/redact.h"

#include "telemetry/jsonwalk.h"
#include "telemetry/text.h"
#include "tests/fuzz/fuzz.h"

static bool has_shape(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (strchr("@0123456789_-", s.p[i]))
            return true;
    return memmem(s.p, s.n, "AKIA", 4) || memmem(s.p, s.n, "ASIA", 4) || memmem(s.p, s.n, "AIza", 4) ||
           memmem(s.p, s.n, "eyJ", 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    struct buf out = BUF_INIT(64 * n + 64);
    struct redact r;

    if (redact_init(&r, "email,card,phone,key", "acme_") < 0)
        assert(0);
    redact_text(&r, &out, text);
    assert(!out.failed);
    assert(!text_is_clean(text) || text_is_clean(buf_str(&out)));
    assert(n == 0 || has_shape(text) || (out.len == n && memcmp(out.data, text.p, n) == 0));
    buf_reset(&out);
    if (jsonwalk_can(text)) {
        redact_json(&r, &out, text);
        assert(!out.failed && jsonwalk_can(buf_str(&out)));
    }
    buf_free(&out);
    return 0;
}
