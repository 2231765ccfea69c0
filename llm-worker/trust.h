/*
 * trust.h - whom to believe: files of certificate authorities, and what to do about a certificate that is refused
 *
 * Threads  trust_check() reads a file, trust_advice() is pure.
 * Errors   trust_check(): 0, or -EINVAL with *why, for people.
 * Limits   CA_FILE_MAX
 */
#ifndef ATALAYA_LLM_WORKER_TRUST_H
#define ATALAYA_LLM_WORKER_TRUST_H

#include "common/base/attr.h"

/* Whether path is a file of certificates in PEM. */
int trust_check(const char *path, const char **why) NODISCARD;

/* verified: what OpenSSL says of the chain, an X509_V_… */
const char *trust_advice(long verified);

#endif
