#include "llm-worker/trust.h"

#include <errno.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/limits.h"

static const char *trouble_with(int rc, const struct buf *text)
{
    if (rc == -EFBIG)
        return "it is too large";
    if (rc < 0)
        return strerror(-rc);
    if (!text->len || !strstr(text->data, "CERTIFICATE-----"))
        return "there is no certificate in PEM in it";
    return NULL;
}

int trust_check(const char *path, const char **why)
{
    struct buf text = BUF_INIT(CA_FILE_MAX);

    *why = trouble_with(file_read(path, &text), &text);
    buf_free(&text);
    return *why ? -EINVAL : 0;
}

const char *trust_advice(long verified)
{
    switch (verified) {
    case 0: /* the chain is good or was not looked at */
    case 1:
        return "is the base URL right?";
    case 9: /* X509_V_ERR_CERT_NOT_YET_VALID */
        return "is the clock of this machine right?";
    case 10: /* X509_V_ERR_CERT_HAS_EXPIRED */
        return "whoever runs it must renew it, unless the clock of this machine is wrong";
    case 2:  /* X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT */
    case 18: /* X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT */
    case 19: /* X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN */
    case 20: /* X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY */
    case 21: /* X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE */
        return "if its authority is a private one, name that one's certificate in LLM_CA_FILE or ca_file";
    default:
        return "whoever runs it must replace it";
    }
}
