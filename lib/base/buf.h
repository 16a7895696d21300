/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h - a growing byte buffer, and a counted block of bytes that several owners share
 *
 * Running out of memory is not an outcome callers can mend: the process panics and the supervisor
 * restarts it. Every buffer that outside input can grow has its own limit, checked by its user.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

#include "lib/base/base.h"

/* data[0..len) is content; data[len] is always writable and NUL once anything was added. */
struct buf {
	char *data;
	size_t len;
	size_t cap;
};

#define BUF_INIT {NULL, 0, 0}

void buf_fini(struct buf *b);  /* frees, leaves an empty buffer; also a cleanup function */
void buf_clear(struct buf *b); /* len = 0, keeps the memory */
void buf_reserve(struct buf *b, size_t more); /* room for `more` bytes after len */
void buf_add(struct buf *b, const void *data, size_t len);
void buf_add_str(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_add_u64(struct buf *b, unsigned long long v);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
void buf_drop_front(struct buf *b, size_t len); /* CHECKs len <= b->len; moves the rest down */
const char *buf_str(const struct buf *b);	/* NUL-terminated view, "" when empty */

/*
 * Immutable bytes with a thread-safe reference count: a request body waits here for a second
 * attempt while ZeroMQ's I/O thread still sends the first.
 */
struct bytes {
	const char *data;
	size_t len;
};

struct bytes *bytes_from_buf(struct buf *b); /* takes the content over; *b is empty after */
struct bytes *bytes_copy(const void *data, size_t len);
/* Data that somebody else allocated, as it is; free_fn(arg) runs with the last owner, maybe on
 * another thread. */
typedef void bytes_free_fn(void *arg);
struct bytes *bytes_adopt(const void *data, size_t len, bytes_free_fn *free_fn, void *arg);
struct bytes *bytes_ref(struct bytes *s); /* one more owner; returns s; NULL allowed */
void bytes_unref(struct bytes **s_p);	  /* NULL-safe, sets NULL, frees with the last owner */
