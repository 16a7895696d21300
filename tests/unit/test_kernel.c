/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernel.c - every kernel of the table that runs on this machine, against double precision
 *
 * Where the CPU has no AMX but what else its kernels need, their tiles are those of amx_model.h.
 */
#include <criterion/criterion.h>

#include "lib/encoder/kernel_cpu.h"
#include "tests/unit/amx_model.h"
#include "tests/unit/kernel_oracle.h"

static const struct kernel *const kernels[] = {
#define KERNEL(symbol) &kernel_##symbol,
#include "lib/encoder/kernel_list.h"
#undef KERNEL
};

/* inner dimension, outputs: one, odd ones, whole tiles, and just beside them */
static const uint32_t shapes[][2] = {
	{1, 1}, {5, 3}, {37, 33}, {64, 32}, {63, 31}, {96, 100}, {130, 65}, {257, 40}, {768, 16}};

static const uint32_t rows[] = {1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 14, 15, 16, 17, 29, 32, 33, 70};

static bool
runs(const struct kernel *k)
{
	if (k->isa != ENCODER_ISA_AMX || k->runs())
		return k->runs();
	if (!kernel_cpu_has(KERNEL_CPU_AVX512_BF16))
		return false;
	amx_model_install();
	return true;
}

#define EACH_KERNEL(k)                                                                             \
	for (size_t i_##k = 0; i_##k < ARRAY_LEN(kernels); i_##k++)                                \
		for (const struct kernel *k = kernels[i_##k]; k != NULL && runs(k); k = NULL)

Test(kernel, a_linear_layer_is_exact_where_its_inputs_are)
{
	EACH_KERNEL(k)
	for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
		for (size_t r = 0; r < ARRAY_LEN(rows); r++)
			oracle_linear(k, &(struct oracle_linear){rows[r], shapes[s][0],
						 shapes[s][1], KERNEL_NONE, ORACLE_EXACT});
}

Test(kernel, a_linear_layer_is_off_by_no_more_than_the_rounding_of_its_inputs)
{
	EACH_KERNEL(k)
	for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
		oracle_linear(k, &(struct oracle_linear){9, shapes[s][0], shapes[s][1], KERNEL_NONE,
					 ORACLE_RANDOM});
}

Test(kernel, every_epilogue_does_what_it_says)
{
	EACH_KERNEL(k)
	for (enum kernel_epilogue e = KERNEL_NONE; e < KERNEL_EPILOGUES; e++)
		for (uint32_t n = 1; n <= 35; n += 17)
			oracle_linear(k, &(struct oracle_linear){n, 70, 37, e, ORACLE_RANDOM});
}

Test(kernel, more_rows_than_meet_a_panel_together)
{
	EACH_KERNEL(k)
	for (uint32_t n = 167; n <= 340; n += 86)
		oracle_linear(k, &(struct oracle_linear){n, 40, 33, KERNEL_RESIDUAL, ORACLE_EXACT});
}

Test(kernel, a_row_has_the_same_bytes_alone_in_a_batch_and_with_threads)
{
	/* A BLAS chooses its loops by the number of rows. */
	EACH_KERNEL(k)
	if (k->isa != ENCODER_ISA_BLAS)
		oracle_linear_is_deterministic(k, 256, 140); /* worth a pool */
}

Test(kernel, attention_per_text_and_head)
{
	static const uint32_t lengths[] = {1, 2, 31, 32, 33, 5, 70};
	static const uint32_t heads[][2] = {{2, 8}, {3, 32}, {1, 64}, {2, 37}, {4, 5}, {1, 1}};

	EACH_KERNEL(k)
	for (size_t h = 0; h < ARRAY_LEN(heads); h++)
		for (int with_bias = 0; with_bias < 2; with_bias++)
			oracle_attention(k, heads[h][0], heads[h][1], lengths, ARRAY_LEN(lengths),
				with_bias);
}

Test(kernel, norm)
{
	static const uint32_t dims[] = {2, 5, 16, 37, 100, 128, 384, 768};

	EACH_KERNEL(k)
	for (size_t d = 0; d < ARRAY_LEN(dims); d++)
		oracle_norm(k, 3, dims[d]);
}

Test(kernel, activations_keep_their_bounds)
{
	/* bf16 and i8: the product brings a rounding of its own */
	static const struct {
		enum kernel_epilogue epilogue;
		double f32, other;
	} cases[] = {{KERNEL_GELU, 1e-6, 1e-4}, {KERNEL_GELU_TANH, 1e-6, 3e-6},
		{KERNEL_TANH, 3e-7, 1e-6}, {KERNEL_RELU, 0, 2e-6}};

	EACH_KERNEL(k)
	for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
		double worst = oracle_activation_error(k, cases[c].epilogue);
		double bound = k->dtype == ENCODER_F32 ? cases[c].f32 : cases[c].other;

		cr_expect_leq(worst, bound, "%s on %s, epilogue %d: %.3g",
			encoder_dtype_name(k->dtype), encoder_isa_name(k->isa),
			(int)cases[c].epilogue, worst);
	}
}
