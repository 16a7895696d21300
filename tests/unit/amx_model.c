/* SPDX-License-Identifier: Apache-2.0 */
/*
 * amx_model.c - eight tiles and what the instructions do to them
 */
#include "tests/unit/amx_model.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "lib/base/base.h"

enum { TILES = 8, ROWS = 16, ROW_BYTES = 64 };

struct tile {
	uint8_t row[ROWS][ROW_BYTES];
};

static struct tile tiles[TILES];
static struct amx_config config; /* palette 0: no configuration, every tile faults */

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

void
amx_configure(const struct amx_config *c)
{
	check_config(c);
	config = *c;
	memset(tiles, 0, sizeof(tiles));
}

void
amx_release(void)
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

void
amx_model_zero(unsigned tile)
{
	memset(usable(tile), 0, sizeof(struct tile));
}

void
amx_model_load(unsigned tile, const void *base, size_t stride)
{
	struct tile *t = usable(tile);

	memset(t, 0, sizeof(*t));
	for (size_t r = 0; r < config.rows[tile]; r++)
		memcpy(t->row[r], (const uint8_t *)base + r * stride, config.row_bytes[tile]);
}

void
amx_model_store(unsigned tile, void *base, size_t stride)
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

void
amx_model_dot_bf16(unsigned sum, unsigned a, unsigned b)
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

void
amx_model_dot_bytes(unsigned sum, unsigned a, unsigned b)
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
