/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_encoder.c - one linear head per model on an encoder's embedding of the prompt
 *
 * The embedding comes with the input; without one every model is guessed at its mean.
 */
#include <string.h>

#include "lib/routing/scorer_parts.h"

struct encoder_head {
	struct scorer base;
	size_t dims;
	const float *centre; /* dims: mean of the training embeddings */
	const float *heads; /* dims of models */
};

static enum err_code
encoder_head_open(struct scorer *s, const struct scorer_file *f, struct err *e)
{
	struct encoder_head *h = (struct encoder_head *)s;
	enum err_code rc;

	h->dims = s->embedding.len;
	if (h->dims == 0)
		return err_set(e, ERR_CONFIG, "%s: section 'encoder' is missing", f->what);
	rc = scorer_file_floats(&h->centre, f, "centre", h->dims, e);
	if (rc != ERR_OK)
		return rc;
	return scorer_file_floats(&h->heads, f, "heads", h->dims * s->models, e);
}

static void
encoder_head_guess(const struct scorer *s, struct scorer_guess *out, const struct scorer_input *in,
	void *scratch)
{
	const struct encoder_head *h = (const struct encoder_head *)s;
	const float *row;
	size_t d, m;
	float v;

	(void)scratch;
	if (in->embedding == NULL || in->embedding_len != h->dims)
		return;
	for (d = 0; d < h->dims; d++) {
		v = in->embedding[d] - h->centre[d];
		row = h->heads + d * s->models;
		for (m = 0; m < s->models; m++)
			out[m].quality += v * row[m];
	}
}

const struct scorer_ops scorer_encoder_ops = {
	.bytes = sizeof(struct encoder_head),
	.open = encoder_head_open,
	.guess = encoder_head_guess,
};
