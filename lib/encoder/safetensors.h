/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors.h - named tensors in a SafeTensors file, or in the shards that an index names
 *
 * The file: 8 bytes little-endian length of the header, the header (a JSON object: name ->
 * {"dtype", "shape", "data_offsets"}, and "__metadata__"), the data. Everything is checked when it
 * is opened: bounds, that the tensors cover the data without hole or overlap, that a tensor's bytes
 * are what its shape and dtype make. A tensor's data is a view into the file.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/encoder/model_folder.h"

enum {
	SAFETENSORS_RANK_MAX = 8,
	SAFETENSORS_HEADER_MAX = 100 * 1000 * 1000, /* the format's own limit */
	SAFETENSORS_FILES_MAX = 1024,
};

/* symbol, name in the file, bytes of an element */
/* clang-format off */
#define TENSOR_DTYPE_LIST(X)          \
	X(BOOL, "BOOL", 1)            \
	X(U8, "U8", 1)                \
	X(I8, "I8", 1)                \
	X(F8_E5M2, "F8_E5M2", 1)      \
	X(F8_E4M3, "F8_E4M3", 1)      \
	X(I16, "I16", 2)              \
	X(U16, "U16", 2)              \
	X(F16, "F16", 2)              \
	X(BF16, "BF16", 2)            \
	X(I32, "I32", 4)              \
	X(U32, "U32", 4)              \
	X(F32, "F32", 4)              \
	X(F64, "F64", 8)              \
	X(I64, "I64", 8)              \
	X(U64, "U64", 8)
/* clang-format on */

enum tensor_dtype {
#define X(symbol, name, bytes) TENSOR_##symbol,
	TENSOR_DTYPE_LIST(X)
#undef X
	TENSOR_DTYPES
};

const char *tensor_dtype_name(enum tensor_dtype d);
size_t tensor_dtype_bytes(enum tensor_dtype d);

struct tensor {
	const char *name; /* UTF-8, NUL-terminated */
	const char *file; /* for messages */
	enum tensor_dtype dtype;
	uint32_t rank;
	uint64_t shape[SAFETENSORS_RANK_MAX]; /* 1 beyond rank */
	uint64_t elements;
	const void *data; /* aligned to nothing */
	size_t bytes;
};

struct safetensors;

/* One file's bytes, which must outlive the result; what names it. ERR_CONFIG says what is wrong. */
MUST enum err_code safetensors_parse(struct safetensors **out, const char *what, const void *data,
	size_t len, struct err *e);

/* model.safetensors of a folder, or the files that model.safetensors.index.json names. */
MUST enum err_code safetensors_open(struct safetensors **out, struct model_folder *folder,
	struct err *e);
void safetensors_free(struct safetensors **s_p);

const struct tensor *safetensors_find(const struct safetensors *s, const char *name);
size_t safetensors_count(const struct safetensors *s);
const struct tensor *safetensors_at(const struct safetensors *s, size_t i); /* by name */

/*
 * Elements [first, first + count) as floats. ERR_CONFIG names the tensor where its dtype is none of
 * F32, F16, BF16, F64, I8, or a value is not finite.
 */
MUST enum err_code tensor_floats(float *out, const struct tensor *t, uint64_t first,
	uint64_t count, struct err *e);
bool tensor_finite(const float *v, uint64_t count); /* none is NaN or infinite */
