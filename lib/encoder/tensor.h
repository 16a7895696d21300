/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tensor.h - named tensors that lie in model files, whatever the format of these
 *
 * A tensor's data is a view into its file.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

enum { TENSOR_RANK_MAX = 8, TENSOR_FILES_MAX = 1024, TENSOR_Q8_BLOCK = 32 };

/* symbol, name, bytes of a block, elements of a block: 1 where elements stand alone. The first
 * TENSOR_PLAIN_DTYPES of them do, and are those of SafeTensors. */
/* clang-format off */
#define TENSOR_DTYPE_LIST(X)                \
	X(BOOL, "BOOL", 1, 1)               \
	X(U8, "U8", 1, 1)                   \
	X(I8, "I8", 1, 1)                   \
	X(F8_E5M2, "F8_E5M2", 1, 1)         \
	X(F8_E4M3, "F8_E4M3", 1, 1)         \
	X(I16, "I16", 2, 1)                 \
	X(U16, "U16", 2, 1)                 \
	X(F16, "F16", 2, 1)                 \
	X(BF16, "BF16", 2, 1)               \
	X(I32, "I32", 4, 1)                 \
	X(U32, "U32", 4, 1)                 \
	X(F32, "F32", 4, 1)                 \
	X(F64, "F64", 8, 1)                 \
	X(I64, "I64", 8, 1)                 \
	X(U64, "U64", 8, 1)                 \
	X(Q8_0, "Q8_0", 34, TENSOR_Q8_BLOCK) /* GGUF: an F16 scale, then as many I8 */
/* clang-format on */

enum tensor_dtype {
#define X(symbol, name, bytes, block) TENSOR_##symbol,
	TENSOR_DTYPE_LIST(X)
#undef X
	TENSOR_DTYPES,
	TENSOR_PLAIN_DTYPES = TENSOR_Q8_0
};

const char *tensor_dtype_name(enum tensor_dtype d);
size_t tensor_dtype_bytes(enum tensor_dtype d); /* of a block */

struct tensor {
	const char *name; /* UTF-8, NUL-terminated */
	const char *file; /* for messages */
	enum tensor_dtype dtype;
	uint32_t rank;
	uint64_t shape[TENSOR_RANK_MAX]; /* the last one's neighbours lie together; 1 beyond rank */
	uint64_t elements;
	const void *data; /* aligned to nothing */
	size_t bytes;
};

/* Bytes that elements of a dtype take. False: no whole number of blocks, or more than there can be. */
MUST bool tensor_size(uint64_t *bytes, enum tensor_dtype dtype, uint64_t elements);

/*
 * Elements [first, first + count) as floats; both whole blocks. ERR_CONFIG names the tensor where
 * its dtype is none of F32, F16, BF16, F64, I8, Q8_0, or a value is not finite.
 */
MUST enum err_code tensor_floats(float *out, const struct tensor *t, uint64_t first,
	uint64_t count, struct err *e);
bool tensor_finite(const float *v, uint64_t count); /* none is NaN or infinite */

/* The tensors of a model; owns their names and those of their files, not the data. */
struct tensor_set;

struct tensor_set *tensor_set_new(void);
void tensor_set_free(struct tensor_set **s_p);
/* The set's own copy of a file's name. At most TENSOR_FILES_MAX. */
const char *tensor_set_file(struct tensor_set *s, const char *name);
size_t tensor_set_files(const struct tensor_set *s);
bool tensor_set_has_file(const struct tensor_set *s, const char *name);
/* Add a copy of t with a copy of its name; t->file is of tensor_set_file. */
void tensor_set_add(struct tensor_set *s, const struct tensor *t);

/*
 * The tensors from index first on are one file's: each begins at the next multiple of align after
 * the one before, and less than align bytes are left of the len at data. ERR_CONFIG names the tensor
 * that overlaps or has a hole before it, the caller the file.
 */
MUST enum err_code tensor_set_cover(struct tensor_set *s, size_t first, const char *data,
	size_t len, size_t align, struct err *e);
/* All are there: from now on they can be found. ERR_CONFIG: two have one name. */
MUST enum err_code tensor_set_close(struct tensor_set *s, struct err *e);

const struct tensor *tensor_set_find(const struct tensor_set *s, const char *name);
size_t tensor_set_count(const struct tensor_set *s);
const struct tensor *tensor_set_at(const struct tensor_set *s, size_t i); /* closed: by name */
