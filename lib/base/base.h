/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base.h - the handful of macros every file may use
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The caller must look at the result. */
#define MUST __attribute__((warn_unused_result))

/* Run fn(&var) when var leaves scope: AUTO(buf_fini) struct buf b = BUF_INIT; */
#define AUTO(fn) __attribute__((cleanup(fn)))

#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Assert one of our own invariants; always on. Never used on bytes that came from outside. */
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			panic_check(__FILE__, __LINE__, #cond);                                    \
	} while (0)

/* Print "FILE:LINE: check failed: COND" as last words (panic.h) and abort. */
_Noreturn void panic_check(const char *file, int line, const char *cond);
