/*
 * attr.h - the few compiler attributes and macros the tree uses
 */
#ifndef ATALAYA_BASE_ATTR_H
#define ATALAYA_BASE_ATTR_H

#define NODISCARD               __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))
#define NORETURN                __attribute__((noreturn))
#define ARRAY_LEN(a)            (sizeof(a) / sizeof((a)[0]))

#endif
