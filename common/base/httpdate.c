#include "common/base/httpdate.h"

#include <time.h>

#include "common/base/attr.h"

int64_t httpdate_ms(struct str value)
{
    static const char *const formats[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                          "%a %b %e %H:%M:%S %Y"};
    char text[64];

    if (value.n == 0 || value.n >= sizeof text)
        return -1;
    memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        struct tm tm = {0};
        const char *end = strptime(text + strspn(text, " \t"), formats[i], &tm);
        if (end && !end[strspn(end, " \t\r\n")])
            return (int64_t)timegm(&tm) * 1000;
    }
    return -1;
}
