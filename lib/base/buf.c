/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.c - a growing byte buffer, and a counted block of bytes that several owners share
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"

void
buf_fini(struct buf *b)
{
	free(b->data);
	*b = (struct buf)BUF_INIT;
}

void
buf_clear(struct buf *b)
{
	b->len = 0;
}

void
buf_reserve(struct buf *b, size_t more)
{
	size_t need = b->len + more + 1, cap = b->cap == 0 ? 64 : b->cap;

	CHECK(need > b->len);
	if (need <= b->cap)
		return;
	while (cap < need)
		cap = cap > SIZE_MAX / 2 ? need : cap * 2;
	b->data = realloc(b->data, cap);
	CHECK(b->data != NULL);
	b->cap = cap;
}

void
buf_add(struct buf *b, const void *data, size_t len)
{
	buf_reserve(b, len);
	if (len > 0)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void
buf_add_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void
buf_add_char(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void
buf_add_u64(struct buf *b, unsigned long long v)
{
	char digits[24];
	size_t i = sizeof(digits);

	do {
		digits[--i] = (char)('0' + v % 10);
		v /= 10;
	} while (v != 0);
	buf_add(b, digits + i, sizeof(digits) - i);
}

void
buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	CHECK(n >= 0);
	buf_reserve(b, (size_t)n);
	va_start(ap, fmt);
	(void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void
buf_drop_front(struct buf *b, size_t len)
{
	CHECK(len <= b->len);
	if (len == 0)
		return;
	memmove(b->data, b->data + len, b->len - len);
	b->len -= len;
	b->data[b->len] = '\0';
}

const char *
buf_str(const struct buf *b)
{
	return b->len == 0 ? "" : b->data;
}

struct shared_bytes {
	struct bytes pub; /* first: a struct bytes * is also a struct shared_bytes * */
	_Atomic unsigned owners;
	bytes_free_fn *free_fn; /* NULL: the content lies behind this struct */
	void *arg;
	char own[];
};

static struct shared_bytes *
bytes_new(size_t own_size)
{
	struct shared_bytes *s = malloc(sizeof(*s) + own_size);

	CHECK(s != NULL);
	atomic_init(&s->owners, 1);
	s->free_fn = NULL;
	s->arg = NULL;
	return s;
}

struct bytes *
bytes_adopt(const void *data, size_t len, bytes_free_fn *free_fn, void *arg)
{
	struct shared_bytes *s = bytes_new(0);

	CHECK(free_fn != NULL);
	s->pub = (struct bytes){data, len};
	s->free_fn = free_fn;
	s->arg = arg;
	return &s->pub;
}

struct bytes *
bytes_from_buf(struct buf *b)
{
	struct bytes *s;

	buf_reserve(b, 0);
	s = bytes_adopt(b->data, b->len, free, b->data);
	*b = (struct buf)BUF_INIT;
	return s;
}

struct bytes *
bytes_copy(const void *data, size_t len)
{
	struct shared_bytes *s = bytes_new(len + 1);

	if (len > 0)
		memcpy(s->own, data, len);
	s->own[len] = '\0';
	s->pub = (struct bytes){s->own, len};
	return &s->pub;
}

struct bytes *
bytes_ref(struct bytes *s)
{
	struct shared_bytes *shared = (struct shared_bytes *)s;

	if (s != NULL)
		(void)atomic_fetch_add_explicit(&shared->owners, 1, memory_order_relaxed);
	return s;
}

void
bytes_unref(struct bytes **s_p)
{
	struct shared_bytes *shared = (struct shared_bytes *)*s_p;

	*s_p = NULL;
	if (shared == NULL)
		return;
	if (atomic_fetch_sub_explicit(&shared->owners, 1, memory_order_acq_rel) != 1)
		return;
	if (shared->free_fn != NULL)
		shared->free_fn(shared->arg);
	free(shared);
}
