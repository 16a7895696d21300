/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_cpu.h - what this CPU, and the system on it, can run
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

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

/* What the decision stands on: registers of CPUID, and XCR0. */
struct kernel_cpu_leaves {
	uint32_t c1;	     /* leaf 1: ECX */
	uint32_t b7, c7, d7; /* leaf 7: EBX, ECX, EDX */
	uint32_t a71;	     /* leaf 7, subleaf 1: EAX */
	uint64_t state;	     /* XCR0: the register states that the system saves; 0 without OSXSAVE */
	bool amd;
};

/* A bit (1u << enum kernel_cpu) for each that these can run. tiles_granted: asks the system for
 * AMX; called at most once, and only where all else says that there is AMX. */
unsigned kernel_cpu_judge(const struct kernel_cpu_leaves *l, bool (*tiles_granted)(void));

/* Any thread; the answer never changes within a process. The first call asks the system for AMX:
 * a sandboxed process makes it before its system call filter, which does not know arch_prctl. */
bool kernel_cpu_has(enum kernel_cpu what);
