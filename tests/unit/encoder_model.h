/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder_model.h - for tests: a model folder, attached; and what it makes of the rows of a golden file
 */
#pragma once

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/file.h"
#include "lib/base/json.h"
#include "lib/encoder/encoder.h"

enum { MODEL_IDS_MAX = 1024, GOLDEN_MAX = 64 * 1024 * 1024 };

struct model {
	void *image;
	size_t len;
	struct encoder *enc;
	struct err e;
};

static inline void
model_fini(struct model *m)
{
	encoder_free(&m->enc);
	free(m->image);
	m->image = NULL;
}

/* Pack an opened model into memory and attach it; closes the source. */
static inline enum err_code
model_attach(struct model *m, struct encoder_source **s_p, uint32_t batch, uint32_t threads)
{
	const struct encoder_limits limits = {.batch = batch, .threads = threads, .tokens = 2048};
	enum err_code code;

	m->len = encoder_packed_bytes(*s_p);
	m->image = aligned_alloc(64, (m->len + 63) / 64 * 64);
	cr_assert(m->image != NULL);
	memset(m->image, 0, m->len);
	code = encoder_pack(*s_p, m->image, &m->e);
	encoder_close(s_p);
	return code != ERR_OK ? code : encoder_attach(&m->enc, m->image, m->len, &limits, &m->e);
}

static inline enum err_code
model_load(struct model *m, const char *folder, enum encoder_isa isa, enum encoder_dtype dtype)
{
	const struct encoder_plan plan = {.dtype = dtype, .isa = isa};
	struct encoder_source *s = NULL;
	enum err_code code = encoder_open(&s, folder, &plan, &m->e);

	return code != ERR_OK ? code : model_attach(m, &s, 16, 1);
}

/* One row of a golden file. */
struct golden {
	uint32_t ids[MODEL_IDS_MAX];
	uint8_t types[MODEL_IDS_MAX];
	struct encoder_input input;
	struct json row;
};

static inline void
golden_read(struct golden *g, const char *line, size_t len)
{
	struct json_iter it;
	struct json item;
	struct err e;
	uint64_t n;

	cr_assert_eq(json_check(&g->row, line, len, &e), ERR_OK, "%s", e.text);
	g->input = (struct encoder_input){.ids = g->ids};
	it = json_iter(json_get(g->row, "ids"));
	while (json_next_item(&it, &item)) {
		cr_assert(g->input.len < MODEL_IDS_MAX && json_u64(&n, item));
		g->ids[g->input.len++] = (uint32_t)n;
	}
	it = json_iter(json_get(g->row, "type_ids"));
	for (size_t i = 0; json_next_item(&it, &item); i++) {
		cr_assert(i < g->input.len && json_u64(&n, item));
		g->types[i] = (uint8_t)n;
		g->input.types = g->types;
	}
}

/* The largest difference between out and a JSON array of numbers, each times scale; 0: no array. */
static inline double
golden_difference(const float *out, struct json numbers, double scale)
{
	struct json_iter it = json_iter(numbers);
	struct json item;
	double worst = 0, v;

	for (size_t i = 0; json_next_item(&it, &item); i++) {
		cr_assert(json_double(&v, item) && out != NULL);
		worst = fmax(worst, isnan(out[i]) ? HUGE_VAL : fabs(out[i] - v * scale));
	}
	return worst;
}

/* 1 / length of a vector, for models that normalize. */
static inline double
golden_scale(struct json numbers, bool normalize)
{
	struct json_iter it = json_iter(numbers);
	struct json item;
	double sum = 0, v;

	while (json_next_item(&it, &item))
		if (json_double(&v, item))
			sum += v * v;
	return normalize && sum > 0 ? 1 / sqrt(sum) : 1;
}

/* The worst over all rows of a golden file. */
struct golden_result {
	double logits, embedding; /* |difference| */
	double probability;	  /* of any label */
	size_t rows, argmax_differs;
};

static inline void
golden_compare_logits(struct golden_result *r, const float *logits, uint32_t labels,
	struct json want)
{
	float expected[64];
	struct json_iter it = json_iter(want);
	struct json item;
	uint32_t best = 0, best_expected = 0, n = 0;
	double v;

	if (want.type == JSON_NONE)
		return;
	cr_assert(labels <= 64 && logits != NULL);
	r->logits = fmax(r->logits, golden_difference(logits, want, 1));
	for (; json_next_item(&it, &item) && n < labels; n++) {
		cr_assert(json_double(&v, item));
		expected[n] = (float)v;
		best = logits[n] > logits[best] ? n : best;
		best_expected = expected[n] > expected[best_expected] ? n : best_expected;
	}
	cr_assert_eq(n, labels);
	r->argmax_differs += best != best_expected;
	for (uint32_t i = 0; i < labels; i++)
		r->probability = fmax(r->probability,
			fabs(encoder_probability(logits, labels, i) -
				encoder_probability(expected, labels, i)));
}

/* Pool the row's way: its "mean" and its "cls", where it has them. */
static inline void
golden_compare_row(struct golden_result *r, struct model *m, const struct golden *g)
{
	static const struct {
		const char *name;
		enum encoder_pool pool;
	} pools[] = {{"mean", ENCODER_POOL_MEAN}, {"cls", ENCODER_POOL_CLS},
		{"mean_last_hidden_first8", ENCODER_POOL_MEAN}};
	const struct encoder_info *info = encoder_info(m->enc);
	struct encoder_output out;

	for (size_t i = 0; i < ARRAY_LEN(pools); i++) {
		struct json want = json_get(g->row, pools[i].name);

		cr_assert_eq(encoder_run(m->enc, &out, &g->input, 1, pools[i].pool, &m->e), ERR_OK,
			"%s", m->e.text);
		r->embedding = fmax(r->embedding,
			golden_difference(out.embedding, want, golden_scale(want, info->normalize)));
	}
	golden_compare_logits(r, out.logits, info->labels, json_get(g->row, "logits"));
	r->rows++;
}

static inline struct golden_result
golden_compare(struct model *m, const char *path)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct golden_result r = {0};
	struct golden *g = malloc(sizeof(*g));
	struct err e;
	char *line, *next;

	cr_assert(g != NULL);
	cr_assert_eq(file_read(&text, path, GOLDEN_MAX, &e), ERR_OK, "%s", e.text);
	for (line = text.data; line != NULL && *line != '\0'; line = next) {
		next = strchr(line, '\n');
		golden_read(g, line, next != NULL ? (size_t)(next - line) : strlen(line));
		golden_compare_row(&r, m, g);
		next = next != NULL ? next + 1 : NULL;
	}
	free(g);
	cr_assert_gt(r.rows, 0, "%s has no rows", path);
	return r;
}

/* "ROOT/rest", ROOT the project's. */
static inline const char *
source_path(char *out, size_t size, const char *rest)
{
	const char *root = getenv("SHUNT_SOURCE_ROOT");

	cr_assert((size_t)snprintf(out, size, "%s/%s", root != NULL ? root : ".", rest) < size);
	return out;
}

static inline bool
path_there(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}
