/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gguf_file.h - for tests: a GGUF file, put together key by key and tensor by tensor
 */
#pragma once

#include <stdint.h>
#include <string.h>

#include "lib/base/buf.h"

enum { GGUF_TEST_U32 = 4, GGUF_TEST_I32 = 5, GGUF_TEST_STRING = 8, GGUF_TEST_ARRAY = 9 };

struct gguf_file {
	uint64_t keys_len, tensors_len;
	struct buf keys, tensors, data;
};

static inline void
gguf_file_fini(struct gguf_file *f)
{
	buf_fini(&f->keys);
	buf_fini(&f->tensors);
	buf_fini(&f->data);
}

static inline void
gguf_put_u32(struct buf *b, uint32_t v)
{
	buf_add(b, &v, sizeof(v));
}

static inline void
gguf_put_u64(struct buf *b, uint64_t v)
{
	buf_add(b, &v, sizeof(v));
}

static inline void
gguf_put_text(struct buf *b, const char *text, size_t len)
{
	gguf_put_u64(b, len);
	buf_add(b, text, len);
}

/* A key and the type of its value, which the caller adds to f->keys. */
static inline void
gguf_file_key(struct gguf_file *f, const char *key, uint32_t type)
{
	gguf_put_text(&f->keys, key, strlen(key));
	gguf_put_u32(&f->keys, type);
	f->keys_len++;
}

static inline void
gguf_file_array(struct gguf_file *f, const char *key, uint32_t items, uint64_t count)
{
	gguf_file_key(f, key, GGUF_TEST_ARRAY);
	gguf_put_u32(&f->keys, items);
	gguf_put_u64(&f->keys, count);
}

static inline void
gguf_file_u32(struct gguf_file *f, const char *key, uint32_t v)
{
	gguf_file_key(f, key, GGUF_TEST_U32);
	gguf_put_u32(&f->keys, v);
}

static inline void
gguf_file_string(struct gguf_file *f, const char *key, const char *v)
{
	gguf_file_key(f, key, GGUF_TEST_STRING);
	gguf_put_text(&f->keys, v, strlen(v));
}

/* sizes: rank of them, the innermost first. */
static inline void
gguf_file_tensor(struct gguf_file *f, const char *name, uint32_t rank, const uint64_t *sizes,
	uint32_t type, uint64_t offset)
{
	gguf_put_text(&f->tensors, name, strlen(name));
	gguf_put_u32(&f->tensors, rank);
	for (uint32_t i = 0; i < rank; i++)
		gguf_put_u64(&f->tensors, sizes[i]);
	gguf_put_u32(&f->tensors, type);
	gguf_put_u64(&f->tensors, offset);
	f->tensors_len++;
}

/* The whole file, its data at a multiple of align. */
static inline void
gguf_file_make(struct buf *out, const struct gguf_file *f, size_t align)
{
	buf_clear(out);
	buf_add_str(out, "GGUF");
	gguf_put_u32(out, 3);
	gguf_put_u64(out, f->tensors_len);
	gguf_put_u64(out, f->keys_len);
	buf_add(out, buf_str(&f->keys), f->keys.len);
	buf_add(out, buf_str(&f->tensors), f->tensors.len);
	while (out->len % align != 0)
		buf_add_char(out, '\0');
	buf_add(out, buf_str(&f->data), f->data.len);
}
