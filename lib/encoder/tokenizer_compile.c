/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_compile.c - a tokenizer.json into an image
 */
#include <stdlib.h>
#include <string.h>

#include "lib/encoder/tokenizer_parts.h"

enum { ADDED_MAX = 1 << 14 };

/* Added tokens while they are read: keys of the two tries, texts that the keys lie in. */
struct additions {
	struct buf rows; /* struct tokenizer_added */
	struct buf texts; /* contents, one after the other */
	struct buf keys; /* struct trie_key per row: of its content */
	struct buf late; /* bool per row: matched after normalizing */
	bool any_late;
};

static void
additions_fini(struct additions *a)
{
	buf_fini(&a->rows);
	buf_fini(&a->texts);
	buf_fini(&a->keys);
	buf_fini(&a->late);
}

enum err_code
tokenizer_bad(const struct tokenizer_draft *d, const char *key, const char *want, struct err *e)
{
	return err_set(e, ERR_CONFIG, "%s: %s: must be %s", d->what, key, want);
}

struct tokenizer_span
tokenizer_draft_text(struct tokenizer_draft *d, const char *text, size_t len)
{
	struct buf *b = &d->sections[SECTION_TEXT];
	struct tokenizer_span span = {(uint32_t)b->len, (uint32_t)len};

	buf_add(b, text, len);
	return span;
}

struct tokenizer_span
tokenizer_draft_json(struct tokenizer_draft *d, struct json string)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;

	json_text(&text, string);
	return tokenizer_draft_text(d, buf_str(&text), text.len);
}

const uint16_t *
tokenizer_draft_classes(struct tokenizer_draft *d)
{
	if (d->classes == NULL) {
		d->classes = malloc(0x110000 * sizeof(*d->classes));
		CHECK(d->classes != NULL);
		tokenizer_unicode_classes(d->classes);
	}
	return d->classes;
}

static void
draft_fini(struct tokenizer_draft *d)
{
	for (size_t i = 0; i < TOKENIZER_SECTIONS; i++)
		buf_fini(&d->sections[i]);
	free(d->classes);
}

/* Classes in blocks of 256, equal neighbours and empty ones shared. */
static void
classes_put(struct tokenizer_draft *d)
{
	struct buf *blocks = &d->sections[SECTION_CLASS];
	const size_t size = 256 * sizeof(*d->classes);

	for (size_t i = 0; i < TOKENIZER_BLOCKS; i++) {
		const uint16_t *block = tokenizer_draft_classes(d) + i * 256;
		uint16_t index = 0;

		while (index < blocks->len / size &&
			memcmp(blocks->data + index * size, block, size) != 0)
			index++;
		if (index == blocks->len / size)
			buf_add(blocks, block, size);
		buf_add(&d->sections[SECTION_CLASS_INDEX], &index, sizeof(index));
	}
}

static enum err_code
truncation_read(struct tokenizer_draft *d, struct json v, struct err *e)
{
	static const char *const names[STRATEGIES] = {"LongestFirst", "OnlyFirst", "OnlySecond"};
	struct tokenizer_head *h = &d->head;
	uint64_t max;

	if (v.type != JSON_OBJECT)
		return ERR_OK;
	if (!json_u64(&max, json_get(v, "max_length")) || max == 0 || max > TOKENIZER_STAGE_MAX)
		return tokenizer_bad(d, "truncation.max_length", "a number above 0", e);
	h->max_length = (uint32_t)max;
	h->cut_left = json_equals(json_get(v, "direction"), "Left");
	for (h->strategy = 0; h->strategy < STRATEGIES; h->strategy++)
		if (json_equals(json_get(v, "strategy"), names[h->strategy]))
			return ERR_OK;
	return tokenizer_bad(d, "truncation.strategy", "LongestFirst, OnlyFirst or OnlySecond", e);
}

/* The id that the reference gives an added token: that of its text, or the next free one. */
static uint32_t
added_id(const struct tokenizer_draft *d, const struct additions *a, const char *text, size_t len,
	uint32_t *next)
{
	const struct buf *vocab = &d->sections[SECTION_VOCAB];
	const struct tokenizer_added *rows = (const struct tokenizer_added *)(void *)a->rows.data;
	const struct trie_key *keys = (const struct trie_key *)(void *)a->keys.data;
	const char *p = a->texts.data;
	uint32_t id;

	for (size_t i = 0; i < a->rows.len / sizeof(*rows); p += keys[i++].len)
		if (keys[i].len == len && memcmp(p, text, len) == 0)
			return rows[i].id;
	id = trie_find(
		(struct trie){(const uint32_t *)(void *)vocab->data, vocab->len / sizeof(uint32_t)},
		text, len);
	return id != TOKENIZER_NONE ? id : (*next)++;
}

static enum err_code
added_read(struct tokenizer_draft *d, struct additions *a, struct json list, size_t count,
	struct err *e)
{
	struct json_iter it = json_iter(list);
	struct json v;
	uint32_t next = (uint32_t)count;
	AUTO(buf_fini) struct buf text = BUF_INIT;

	while (json_next_item(&it, &v)) {
		struct tokenizer_added row = {
			.flags = (json_is_true(json_get(v, "single_word")) ? ADDED_WORD : 0u) |
				 (json_is_true(json_get(v, "lstrip")) ? ADDED_LEFT : 0u) |
				 (json_is_true(json_get(v, "rstrip")) ? ADDED_RIGHT : 0u)};
		struct trie_key key = {.value = (uint32_t)(a->rows.len / sizeof(row))};
		bool late = json_is_true(json_get(v, "normalized"));

		buf_clear(&text);
		json_text(&text, json_get(v, "content"));
		if (v.type != JSON_OBJECT || json_get(v, "content").type != JSON_STRING)
			return tokenizer_bad(d, "added_tokens", "a list of tokens", e);
		if (text.len == 0)
			continue;
		row.id = added_id(d, a, text.data, text.len, &next);
		if (key.value >= ADDED_MAX || row.id >= TRIE_MAX)
			return tokenizer_bad(d, "added_tokens", "fewer", e);
		d->head.ids = MAX(d->head.ids, row.id + 1);
		key.len = (uint32_t)text.len;
		a->any_late = a->any_late || late;
		buf_add(&a->texts, text.data, text.len);
		buf_add(&a->rows, &row, sizeof(row));
		buf_add(&a->keys, &key, sizeof(key));
		buf_add(&a->late, &late, sizeof(late));
	}
	return ERR_OK;
}

/* Put the sections behind the head and seal the whole. */
static void
draft_assemble(struct buf *image, struct tokenizer_draft *d)
{
	static const size_t sizes[TOKENIZER_SECTIONS] = {
#define X(id, name, type) [id] = sizeof(type),
		TOKENIZER_SECTION_LIST(X)
#undef X
	};
	static const char zeros[8];

	buf_clear(image);
	buf_add(image, &d->head, sizeof(d->head));
	for (size_t i = 0; i < TOKENIZER_SECTIONS; i++) {
		buf_add(image, zeros, (8 - image->len % 8) % 8);
		d->head.sections[i].at = image->len;
		d->head.sections[i].count = d->sections[i].len / sizes[i];
		if (d->sections[i].len > 0)
			buf_add(image, d->sections[i].data, d->sections[i].len);
	}
	memcpy(image->data, &d->head, sizeof(d->head));
	tokenizer_seal(image->data, image->len);
}

/* Keys of the trie for one of the two times; late ones have gone through the normalizers. */
static enum err_code
added_trie(struct tokenizer_draft *d, const struct additions *a, bool late,
	const struct tokenizer *t, struct err *e)
{
	AUTO(buf_fini) struct buf keys = BUF_INIT;
	AUTO(buf_fini) struct buf normal = BUF_INIT;
	AUTO(tokenizer_scratch_free) struct tokenizer_scratch *s = tokenizer_scratch_new();
	struct trie_key key, *made;
	size_t at = 0, n;

	for (size_t i = 0; i < a->late.len / sizeof(bool); i++, at += key.len) {
		struct tokenizer_text text;
		bool is_late, first = true;

		memcpy(&is_late, a->late.data + i * sizeof(bool), sizeof(bool));
		memcpy(&key, a->keys.data + i * sizeof(key), sizeof(key));
		if (is_late != late)
			continue;
		text = (struct tokenizer_text){a->texts.data + at, key.len};
		n = normal.len;
		if (t == NULL)
			buf_add(&normal, text.text, text.len);
		else if (tokenizer_normalize(&normal, &first, t, s, text, e) != ERR_OK)
			return err_wrap(e, "%s: added_tokens", d->what);
		made = &(struct trie_key){.len = (uint32_t)(normal.len - n), .value = key.value};
		if (made->len > 0)
			buf_add(&keys, made, sizeof(*made));
	}
	made = (struct trie_key *)(void *)keys.data;
	n = keys.len / sizeof(*made);
	for (size_t i = 0, p = 0; i < n; p += made[i++].len)
		made[i].text = normal.data + p;
	if (n > 0 && !trie_build(&d->sections[late ? SECTION_LATE : SECTION_RAW], made, n))
		return tokenizer_bad(d, "added_tokens", "fewer", e);
	return ERR_OK;
}

static enum err_code
added_compile(
	struct tokenizer_draft *d, struct buf *image, struct json list, size_t count, struct err *e)
{
	AUTO(additions_fini) struct additions a = {.any_late = false};
	AUTO(tokenizer_free) struct tokenizer *t = NULL;

	if (added_read(d, &a, list, count, e) != ERR_OK)
		return e->code;
	if (a.rows.len > 0)
		buf_add(&d->sections[SECTION_ADDED], a.rows.data, a.rows.len);
	if (a.any_late && d->sections[SECTION_NORMAL].len > 0) {
		draft_assemble(image, d);
		if (tokenizer_attach(&t, image->data, image->len, e) != ERR_OK)
			return err_wrap(e, "%s", d->what);
	}
	if (added_trie(d, &a, false, NULL, e) != ERR_OK)
		return e->code;
	return added_trie(d, &a, true, t, e);
}

static enum err_code
draft_fill(struct tokenizer_draft *d, struct buf *image, struct json v, struct err *e)
{
	size_t count = 0;

	if (v.type != JSON_OBJECT)
		return err_set(e, ERR_CONFIG, "%s: not a tokenizer.json", d->what);
	if (tokenizer_compile_normalizer(d, json_get(v, "normalizer"), e) != ERR_OK ||
		tokenizer_compile_splitter(d, json_get(v, "pre_tokenizer"), e) != ERR_OK ||
		tokenizer_compile_frame(d, json_get(v, "post_processor"), e) != ERR_OK ||
		truncation_read(d, json_get(v, "truncation"), e) != ERR_OK ||
		tokenizer_compile_model(d, json_get(v, "model"), &count, e) != ERR_OK)
		return e->code;
	classes_put(d);
	if (d->too_large || d->sections[SECTION_TEXT].len > TOKENIZER_STAGE_MAX)
		return err_set(e, ERR_CONFIG, "%s: its normalizers hold too much text", d->what);
	if (added_compile(d, image, json_get(v, "added_tokens"), count, e) != ERR_OK)
		return e->code;
	draft_assemble(image, d);
	return ERR_OK;
}

enum err_code
tokenizer_compile(struct buf *out, const char *what, const char *json, size_t len, struct err *e)
{
	AUTO(buf_fini) struct buf image = BUF_INIT;
	struct tokenizer_draft d = {.what = what};
	struct json v;
	struct err local = {0};
	enum err_code code;

	e = e != NULL ? e : &local;
	if (json_check(&v, json, len, e) != ERR_OK) {
		(void)err_wrap(e, "%s", what);
		return e->code = ERR_CONFIG;
	}
	code = draft_fill(&d, &image, v, e);
	draft_fini(&d);
	if (code == ERR_OK)
		buf_add(out, image.data, image.len);
	return code;
}
