/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer.c - the table of scorers, and what all of them do alike
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/routing/scorer_parts.h"

struct scorer_row {
	const char *name;
	enum scorer_kind kind;
	const char *help;
	const struct scorer_ops *ops;
};

static const struct scorer_row scorer_rows[SCORERS] = {
#define SCORER(symbol, name, kind, help) {#name, SCORER_KIND_##kind, help, &scorer_##name##_ops},
#include "config/scorer_list.h"
#undef SCORER
};

const char *
scorer_name(enum scorer_id id)
{
	return scorer_rows[id].name;
}

const char *
scorer_help(enum scorer_id id)
{
	return scorer_rows[id].help;
}

enum scorer_kind
scorer_kind(enum scorer_id id)
{
	return scorer_rows[id].kind;
}

enum scorer_id
scorer_find(const char *name, size_t len)
{
	unsigned i;

	for (i = 0; i < SCORERS; i++) {
		if (strlen(scorer_rows[i].name) == len &&
			memcmp(scorer_rows[i].name, name, len) == 0)
			break;
	}
	return (enum scorer_id)i;
}

bool
scorer_floats_finite(const float *v, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (!isfinite(v[i]))
			return false;
	}
	return true;
}

/* Names, errors and means, which every file has. */
static enum err_code
scorer_open_models(struct scorer *s, const struct scorer_file *f, struct err *e)
{
	const char *text, *end;
	const void *section;
	enum err_code rc;
	size_t len;

	if (!scorer_file_section(&section, &len, f, "models") || len == 0 ||
		((const char *)section)[len - 1] != '\0')
		return err_set(e, ERR_CONFIG, "%s: section 'models' is missing or cut", f->what);
	s->names = calloc(SCORER_MODELS_MAX, sizeof(*s->names));
	CHECK(s->names != NULL);
	for (text = section, end = text + len; text < end; text += strlen(text) + 1) {
		if (*text == '\0' || s->models == SCORER_MODELS_MAX)
			return err_set(e, ERR_CONFIG, "%s: section 'models': empty name or over %d",
				f->what, SCORER_MODELS_MAX);
		s->names[s->models++] = text;
	}
	rc = scorer_file_floats(&s->error, f, "error", s->models, e);
	if (rc != ERR_OK)
		return rc;
	return scorer_file_floats(&s->mean, f, "mean", s->models, e);
}

/* The embedding that the scorer needs, if it does. */
static enum err_code
scorer_open_encoder(struct scorer *s, const struct scorer_file *f, struct err *e)
{
	struct scorer_encoder head;
	const void *section, *centre;
	const char *name;
	size_t len, centre_len;

	if (!scorer_file_section(&section, &len, f, "encoder")) {
		if (!scorer_file_section(&centre, &centre_len, f, "centre"))
			return ERR_OK;
		return err_set(e, ERR_CONFIG,
			"%s: does not say which encoder it was trained with: train it again",
			f->what);
	}
	name = (const char *)section + sizeof(head);
	if (len <= sizeof(head) || memchr(name, '\0', len - sizeof(head)) == NULL)
		return err_set(e, ERR_CONFIG, "%s: section 'encoder' is cut", f->what);
	memcpy(&head, section, sizeof(head));
	if (head.len == 0 || head.len > SCORER_EMBEDDING_MAX ||
		(scorer_file_section(&centre, &centre_len, f, "centre") &&
			centre_len != head.len * sizeof(float)))
		return err_set(e, ERR_CONFIG, "%s: section 'encoder' is damaged", f->what);
	s->embedding = (struct scorer_embedding){
		.len = (size_t)head.len, .identity = head.identity, .name = name};
	return ERR_OK;
}

static enum err_code
scorer_open_file(struct scorer *s, const char *what, const void *data, size_t len, struct err *e)
{
	struct scorer_file f;
	enum err_code rc;

	rc = scorer_file_open(&f, what, data, len, e);
	if (rc != ERR_OK)
		return rc;
	if (strcmp(f.scorer, scorer_name(s->id)) != 0)
		return err_set(e, ERR_CONFIG, "%s: a file of another scorer, not '%s'", what,
			scorer_name(s->id));
	rc = scorer_open_models(s, &f, e);
	if (rc == ERR_OK)
		rc = scorer_open_encoder(s, &f, e);
	return rc != ERR_OK ? rc : s->ops->open(s, &f, e);
}

enum err_code
scorer_open(struct scorer **out, enum scorer_id id, const char *what, const void *data, size_t len,
	struct err *e)
{
	const struct scorer_ops *ops = scorer_rows[id].ops;
	AUTO(scorer_free) struct scorer *s = NULL;
	enum err_code rc;

	s = calloc(1, MAX(ops->bytes, sizeof(*s)));
	CHECK(s != NULL);
	s->ops = ops;
	s->id = id;
	if (ops->open != NULL) {
		rc = scorer_open_file(s, what, data, len, e);
		if (rc != ERR_OK)
			return rc;
	}
	*out = s;
	s = NULL;
	return ERR_OK;
}

void
scorer_free(struct scorer **s_p)
{
	struct scorer *s = *s_p;

	if (s == NULL)
		return;
	if (s->ops->close != NULL)
		s->ops->close(s);
	free(s->names);
	free(s);
	*s_p = NULL;
}

enum scorer_id
scorer_id(const struct scorer *s)
{
	return s->id;
}

size_t
scorer_models(const struct scorer *s)
{
	return s->models;
}

const char *
scorer_model(const struct scorer *s, size_t i)
{
	return s->names[i];
}

const struct scorer_embedding *
scorer_embedding(const struct scorer *s)
{
	return s->embedding.len > 0 ? &s->embedding : NULL;
}

float
scorer_mean(const struct scorer *s, size_t i)
{
	return s->mean[i];
}

/* Behind the vendor: "mistralai/Mixtral-8x7B" and "Mixtral-8x7B" are one model. */
static const char *
scorer_bare(const char *name)
{
	const char *slash = strrchr(name, '/');

	return slash != NULL && slash[1] != '\0' ? slash + 1 : name;
}

bool
scorer_is_model(const char *a, const char *b)
{
	return strcasecmp(scorer_bare(a), scorer_bare(b)) == 0;
}

int
scorer_model_find(const struct scorer *s, const char *name)
{
	size_t i;

	for (i = 0; i < s->models; i++) {
		if (strcmp(s->names[i], name) == 0)
			return (int)i;
	}
	for (i = 0; i < s->models; i++) {
		if (scorer_is_model(s->names[i], name))
			return (int)i;
	}
	return -1;
}

size_t
scorer_scratch_bytes(const struct scorer *s)
{
	size_t own = s->ops->scratch_bytes != NULL ? s->ops->scratch_bytes(s) : 0;

	/* scorer_want_strong keeps its guesses in front of the scorer's own part */
	return scorer_align(s->models * sizeof(struct scorer_guess)) + scorer_align(own);
}

size_t
scorer_align(size_t n)
{
	return (n + SCORER_ALIGN - 1) / SCORER_ALIGN * SCORER_ALIGN;
}

void
scorer_guess(const struct scorer *s, struct scorer_guess *out, const struct scorer_input *in,
	void *scratch)
{
	size_t i;

	for (i = 0; i < s->models; i++)
		out[i] = (struct scorer_guess){s->mean[i], s->error[i], -1};
	if (s->models == 0)
		return;
	s->ops->guess(s, out, in,
		(char *)scratch + scorer_align(s->models * sizeof(struct scorer_guess)));
	for (i = 0; i < s->models; i++) {
		if (!isfinite(out[i].quality))
			out[i].quality = s->mean[i];
		out[i].quality = MAX(0.0F, MIN(1.0F, out[i].quality));
	}
}

double
scorer_want_guessed(const struct scorer *s, const struct scorer_guess *guesses,
	const struct scorer_input *in, int weak, int strong)
{
	if (s->ops->want != NULL)
		return s->ops->want(s, in);
	CHECK(weak >= 0 && strong >= 0 && (size_t)weak < s->models && (size_t)strong < s->models);
	return ((double)guesses[strong].quality - (double)guesses[weak].quality + 1) / 2;
}

double
scorer_want_strong(
	const struct scorer *s, const struct scorer_input *in, int weak, int strong, void *scratch)
{
	struct scorer_guess *guesses = scratch;

	if (s->ops->want == NULL)
		scorer_guess(s, guesses, in, scratch);
	return scorer_want_guessed(s, guesses, in, weak, strong);
}
