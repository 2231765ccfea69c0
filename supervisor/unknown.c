#include "supervisor/unknown.h"

#include <string.h>

#include "common/base/nearest.h"
#include "common/proc/child.h"
#include "supervisor/table.h"

#define SHORT_NAME 6 /* two errors in so few letters make another word */

static bool begins_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_known(const char *name, const char *const *known, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(known[i], name) == 0)
            return true;
    }
    return table_has_name(name) || strcmp(name, CHILD_ENV_READY) == 0 ||
           strcmp(name, CHILD_ENV_LIFELINE) == 0;
}

/* Kubernetes tells every container about the services beside it; one that is called atalaya is ATALAYA_SERVICE_HOST,
 * ATALAYA_PORT_8000_TCP… */
static bool is_service(const char *name)
{
    return strstr(name, "_SERVICE_") || strstr(name, "_PORT");
}

/* Prefixes under which other programs of the same environment have variables too. */
static bool is_shared(const char *name)
{
    return begins_with(name, "OTEL_") || begins_with(name, "OPENAI_") || begins_with(name, "LANGFUSE_") ||
           begins_with(name, "LOG_");
}

/* A beginning or an end of one of ours, by whole words, like REQUEST_TIMEOUT: in our own file that is no coincidence. */
static const char *part_of(const char *name, const char *const *known, size_t n)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < n; i++) {
        size_t more = strlen(known[i]);
        if (more > len && ((begins_with(known[i], name) && known[i][len] == '_') ||
                           (strcmp(known[i] + more - len, name) == 0 && known[i][more - len - 1] == '_')))
            return known[i];
    }
    return NULL;
}

bool unknown_suspicious(const char *name, bool from_file, const char *const *known, size_t n,
                        const char **meant)
{
    size_t len = strlen(name);
    bool ours = begins_with(name, "ATALAYA_") ? from_file || !is_service(name)
                                              : (from_file || !is_shared(name)) &&
                                                    (table_has_prefix(name) || begins_with(name, "LOG_"));

    if (is_known(name, known, n))
        return false;
    size_t far = len <= SHORT_NAME ? 1 : ours && len > 8 ? len / 4 : 2;
    *meant = nearest_name(name, known, n, far);
    if (!*meant && from_file)
        *meant = part_of(name, known, n);
    return ours || *meant;
}
