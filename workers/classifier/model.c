/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.c - a mapped segment and the encoder on it
 */
#include <stdlib.h>

#include "workers/classifier/classifier.h"

enum err_code
model_open(struct model **out, int fd, const struct config_encoder *c, struct err *e)
{
	AUTO(model_close) struct model *m = calloc(1, sizeof(*m));
	enum err_code code;

	CHECK(m != NULL);
	m->limits = (struct encoder_limits){
		.batch = c->batch, .tokens = c->batch_tokens, .threads = c->threads};
	if ((code = weights_view_open(&m->view, fd, config_hash_weights(c), e)) != ERR_OK ||
		(code = encoder_attach(&m->encoder, m->view.image, (size_t)m->view.head.image_bytes,
			 &m->limits, e)) != ERR_OK)
		return code;
	m->generation = m->view.head.generation;
	*out = m;
	m = NULL;
	return ERR_OK;
}

void
model_close(struct model **m_p)
{
	struct model *m = *m_p;

	*m_p = NULL;
	if (m == NULL)
		return;
	atomic_store(&m->stop, true);
	if (m->polished)
		(void)pthread_join(m->thread, NULL);
	encoder_free(&m->encoder);
	weights_view_close(&m->view);
	free(m);
}

static void *
model_polish_main(void *arg)
{
	struct model *m = arg;

	(void)weights_view_collapse(&m->view, &m->stop);
	return NULL;
}

void
model_polish(struct model *m)
{
	if (!m->polished)
		m->polished = pthread_create(&m->thread, NULL, model_polish_main, m) == 0;
}
