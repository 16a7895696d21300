/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernel_cpu.c - which kernels a CPU and its system can run, from recorded CPUID and XCR0
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "lib/encoder/kernel_cpu.h"

#define BIT(what) (1u << KERNEL_CPU_##what)
#define AVX512_AND_VNNI (BIT(AVX2) | BIT(AVX512) | BIT(AVX512_VNNI))
#define INTEL (AVX512_AND_VNNI | BIT(AVX_VNNI))

/* Leaf 7 of SAPPHIRE_RAPIDS is a Xeon Gold 5418N's, of ZEN4 a virtual machine's on an EPYC; the
 * states are what Linux saves there. The older ones have the bits of their generation that matter
 * here. */
enum cpu { NOTHING, SANDY_BRIDGE, HASWELL, AVX2_WITHOUT_FMA, SAPPHIRE_RAPIDS, ZEN4 };

static const struct kernel_cpu_leaves leaves_of[] = {
	[NOTHING] = {0},
	[SANDY_BRIDGE] = {.c1 = 0x1fbae3ff, .state = 0x7},
	[HASWELL] = {.c1 = 0x7ffafbff, .b7 = 0x27ab, .state = 0x7},
	[AVX2_WITHOUT_FMA] = {.c1 = 0x7ffaebff, .b7 = 0x27ab, .state = 0x7},
	[SAPPHIRE_RAPIDS] = {.c1 = 0x7ffefbff,
		.b7 = 0xf3bfb7ef,
		.c7 = 0xfb417ffe,
		.d7 = 0xffdd4432,
		.a71 = 0x1c30,
		.state = 0x602e7},
	[ZEN4] = {.c1 = 0xfffa3203,
		.b7 = 0xf1bf07ab,
		.c7 = 0x405fc6,
		.d7 = 0x10,
		.a71 = 0x20,
		.state = 0xe7,
		.amd = true},
};

/* Bits that a hypervisor hides, or a system does not save, are taken away. */
struct recorded {
	const char *name;
	enum cpu cpu;
	uint32_t no_d7;
	uint64_t no_state;
	bool refused, not_amd;
	unsigned has, asked;
};

static bool grant;
static unsigned asked;

static bool
system_says(void)
{
	asked++;
	return grant;
}

ParameterizedTestParameters(kernel_cpu, of_recorded_leaves)
{
	static struct recorded cases[] = {
		{.name = "nothing", NOTHING},
		{.name = "AVX only", SANDY_BRIDGE},
		{.name = "AVX2 and FMA", HASWELL, .has = BIT(AVX2)},
		{.name = "AVX2 alone", AVX2_WITHOUT_FMA},
		{.name = "AMX", SAPPHIRE_RAPIDS, .has = INTEL | BIT(AMX), .asked = 1},
		{.name = "AMX, Linux refuses",
			SAPPHIRE_RAPIDS,
			.refused = true,
			.has = INTEL,
			.asked = 1},
		{.name = "AMX, no tiles saved", SAPPHIRE_RAPIDS, .no_state = 0x60000, .has = INTEL},
		{.name = "AMX, no tile data saved",
			SAPPHIRE_RAPIDS,
			.no_state = 0x40000,
			.has = INTEL},
		{.name = "AMX, no tile configuration saved",
			SAPPHIRE_RAPIDS,
			.no_state = 0x20000,
			.has = INTEL},
		{.name = "AMX-TILE hidden", SAPPHIRE_RAPIDS, .no_d7 = 1u << 24, .has = INTEL},
		{.name = "AMX-INT8 hidden", SAPPHIRE_RAPIDS, .no_d7 = 1u << 25, .has = INTEL},
		{.name = "AMX-BF16 hidden", SAPPHIRE_RAPIDS, .no_d7 = 1u << 22, .has = INTEL},
		{.name = "AMX, AVX-512 registers not saved",
			SAPPHIRE_RAPIDS,
			.no_state = 0xe0,
			.has = BIT(AVX2) | BIT(AVX_VNNI)},
		{.name = "Zen 4", ZEN4, .has = AVX512_AND_VNNI | BIT(AVX512_BF16)},
		{.name = "Zen 4's bits of another maker: bf16 is slow there",
			ZEN4,
			.not_amd = true,
			.has = AVX512_AND_VNNI},
		{.name = "Zen 4, AVX-512 registers not saved",
			ZEN4,
			.no_state = 0x80,
			.has = BIT(AVX2)},
		{.name = "Zen 4, AVX registers not saved", ZEN4, .no_state = 0x4},
	};

	return cr_make_param_array(struct recorded, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct recorded *r, kernel_cpu, of_recorded_leaves)
{
	struct kernel_cpu_leaves l = leaves_of[r->cpu];
	unsigned has;

	l.d7 &= ~r->no_d7;
	l.state &= ~r->no_state;
	l.amd = l.amd && !r->not_amd;
	grant = !r->refused;
	asked = 0;
	has = kernel_cpu_judge(&l, system_says);
	cr_expect_eq(has, r->has, "%s: %x, expected %x", r->name, has, r->has);
	cr_expect_eq(asked, r->asked, "%s: the system was asked %u times", r->name, asked);
}

Test(kernel_cpu, this_one_gives_the_same_answer_twice)
{
	for (unsigned what = 0; what < KERNEL_CPUS; what++)
		cr_expect_eq(kernel_cpu_has((enum kernel_cpu)what),
			kernel_cpu_has((enum kernel_cpu)what));
}
