/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_cpu.c - CPUID, XGETBV and the system's leave for AMX
 */
#include "lib/encoder/kernel_cpu.h"

#include <stdatomic.h>

enum {
	STATE_AVX = 0x6,
	STATE_AVX512 = 0xe6,
	STATE_TILES = 0x60000,
	LEAF1_C_FMA = 1 << 12,
	LEAF7_B_AVX2 = 1 << 5,
	LEAF7_C_VNNI = 1 << 11,
	LEAF7_D_AMX_BF16 = 1 << 22,
	LEAF7_D_AMX_TILE = 1 << 24,
	LEAF7_D_AMX_INT8 = 1 << 25,
	LEAF71_A_AVX_VNNI = 1 << 4,
	LEAF71_A_AVX512_BF16 = 1 << 5,
};

#define LEAF7_B_AVX512 (1u << 16 | 1u << 17 | 1u << 30 | 1u << 31) /* F, DQ, BW, VL */

static bool
all(uint64_t have, uint64_t want)
{
	return (have & want) == want;
}

unsigned
kernel_cpu_judge(const struct kernel_cpu_leaves *l, bool (*tiles_granted)(void))
{
	unsigned has = 0;

	if (all(l->state, STATE_AVX) && all(l->c1, LEAF1_C_FMA) && all(l->b7, LEAF7_B_AVX2))
		has |= 1u << KERNEL_CPU_AVX2;
	if (has != 0 && all(l->a71, LEAF71_A_AVX_VNNI))
		has |= 1u << KERNEL_CPU_AVX_VNNI;
	if (has == 0 || !all(l->state, STATE_AVX512) || !all(l->b7, LEAF7_B_AVX512))
		return has;
	has |= 1u << KERNEL_CPU_AVX512;
	if (!all(l->c7, LEAF7_C_VNNI))
		return has;
	has |= 1u << KERNEL_CPU_AVX512_VNNI;
	if (l->amd && all(l->a71, LEAF71_A_AVX512_BF16))
		has |= 1u << KERNEL_CPU_AVX512_BF16;
	if (all(l->d7, LEAF7_D_AMX_TILE | LEAF7_D_AMX_BF16 | LEAF7_D_AMX_INT8) &&
		all(l->a71, LEAF71_A_AVX512_BF16) && all(l->state, STATE_TILES) && tiles_granted())
		has |= 1u << KERNEL_CPU_AMX;
	return has;
}

#if defined(__x86_64__)

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	LEAF1_C_OSXSAVE = 1 << 27,
	ARCH_REQUEST_STATE = 0x1023, /* ARCH_REQ_XCOMP_PERM */
	STATE_NUMBER_TILE_DATA = 18,
};

static uint64_t
saved_states(void)
{
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

static struct kernel_cpu_leaves
read_leaves(void)
{
	struct kernel_cpu_leaves l = {0};
	unsigned a, b, c, d;

	if (!__get_cpuid(0, &a, &b, &c, &d))
		return l;
	l.amd = b == signature_AMD_ebx && c == signature_AMD_ecx && d == signature_AMD_edx;
	if (!__get_cpuid(1, &a, &b, &l.c1, &d) || (l.c1 & LEAF1_C_OSXSAVE) == 0)
		return l;
	l.state = saved_states();
	if (__get_cpuid_count(7, 0, &a, &l.b7, &l.c7, &l.d7) && a >= 1)
		(void)__get_cpuid_count(7, 1, &l.a71, &b, &c, &d);
	return l;
}

/* The kernel gives a process tile registers only on request; not asked for, the first tile
 * instruction is a SIGILL. A system or a sandbox that refuses the call means: no AMX. */
static bool
tiles_granted(void)
{
	return syscall(SYS_arch_prctl, ARCH_REQUEST_STATE, STATE_NUMBER_TILE_DATA) == 0;
}

static unsigned
look(void)
{
	const struct kernel_cpu_leaves l = read_leaves();

	return kernel_cpu_judge(&l, tiles_granted);
}

#else

static unsigned
look(void)
{
	return 0;
}

#endif

bool
kernel_cpu_has(enum kernel_cpu what)
{
	/* Two threads that look at once find the same. */
	static atomic_uint cpu_found;
	unsigned has = atomic_load_explicit(&cpu_found, memory_order_relaxed);

	if (has == 0) {
		has = look() | 1u << KERNEL_CPUS;
		atomic_store_explicit(&cpu_found, has, memory_order_relaxed);
	}
	return (has & 1u << what) != 0;
}
