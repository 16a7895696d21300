/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel.h - the matrix work of a forward pass, one ops table per (instruction set, dtype)
 *
 * Private to lib/encoder. The model side (encoder_*.c) knows architectures, files and buffers; the
 * kernel side (kernel_*.c) knows registers, tiles and caches. They meet here and nowhere else.
 *
 * A linear layer y = x W^T + b is packed once by pack() into bytes that only the same kernel reads:
 * weights in the order of its loops, scales, and the bias. Packed bytes lie in a shared read-only
 * segment: no pointers in them, 64-byte aligned at the start, and a run never writes them.
 *
 * Activations between ops are f32, row by row. Rows lie kernel_stride(dim) floats apart, so every
 * row starts on a 64-byte boundary. The floats between dim and the stride are zero on entry to
 * every op and an op leaves them zero. Any dim from 1 up occurs (a test model has ffn 37).
 * A kernel that wants bf16 or int8 activations converts as it loads, or takes over a whole layer
 * (the optional layer op), where what lies between two linears is its own business.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/encoder/encoder.h"

enum {
	KERNEL_ALIGN = 64,	/* of every packed linear, activation row, and the scratch */
	KERNEL_ROW_FLOATS = 16, /* activation rows are a multiple of this */
};

/* Floats from one row of dim activations to the next. */
static inline size_t
kernel_stride(size_t dim)
{
	return (dim + KERNEL_ROW_FLOATS - 1) / KERNEL_ROW_FLOATS * KERNEL_ROW_FLOATS;
}

/* What happens to x W^T + b on its way out. */
enum kernel_epilogue {
	KERNEL_NONE,
	KERNEL_GELU,	  /* x/2 (1 + erf(x / sqrt 2)); |error| <= 1e-6 of f32 weights, else 1e-4 */
	KERNEL_GELU_TANH, /* gelu_new, gelu_pytorch_tanh, gelu_fast: the tanh form */
	KERNEL_RELU,
	KERNEL_TANH,
	KERNEL_RESIDUAL, /* + residual, a matrix of the shape of out; may be out itself */
	KERNEL_EPILOGUES
};

/* What every op gets: memory and threads. The scratch is not shared between calls that overlap. */
struct kernel_call {
	void *scratch; /* scratch_bytes() of the kernel, KERNEL_ALIGN aligned; no meaning kept */
	size_t scratch_len;
	/*
	 * Helper threads of this encoder; NULL: this thread only. The kernel side owns what it is:
	 * kernel_pool.h with kernel_pool_new(&pool, threads) and kernel_pool_free(&pool), which the
	 * model side calls in encoder_attach and encoder_free when limits ask for threads > 1.
	 */
	struct kernel_pool *pool;
};

/* One linear layer over rows of activations. */
struct kernel_linear {
	const void *packed; /* by pack() of the same kernel, with the same in and out */
	uint32_t in, out;
	enum kernel_epilogue epilogue;
	const float *residual; /* KERNEL_RESIDUAL only; stride of out */
};

/* Texts of a batch lie one after the other; text i is rows starts[i] .. starts[i + 1] - 1. */
struct kernel_batch {
	const uint32_t *starts; /* count + 1 of them; starts[0] is 0 */
	uint32_t count;
	uint32_t tokens;  /* starts[count] */
	uint32_t longest; /* tokens of the longest text */
};

/* Self-attention's shape; hidden is heads * head_dim. */
struct kernel_attention {
	uint32_t heads, head_dim;
	float scale; /* 1 / sqrt(head_dim) */
	/*
	 * NULL, or what relative positions add to a score before softmax (MPNet): for head h, query
	 * row i and key row j of a text: position_bias[h * (2 * bias_span + 1) + bias_span + j - i].
	 */
	const float *position_bias;
	uint32_t bias_span; /* >= longest - 1 */
};

struct kernel_norm {
	const float *weight, *bias; /* dim floats each, KERNEL_ALIGN aligned */
	float eps;
};

/* One post-norm transformer layer (BERT and its family). */
struct kernel_layer {
	const void *qkv;  /* packed linear, in hidden, out 3 * hidden: queries, keys, values */
	const void *out;  /* hidden -> hidden, then + residual, then attention_norm */
	const void *up;	  /* hidden -> ffn, activation */
	const void *down; /* ffn -> hidden, then + residual, then output_norm */
	struct kernel_norm attention_norm, output_norm;
	struct kernel_attention attention;
	uint32_t hidden, ffn;
	enum kernel_epilogue activation; /* KERNEL_GELU, KERNEL_GELU_TANH or KERNEL_RELU */
};

/* Activations of a pass. The model side owns them; the strides are kernel_stride of the width. */
struct kernel_state {
	float *x;	/* tokens * hidden: a layer reads it and leaves its result there */
	float *qkv;	/* tokens * 3 * hidden */
	float *context; /* tokens * hidden */
	float *wide;	/* tokens * ffn */
};

/* The largest of everything that will come; for sizing the scratch once. */
struct kernel_shape {
	uint32_t tokens;      /* rows in a pass */
	uint32_t max_tokens;  /* rows of one text */
	uint32_t hidden, ffn; /* widest layers */
	uint32_t heads;
	uint32_t threads; /* of the pool, the caller included; at least 1 */
};

/*
 * The ops. All but attention, norm and layer are required; NULL there means the portable ones of
 * kernel.c. Ops cannot fail, allocate nothing, and read nothing outside their arguments.
 * Results are deterministic: same input, same bytes, whatever stands next to it in the batch
 * (except by rounding of the BLAS) and whatever the number of threads.
 */
struct kernel {
	enum encoder_isa isa;
	enum encoder_dtype dtype;
	/* This CPU and kernel have what it takes. Called often: cache the answer of CPUID. */
	bool (*runs)(void);
	/* Bytes of a packed linear, a multiple of KERNEL_ALIGN. in, out >= 1, and no product of
	 * the model side exceeds 2^40. */
	size_t (*packed_bytes)(uint32_t in, uint32_t out);
	/* weight: out rows of in floats, row after row; bias: out floats, or NULL: zero. All are
	 * finite. dst: packed_bytes zero bytes, KERNEL_ALIGN aligned; weight and bias are aligned
	 * to float only. The same input gives the same bytes. */
	void (*pack)(void *dst, uint32_t in, uint32_t out, const float *weight, const float *bias);
	size_t (*scratch_bytes)(const struct kernel_shape *shape);
	/* out[rows, l->out] = epilogue(x[rows, l->in] W^T + b). out and x do not overlap. rows may be
	 * 1 (heads, pooler), and then comes with any row of a larger matrix. */
	void (*linear)(const struct kernel_call *call, const struct kernel_linear *l, float *out,
		const float *x, uint32_t rows);
	/* context[tokens, hidden] = softmax(q k^T * scale + bias) v, per text and head. */
	void (*attention)(const struct kernel_call *call, const struct kernel_attention *a,
		float *context, const float *qkv, const struct kernel_batch *batch);
	/* Rows of x normalized in place. */
	void (*norm)(const struct kernel_call *call, const struct kernel_norm *n, float *x,
		uint32_t rows, uint32_t dim);
	/* A whole layer, state->x in place; may use the state's other buffers as it likes, but must
	 * leave their padding zero. */
	void (*layer)(const struct kernel_call *call, const struct kernel_layer *l,
		const struct kernel_state *state, const struct kernel_batch *batch);
	/* Optional: called once by every encoder_attach, before scratch_bytes. */
	void (*start)(uint32_t threads);
};

/*
 * Every kernel: kernel_list.h has one row each, best first. For ENCODER_ISA_AUTO the first row of
 * the dtype that runs here is taken. To add one: a file kernel_<symbol>.c that defines
 * `const struct kernel kernel_<symbol>`, its row, its line in meson.build.
 */
#define KERNEL(symbol) extern const struct kernel kernel_##symbol;
#include "lib/encoder/kernel_list.h"
#undef KERNEL

/* The kernel for this pair where it runs here; NULL: none. AUTO: see encoder.h. */
const struct kernel *kernel_find(enum encoder_isa isa, enum encoder_dtype dtype);

/* kernel->op where it has one, else the portable op. These are what the model side calls. */
void kernel_run_layer(const struct kernel *k, const struct kernel_call *call,
	const struct kernel_layer *l, const struct kernel_state *state,
	const struct kernel_batch *batch);
size_t kernel_scratch_bytes(const struct kernel *k, const struct kernel_shape *shape);

/* The portable ops, also the reference that a kernel's tests compare with. */
void kernel_plain_attention(const struct kernel_call *call, const struct kernel_attention *a,
	float *context, const float *qkv, const struct kernel_batch *batch);
void kernel_plain_norm(const struct kernel_call *call, const struct kernel_norm *n, float *x,
	uint32_t rows, uint32_t dim);
/* row[0..n) through an epilogue that needs no second matrix (not KERNEL_RESIDUAL). */
void kernel_plain_activation(enum kernel_epilogue epilogue, float *row, size_t n);
