/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.c - what this backend's server calls the config's models
 *
 * A gateway names the upstream's model by the config that it has read. At a reload that is for a
 * moment not this worker's: the old worker of a changed backend still asks the old server, and the
 * new one may hear from a gateway that has yet to look. So each call says the config's name too,
 * and where the server of this life calls that model otherwise, it is asked by its own name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workers/backend/backend.h"
#include "workers/common/worker.h"

struct name_row {
	char model[MODEL_MAX_LEN]; /* the config's */
	char upstream[MODEL_MAX_LEN];
};

void
names_learn(struct backend *b)
{
	const struct config *c = b->w->config;
	size_t cap = 0;

	names_fini(b);
	for (size_t i = 0; i < c->models_len; i++)
		cap += c->models[i].deployments_len;
	if (cap == 0)
		return;
	b->names = calloc(cap, sizeof(*b->names));
	CHECK(b->names != NULL);
	for (size_t i = 0; i < c->models_len; i++)
		for (size_t j = 0; j < c->models[i].deployments_len; j++) {
			const struct config_deployment *d = &c->models[i].deployments[j];
			struct name_row *row = &b->names[b->names_len];

			if (strcmp(d->backend, b->w->name) != 0)
				continue;
			(void)snprintf(row->model, sizeof(row->model), "%s", c->models[i].name);
			(void)snprintf(row->upstream, sizeof(row->upstream), "%s", d->model);
			b->names_len++;
		}
}

void
names_fini(struct backend *b)
{
	free(b->names);
	b->names = NULL;
	b->names_len = 0;
}

void
names_upstream(const struct backend *b, char out[MODEL_MAX_LEN], const struct msg_chat_start *s)
{
	char model[MODEL_MAX_LEN];
	const char *other = NULL;

	(void)msg_str_copy(model, sizeof(model), s->asked);
	(void)msg_str_copy(out, MODEL_MAX_LEN, s->model);
	for (size_t i = 0; i < b->names_len; i++) {
		if (strcmp(b->names[i].model, model) != 0)
			continue;
		if (strcmp(b->names[i].upstream, out) == 0)
			return;
		if (other == NULL)
			other = b->names[i].upstream;
	}
	/* one that was discovered is in no row */
	if (other != NULL)
		(void)snprintf(out, MODEL_MAX_LEN, "%s", other);
}
