/* SPDX-License-Identifier: Apache-2.0 */
/*
 * amx_model.c - eight tiles, what the instructions do to them, and the signal that asks for it
 *
 * Only what the kernels' compiler emits is decoded: three-byte VEX, 128 bits, W0, map 0F38.
 */
#include "tests/unit/amx_model.h"

#include <stdbool.h>

#include "lib/base/base.h"

#if defined(__x86_64__)

#include <float.h>
#include <math.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include "lib/encoder/kernel_amx_tiles.h"

enum { TILES = 8, ROWS = 16, ROW_BYTES = 64 };

struct tile {
	uint8_t row[ROWS][ROW_BYTES];
};

static _Thread_local struct tile tiles[TILES];
static _Thread_local struct amx_config config; /* palette 0: no tile is usable */

/* Conditions under which LDTILECFG faults for palette 1. */
static void
check_config(const struct amx_config *c)
{
	static const uint8_t zero[14];

	CHECK(c->palette == 1 && c->start_row == 0);
	CHECK(memcmp(c->reserved, zero, sizeof(zero)) == 0);
	for (size_t i = 0; i < 16; i++) {
		CHECK(c->row_bytes[i] <= ROW_BYTES && c->rows[i] <= ROWS);
		CHECK((c->row_bytes[i] == 0) == (c->rows[i] == 0));
		CHECK(i < TILES || c->rows[i] == 0);
	}
}

static void
configure(const struct amx_config *c)
{
	check_config(c);
	config = *c;
	memset(tiles, 0, sizeof(tiles));
}

static void
release(void)
{
	memset(&config, 0, sizeof(config));
	memset(tiles, 0, sizeof(tiles));
}

static struct tile *
usable(unsigned tile)
{
	CHECK(config.palette == 1 && tile < TILES && config.rows[tile] > 0);
	return &tiles[tile];
}

static void
zero_tile(unsigned tile)
{
	memset(usable(tile), 0, sizeof(struct tile));
}

static void
load_tile(unsigned tile, const void *base, size_t stride)
{
	struct tile *t = usable(tile);

	memset(t, 0, sizeof(*t));
	for (size_t r = 0; r < config.rows[tile]; r++)
		memcpy(t->row[r], (const uint8_t *)base + r * stride, config.row_bytes[tile]);
}

static void
store_tile(unsigned tile, void *base, size_t stride)
{
	const struct tile *t = usable(tile);

	for (size_t r = 0; r < config.rows[tile]; r++)
		memcpy((uint8_t *)base + r * stride, t->row[r], config.row_bytes[tile]);
}

/* Conditions under which a dot product of tiles faults. */
static void
check_shapes(unsigned sum, unsigned a, unsigned b)
{
	CHECK(sum != a && sum != b && a != b);
	CHECK(config.rows[sum] == config.rows[a]);
	CHECK(config.row_bytes[sum] == config.row_bytes[b]);
	CHECK(config.row_bytes[a] == config.rows[b] * 4);
}

/* Denormals are zero, before and after. */
static float
flushed(float x)
{
	return fabsf(x) < FLT_MIN ? 0.0f : x;
}

static float
bf16_at(const uint8_t *row, size_t i)
{
	uint32_t bits = (uint32_t)row[2 * i + 1] << 24 | (uint32_t)row[2 * i] << 16;
	float x;

	memcpy(&x, &bits, sizeof(x));
	return flushed(x);
}

static void
dot_bf16(unsigned sum, unsigned a, unsigned b)
{
	struct tile *s = usable(sum);
	const struct tile *ta = usable(a), *tb = usable(b);

	check_shapes(sum, a, b);
	for (size_t m = 0; m < config.rows[sum]; m++) {
		for (size_t n = 0; n < config.row_bytes[sum] / 4u; n++) {
			float even = 0, odd = 0, old;

			for (size_t k = 0; k < config.row_bytes[a] / 4u; k++) {
				even = flushed(fmaf(bf16_at(ta->row[m], 2 * k),
					bf16_at(tb->row[k], 2 * n), even));
				odd = flushed(fmaf(bf16_at(ta->row[m], 2 * k + 1),
					bf16_at(tb->row[k], 2 * n + 1), odd));
			}
			memcpy(&old, s->row[m] + 4 * n, sizeof(old));
			old = flushed(flushed(old) + flushed(even + odd));
			memcpy(s->row[m] + 4 * n, &old, sizeof(old));
		}
	}
}

static void
dot_bytes(unsigned sum, unsigned a, unsigned b)
{
	struct tile *s = usable(sum);
	const struct tile *ta = usable(a), *tb = usable(b);

	check_shapes(sum, a, b);
	for (size_t m = 0; m < config.rows[sum]; m++) {
		for (size_t n = 0; n < config.row_bytes[sum] / 4u; n++) {
			int32_t total;

			memcpy(&total, s->row[m] + 4 * n, sizeof(total));
			for (size_t i = 0; i < config.row_bytes[a]; i++)
				total += ta->row[m][i] * (int8_t)tb->row[i / 4][4 * n + i % 4];
			memcpy(s->row[m] + 4 * n, &total, sizeof(total));
		}
	}
}

/* A tile instruction, taken apart. */
struct decoded {
	unsigned prefix; /* VEX.pp */
	unsigned opcode;
	unsigned reg, rm, vvvv; /* tiles, where there are three; rm is 0 for memory */
	bool memory;
	uint8_t *base;
	size_t stride; /* with an index register */
	size_t length; /* bytes of the instruction */
};

enum { NO_PREFIX, PREFIX_66, PREFIX_F3, PREFIX_F2 };

/* Bits `at` .. `at` + `count` - 1. */
static unsigned
bits(uint8_t byte, unsigned at, unsigned count)
{
	return (unsigned)byte >> at & ((1u << count) - 1);
}

static uint64_t
general_register(const ucontext_t *c, unsigned number)
{
	static const int at[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI,
		REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

	return (uint64_t)c->uc_mcontext.gregs[at[number]];
}

/* [base + index * scale + displacement]; code points to ModRM. Returns the bytes of all that. */
static size_t
decode_memory(struct decoded *d, const ucontext_t *c, const uint8_t *code, unsigned high_base,
	unsigned high_index)
{
	enum { SIB = 4, NONE = 4, RBP = 5 };
	unsigned mod = bits(code[0], 6, 2), base = bits(code[0], 0, 3), index = NONE;
	size_t length = 1;
	int32_t displacement = 0;

	if (base == SIB) {
		base = bits(code[1], 0, 3);
		index = bits(code[1], 3, 3) | high_index << 3;
		d->stride = index == NONE ? 0 : general_register(c, index) << bits(code[1], 6, 2);
		length++;
	}
	CHECK(mod != 0 || base != RBP); /* an address of its own or relative to RIP: not here */
	if (mod == 1)
		displacement = code[length] < 0x80 ? code[length] : code[length] - 0x100;
	else if (mod == 2)
		memcpy(&displacement, code + length, sizeof(displacement));
	d->base = (uint8_t *)(uintptr_t)general_register(c, base | high_base << 3) + displacement;
	return length + (mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

/* False: no instruction that this models. */
static bool
decode(struct decoded *d, const ucontext_t *c)
{
	const uint8_t *code = (const uint8_t *)(uintptr_t)c->uc_mcontext.gregs[REG_RIP];

	*d = (struct decoded){0};
	if (code[0] != 0xc4 || bits(code[1], 0, 5) != 2 || bits(code[2], 7, 1) != 0 ||
		bits(code[2], 2, 1) != 0)
		return false;
	d->prefix = bits(code[2], 0, 2);
	d->vvvv = ~bits(code[2], 3, 4) & 15;
	d->opcode = code[3];
	d->reg = bits(code[4], 3, 3) | (~bits(code[1], 7, 1) & 1) << 3;
	d->memory = bits(code[4], 6, 2) != 3;
	d->length = 5;
	if (d->memory)
		d->length = 4 + decode_memory(d, c, code + 4, ~bits(code[1], 5, 1) & 1,
					~bits(code[1], 6, 1) & 1);
	else
		d->rm = bits(code[4], 0, 3) | (~bits(code[1], 5, 1) & 1) << 3;
	return true;
}

/* Numbers are the encodings of the architecture's manual. False: none of its tile instructions. */
static bool
perform(const struct decoded *d)
{
	enum { CONFIGURE_OR_ZERO = 0x49, MOVE = 0x4b, DOT_BF16 = 0x5c, DOT_BYTES = 0x5e };

	if (d->opcode == CONFIGURE_OR_ZERO && d->prefix == NO_PREFIX && d->reg == 0 && d->memory)
		configure((const struct amx_config *)d->base);
	else if (d->opcode == CONFIGURE_OR_ZERO && d->prefix == NO_PREFIX && d->reg == 0 &&
		 d->rm == 0)
		release();
	else if (d->opcode == CONFIGURE_OR_ZERO && d->prefix == PREFIX_F2 && !d->memory &&
		 d->rm == 0)
		zero_tile(d->reg);
	else if (d->opcode == MOVE && d->prefix == PREFIX_F2 && d->memory)
		load_tile(d->reg, d->base, d->stride);
	else if (d->opcode == MOVE && d->prefix == PREFIX_F3 && d->memory)
		store_tile(d->reg, d->base, d->stride);
	else if (d->opcode == DOT_BF16 && d->prefix == PREFIX_F3 && !d->memory)
		dot_bf16(d->reg, d->rm, d->vvvv);
	else if (d->opcode == DOT_BYTES && d->prefix == PREFIX_66 && !d->memory)
		dot_bytes(d->reg, d->rm, d->vvvv);
	else
		return false;
	return true;
}

static void
on_illegal(int sig, siginfo_t *info, void *context)
{
	ucontext_t *c = context;
	struct decoded d;

	(void)sig;
	(void)info;
	CHECK(decode(&d, c) && perform(&d));
	c->uc_mcontext.gregs[REG_RIP] += (greg_t)d.length;
}

void
amx_model_install(void)
{
	struct sigaction a = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO};

	CHECK(sigaction(SIGILL, &a, NULL) == 0);
}

#else

void
amx_model_install(void)
{
	CHECK(false);
}

#endif
