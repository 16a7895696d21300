/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_list.h - the one table of kernels, best first within a dtype
 *
 * Without include guard: define KERNEL and include it. A new kernel is one row here and a file
 * that defines `const struct kernel kernel_<symbol>`; the files of one instruction set hold the
 * kernels of several dtypes.
 *
 * KERNEL(symbol)
 */
#if defined(__x86_64__)
KERNEL(avx512_f32)
KERNEL(avx2_f32)
KERNEL(amx_bf16)
KERNEL(avx512dot_bf16)
KERNEL(avx512_bf16)
KERNEL(avx2_bf16)
KERNEL(amx_i8)
KERNEL(avx512dot_i8)
KERNEL(avx512_i8)
KERNEL(avx2vnni_i8)
KERNEL(avx2_i8)
#endif
KERNEL(blas_f32)
