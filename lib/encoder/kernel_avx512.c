/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_avx512.c - f32, and bf16 weights widened to f32: any CPU with AVX-512 F, BW, DQ, VL
 */
#include "lib/encoder/kernel_product.h"
#include "lib/encoder/kernel_table.h"

PRODUCT_OF_F32(product_f32)
PRODUCT_OF_WIDE(product_wide)
PRODUCT_ENGINE(engine_f32, ENCODER_F32, ENCODER_F32, take_block_bytes, take_f32, product_f32)
PRODUCT_ENGINE(
	engine_wide, ENCODER_BF16, ENCODER_F32, take_wide_block_bytes, take_wide, product_wide)

KERNEL_TABLE(avx512_f32, ENCODER_ISA_AVX512, ENCODER_F32, KERNEL_CPU_AVX512, engine_f32, engine_f32)
KERNEL_TABLE(
	avx512_bf16, ENCODER_ISA_AVX512, ENCODER_BF16, KERNEL_CPU_AVX512, engine_wide, engine_f32)
