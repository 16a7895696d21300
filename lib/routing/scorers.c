/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorers.c - the scorer files that a config names, and those that shunt ships
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/routing/scorers.h"

enum { SCORERS_ALIGN = 64 };

static char *
scorers_copy(const char *text)
{
	char *copy = strdup(text);

	CHECK(copy != NULL);
	return copy;
}

static void
scorers_row_close(struct scorers_row *row)
{
	scorer_free(&row->scorer);
	buf_fini(&row->data);
	free(row->scratch);
	free(row->guess);
	row->scratch = NULL;
	row->guess = NULL;
}

void
scorers_free(struct scorers **s_p)
{
	struct scorers *s = *s_p;

	*s_p = NULL;
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->len; i++) {
		scorers_row_close(&s->rows[i]);
		free(s->rows[i].path);
		free(s->rows[i].encoder);
		free(s->rows[i].route);
	}
	free(s->rows);
	free(s);
}

static bool
scorers_equal(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/* Is it the row of this path and encoder? path NULL: of what comes with shunt. */
static bool
scorers_is(const struct scorers_row *row, const char *path, const char *encoder)
{
	if (encoder != NULL && !scorers_equal(row->encoder, encoder))
		return false;
	return path == NULL ? row->shipped : !row->shipped && strcmp(row->path, path) == 0;
}

/* The row of this scorer, path and encoder; a new one where there is none. */
static struct scorers_row *
scorers_add(struct scorers *s, enum scorer_id id, const char *path, const char *encoder)
{
	struct scorers_row *row;

	for (size_t i = 0; i < s->len; i++)
		if (s->rows[i].id == id && scorers_is(&s->rows[i], path, encoder))
			return &s->rows[i];
	s->rows = reallocarray(s->rows, s->len + 1, sizeof(*s->rows));
	CHECK(s->rows != NULL);
	row = &s->rows[s->len++];
	*row = (struct scorers_row){.id = id, .shipped = path == NULL};
	if (path != NULL)
		row->path = scorers_copy(path);
	if (encoder != NULL)
		row->encoder = scorers_copy(encoder);
	return row;
}

static void
scorers_add_route(struct scorers *s, const struct config *c, const struct config_route *route)
{
	struct config_scorer named = config_scorer_split(route->scorer);
	enum scorer_id id = scorer_find(route->scorer, named.name_len);
	struct scorers_row *row;

	if (id == SCORERS || scorer_kind(id) != SCORER_KIND_TRAINED)
		return;
	row = scorers_add(s, id, named.rest, config_route_encoder(c, route));
	if (row->route != NULL)
		return;
	row->route = scorers_copy(route->name);
	row->line = route->line;
}

void
scorers_new(struct scorers **out, const struct config *c, scorers_shipped_fn *found)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	struct scorers *s = calloc(1, sizeof(*s));
	struct scorers_row *row;
	char name[64];

	CHECK(s != NULL);
	for (size_t i = 0; i < c->routes_len; i++)
		scorers_add_route(s, c, &c->routes[i]);
	for (unsigned id = 0; id < SCORERS; id++) {
		if (scorer_kind((enum scorer_id)id) != SCORER_KIND_TRAINED)
			continue;
		(void)snprintf(
			name, sizeof(name), "scorer/default.%s", scorer_name((enum scorer_id)id));
		(void)scorers_add(s, (enum scorer_id)id, NULL, config_route_encoder(c, NULL));
		if (!found(&path, name))
			continue;
		for (row = s->rows; row < s->rows + s->len; row++)
			if (row->id == (enum scorer_id)id && row->shipped)
				row->path = scorers_copy(buf_str(&path));
	}
	*out = s;
}

/* For messages: whom is the file for? */
static const char *
scorers_user(char out[96], const struct scorers_row *row)
{
	if (row->route == NULL)
		(void)snprintf(out, 96, "router-%s-...", scorer_name(row->id));
	else
		(void)snprintf(out, 96, "route %.63s", row->route);
	return out;
}

/* Is there somebody to ask for what it needs? */
static bool
scorers_can_ask(const struct scorers_row *row, const struct scorer *s)
{
	return scorer_embedding(s) == NULL || row->encoder != NULL;
}

enum err_code
scorers_load(struct scorers_row *row, scorers_read_fn *read, struct err *e)
{
	AUTO(buf_fini) struct buf data = BUF_INIT;
	struct scorer *scorer = NULL;
	char user[96];
	uint64_t hash;

	if (row->path == NULL)
		return err_set(e, ERR_CONFIG,
			"scorer %s of %s: no file is named, and none comes with this shunt",
			scorer_name(row->id), scorers_user(user, row));
	if (read(&data, row->path, SCORERS_FILE_MAX, e) != ERR_OK)
		return err_wrap(e, "%s", scorers_user(user, row));
	hash = route_hash(buf_str(&data), data.len);
	if (row->scorer != NULL && hash == row->hash)
		return ERR_OK;
	if (scorer_open(&scorer, row->id, row->path, data.data, data.len, e) != ERR_OK)
		return err_wrap(e, "%s", scorers_user(user, row));
	if (!scorers_can_ask(row, scorer)) {
		(void)err_set(e, ERR_CONFIG,
			"%s: %s: was trained with embeddings of %s; there are no `encoders` to ask",
			scorers_user(user, row), row->path, scorer_embedding(scorer)->name);
		scorer_free(&scorer);
		return ERR_CONFIG;
	}
	scorers_row_close(row);
	row->scorer = scorer;
	row->data = data;
	data = (struct buf)BUF_INIT;
	row->hash = hash;
	memset(row->memo, 0, sizeof(row->memo));
	row->guess = calloc(scorer_models(scorer) + 1, sizeof(*row->guess));
	row->scratch = aligned_alloc(
		SCORERS_ALIGN, (scorer_scratch_bytes(scorer) / SCORERS_ALIGN + 1) * SCORERS_ALIGN);
	CHECK(row->guess != NULL && row->scratch != NULL);
	return ERR_OK;
}

bool
scorers_inherit(struct scorers_row *row, struct scorers *from, enum scorers_same same)
{
	struct scorers_row *old;

	for (size_t i = 0; from != NULL && i < from->len; i++) {
		old = &from->rows[i];
		if (old->scorer == NULL || old->id != row->id ||
			!scorers_can_ask(row, old->scorer) ||
			!(same == SCORERS_SAME_FILE ? scorers_equal(old->path, row->path)
						    : scorers_equal(old->route, row->route)))
			continue;
		row->data = old->data;
		row->scorer = old->scorer;
		row->hash = old->hash;
		row->scratch = old->scratch;
		row->guess = old->guess;
		old->data = (struct buf)BUF_INIT;
		old->scorer = NULL;
		old->scratch = NULL;
		old->guess = NULL;
		return true;
	}
	return false;
}

struct scorers_row *
scorers_find(const struct scorers *s, enum scorer_id id, const char *path, const char *encoder)
{
	struct scorers_row *found = NULL;

	for (size_t i = 0; s != NULL && i < s->len; i++) {
		struct scorers_row *row = &s->rows[i];

		if (row->id != id || row->scorer == NULL)
			continue;
		if (scorers_is(row, path, encoder))
			return row;
		if (path == NULL)
			found = row;
	}
	return found;
}

int
scorers_model(struct scorers_row *row, const struct route_deployment *d)
{
	const char *said = d->declared != NULL ? d->declared->scorer_name : NULL;
	uint64_t key = route_hash(d->model, strlen(d->model)) * 31 +
		       route_hash(d->upstream, strlen(d->upstream));
	size_t at = key % SCORERS_MEMO;
	int index = -1;

	if (row->memo[at].key == key)
		return row->memo[at].index;
	if (said != NULL)
		index = scorer_model_find(row->scorer, said);
	if (said == NULL)
		index = scorer_model_find(row->scorer, d->model);
	if (said == NULL && index < 0)
		index = scorer_model_find(row->scorer, d->upstream);
	row->memo[at].key = key;
	row->memo[at].index = index;
	return index;
}

void
scorers_extremes(const struct scorers_row *row, int *weak, int *strong)
{
	size_t models = scorer_models(row->scorer);

	*weak = *strong = 0;
	for (size_t i = 1; i < models; i++) {
		if (scorer_mean(row->scorer, i) < scorer_mean(row->scorer, (size_t)*weak))
			*weak = (int)i;
		if (scorer_mean(row->scorer, i) > scorer_mean(row->scorer, (size_t)*strong))
			*strong = (int)i;
	}
}

/* Does the row's encoder make what its scorer was trained with? */
static enum err_code
scorers_check_fit(const struct scorers_row *row, const struct config *c,
	const struct scorers_check *how, struct err *e)
{
	const struct scorer_embedding *wanted = scorer_embedding(row->scorer);
	uint64_t identity;
	char user[96];
	size_t len;

	if (wanted == NULL)
		return ERR_OK;
	if (how->look(&len, &identity, config_encoder(c, row->encoder)->folder, e) != ERR_OK)
		return err_wrap(e, "%s: encoder %s", scorers_user(user, row), row->encoder);
	if (len != wanted->len)
		return err_set(e, ERR_CONFIG,
			"%s: %s: was trained with embeddings of %s, %zu numbers each; "
			"those of encoder %s have %zu",
			scorers_user(user, row), row->path, wanted->name, wanted->len, row->encoder,
			len);
	if (identity != wanted->identity)
		return err_set(e, ERR_CONFIG,
			"%s: %s: was trained with embeddings of %s; "
			"the files of encoder %s are not that model's",
			scorers_user(user, row), row->path, wanted->name, row->encoder);
	return ERR_OK;
}

size_t
scorers_check(const struct config *c, const struct scorers_check *how)
{
	AUTO(scorers_free) struct scorers *s = NULL;
	struct err e = {.code = ERR_OK};
	size_t faults = 0;

	scorers_new(&s, c, how->found);
	for (size_t i = 0; i < s->len; i++) {
		struct scorers_row *row = &s->rows[i];

		if (row->route == NULL || (scorers_load(row, how->read, &e) == ERR_OK &&
						  scorers_check_fit(row, c, how, &e) == ERR_OK))
			continue;
		how->tell(how->arg, row->line, e.text);
		faults++;
	}
	return faults;
}
