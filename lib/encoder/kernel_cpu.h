/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_cpu.h - what this CPU, and the system on it, can run
 */
#pragma once

#include <stdbool.h>

enum kernel_cpu {
	KERNEL_CPU_AVX2,	/* with FMA */
	KERNEL_CPU_AVX_VNNI,	/* AVX2 and byte dot products in 256 bits */
	KERNEL_CPU_AVX512,	/* F, BW, DQ, VL */
	KERNEL_CPU_AVX512_VNNI, /* AVX512 and byte dot products */
	/* AVX512_VNNI and bf16 dot products at twice the speed of f32: AMD's. Intel's have half the
	 * speed of f32 and AMX beside them; there bf16 weights are widened to f32 instead. */
	KERNEL_CPU_AVX512_BF16,
	/* AMX tiles of bf16 and int8, and leave of the system for this process to use them (asked
	 * for when this is first called), and AVX512_VNNI. */
	KERNEL_CPU_AMX,
	KERNEL_CPUS
};

/* Any thread; the answer never changes within a process. */
bool kernel_cpu_has(enum kernel_cpu what);
