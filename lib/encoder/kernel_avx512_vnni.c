/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_avx512_vnni.c - int8 with byte dot products, attention in f32: AVX-512 with VNNI
 */
#include "lib/encoder/kernel_product.h"
#include "lib/encoder/kernel_table.h"

PRODUCT_OF_F32(product_f32)
PRODUCT_OF_BYTES(product_bytes)
PRODUCT_ENGINE(engine_f32, ENCODER_F32, ENCODER_F32, take_block_bytes, take_f32, product_f32)
PRODUCT_ENGINE(engine_bytes, ENCODER_I8, ENCODER_I8, take_block_bytes, take_i8, product_bytes)

KERNEL_TABLE(
	avx512_i8, ENCODER_ISA_AVX512, ENCODER_I8, KERNEL_CPU_AVX512_VNNI, engine_bytes, engine_f32)
