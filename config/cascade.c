/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cascade.c - what a route with scorer cascade needs: a threshold, a weak model, and its word for
 * it
 *
 * As far as a config can tell: models that only a backend lists have no stated quality, and may be
 * strong or weak.
 */
#include <string.h>

#include "config/config.h"
#include "config/parse.h"
#include "lib/base/buf.h"

static bool
kind_tells(enum backend_kind_id kind)
{
	static const bool tells[] = {
#define BACKEND_KIND(symbol, name, wants_url, local_port, tells_probs, help)                       \
	[BACKEND_##symbol] = tells_probs,
#include "config/kind_list.h"
#undef BACKEND_KIND
	};

	return tells[kind];
}

static bool
cascade_has(const struct config_route *r, const struct config_model *m)
{
	for (size_t i = 0; i < r->models_len; i++)
		if (strcmp(r->models[i], "*") == 0 ||
			(m->name != NULL && strcmp(r->models[i], m->name) == 0))
			return true;
	return false;
}

/* As the score sees it: by stated quality, then by price. */
static bool
cascade_is_weaker(const struct config_model *a, const struct config_model *b)
{
	if (a->quality != b->quality)
		return a->quality < b->quality;
	return a->output_usd < b->output_usd;
}

/* Does any of its backends have an API with probabilities? One that does not exist is another
 * fault. */
static bool
cascade_tells(const struct config *c, const struct config_model *m)
{
	for (size_t i = 0; i < m->deployments_len; i++) {
		const char *name = m->deployments[i].backend;
		const struct config_backend *b = name == NULL ? NULL : config_backend(c, name);

		if (b == NULL || (kind_tells(b->kind) &&
					 !(b->kind == BACKEND_SIM && b->sim.confidence == 0)))
			return true;
	}
	return m->deployments_len == 0;
}

bool
config_cascade_check(struct buf *why, const struct config *c, const struct config_route *r)
{
	const struct config_model *weak = NULL;
	bool all_stated = true, differ = false;

	if (strcmp(r->scorer, "cascade") != 0)
		return true;
	if (r->threshold < 0)
		buf_add_str(
			why, "needs a `threshold`: what the weak model's confidence must reach");
	for (size_t i = 0; i < c->models_len; i++) {
		const struct config_model *m = &c->models[i];

		if (!cascade_has(r, m))
			continue;
		all_stated = all_stated && m->quality >= 0;
		differ = differ || m->quality >= 0 || m->output_usd >= 0;
		if (weak == NULL || cascade_is_weaker(m, weak))
			weak = m;
	}
	if (why->len == 0 && !differ)
		buf_add_str(why,
			"can't tell which model is the weak one: give them a `quality` or prices");
	if (why->len == 0 && all_stated && !cascade_tells(c, weak))
		buf_addf(why,
			"none of the backends of `%.60s`, the weak model, tells how probable "
			"its tokens are",
			weak->name == NULL ? "" : weak->name);
	return why->len == 0;
}
