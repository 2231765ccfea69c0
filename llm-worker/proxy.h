/*
 * proxy.h - the proxies that the environment names, as people may see them
 *
 * Purpose  libcurl reads these variables by itself, in its own order; here they are only told to `atalaya check`.
 * Promise  P8: a user and a password in them are not shown.
 * Threads  reads the environment.
 */
#ifndef ATALAYA_LLM_WORKER_PROXY_H
#define ATALAYA_LLM_WORKER_PROXY_H

void proxy_tell(void);

#endif
