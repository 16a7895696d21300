/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_project.c - the features of a prompt and their product with a trained matrix
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/routing/parts.h"
#include "lib/routing/scorer_project.h"

static const float SHAPE_LIMIT = 4; /* standard deviations: one odd text moves no more */

enum { PROJECT_AHEAD = 12 }; /* rows fetched before they are needed */

typedef float lanes16 __attribute__((vector_size(64), aligned(4)));
typedef int8_t bytes16 __attribute__((vector_size(16), aligned(16)));

/* A sum of twelve uniforms: normal enough, and the same bits everywhere. */
static float
project_normal(uint64_t seed, uint64_t n)
{
	double sum = 0;
	unsigned i;

	for (i = 0; i < 12; i++)
		sum += (double)(balance_random(seed, n * 12 + i) >> 40) / (1 << 24);
	return (float)(sum - 6);
}

void
project_basis_init(struct project_basis *b, uint64_t seed)
{
	const float scale = 1.0F / sqrtf(TEXT_SHAPES);
	size_t i, n = (size_t)PROJECT_WAVES * TEXT_SHAPES;

	b->waves = malloc((n + PROJECT_WAVES) * sizeof(float));
	CHECK(b->waves != NULL);
	for (i = 0; i < n; i++)
		b->waves[i] = project_normal(seed, i) * scale;
	for (i = 0; i < PROJECT_WAVES; i++)
		b->waves[n + i] = (float)((double)(balance_random(~seed, i) >> 11) /
					  9007199254740992.0 * 2 * M_PI);
}

void
project_basis_fini(struct project_basis *b)
{
	free(b->waves);
	b->waves = NULL;
}

/* Terms from..to by their rarity, then the block at length `weight`. */
static void
project_weigh(struct text_term *terms, size_t from, size_t to, const uint8_t *rarity, float weight)
{
	float squares = 0, scale;
	size_t i;

	for (i = from; i < to; i++) {
		terms[i].value *= (float)rarity[terms[i].bucket];
		squares += terms[i].value * terms[i].value;
	}
	scale = squares > 0 ? weight / sqrtf(squares) : 0;
	for (i = from; i < to; i++)
		terms[i].value *= scale;
}

/* sum of x[i] * y[i], i < n; in a fixed order of 16 lanes */
static inline __attribute__((always_inline)) float
project_dot(const float *x, const float *y, size_t n)
{
	lanes16 sum = {0}, a, b;
	float total = 0, lane[16];
	size_t i;

	for (i = 0; i + 16 <= n; i += 16) {
		memcpy(&a, x + i, sizeof(a));
		memcpy(&b, y + i, sizeof(b));
		sum += a * b;
	}
	memcpy(lane, &sum, sizeof(lane));
	for (; i < n; i++)
		lane[i % 16] += x[i] * y[i];
	for (i = 0; i < 16; i++)
		total += lane[i];
	return total;
}

/* out[0..16) = sum over the terms of value * row */
static inline __attribute__((always_inline)) void
project_sum(float out[16], const struct text_term *terms, size_t len, const int8_t *rows,
	size_t rank)
{
	lanes16 sum = {0};
	bytes16 row;
	size_t i;

	for (i = 0; i < len; i++) {
		if (i + PROJECT_AHEAD < len)
			__builtin_prefetch(rows + (size_t)terms[i + PROJECT_AHEAD].bucket * rank);
		memcpy(&row, rows + (size_t)terms[i].bucket * rank, sizeof(row));
		sum += terms[i].value * __builtin_convertvector(row, lanes16);
	}
	memcpy(out, &sum, sizeof(sum));
}

/*
 * The two inner loops, for the machine that they run on. No FMA, so that all give the same bits.
 */
struct project_kernel {
	void (*dots)(float *out, const float *rows, const float *x);
	void (*sum)(float out[16], const struct text_term *terms, size_t len, const int8_t *rows,
		size_t rank);
};

#define PROJECT_KERNEL(name, target)                                                               \
	target static void project_dots_##name(float *out, const float *rows, const float *x)      \
	{                                                                                          \
		for (size_t i = 0; i < PROJECT_WAVES; i++)                                         \
			out[i] = project_dot(rows + i * TEXT_SHAPES, x, TEXT_SHAPES);              \
	}                                                                                          \
	target static void project_sum_##name(float out[16], const struct text_term *terms,        \
		size_t len, const int8_t *rows, size_t rank)                                       \
	{                                                                                          \
		project_sum(out, terms, len, rows, rank);                                          \
	}                                                                                          \
	static const struct project_kernel project_kernel_##name = {                               \
		project_dots_##name, project_sum_##name};

PROJECT_KERNEL(plain, )
#ifdef __x86_64__
PROJECT_KERNEL(avx2, __attribute__((target("avx2"))))
#endif

static const struct project_kernel *
project_kernel(void)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2"))
		return &project_kernel_avx2;
#endif
	return &project_kernel_plain;
}

static void
project_waves(float *out, const struct project_basis *b, const float *shape)
{
	const float *phase = b->waves + (size_t)PROJECT_WAVES * TEXT_SHAPES;
	const float scale = b->weight_waves * sqrtf(2.0F / PROJECT_WAVES);
	size_t i;

	project_kernel()->dots(out, b->waves, shape);
	for (i = 0; i < PROJECT_WAVES; i++)
		out[i] = scale * cosf(out[i] + phase[i]);
}

size_t
project_features(
	struct project_scratch *s, const struct project_basis *b, const char *text, size_t len)
{
	size_t words, terms, i;
	float v;

	terms = text_read(&s->text, &words, text, len);
	project_weigh(s->text.terms, 0, words, b->rarity, b->weight_words);
	project_weigh(s->text.terms, words, terms, b->rarity, b->weight_grams);
	for (i = 0; i < TEXT_SHAPES; i++) {
		v = (s->text.shape[i] - b->shape_mean[i]) * b->shape_scale[i];
		s->shape[i] = MAX(-SHAPE_LIMIT, MIN(SHAPE_LIMIT, v));
	}
	project_waves(s->waves, b, s->shape);
	return terms;
}

static enum err_code
project_open_plan(struct project *p, const struct scorer_file *f, struct err *e)
{
	const void *section;
	struct project_plan plan;
	enum err_code rc;

	rc = scorer_file_array(&section, f, "plan", 1, sizeof(plan), e);
	if (rc != ERR_OK)
		return rc;
	memcpy(&plan, section, sizeof(plan));
	if (plan.rank == 0 || plan.rank % PROJECT_RANK_STEP != 0 || plan.rank > PROJECT_RANK_MAX ||
		plan.waves != PROJECT_WAVES || !scorer_floats_finite(plan.weight, 3))
		return err_set(e, ERR_CONFIG, "%s: section 'plan' is damaged", f->what);
	p->rank = plan.rank;
	p->basis.weight_words = plan.weight[0];
	p->basis.weight_grams = plan.weight[1];
	p->basis.weight_waves = plan.weight[2];
	project_basis_init(&p->basis, plan.seed);
	return ERR_OK;
}

enum err_code
project_open(struct project *out, const struct scorer_file *f, struct err *e)
{
	const void *section;
	enum err_code rc;

	rc = project_open_plan(out, f, e);
	if (rc != ERR_OK)
		return rc;
	rc = scorer_file_array(&section, f, "rarity", TEXT_BUCKETS, 1, e);
	if (rc != ERR_OK)
		return rc;
	out->basis.rarity = section;
	rc = scorer_file_floats(&out->basis.shape_mean, f, "shape", (size_t)2 * TEXT_SHAPES, e);
	if (rc != ERR_OK)
		return rc;
	out->basis.shape_scale = out->basis.shape_mean + TEXT_SHAPES;
	rc = scorer_file_array(&section, f, "rows", TEXT_BUCKETS, out->rank, e);
	if (rc != ERR_OK)
		return rc;
	out->rows = section;
	rc = scorer_file_floats(&out->scale, f, "scale", out->rank, e);
	if (rc != ERR_OK)
		return rc;
	return scorer_file_floats(&out->wave_rows, f, "waves", PROJECT_WAVES * out->rank, e);
}

void
project_close(struct project *p)
{
	project_basis_fini(&p->basis);
}

void
project_text(float *out, const struct project *p, const char *text, size_t len,
	struct project_scratch *s)
{
	size_t terms = project_features(s, &p->basis, text, len), i, k;
	const struct project_kernel *kernel = project_kernel();
	const float *row;

	for (k = 0; k < p->rank; k += PROJECT_RANK_STEP)
		kernel->sum(out + k, s->text.terms, terms, p->rows + k, p->rank);
	for (k = 0; k < p->rank; k++)
		out[k] *= p->scale[k];
	for (i = 0; i < PROJECT_WAVES; i++) {
		row = p->wave_rows + i * p->rank;
		for (k = 0; k < p->rank; k++)
			out[k] += s->waves[i] * row[k];
	}
}
