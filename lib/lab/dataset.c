/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dataset.c - the rows, names and cells of a dataset in memory
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lab/dataset_store.h"

enum { CHUNK_BYTES = 1 << 20, CELLS_MAX = 1 << 28 };

struct chunk {
	struct chunk *next;
	size_t len, cap;
	char data[];
};

static void *
store_grow(void *p, size_t n, size_t size)
{
	p = reallocarray(p, n, size);
	CHECK(p != NULL);
	return p;
}

static struct dataset_arena *
store_arena(struct dataset *d)
{
	if (d->arena == NULL) {
		d->arena = calloc(1, sizeof(*d->arena));
		CHECK(d->arena != NULL);
	}
	return d->arena;
}

const char *
store_text(struct dataset *d, const char *text, size_t len)
{
	struct dataset_arena *a = store_arena(d);
	struct chunk *c = a->chunks;
	char *at;

	if (c == NULL || c->cap - c->len <= len) {
		size_t cap = MAX((size_t)CHUNK_BYTES, len + 1);

		c = malloc(sizeof(*c) + cap);
		CHECK(c != NULL);
		*c = (struct chunk){.next = a->chunks, .cap = cap};
		a->chunks = c;
	}
	at = c->data + c->len;
	memcpy(at, text, len);
	at[len] = '\0';
	c->len += len + 1;
	return at;
}

static void
store_blank(float *cells, size_t len)
{
	for (size_t i = 0; i < len; i++)
		cells[i] = NAN;
}

/* Lay every matrix out anew with room for rows_cap x stride. */
static void
store_resize(struct dataset *d, size_t rows_cap, size_t stride)
{
	struct dataset_arena *a = d->arena;

	for (size_t k = 0; k < CELLS; k++) {
		float *next;

		if (a->cells[k] == NULL)
			continue;
		next = store_grow(NULL, rows_cap * stride, sizeof(*next));
		store_blank(next, rows_cap * stride);
		for (size_t i = 0; i < d->len; i++)
			memcpy(next + i * stride, a->cells[k] + i * a->stride,
				a->stride * sizeof(*next));
		free(a->cells[k]);
		a->cells[k] = next;
	}
	a->rows_cap = rows_cap;
	a->stride = stride;
}

enum err_code
store_row(struct dataset_row **out, struct dataset *d, struct err *e)
{
	struct dataset_arena *a = store_arena(d);

	if (a->stride == 0)
		a->stride = 4;
	if (d->len >= DATASET_ROWS_MAX)
		return err_set(e, ERR_INPUT, "more than %d rows", DATASET_ROWS_MAX);
	if (d->len == a->rows_cap) {
		size_t cap = a->rows_cap > 0 ? 2 * a->rows_cap : 256;

		if (cap * a->stride > CELLS_MAX)
			return err_set(e, ERR_INPUT, "too many rows for so many models");
		d->rows = store_grow(d->rows, cap, sizeof(*d->rows));
		store_resize(d, cap, a->stride);
	}
	*out = &d->rows[d->len++];
	**out = (struct dataset_row){.prompt = ""};
	return ERR_OK;
}

void
store_drop_row(struct dataset *d)
{
	CHECK(d->len > 0);
	d->len--;
	for (size_t k = 0; k < CELLS; k++) {
		if (d->arena->cells[k] != NULL)
			store_blank(
				d->arena->cells[k] + d->len * d->arena->stride, d->arena->stride);
	}
}

int
store_model(struct dataset *d, const char *name, size_t guess)
{
	struct dataset_arena *a = d->arena;
	int found;

	if (guess < d->models_len && strcmp(d->models[guess], name) == 0)
		return (int)guess;
	found = dataset_model(d, name);
	if (found >= 0)
		return found;
	if (d->models_len >= DATASET_MODELS_MAX)
		return -1;
	if (d->models_len == a->stride) {
		if (a->rows_cap * a->stride * 2 > CELLS_MAX)
			return -1;
		store_resize(d, a->rows_cap, a->stride * 2);
	}
	if (d->models_len == a->models_cap) {
		a->models_cap = a->models_cap > 0 ? 2 * a->models_cap : 16;
		d->models = store_grow(d->models, a->models_cap, sizeof(*d->models));
	}
	d->models[d->models_len] = strdup(name);
	CHECK(d->models[d->models_len] != NULL);
	return (int)d->models_len++;
}

int
store_source(struct dataset *d, const char *name)
{
	struct dataset_arena *a = store_arena(d);

	/* Files come sorted by source, mostly: the newest first. */
	for (size_t i = d->sources_len; i-- > 0;) {
		if (strcmp(d->sources[i], name) == 0)
			return (int)i;
	}
	if (d->sources_len >= DATASET_SOURCES_MAX)
		return -1;
	if (d->sources_len == a->sources_cap) {
		a->sources_cap = a->sources_cap > 0 ? 2 * a->sources_cap : 16;
		d->sources = store_grow(d->sources, a->sources_cap, sizeof(*d->sources));
	}
	d->sources[d->sources_len] = strdup(name);
	CHECK(d->sources[d->sources_len] != NULL);
	return (int)d->sources_len++;
}

float *
store_cells(struct dataset *d, enum cells kind, size_t row)
{
	struct dataset_arena *a = d->arena;

	CHECK(row < a->rows_cap);
	if (a->cells[kind] == NULL) {
		a->cells[kind] = store_grow(NULL, a->rows_cap * a->stride, sizeof(float));
		store_blank(a->cells[kind], a->rows_cap * a->stride);
	}
	return a->cells[kind] + row * a->stride;
}

void
store_settle(struct dataset *d)
{
	const struct dataset_arena *a = d->arena;

	for (size_t i = 0; i < d->len; i++) {
		const float **const at[CELLS] = {
			[CELLS_SCORE] = &d->rows[i].score,
			[CELLS_RAW] = &d->rows[i].raw,
			[CELLS_COST] = &d->rows[i].cost,
			[CELLS_TOKENS_IN] = &d->rows[i].tokens_in,
			[CELLS_TOKENS_OUT] = &d->rows[i].tokens_out,
			[CELLS_CHARS] = &d->rows[i].out_chars,
			[CELLS_CONFIDENCE] = &d->rows[i].confidence,
		};

		for (size_t k = 0; k < CELLS; k++)
			*at[k] = a->cells[k] != NULL ? a->cells[k] + i * a->stride : NULL;
	}
}

void
dataset_free(struct dataset *d)
{
	if (d->arena != NULL) {
		for (size_t k = 0; k < CELLS; k++)
			free(d->arena->cells[k]);
		while (d->arena->chunks != NULL) {
			struct chunk *c = d->arena->chunks;

			d->arena->chunks = c->next;
			free(c);
		}
		free(d->arena);
	}
	for (size_t i = 0; i < d->models_len; i++)
		free(d->models[i]);
	for (size_t i = 0; i < d->sources_len; i++)
		free(d->sources[i]);
	free(d->models);
	free(d->sources);
	free(d->rows);
	*d = (struct dataset){.faults = d->faults};
}

int
dataset_model(const struct dataset *d, const char *name)
{
	for (size_t i = 0; i < d->models_len; i++) {
		if (strcmp(d->models[i], name) == 0)
			return (int)i;
	}
	return -1;
}

MUST enum err_code
dataset_confidence(
	double *out, const struct dataset *d, const struct dataset_row *r, int model, struct err *e)
{
	*out = r->confidence != NULL && model >= 0 ? (double)r->confidence[model] : NAN;
	if (!isnan(*out))
		return ERR_OK;
	if (model < 0)
		return err_set(e, ERR_INPUT, "%s:%u: no `confidence`", r->file, r->line);
	return err_set(
		e, ERR_INPUT, "%s:%u: no `confidence` of `%s`", r->file, r->line, d->models[model]);
}

/* splitmix64 of hash and seed: folds of one seed say nothing about those of another. */
unsigned
dataset_fold(const struct dataset_row *r, unsigned folds, uint64_t seed)
{
	uint64_t x = r->hash ^ (seed * UINT64_C(0x9e3779b97f4a7c15));

	CHECK(folds > 0);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	x ^= x >> 31;
	return (unsigned)(x % folds);
}
