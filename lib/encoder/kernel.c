/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel.c - choose a kernel, run a layer with it
 */
#include <stdlib.h>
#include <string.h>

#include "lib/encoder/kernel.h"

static const struct kernel *const kernels[] = {
#define KERNEL(symbol) &kernel_##symbol,
#include "lib/encoder/kernel_list.h"
#undef KERNEL
};

static const char *const dtype_names[ENCODER_DTYPES] = {
	[ENCODER_F32] = "f32",
	[ENCODER_BF16] = "bf16",
	[ENCODER_I8] = "i8",
};

static const char *const isa_names[ENCODER_ISAS] = {
	[ENCODER_ISA_AUTO] = "auto",
	[ENCODER_ISA_BLAS] = "blas",
	[ENCODER_ISA_AVX2] = "avx2",
	[ENCODER_ISA_AVX512] = "avx512",
	[ENCODER_ISA_AMX] = "amx",
};

const char *
encoder_dtype_name(enum encoder_dtype d)
{
	return d < ENCODER_DTYPES ? dtype_names[d] : "?";
}

enum encoder_dtype
encoder_dtype_find(const char *name)
{
	unsigned d = 0;

	while (d < ENCODER_DTYPES && strcmp(dtype_names[d], name) != 0)
		d++;
	return (enum encoder_dtype)d;
}

const char *
encoder_isa_name(enum encoder_isa isa)
{
	return isa < ENCODER_ISAS ? isa_names[isa] : "?";
}

/* What SHUNT_ENCODER_ISA asks for; a name that is none matches no kernel. */
static enum encoder_isa
isa_wanted(void)
{
	const char *name = getenv("SHUNT_ENCODER_ISA");

	if (name == NULL || name[0] == '\0')
		return ENCODER_ISA_AUTO;
	for (size_t i = 0; i < ENCODER_ISAS; i++)
		if (strcmp(isa_names[i], name) == 0)
			return (enum encoder_isa)i;
	return ENCODER_ISAS;
}

const struct kernel *
kernel_find(enum encoder_isa isa, enum encoder_dtype dtype)
{
	if (isa == ENCODER_ISA_AUTO)
		isa = isa_wanted();
	for (size_t i = 0; i < ARRAY_LEN(kernels); i++)
		if (kernels[i]->dtype == dtype &&
			(isa == ENCODER_ISA_AUTO || kernels[i]->isa == isa) && kernels[i]->runs())
			return kernels[i];
	return NULL;
}

bool
encoder_isa_runs(enum encoder_isa isa, enum encoder_dtype dtype)
{
	return kernel_find(isa, dtype) != NULL;
}

size_t
kernel_scratch_bytes(const struct kernel *k, const struct kernel_shape *shape)
{
	/* kernel_plain_attention: one row of scores */
	size_t plain = kernel_stride(shape->max_tokens) * sizeof(float);

	return MAX(plain, k->scratch_bytes(shape));
}

static void
layer_from_parts(const struct kernel *k, const struct kernel_call *call,
	const struct kernel_layer *l, const struct kernel_state *state,
	const struct kernel_batch *batch)
{
	const struct kernel_linear qkv = {l->qkv, l->hidden, 3 * l->hidden, KERNEL_NONE, NULL};
	const struct kernel_linear out = {l->out, l->hidden, l->hidden, KERNEL_RESIDUAL, state->x};
	const struct kernel_linear up = {l->up, l->hidden, l->ffn, l->activation, NULL};
	const struct kernel_linear down = {l->down, l->ffn, l->hidden, KERNEL_RESIDUAL, state->x};

	k->linear(call, &qkv, state->qkv, state->x, batch->tokens);
	(k->attention != NULL ? k->attention : kernel_plain_attention)(
		call, &l->attention, state->context, state->qkv, batch);
	k->linear(call, &out, state->x, state->context, batch->tokens);
	(k->norm != NULL ? k->norm : kernel_plain_norm)(
		call, &l->attention_norm, state->x, batch->tokens, l->hidden);
	k->linear(call, &up, state->wide, state->x, batch->tokens);
	k->linear(call, &down, state->x, state->wide, batch->tokens);
	(k->norm != NULL ? k->norm : kernel_plain_norm)(
		call, &l->output_norm, state->x, batch->tokens, l->hidden);
}

void
kernel_run_layer(const struct kernel *k, const struct kernel_call *call,
	const struct kernel_layer *l, const struct kernel_state *state,
	const struct kernel_batch *batch)
{
	if (k->layer != NULL)
		k->layer(call, l, state, batch);
	else
		layer_from_parts(k, call, l, state, batch);
}
