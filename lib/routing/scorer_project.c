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

typedef float lanes8 __attribute__((vector_size(32), aligned(4)));
typedef int8_t bytes8 __attribute__((vector_size(8), aligned(8)));

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
	size_t i, k, n = (size_t)PROJECT_WAVES * TEXT_SHAPES;

	b->waves = malloc((n + PROJECT_WAVES) * sizeof(float));
	CHECK(b->waves != NULL);
	for (i = 0; i < PROJECT_WAVES; i++) {
		for (k = 0; k < TEXT_SHAPES; k++)
			b->waves[k * PROJECT_WAVES + i] =
				project_normal(seed, i * TEXT_SHAPES + k) * scale;
	}
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

static inline __attribute__((always_inline)) void
lanes_add(lanes8 *sum, float x, const float *p)
{
	lanes8 v;

	memcpy(&v, p, sizeof(v));
	*sum += x * v;
}

static inline __attribute__((always_inline)) void
lanes_add_bytes(lanes8 *sum, float x, const int8_t *p)
{
	bytes8 v;

	memcpy(&v, p, sizeof(v));
	*sum += x * __builtin_convertvector(v, lanes8);
}

/* out[0..PROJECT_WAVES) = sum over i of x[i] * row i; 32 sums at a time stay in registers */
static inline __attribute__((always_inline)) void
project_mix(float *out, const float *rows, const float *x)
{
	lanes8 s0, s1, s2, s3;
	const float *at;
	size_t k, i;

	for (k = 0; k < PROJECT_WAVES; k += 32) {
		s0 = s1 = s2 = s3 = (lanes8){0};
		for (i = 0; i < TEXT_SHAPES; i++) {
			at = rows + i * PROJECT_WAVES + k;
			lanes_add(&s0, x[i], at);
			lanes_add(&s1, x[i], at + 8);
			lanes_add(&s2, x[i], at + 16);
			lanes_add(&s3, x[i], at + 24);
		}
		memcpy(out + k, &s0, sizeof(s0));
		memcpy(out + k + 8, &s1, sizeof(s1));
		memcpy(out + k + 16, &s2, sizeof(s2));
		memcpy(out + k + 24, &s3, sizeof(s3));
	}
}

/* out[0..rank) = sum over the terms of value * row */
static inline __attribute__((always_inline)) void
project_sum(float *out, const struct text_term *terms, size_t len, const int8_t *rows, size_t rank)
{
	lanes8 s0, s1, s2, s3;
	size_t k, i, wide;
	const int8_t *at;

	for (k = 0; k < rank; k += 32) {
		s0 = s1 = s2 = s3 = (lanes8){0};
		wide = k + 16 < rank ? 16 : 0; /* else the same 16 twice, and once for nothing */
		for (i = 0; i < len; i++) {
			if (i + PROJECT_AHEAD < len)
				__builtin_prefetch(
					rows + (size_t)terms[i + PROJECT_AHEAD].bucket * rank + k);
			at = rows + (size_t)terms[i].bucket * rank + k;
			lanes_add_bytes(&s0, terms[i].value, at);
			lanes_add_bytes(&s1, terms[i].value, at + 8);
			lanes_add_bytes(&s2, terms[i].value, at + wide);
			lanes_add_bytes(&s3, terms[i].value, at + wide + 8);
		}
		memcpy(out + k, &s0, sizeof(s0));
		memcpy(out + k + 8, &s1, sizeof(s1));
		memcpy(out + k + wide, &s2, sizeof(s2));
		memcpy(out + k + wide + 8, &s3, sizeof(s3));
	}
}

/*
 * The two inner loops, for the machine that they run on. No FMA, so that all give the same bits.
 */
struct project_kernel {
	void (*mix)(float *out, const float *rows, const float *x);
	void (*sum)(float *out, const struct text_term *terms, size_t len, const int8_t *rows,
		size_t rank);
};

#define PROJECT_KERNEL(name, target)                                                               \
	target static void project_mix_##name(float *out, const float *rows, const float *x)       \
	{                                                                                          \
		project_mix(out, rows, x);                                                         \
	}                                                                                          \
	target static void project_sum_##name(float *out, const struct text_term *terms,           \
		size_t len, const int8_t *rows, size_t rank)                                       \
	{                                                                                          \
		project_sum(out, terms, len, rows, rank);                                          \
	}                                                                                          \
	static const struct project_kernel project_kernel_##name = {                               \
		project_mix_##name, project_sum_##name};

PROJECT_KERNEL(plain, )
#ifdef __x86_64__
PROJECT_KERNEL(avx2, __attribute__((target("avx2"))))
#endif

#ifdef __x86_64__
static const struct project_kernel *
project_kernel(void)
{
	return __builtin_cpu_supports("avx2") ? &project_kernel_avx2 : &project_kernel_plain;
}
#else
static const struct project_kernel *
project_kernel(void)
{
	return &project_kernel_plain;
}
#endif

static void
project_waves(float *out, const struct project_basis *b, const float *shape)
{
	const float *phase = b->waves + (size_t)PROJECT_WAVES * TEXT_SHAPES;
	const float scale = b->weight_waves * sqrtf(2.0F / PROJECT_WAVES);
	size_t i;

	project_kernel()->mix(out, b->waves, shape);
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

static enum err_code
project_open_embedding(struct project *p, const struct scorer_file *f, struct err *e)
{
	const void *section;
	enum err_code rc;
	size_t len;

	if (!scorer_file_section(&section, &len, f, "centre"))
		return ERR_OK;
	p->dims = len / sizeof(float);
	rc = scorer_file_floats(&p->centre, f, "centre", p->dims, e);
	if (rc != ERR_OK)
		return rc;
	return scorer_file_floats(&p->direct, f, "direct", p->dims * p->rank, e);
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
	rc = scorer_file_floats(&out->wave_rows, f, "waves", PROJECT_WAVES * out->rank, e);
	return rc != ERR_OK ? rc : project_open_embedding(out, f, e);
}

void
project_close(struct project *p)
{
	project_basis_fini(&p->basis);
}

void
project_input(float *out, const struct project *p, const struct scorer_input *in,
	struct project_scratch *s)
{
	size_t terms = project_features(s, &p->basis, in->text, in->len), i, k;
	const float *row;
	float v;

	project_kernel()->sum(out, s->text.terms, terms, p->rows, p->rank);
	for (k = 0; k < p->rank; k++)
		out[k] *= p->scale[k];
	for (i = 0; i < PROJECT_WAVES; i++) {
		row = p->wave_rows + i * p->rank;
		for (k = 0; k < p->rank; k++)
			out[k] += s->waves[i] * row[k];
	}
	for (i = 0; i < p->dims && in->embedding != NULL && in->embedding_len == p->dims; i++) {
		v = in->embedding[i] - p->centre[i];
		row = p->direct + i * p->rank;
		for (k = 0; k < p->rank; k++)
			out[k] += v * row[k];
	}
}
