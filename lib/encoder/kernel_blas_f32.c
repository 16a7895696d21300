/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_blas_f32.c - the portable kernel: OpenBLAS sgemm; the oracle of the others' tests
 *
 * The library is loaded when this kernel is first looked at: its 14,000 relocations are half of
 * what a classifier's start would cost, and where there is AVX2 nobody ever calls it.
 *
 * Packed: weight rows at kernel_stride(in), then the bias at kernel_stride(out).
 */
#include <cblas.h>
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "lib/encoder/kernel.h"
#include "lib/encoder/kernel_plain.h"

static struct {
	pthread_once_t once;
	__typeof__(cblas_sgemm) *sgemm; /* NULL: there is no OpenBLAS */
	__typeof__(openblas_set_num_threads) *set_threads;
} blas_lib = {.once = PTHREAD_ONCE_INIT};

/* Stays loaded: its threads could not be taken out from under it. */
static void
blas_load(void)
{
	void *lib = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);

	if (lib == NULL)
		return;
	blas_lib.set_threads =
		(__typeof__(blas_lib.set_threads))dlsym(lib, "openblas_set_num_threads");
	if (blas_lib.set_threads != NULL)
		blas_lib.sgemm = (__typeof__(blas_lib.sgemm))dlsym(lib, "cblas_sgemm");
}

static bool
blas_runs(void)
{
	(void)pthread_once(&blas_lib.once, blas_load);
	return blas_lib.sgemm != NULL;
}

/* Threads are the BLAS's own, one setting for the process. */
static void
blas_start(uint32_t threads)
{
	blas_lib.set_threads((int)threads);
}

static size_t
blas_packed_bytes(uint32_t in, uint32_t out)
{
	return (out * kernel_stride(in) + kernel_stride(out)) * sizeof(float);
}

static void
blas_pack(void *dst, uint32_t in, uint32_t out, const float *weight, const float *bias)
{
	size_t stride = kernel_stride(in);
	float *packed = dst;

	for (size_t o = 0; o < out; o++)
		memcpy(packed + o * stride, weight + o * in, in * sizeof(float));
	if (bias != NULL)
		memcpy(packed + out * stride, bias, out * sizeof(float));
}

/* Scores of one head of one text. */
static size_t
blas_scratch_bytes(const struct kernel_shape *shape)
{
	return shape->max_tokens * kernel_stride(shape->max_tokens) * sizeof(float);
}

static void
blas_linear(const struct kernel_call *call, const struct kernel_linear *l, float *out,
	const float *x, uint32_t rows)
{
	size_t in_stride = kernel_stride(l->in), out_stride = kernel_stride(l->out);
	const float *weight = l->packed, *bias = weight + l->out * in_stride;

	(void)call;
	for (uint32_t r = 0; r < rows; r++) {
		float *row = out + r * out_stride;

		if (l->epilogue != KERNEL_RESIDUAL)
			memcpy(row, bias, l->out * sizeof(float));
		else
			for (uint32_t o = 0; o < l->out; o++)
				row[o] = l->residual[r * out_stride + o] + bias[o];
	}
	blas_lib.sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)l->out, (int)l->in,
		1.0f, x, (int)in_stride, weight, (int)in_stride, 1.0f, out, (int)out_stride);
	if (l->epilogue != KERNEL_RESIDUAL)
		for (uint32_t r = 0; r < rows; r++)
			kernel_plain_activation(l->epilogue, out + r * out_stride, l->out);
}

static void
blas_attention(const struct kernel_call *call, const struct kernel_attention *a, float *context,
	const float *qkv, const struct kernel_batch *batch)
{
	size_t hidden = (size_t)a->heads * a->head_dim;
	int from = (int)kernel_stride(3 * hidden), to = (int)kernel_stride(hidden);
	int dim = (int)a->head_dim;
	float *scores = call->scratch;

	for (uint32_t t = 0; t < batch->count; t++) {
		int len = (int)(batch->starts[t + 1] - batch->starts[t]);
		int row = (int)kernel_stride((size_t)len);

		for (uint32_t h = 0; h < a->heads; h++) {
			const float *query = qkv + (size_t)batch->starts[t] * (size_t)from +
					     (size_t)h * a->head_dim;
			float *out = context + (size_t)batch->starts[t] * (size_t)to +
				     (size_t)h * a->head_dim;

			blas_lib.sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, len, len, dim, 1.0f,
				query, from, query + hidden, from, 0.0f, scores, row);
			for (int i = 0; i < len; i++)
				kernel_plain_softmax(scores + (size_t)i * (size_t)row, (size_t)len,
					a->scale, kernel_plain_bias(a, h, (uint32_t)i));
			blas_lib.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, len, dim, len,
				1.0f, scores, row, query + 2 * hidden, from, 0.0f, out, to);
		}
	}
}

const struct kernel kernel_blas_f32 = {
	.isa = ENCODER_ISA_BLAS,
	.dtype = ENCODER_F32,
	.runs = blas_runs,
	.packed_bytes = blas_packed_bytes,
	.pack = blas_pack,
	.scratch_bytes = blas_scratch_bytes,
	.linear = blas_linear,
	.attention = blas_attention,
	.start = blas_start,
};
