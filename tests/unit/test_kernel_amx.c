/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernel_amx.c - kernel_amx.c, compiled for a model of the tile instructions (amx_model.h)
 *
 * Packing, strides, edges, configuration and epilogue are verified on a machine that has no AMX;
 * what remains AVX-512 in that file runs as it is, so the machine must have that.
 */
#include <criterion/criterion.h>

#include "lib/encoder/kernel_cpu.h"
#include "tests/unit/kernel_oracle.h"

extern const struct kernel kernel_amx_model_bf16, kernel_amx_model_i8;

static const struct kernel *const kernels[] = {&kernel_amx_model_bf16, &kernel_amx_model_i8};

static void
needs_avx512(void)
{
	if (!kernel_cpu_has(KERNEL_CPU_AVX512_BF16))
		cr_skip_test("this CPU has no AVX-512 with bf16");
}

Test(kernel_amx, a_linear_layer_is_exact_where_its_inputs_are, .init = needs_avx512)
{
	static const uint32_t shapes[][2] = {
		{1, 1}, {37, 33}, {64, 32}, {63, 31}, {130, 65}, {768, 16}};
	static const uint32_t rows[] = {1, 2, 15, 16, 17, 31, 32, 33, 48, 49, 70};

	for (size_t k = 0; k < ARRAY_LEN(kernels); k++)
		for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
			for (size_t r = 0; r < ARRAY_LEN(rows); r++)
				oracle_linear(kernels[k],
					&(struct oracle_linear){rows[r], shapes[s][0], shapes[s][1],
						KERNEL_NONE, ORACLE_EXACT});
}

Test(kernel_amx, every_epilogue_does_what_it_says, .init = needs_avx512)
{
	for (size_t k = 0; k < ARRAY_LEN(kernels); k++)
		for (enum kernel_epilogue e = KERNEL_NONE; e < KERNEL_EPILOGUES; e++)
			oracle_linear(
				kernels[k], &(struct oracle_linear){19, 70, 37, e, ORACLE_RANDOM});
}

Test(kernel_amx, attention_per_text_and_head, .init = needs_avx512)
{
	static const uint32_t lengths[] = {1, 16, 31, 33, 40};
	static const uint32_t heads[][2] = {{2, 8}, {1, 64}, {2, 37}};

	for (size_t k = 0; k < ARRAY_LEN(kernels); k++)
		for (size_t h = 0; h < ARRAY_LEN(heads); h++)
			oracle_attention(kernels[k], heads[h][0], heads[h][1], lengths,
				ARRAY_LEN(lengths), h == 0);
}
