/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gguf.h - a GGUF file, version 2 or 3: keys with values, and tensors
 *
 * The file, little-endian: "GGUF", version, number of tensors, number of keys; per key its name,
 * type and value; per tensor its name, sizes (the innermost first), type and offset; padding; the
 * data, each tensor aligned (general.alignment, 32). Everything is checked when it is read: that
 * each part lies in the file, names that stand there twice, that a tensor's bytes are what its sizes
 * and type make, that the tensors cover the data without hole or overlap.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/base/json.h"
#include "lib/encoder/tensor.h"

struct gguf {
	const char *what; /* names the file in messages; the caller's */
	struct buf text;
	struct json keys; /* one object with all of them, in text; bytes that are no UTF-8: U+FFFD */
	struct tensor_set *tensors;
};

/*
 * The file's bytes must outlive the tensors. ERR_CONFIG says what is wrong, at which byte or with
 * which key or tensor. *out is to be given to gguf_fini, also after an error.
 */
MUST enum err_code gguf_parse(struct gguf *out, const char *what, const void *data, size_t len,
	struct err *e);
void gguf_fini(struct gguf *g);
