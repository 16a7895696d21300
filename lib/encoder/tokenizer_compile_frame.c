/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_compile_frame.c - the post-processor: which special tokens stand around one text or two
 */
#include "lib/encoder/tokenizer_parts.h"

enum { FRAMES_MAX = 1024 };

/* A template being written: single or pair. */
struct frames {
	struct tokenizer_draft *d;
	bool has[2]; /* A, B */
	uint32_t *len, *added;
};

static void
frame_add(const struct frames *f, enum tokenizer_frame_kind kind, uint32_t id, uint32_t type)
{
	struct tokenizer_frame frame = {kind, id, type};

	buf_add(&f->d->sections[SECTION_FRAME], &frame, sizeof(frame));
	++*f->len;
	*f->added += kind == FRAME_SPECIAL;
	if (kind == FRAME_SPECIAL)
		f->d->head.ids = MAX(f->d->head.ids, id + 1);
}

static struct frames
frames_begin(struct tokenizer_draft *d, bool pair)
{
	uint32_t *at = pair ? &d->head.pair : &d->head.single;
	struct frames f = {.d = d,
		.len = pair ? &d->head.pair_len : &d->head.single_len,
		.added = pair ? &d->head.pair_added : &d->head.single_added};

	*at = (uint32_t)(d->sections[SECTION_FRAME].len / sizeof(struct tokenizer_frame));
	*f.len = *f.added = 0;
	return f;
}

static bool
id_read(uint32_t *out, struct json v)
{
	uint64_t id;

	if (!json_u64(&id, v) || id >= TRIE_MAX)
		return false;
	*out = (uint32_t)id;
	return true;
}

/* ["</s>", 2] */
static enum err_code
token_read(uint32_t *id, const struct tokenizer_draft *d, struct json v, const char *key,
	struct err *e)
{
	struct json_iter it = json_iter(json_get(v, key));
	struct json text, number;

	if (!json_next_item(&it, &text) || !json_next_item(&it, &number) || !id_read(id, number))
		return tokenizer_bad(d, key, "[token, id]", e);
	return ERR_OK;
}

/* BertProcessing and RobertaProcessing: the latter has two separators and one type. */
static enum err_code
frame_pairs(struct tokenizer_draft *d, struct json v, struct err *e)
{
	bool roberta = json_equals(json_get(v, "type"), "RobertaProcessing");
	struct frames f = frames_begin(d, false);
	uint32_t sep, cls;

	if (token_read(&sep, d, v, "sep", e) != ERR_OK ||
		token_read(&cls, d, v, "cls", e) != ERR_OK)
		return e->code;
	frame_add(&f, FRAME_SPECIAL, cls, 0);
	frame_add(&f, FRAME_A, 0, 0);
	frame_add(&f, FRAME_SPECIAL, sep, 0);
	f = frames_begin(d, true);
	frame_add(&f, FRAME_SPECIAL, cls, 0);
	frame_add(&f, FRAME_A, 0, 0);
	frame_add(&f, FRAME_SPECIAL, sep, 0);
	if (roberta)
		frame_add(&f, FRAME_SPECIAL, sep, 0);
	frame_add(&f, FRAME_B, 0, roberta ? 0 : 1);
	frame_add(&f, FRAME_SPECIAL, sep, roberta ? 0 : 1);
	return ERR_OK;
}

static void
frame_plain(struct tokenizer_draft *d)
{
	struct frames f = frames_begin(d, false);

	frame_add(&f, FRAME_A, 0, 0);
	f = frames_begin(d, true);
	frame_add(&f, FRAME_A, 0, 0);
	frame_add(&f, FRAME_B, 0, 1);
}

/* The ids of a special token that a template names. */
static enum err_code
special_add(const struct frames *f, struct json specials, struct json name, uint32_t type,
	struct err *e)
{
	struct json_iter it = json_iter(specials), ids;
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct json key, value, number;
	uint32_t id;

	json_text(&text, name);
	while (json_next_member(&it, &key, &value)) {
		if (!json_equals(key, buf_str(&text)))
			continue;
		ids = json_iter(json_get(value, "ids"));
		while (json_next_item(&ids, &number)) {
			if (!id_read(&id, number))
				return tokenizer_bad(f->d, "special_tokens", "ids", e);
			frame_add(f, FRAME_SPECIAL, id, type);
		}
		return ERR_OK;
	}
	return err_set(e, ERR_CONFIG, "%s: post_processor: `%.60s` is not in special_tokens",
		f->d->what, buf_str(&text));
}

static enum err_code
place_read(struct frames *f, struct json specials, struct json v, bool pair, struct err *e)
{
	struct json sequence = json_get(v, "Sequence"), special = json_get(v, "SpecialToken");
	bool is_b = json_equals(json_get(sequence, "id"), "B");
	uint64_t type;

	if (!json_u64(&type,
		    json_get(sequence.type == JSON_OBJECT ? sequence : special, "type_id")) ||
		type > 1)
		return tokenizer_bad(f->d, "post_processor: type_id", "0 or 1", e);
	if (*f->len > FRAMES_MAX)
		return tokenizer_bad(f->d, "post_processor", "a short template", e);
	if (sequence.type != JSON_OBJECT)
		return special_add(f, specials, json_get(special, "id"), (uint32_t)type, e);
	if (is_b ? !pair : !json_equals(json_get(sequence, "id"), "A"))
		return tokenizer_bad(f->d, "post_processor: Sequence", "A, or in a pair B", e);
	if (f->has[is_b])
		return tokenizer_bad(f->d, "post_processor: Sequence", "there once", e);
	f->has[is_b] = true;
	frame_add(f, is_b ? FRAME_B : FRAME_A, 0, (uint32_t)type);
	return ERR_OK;
}

static enum err_code
frame_template(struct tokenizer_draft *d, struct json v, struct err *e)
{
	static const char *const keys[] = {"single", "pair"};
	struct json place;

	for (size_t i = 0; i < 2; i++) {
		struct json list = json_get(v, keys[i]);
		struct json_iter it = json_iter(list);
		struct frames f = frames_begin(d, i == 1);

		if (list.type != JSON_ARRAY)
			return tokenizer_bad(d, keys[i], "a list of places", e);
		while (json_next_item(&it, &place))
			if (place_read(&f, json_get(v, "special_tokens"), place, i == 1, e) !=
				ERR_OK)
				return e->code;
	}
	return ERR_OK;
}

static enum err_code
one_compile(struct tokenizer_draft *d, struct json v, bool *framed, struct err *e)
{
	struct json type = json_get(v, "type");
	bool pairs = json_equals(type, "BertProcessing") || json_equals(type, "RobertaProcessing");
	char name[48] = "";

	if (json_equals(type, "ByteLevel")) /* changes offsets only */
		return ERR_OK;
	if (!pairs && !json_equals(type, "TemplateProcessing")) {
		(void)json_copy_text(name, sizeof(name), type);
		return err_set(e, ERR_CONFIG,
			"%s: post_processor `%s` is not supported; supported are BertProcessing, "
			"ByteLevel, RobertaProcessing, TemplateProcessing, Sequence",
			d->what, name);
	}
	if (*framed)
		return tokenizer_bad(d, "post_processor", "at most one that adds tokens", e);
	*framed = true;
	return pairs ? frame_pairs(d, v, e) : frame_template(d, v, e);
}

enum err_code
tokenizer_compile_frame(struct tokenizer_draft *d, struct json v, struct err *e)
{
	struct json_iter stack[JSON_DEPTH_MAX];
	size_t depth = 0;
	bool framed = false;

	frame_plain(d);
	if (v.type == JSON_NULL || v.type == JSON_NONE)
		return ERR_OK;
	for (;;) {
		if (json_equals(json_get(v, "type"), "Sequence")) {
			CHECK(depth < JSON_DEPTH_MAX);
			stack[depth++] = json_iter(json_get(v, "processors"));
		} else if (one_compile(d, v, &framed, e) != ERR_OK) {
			return e->code;
		}
		while (depth > 0 && !json_next_item(&stack[depth - 1], &v))
			depth--;
		if (depth == 0)
			return ERR_OK;
	}
}
