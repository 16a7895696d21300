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

#include "lib/encoder/model_folder.h"
#include "lib/encoder/tensor.h"

enum { SAFETENSORS_HEADER_MAX = 100 * 1000 * 1000 }; /* the format's own limit */

/* One file's bytes, which must outlive the result; what names it. ERR_CONFIG says what is wrong. */
MUST enum err_code safetensors_parse(struct tensor_set **out, const char *what, const void *data,
	size_t len, struct err *e);

/* model.safetensors of a folder, or the files that model.safetensors.index.json names. */
MUST enum err_code safetensors_open(struct tensor_set **out, struct model_folder *folder,
	struct err *e);
