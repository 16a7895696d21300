/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_list.h - the one table of kernels, best first within a dtype
 *
 * Without include guard: define KERNEL and include it. A new kernel is one row here and one file
 * lib/encoder/kernel_<symbol>.c that defines `const struct kernel kernel_<symbol>`.
 *
 * KERNEL(symbol)
 */
KERNEL(blas_f32)
