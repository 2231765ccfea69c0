/* Lists of OpenTelemetry's variables. */
#include "telemetry/pairs.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "common/base/attr.h"

Test(pairs, lists)
{
    static const struct {
        const char *in, *out; /* NULL: bad */
    } cases[] = {
        {"", ""},
        {" , ,", ""},
        {"a=b", "a=b;"},
        {" a = b , c=d ", "a=b;c=d;"},
        {"Authorization=Basic%20cGs6c2s%3D", "Authorization=Basic cGs6c2s=;"},
        {"authorization=Basic cGs6c2s=", "authorization=Basic cGs6c2s=;"},
        {"team=q%2ca,x=%C3%B1", "team=q,a;x=\xc3\xb1;"},
        {"a=", "a=;"},
        {"a%3Db=c", "a=b=c;"},
        {"a", NULL},
        {"=b", NULL},
        {"a=%", NULL},
        {"a=%4", NULL},
        {"a=%zz", NULL},
        {"a=%0d%0aX: y", NULL},
        {"a=%00", NULL},
        {"a=1,b=2,c=3,d=4", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[128], out[256] = "";
        struct pair pairs[3];
        size_t n = 0, len = 0;
        snprintf(text, sizeof text, "%s", cases[i].in);
        int rc = pairs_read(text, pairs, ARRAY_LEN(pairs), &n);
        cr_expect_eq(rc, cases[i].out ? 0 : -EINVAL, "%s", cases[i].in);
        for (size_t k = 0; cases[i].out && k < n; k++)
            len += (size_t)snprintf(out + len, sizeof out - len, "%s=%s;", pairs[k].key, pairs[k].value);
        if (cases[i].out)
            cr_expect_str_eq(out, cases[i].out);
    }
}
