#include "llm-worker/proxy.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/attr.h"
#include "common/base/buf.h"
#include "common/base/conf.h"
#include "common/base/limits.h"

static const char *value_of(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

static void tell(const char *name)
{
    const char *value = value_of(name);
    struct buf shown = BUF_INIT(64 * KIB);

    if (!value)
        return;
    const char *at = strrchr(value, '@');
    const char *scheme = strstr(value, "://");
    if (at && scheme && scheme < at)
        buf_append(&shown, value, (size_t)(scheme + 3 - value));
    buf_printf(&shown, "%s%s", at ? "***" : "", at ? at : value);
    conf_tell(name, shown.failed ? "***" : shown.data, "environment");
    buf_free(&shown);
}

static void tell_unread(const char *name, const char *instead)
{
    struct buf text = BUF_INIT(KIB);

    if (!value_of(name))
        return;
    buf_printf(&text, "(not read, but %s is)", instead);
    conf_tell(name, text.data, "environment");
    buf_free(&text);
}

void proxy_tell(void)
{
    static const char *const pairs[][2] = {
        {"https_proxy", "HTTPS_PROXY"}, {"all_proxy", "ALL_PROXY"}, {"no_proxy", "NO_PROXY"}};

    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        tell(pairs[i][0]);
        if (value_of(pairs[i][0]))
            tell_unread(pairs[i][1], pairs[i][0]);
        else
            tell(pairs[i][1]);
    }
    tell("http_proxy");
    tell_unread("HTTP_PROXY", "http_proxy");
}
