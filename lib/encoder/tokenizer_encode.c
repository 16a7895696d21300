/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_encode.c - a text through all stages, cut to length, put into its frame
 */
#include <stdlib.h>
#include <string.h>

#include "lib/encoder/tokenizer_parts.h"

enum { COSTLY_MATCHES = 64 };

static tokenizer_model_fn *const models[MODELS] = {
	[MODEL_WORDPIECE] = tokenizer_wordpiece,
	[MODEL_BPE] = tokenizer_bpe,
	[MODEL_UNIGRAM] = tokenizer_unigram,
	[MODEL_WORDLEVEL] = tokenizer_wordlevel,
};

struct tokenizer_scratch *
tokenizer_scratch_new(void)
{
	struct tokenizer_scratch *s = calloc(1, sizeof(*s));

	CHECK(s != NULL);
	s->cache = calloc(TOKENIZER_CACHE, sizeof(*s->cache));
	CHECK(s->cache != NULL);
	return s;
}

void
tokenizer_scratch_free(struct tokenizer_scratch **s_p)
{
	struct tokenizer_scratch *s = *s_p;

	if (s == NULL)
		return;
	for (size_t i = 0; i < 2; i++) {
		buf_fini(&s->stages[i].text);
		free(s->stages[i].pieces);
		buf_fini(&s->valid[i]);
		buf_fini(&s->normal[i]);
		tokens_fini(&s->parts[i]);
	}
	buf_fini(&s->lead);
	buf_fini(&s->nodes);
	buf_fini(&s->symbols);
	buf_fini(&s->heap);
	buf_fini(&s->points);
	pcre2_match_data_free(s->match_data);
	pcre2_match_context_free(s->match_context);
	free(s->cache);
	free(s);
	*s_p = NULL;
}

/* Added tokens out, the rest normalized, what is added after that out too: stages[0], then [1]. */
static enum err_code
stages_fill(const struct tokenizer *t, struct tokenizer_scratch *s, struct tokenizer_text text,
	struct err *e)
{
	struct tokenizer_piece whole = {.len = (uint32_t)text.len, .first = 1};
	struct tokenizer_stage *raw = &s->stages[0], *made = &s->stages[1];

	raw->len = made->len = 0;
	buf_clear(&made->text);
	tokenizer_added_cut(raw, t, TOKENIZER_RAW, text, whole);
	for (size_t i = 0; i < raw->len; i++) {
		struct tokenizer_piece p = raw->pieces[i];
		size_t at = made->text.len;
		bool first = p.first != 0;

		if (p.id != TOKENIZER_NONE) {
			tokenizer_stage_add(made, p);
			continue;
		}
		if (tokenizer_normalize(&made->text, &first, t, s,
			    (struct tokenizer_text){text.text + p.at, p.len}, e) != ERR_OK)
			return e->code;
		if (made->text.len > TOKENIZER_STAGE_MAX)
			return err_set(e, ERR_INPUT, "the text becomes too large when normalized");
		p = (struct tokenizer_piece){
			.at = (uint32_t)at, .len = (uint32_t)(made->text.len - at), .first = first};
		tokenizer_added_cut(made, t, TOKENIZER_LATE,
			(struct tokenizer_text){buf_str(&made->text) + at, p.len}, p);
	}
	return ERR_OK;
}

static size_t
cache_slot(const char *text, size_t len)
{
	uint64_t hash = len, word;

	for (; len >= 8; text += 8, len -= 8) {
		memcpy(&word, text, 8);
		hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
		hash ^= hash >> 32;
	}
	word = 0;
	memcpy(&word, text, len);
	hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
	return (size_t)(hash >> 40) % TOKENIZER_CACHE;
}

/* The model's ids of a piece; those of short pieces are remembered from text to text. */
static bool
piece_encode(struct tokens *out, const struct tokenizer *t, struct tokenizer_scratch *s,
	const char *text, size_t len)
{
	struct tokenizer_cached *c;
	size_t before = out->len, n;

	if (len > TOKENIZER_CACHE_TEXT)
		return models[t->head->model](out, t, s, text, len);
	c = &s->cache[cache_slot(text, len)];
	if (c->text_len == len && memcmp(c->text, text, len) == 0) {
		tokens_reserve(out, TOKENIZER_CACHE_IDS);
		memcpy(out->ids + out->len, c->ids, sizeof(c->ids));
		out->len += c->ids_len;
		return true;
	}
	if (!models[t->head->model](out, t, s, text, len))
		return false;
	n = out->len - before;
	if (n > TOKENIZER_CACHE_IDS)
		return true;
	c->text_len = (uint8_t)len;
	c->ids_len = (uint8_t)n;
	memcpy(c->text, text, len);
	if (n > 0)
		memcpy(c->ids, out->ids + before, n * sizeof(*c->ids));
	return true;
}

/*
 * How many tokens the reference sees of a sequence: it stops after the piece that reaches the
 * limit, unless that is an added token. Which of two texts that are both too long counts as the
 * longer one hangs on it.
 */
static size_t
tokens_seen(const struct tokenizer_stage *stage, size_t len, uint32_t limit, bool from_left)
{
	size_t before;

	for (size_t i = 0; i < stage->len; i++) {
		const struct tokenizer_piece *p =
			from_left ? &stage->pieces[stage->len - 1 - i] : &stage->pieces[i];

		if (p->id != TOKENIZER_NONE)
			continue;
		if (!from_left && p->tokens >= limit)
			return p->tokens;
		before = p == stage->pieces ? 0 : p[-1].tokens;
		if (from_left && len - before >= limit)
			return len - before;
	}
	return len;
}

/* What an encode goes by: the file's settings with the caller's put over them. */
struct plan {
	const struct tokenizer *t;
	const struct tokenizer_frame *frame;
	size_t frame_len;
	uint32_t max_length; /* 0: none */
	uint32_t added; /* special tokens that come on top */
	enum tokenizer_cut cut;
	bool no_special;
	size_t seen[2];
};

static enum err_code
sequence_encode(struct tokens *out, size_t *seen, const struct plan *plan,
	struct tokenizer_scratch *s, struct tokenizer_text text, struct err *e)
{
	const struct tokenizer *t = plan->t;
	struct tokenizer_stage *stage;
	unsigned at = 1;

	out->len = 0;
	if (stages_fill(t, s, text, e) != ERR_OK || tokenizer_split(t, s, &at, e) != ERR_OK)
		return e->code;
	stage = &s->stages[at];
	for (size_t i = 0; i < stage->len; i++) {
		struct tokenizer_piece *p = &stage->pieces[i];

		if (p->id != TOKENIZER_NONE)
			tokens_add(out, p->id);
		else if (!piece_encode(out, t, s, stage->text.data + p->at, p->len))
			return err_set(e, ERR_INPUT,
				"the vocabulary lacks `%.*s` and has no unknown token",
				(int)MIN(p->len, 60), stage->text.data + p->at);
		p->tokens = (uint32_t)out->len;
	}
	*seen = plan->max_length == 0 ? out->len
				      : tokens_seen(stage, out->len, plan->max_length,
						plan->cut == TOKENIZER_CUT_LEFT);
	return ERR_OK;
}

static void
cut_to(struct tokens *part, size_t len, enum tokenizer_cut cut)
{
	size_t drop = part->len - len, keep = 0;

	if (part->len <= len)
		return;
	if (cut == TOKENIZER_CUT_MIDDLE)
		keep = (len + 1) / 2;
	if (cut != TOKENIZER_CUT_RIGHT)
		memmove(part->ids + keep, part->ids + keep + drop,
			(len - keep) * sizeof(*part->ids));
	part->len = len;
}

/* Longest first: both keep half of the room where both need more. */
static void
share(size_t keep[2], const size_t seen[2], size_t room)
{
	bool swap = seen[0] > seen[1];
	size_t small = MIN(seen[0], seen[1]), large;

	large = small > room ? small : MAX(small, room - small);
	if (small + large > room) {
		small = room / 2;
		large = small + room % 2;
	}
	keep[swap ? 1 : 0] = small;
	keep[swap ? 0 : 1] = large;
}

static enum err_code
truncate_parts(struct tokens *out, const struct plan *plan, struct tokens *parts, size_t count,
	struct err *e)
{
	size_t room = plan->max_length - plan->added, total = parts[0].len, keep[2], target;
	uint32_t strategy = plan->t->head->strategy;

	if (count == 2)
		total += parts[1].len;
	out->dropped = 0;
	if (plan->max_length == 0 || total <= room)
		return ERR_OK;
	out->dropped = total - room;
	keep[0] = parts[0].len;
	keep[1] = count == 2 ? parts[1].len : 0;
	if (room == 0) {
		keep[0] = keep[1] = 0;
	} else if (strategy == STRATEGY_LONGEST && count == 2) {
		share(keep, plan->seen, room);
	} else if (strategy == STRATEGY_LONGEST) {
		keep[0] = room;
	} else {
		target = strategy == STRATEGY_FIRST ? 0 : 1;
		if (target >= count || keep[target] <= total - room)
			return err_set(e, ERR_INPUT,
				"%zu tokens are too many for max_length %u, and the tokenizer may "
				"only cut the %s text",
				total, plan->max_length, target == 0 ? "first" : "second");
		keep[target] -= total - room;
	}
	for (size_t i = 0; i < count; i++)
		cut_to(&parts[i], keep[i], plan->cut);
	return ERR_OK;
}

static void
frame_fill(struct tokens *out, const struct plan *plan, const struct tokens *parts)
{
	out->len = 0;
	for (size_t i = 0; i < plan->frame_len; i++) {
		const struct tokenizer_frame *f = &plan->frame[i];
		const struct tokens *part = f->kind == FRAME_SPECIAL ? NULL : &parts[f->kind];
		size_t n = part == NULL ? 1 : part->len;

		if ((part == NULL && plan->no_special) || n == 0)
			continue;
		tokens_reserve(out, n);
		if (part == NULL)
			out->ids[out->len] = f->id;
		else
			memcpy(out->ids + out->len, part->ids, n * sizeof(*out->ids));
		memset(out->types + out->len, (int)f->type, n);
		out->len += n;
	}
}

static void
plan_make(struct plan *p, const struct tokenizer *t, bool has_pair,
	const struct tokenizer_options *options)
{
	const struct tokenizer_head *h = t->head;

	*p = (struct plan){.t = t,
		.frame = t->frame + (has_pair ? h->pair : h->single),
		.frame_len = has_pair ? h->pair_len : h->single_len,
		.max_length = options != NULL && options->max_length != 0 ? options->max_length
									  : h->max_length,
		.cut = options != NULL ? options->cut : TOKENIZER_CUT_FILE,
		.no_special = options != NULL && options->no_special};
	if (p->cut == TOKENIZER_CUT_FILE)
		p->cut = h->cut_left != 0 ? TOKENIZER_CUT_LEFT : TOKENIZER_CUT_RIGHT;
	p->added = p->no_special ? 0 : has_pair ? h->pair_added : h->single_added;
}

enum err_code
tokenizer_encode(struct tokens *out, const struct tokenizer *t, struct tokenizer_scratch *s,
	struct tokenizer_text text, const struct tokenizer_text *pair,
	const struct tokenizer_options *options, struct err *e)
{
	struct err local = {0};
	struct plan plan;
	size_t count = pair != NULL ? 2 : 1;

	e = e != NULL ? e : &local;
	plan_make(&plan, t, pair != NULL, options);
	if (text.len > TOKENIZER_TEXT_MAX || (pair != NULL && pair->len > TOKENIZER_TEXT_MAX))
		return err_set(e, ERR_INPUT, "a text may have %d bytes", TOKENIZER_TEXT_MAX);
	if (plan.max_length != 0 && plan.max_length < plan.added)
		return err_set(e, ERR_INPUT, "max_length %u has no room for %u special tokens",
			plan.max_length, plan.added);
	if (s->owner != t->head->checksum)
		memset(s->cache, 0, TOKENIZER_CACHE * sizeof(*s->cache));
	s->owner = t->head->checksum;
	s->retries = COSTLY_MATCHES;
	for (size_t i = 0; i < count; i++) {
		struct tokenizer_text valid =
			tokenizer_unicode_valid(&s->valid[i], i == 0 ? text : *pair);

		if (sequence_encode(&s->parts[i], &plan.seen[i], &plan, s, valid, e) != ERR_OK)
			return e->code;
	}
	if (truncate_parts(out, &plan, s->parts, count, e) != ERR_OK)
		return e->code;
	frame_fill(out, &plan, s->parts);
	return ERR_OK;
}
