/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_avx512_bf16.c - bf16 dot products, also for the attention of int8: where they are fast
 */
#include "lib/encoder/kernel_product.h"
#include "lib/encoder/kernel_table.h"

PRODUCT_OF_BF16(product_bf16)
PRODUCT_OF_BYTES(product_bytes)
PRODUCT_ENGINE(engine_bf16, ENCODER_BF16, ENCODER_BF16, take_block_bytes, take_bf16, product_bf16)
PRODUCT_ENGINE(engine_bytes, ENCODER_I8, ENCODER_I8, take_block_bytes, take_i8, product_bytes)

KERNEL_TABLE(avx512dot_bf16, ENCODER_ISA_AVX512, ENCODER_BF16, KERNEL_CPU_AVX512_BF16, engine_bf16,
	engine_bf16)
KERNEL_TABLE(avx512dot_i8, ENCODER_ISA_AVX512, ENCODER_I8, KERNEL_CPU_AVX512_BF16, engine_bytes,
	engine_bf16)
