/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_file.c - the sections of a scorer file while a trainer gathers them
 */
#include <string.h>

#include "lib/lab/train_parts.h"

void
train_file_init(struct train_file *f)
{
	memset(f, 0, sizeof(*f));
}

void
train_file_fini(struct train_file *f)
{
	size_t i;

	for (i = 0; i < f->len; i++)
		buf_fini(&f->owned[i]);
	f->len = 0;
}

void
train_file_add(struct train_file *f, const char *tag, const void *data, size_t len)
{
	struct buf *copy = &f->owned[f->len];

	CHECK(f->len < SCORER_SECTIONS_MAX);
	buf_add(copy, data, len);
	f->sections[f->len++] = (struct scorer_section){tag, copy->data, len};
}

static void
train_file_text(struct buf *out, const struct train_job *j)
{
	const struct train_report *r = &j->report;

	buf_addf(out, "scorer: %s\nrows: %zu\nmodels: %zu\nseed: %llu\nfolds: %u\n",
		scorer_name(j->id), r->rows, r->models, (unsigned long long)j->o->seed, j->folds);
	buf_addf(out, "lambda: %.4g\ncv_error: %.5f\ncv_error_mean: %.5f\n", r->lambda, r->cv_error,
		r->cv_error_mean);
	if (j->o->embeddings != NULL)
		buf_addf(out, "encoder: %s\n", j->o->encoder.name);
	if (j->o->note != NULL)
		buf_addf(out, "note: %s\n", j->o->note);
}

/* What the scorer has to be asked with. */
static void
train_file_encoder(struct train_file *f, const struct train_options *o)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	const struct scorer_encoder head = {.identity = o->encoder.identity, .len = o->encoder.len};

	if (o->embeddings == NULL)
		return;
	buf_add(&out, &head, sizeof(head));
	buf_add(&out, o->encoder.name, strlen(o->encoder.name) + 1);
	train_file_add(f, "encoder", out.data, out.len);
}

void
train_file_write(struct train_file *f, struct buf *out, const struct train_job *j,
	const float *error, const float *mean)
{
	AUTO(buf_fini) struct buf names = BUF_INIT;
	AUTO(buf_fini) struct buf text = BUF_INIT;
	size_t m;

	for (m = 0; m < j->models_len; m++) {
		const char *name = j->d->models[j->models[m]];

		buf_add(&names, name, strlen(name) + 1);
	}
	train_file_text(&text, j);
	train_file_add(f, "models", names.data, names.len);
	train_file_add(f, "error", error, j->models_len * sizeof(float));
	train_file_add(f, "mean", mean, j->models_len * sizeof(float));
	train_file_add(f, "text", text.data, text.len);
	train_file_encoder(f, j->o);
	scorer_file_write(out, scorer_name(j->id), f->sections, f->len);
}
