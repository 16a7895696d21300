/* SPDX-License-Identifier: Apache-2.0 */
/*
 * packed.h - the packed form of a model: a header, then tensors where the header's sizes put them
 *
 * The header holds sizes and no offsets: packer and reader both compute the layout from the sizes,
 * so there is nothing to check but the sizes and the length. Every part starts 64-byte aligned.
 */
#pragma once

#include "lib/encoder/model_config.h"

enum {
	PACKED_VERSION = 2,
	PACKED_ARCHITECTURE_MAX = 64,
	PACKED_TOKENIZER_MAX = 1 << 30,
};

struct packed_header {
	char magic[8]; /* "shuntenc" */
	uint32_t version;
	uint32_t header_bytes;
	uint64_t total;	   /* bytes of the packed form */
	uint64_t checksum; /* FNV-1a of the header with 0 here */
	uint64_t parameters;
	uint64_t identity;	  /* model_folder_identity of the files that it was made from */
	uint64_t tokenizer_len;	  /* 0: none */
	uint64_t label_names_len; /* labels names, each with its NUL */
	char architecture[PACKED_ARCHITECTURE_MAX];
	uint32_t dtype, isa; /* enums of encoder.h */
	uint32_t layers;     /* 0: static embeddings */
	uint32_t hidden, heads, ffn;
	uint32_t vocab;	    /* ids are smaller */
	uint32_t word_rows; /* of the table; less than vocab where a static model maps ids to rows */
	uint32_t types, buckets, labels, max_tokens;
	uint32_t activation, head_activation; /* enum kernel_epilogue */
	uint32_t problem, pool;		      /* enums of encoder.h */
	uint32_t normalize;		      /* 0, 1 */
	uint32_t mapped, weighted; /* static: a row per id; a weight per id */
	uint32_t position_rows;    /* of the table: max_tokens, and 1 before them with padding_id */
	uint32_t padding_id;	   /* RoBERTa: this id has row 0 and counts no position; or vocab */
	uint32_t dropped_id;	   /* static: the unknown token, which does not count; or vocab */
	float norm_eps;
};

/* Byte offsets of one norm's vectors. */
struct packed_norm {
	size_t weight, bias;
};

/* Byte offsets from the start of the packed form; what a model lacks has no bytes. */
struct packed_layout {
	size_t words;	  /* f32, or f16 where dtype is not f32: word_rows * hidden */
	size_t positions; /* f32: position_rows * hidden */
	size_t types;	  /* f32: types * hidden */
	size_t relative;  /* f32: heads * (2 * max_tokens - 1), kernel_attention's position_bias */
	size_t row_of, weight_of; /* static: uint32_t and f32, vocab of them */
	struct packed_norm embed_norm;
	size_t layers, layer_bytes; /* the first one; from one to the next */
	size_t qkv, out, up, down;  /* within a layer: linears of the kernel */
	struct packed_norm attention_norm, output_norm; /* within a layer */
	size_t head_dense, head_out;			/* linears of the kernel */
	size_t label_names, tokenizer;
	size_t total;
};

/* Where everything lies. The header's sizes are within the limits of model_config.h. */
struct packed_layout packed_layout(const struct packed_header *h, const struct kernel *kernel);

/* Put magic, version, total and checksum into a header that has everything else. */
void packed_seal(struct packed_header *h, const struct packed_layout *l);

/*
 * Check the packed form at image[0..len): header, sizes, kernel for this CPU, labels. Fills *out,
 * *layout and *kernel. ERR_CONFIG: it is none, is damaged, or is for another machine.
 */
MUST enum err_code packed_check(struct packed_header *out, struct packed_layout *layout,
	const struct kernel **kernel, const void *image, size_t len, struct err *e);
