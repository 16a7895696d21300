/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_compile_model.c - the model of a tokenizer.json: vocabulary, scores, merges
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/utf8.h"
#include "lib/encoder/tokenizer_parts.h"

/* Keys while they are gathered: text is an offset into texts until all are there. */
struct gathered {
	struct buf keys, texts;
};

static void
gathered_fini(struct gathered *g)
{
	buf_fini(&g->keys);
	buf_fini(&g->texts);
}

static void
gathered_add(struct gathered *g, struct json text, uint32_t id)
{
	struct trie_key key = {.value = id};
	size_t at = g->texts.len;

	json_text(&g->texts, text);
	key.len = (uint32_t)(g->texts.len - at);
	buf_add(&g->keys, &key, sizeof(key));
}

static enum err_code
gathered_build(struct tokenizer_draft *d, struct gathered *g, struct err *e)
{
	struct trie_key *keys = (struct trie_key *)(void *)g->keys.data;
	size_t len = g->keys.len / sizeof(*keys);
	const char *text = buf_str(&g->texts);

	for (size_t i = 0; i < len; text += keys[i++].len) {
		keys[i].text = text;
		d->head.ids = MAX(d->head.ids, keys[i].value + 1);
	}
	if (!trie_build(&d->sections[SECTION_VOCAB], keys, len))
		return tokenizer_bad(d, "model.vocab", "smaller: it has too many tokens", e);
	return ERR_OK;
}

static struct trie
draft_trie(const struct tokenizer_draft *d)
{
	const struct buf *b = &d->sections[SECTION_VOCAB];

	return (struct trie){(const uint32_t *)(void *)b->data, b->len / sizeof(uint32_t)};
}

/* {"token": id, ...}; how many. */
static enum err_code
vocab_read(struct tokenizer_draft *d, struct json model, size_t *count, struct err *e)
{
	AUTO(gathered_fini) struct gathered g = {BUF_INIT, BUF_INIT};
	struct json vocab = json_get(model, "vocab"), key, value;
	struct json_iter it = json_iter(vocab);
	uint64_t id;

	if (vocab.type != JSON_OBJECT)
		return tokenizer_bad(d, "model.vocab", "an object of tokens and ids", e);
	for (*count = 0; json_next_member(&it, &key, &value); ++*count) {
		if (!json_u64(&id, value) || id >= TRIE_MAX)
			return tokenizer_bad(d, "model.vocab", "an object of tokens and ids", e);
		gathered_add(&g, key, (uint32_t)id);
	}
	return gathered_build(d, &g, e);
}

/* Ids of characters and bytes that models ask for often. */
static void
head_ids(struct tokenizer_draft *d)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	char name[8];

	for (uint32_t i = 0; i < 256; i++) {
		(void)snprintf(name, sizeof(name), "<0x%02X>", i);
		d->head.byte_ids[i] = trie_find(draft_trie(d), name, strlen(name));
	}
	for (uint32_t i = 0; i < TOKENIZER_SHORT; i++) {
		buf_clear(&text);
		utf8_add(&text, i);
		d->head.short_ids[i] = trie_find(draft_trie(d), text.data, text.len);
	}
}

/* unk_token by its text; null or absent: none. */
static enum err_code
unknown_read(struct tokenizer_draft *d, struct json model, struct err *e)
{
	struct json token = json_get(model, "unk_token");
	AUTO(buf_fini) struct buf text = BUF_INIT;

	d->head.unknown = TOKENIZER_NONE;
	if (token.type != JSON_STRING)
		return ERR_OK;
	json_text(&text, token);
	d->head.unknown = trie_find(draft_trie(d), buf_str(&text), text.len);
	if (d->head.unknown == TOKENIZER_NONE)
		return err_set(e, ERR_CONFIG,
			"%s: model.unk_token `%.60s` is not in the vocabulary", d->what,
			buf_str(&text));
	return ERR_OK;
}

static enum err_code
affix_read(struct tokenizer_span *out, struct tokenizer_draft *d, struct json model,
	const char *key, struct err *e)
{
	*out = tokenizer_draft_json(d, json_get(model, key));
	if (out->len > TOKENIZER_AFFIX_MAX)
		return tokenizer_bad(d, key, "shorter", e);
	return ERR_OK;
}

static enum err_code
model_wordpiece(struct tokenizer_draft *d, struct json v, size_t *count, struct err *e)
{
	uint64_t max = 100;

	if (vocab_read(d, v, count, e) != ERR_OK || unknown_read(d, v, e) != ERR_OK ||
		affix_read(&d->head.prefix, d, v, "continuing_subword_prefix", e) != ERR_OK)
		return e->code;
	if (d->head.unknown == TOKENIZER_NONE)
		return tokenizer_bad(d, "model.unk_token", "a token", e);
	(void)json_u64(&max, json_get(v, "max_input_chars_per_word"));
	d->head.word_max = (uint32_t)MIN(max, TOKENIZER_STAGE_MAX);
	return ERR_OK;
}

static enum err_code
model_wordlevel(struct tokenizer_draft *d, struct json v, size_t *count, struct err *e)
{
	if (vocab_read(d, v, count, e) != ERR_OK)
		return e->code;
	return unknown_read(d, v, e);
}

/* "a b", or ["a", "b"]: the two texts, one after the other in out. */
static bool
merge_read(struct buf *out, size_t *first_len, struct json v)
{
	struct json_iter it = json_iter(v);
	struct json a, b;
	const char *blank;

	buf_clear(out);
	if (v.type == JSON_ARRAY) {
		if (!json_next_item(&it, &a) || !json_next_item(&it, &b))
			return false;
		json_text(out, a);
		*first_len = out->len;
		json_text(out, b);
		return a.type == JSON_STRING && b.type == JSON_STRING && out->len > 0;
	}
	json_text(out, v);
	blank = out->len > 0 ? memchr(out->data, ' ', out->len) : NULL;
	if (blank == NULL || memchr(blank + 1, ' ', out->len - (size_t)(blank + 1 - out->data)))
		return false;
	*first_len = (size_t)(blank - out->data);
	memmove(out->data + *first_len, blank + 1, out->len - *first_len - 1);
	out->len--;
	return true;
}

static void
merge_put(struct tokenizer_merge *table, size_t slots, struct tokenizer_merge m)
{
	uint64_t hash = ((uint64_t)m.a << 32 | m.b) * 0x9e3779b97f4a7c15u;
	size_t i = (size_t)(hash >> 32) & (slots - 1);

	while (table[i].a != TOKENIZER_NONE && (table[i].a != m.a || table[i].b != m.b))
		i = (i + 1) & (slots - 1);
	table[i] = m;
}

static size_t
items(struct json v)
{
	struct json_iter it = json_iter(v);
	struct json item;
	size_t n = 0;

	while (json_next_item(&it, &item))
		n++;
	return n;
}

/* Ids of both sides of a merge and of what it makes (the right side loses the subword prefix). */
static enum err_code
merge_resolve(struct tokenizer_merge *m, const struct tokenizer_draft *d, struct buf *text,
	size_t first_len, struct err *e)
{
	size_t skip = d->head.prefix.len, second_len = text->len - first_len;

	m->a = trie_find(draft_trie(d), buf_str(text), first_len);
	m->b = trie_find(draft_trie(d), buf_str(text) + first_len, second_len);
	if (second_len >= skip) {
		memmove(text->data + first_len, text->data + first_len + skip, second_len - skip);
		text->len -= skip;
	}
	m->id = trie_find(draft_trie(d), buf_str(text), text->len);
	text->data[text->len] = '\0';
	if (m->a == TOKENIZER_NONE || m->b == TOKENIZER_NONE || m->id == TOKENIZER_NONE)
		return err_set(e, ERR_CONFIG,
			"%s: model.merges: a side or the result of `%.60s` is not in the "
			"vocabulary",
			d->what, buf_str(text));
	return ERR_OK;
}

static enum err_code
merges_read(struct tokenizer_draft *d, struct json v, struct err *e)
{
	struct json merges = json_get(v, "merges"), item;
	struct json_iter it = json_iter(merges);
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct buf *section = &d->sections[SECTION_MERGE];
	struct tokenizer_merge m = {.a = TOKENIZER_NONE};
	size_t slots = 2, first_len;

	while (slots < 2 * items(merges) + 2)
		slots *= 2;
	for (size_t i = 0; i < slots; i++)
		buf_add(section, &m, sizeof(m));
	while (json_next_item(&it, &item)) {
		if (item.type == JSON_STRING && item.len > 9 &&
			memcmp(item.p, "\"#version", 9) == 0)
			continue;
		if (!merge_read(&text, &first_len, item))
			return tokenizer_bad(d, "model.merges", "a list of pairs", e);
		if (merge_resolve(&m, d, &text, first_len, e) != ERR_OK)
			return e->code;
		merge_put((struct tokenizer_merge *)(void *)section->data, slots, m);
		m.rank++;
	}
	return ERR_OK;
}

static enum err_code
model_bpe(struct tokenizer_draft *d, struct json v, size_t *count, struct err *e)
{
	struct tokenizer_head *h = &d->head;
	double dropout;

	if (json_double(&dropout, json_get(v, "dropout")) && dropout != 0)
		return tokenizer_bad(
			d, "model.dropout", "null: a random tokenizer is of no use", e);
	if (vocab_read(d, v, count, e) != ERR_OK || unknown_read(d, v, e) != ERR_OK ||
		affix_read(&h->prefix, d, v, "continuing_subword_prefix", e) != ERR_OK ||
		affix_read(&h->suffix, d, v, "end_of_word_suffix", e) != ERR_OK ||
		merges_read(d, v, e) != ERR_OK)
		return e->code;
	h->flags = (json_is_true(json_get(v, "byte_fallback")) ? HEAD_BYTE_FALLBACK : 0u) |
		   (json_is_true(json_get(v, "fuse_unk")) ? HEAD_FUSE_UNKNOWN : 0u) |
		   (json_is_true(json_get(v, "ignore_merges")) ? HEAD_IGNORE_MERGES : 0u) |
		   (h->prefix.len + h->suffix.len > 0 ? HEAD_AFFIXES : 0u);
	return ERR_OK;
}

/*
 * A score as the reference's JSON reader has it: the digits as an integer of 64 bits, scaled by a
 * power of ten; up to one unit off the nearest double. Ties between segmentations hang on it.
 */
static double
score_scale(uint64_t digits, int64_t exponent)
{
	double f = (double)digits;

	if (f == 0)
		return 0;
	for (; exponent < -308; exponent += 308)
		f /= 1e308;
	return exponent < 0 ? f / pow(10, (double)-exponent) : f * pow(10, (double)exponent);
}

static double
score_read(struct json number)
{
	const char *p = number.p, *end = p + number.len;
	bool minus = *p == '-', point = false, full = false;
	uint64_t digits = 0, exponent = 0;
	int64_t scale = 0;

	for (p += minus; p < end && *p != 'e' && *p != 'E'; p++) {
		uint64_t digit = (uint64_t)(*p - '0');

		if (*p == '.') {
			point = true;
			continue;
		}
		full = full || digits > (UINT64_MAX - digit) / 10;
		if (!full)
			digits = digits * 10 + digit;
		scale += full ? !point : -(int)point;
	}
	if (p < end) {
		bool down = p[1] == '-';

		for (p += p[1] == '-' || p[1] == '+' ? 2 : 1; p < end && exponent < 4096; p++)
			exponent = exponent * 10 + (uint64_t)(*p - '0');
		scale += down ? -(int64_t)exponent : (int64_t)exponent;
	}
	return minus ? -score_scale(digits, scale) : score_scale(digits, scale);
}

static enum err_code
model_unigram(struct tokenizer_draft *d, struct json v, size_t *count, struct err *e)
{
	AUTO(gathered_fini) struct gathered g = {BUF_INIT, BUF_INIT};
	struct json vocab = json_get(v, "vocab"), row, text, number;
	struct json_iter it = json_iter(vocab), columns;
	double score;
	uint64_t unknown;

	for (*count = 0; json_next_item(&it, &row); ++*count) {
		columns = json_iter(row);
		if (!json_next_item(&columns, &text) || !json_next_item(&columns, &number) ||
			text.type != JSON_STRING || !json_double(&score, number) ||
			*count >= TRIE_MAX)
			return tokenizer_bad(d, "model.vocab", "a list of [token, score]", e);
		score = score_read(number);
		gathered_add(&g, text, (uint32_t)*count);
		buf_add(&d->sections[SECTION_SCORE], &score, sizeof(score));
		d->head.min_score = *count == 0 ? score : MIN(d->head.min_score, score);
	}
	d->head.unknown = TOKENIZER_NONE;
	if (json_u64(&unknown, json_get(v, "unk_id"))) {
		if (unknown >= *count)
			return tokenizer_bad(d, "model.unk_id", "an id of the vocabulary", e);
		d->head.unknown = (uint32_t)unknown;
	}
	if (json_is_true(json_get(v, "byte_fallback")))
		d->head.flags |= HEAD_BYTE_FALLBACK;
	return gathered_build(d, &g, e);
}

static const struct {
	const char *type;
	enum err_code (*fn)(struct tokenizer_draft *d, struct json v, size_t *count, struct err *e);
} rows[MODELS] = {
	[MODEL_WORDPIECE] = {"WordPiece", model_wordpiece},
	[MODEL_BPE] = {"BPE", model_bpe},
	[MODEL_UNIGRAM] = {"Unigram", model_unigram},
	[MODEL_WORDLEVEL] = {"WordLevel", model_wordlevel},
};

/* Older files have no type; what else they have tells it. */
static enum tokenizer_model
model_guess(struct json v)
{
	if (json_get(v, "merges").type == JSON_ARRAY)
		return MODEL_BPE;
	if (json_get(v, "vocab").type == JSON_ARRAY)
		return MODEL_UNIGRAM;
	return json_get(v, "continuing_subword_prefix").type == JSON_STRING ? MODEL_WORDPIECE
									    : MODEL_WORDLEVEL;
}

enum err_code
tokenizer_compile_model(struct tokenizer_draft *d, struct json v, size_t *count, struct err *e)
{
	struct json type = json_get(v, "type");
	uint32_t model = 0;
	char name[48] = "";

	if (v.type != JSON_OBJECT)
		return tokenizer_bad(d, "model", "an object", e);
	if (type.type == JSON_NONE)
		model = model_guess(v);
	else
		while (model < MODELS && !json_equals(type, rows[model].type))
			model++;
	if (model == MODELS) {
		(void)json_copy_text(name, sizeof(name), type);
		return err_set(e, ERR_CONFIG,
			"%s: model `%s` is not supported; supported are WordPiece, BPE, Unigram, "
			"WordLevel",
			d->what, name);
	}
	d->head.model = model;
	if (rows[model].fn(d, v, count, e) != ERR_OK)
		return e->code;
	head_ids(d);
	return ERR_OK;
}
