/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_avx2_vnni.c - int8 with the byte dot products of AVX-VNNI, attention in f32
 */
#include "lib/encoder/kernel_product.h"
#include "lib/encoder/kernel_table.h"

PRODUCT_OF_F32(product_f32)
PRODUCT_OF_BYTES(product_bytes)
PRODUCT_ENGINE(engine_f32, ENCODER_F32, ENCODER_F32, take_block_bytes, take_f32, product_f32)
PRODUCT_ENGINE(engine_bytes, ENCODER_I8, ENCODER_I8, take_block_bytes, take_i8, product_bytes)

KERNEL_TABLE(
	avx2vnni_i8, ENCODER_ISA_AVX2, ENCODER_I8, KERNEL_CPU_AVX_VNNI, engine_bytes, engine_f32)
