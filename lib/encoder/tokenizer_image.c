/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_image.c - look at a compiled tokenizer where it lies, having checked all of it
 */
#include <stdlib.h>
#include <string.h>

#include "lib/encoder/tokenizer_parts.h"

static const char magic[8] = "SHNTTOK";

static const size_t section_sizes[TOKENIZER_SECTIONS] = {
#define X(id, name, type) [id] = sizeof(type),
	TOKENIZER_SECTION_LIST(X)
#undef X
};

/* Four lanes, so that the multiplications of one round do not wait for each other. */
static uint64_t
checksum(const char *p, size_t len)
{
	uint64_t lanes[4] = {1, 2, 3, 4}, words[4], sum = len;
	const uint64_t factor = 0x9e3779b97f4a7c15u;

	for (; len >= sizeof(words); p += sizeof(words), len -= sizeof(words)) {
		memcpy(words, p, sizeof(words));
		for (size_t i = 0; i < 4; i++)
			lanes[i] = ((lanes[i] ^ words[i]) * factor) ^ (lanes[i] >> 29);
	}
	memset(words, 0, sizeof(words));
	memcpy(words, p, len);
	for (size_t i = 0; i < 4; i++)
		sum = (sum ^ lanes[i] ^ (words[i] * factor)) * factor ^ (sum >> 31);
	return sum;
}

static uint64_t
image_checksum(const struct tokenizer_head *head, size_t len)
{
	size_t skip = offsetof(struct tokenizer_head, checksum) + sizeof(head->checksum);

	return checksum((const char *)head + skip, len - skip);
}

void
tokenizer_seal(void *image, size_t len)
{
	struct tokenizer_head *head = image;

	CHECK(len >= sizeof(*head) && (uintptr_t)image % 8 == 0);
	memcpy(head->magic, magic, sizeof(magic));
	head->version = TOKENIZER_IMAGE_VERSION;
	head->head_size = sizeof(*head);
	head->size = len;
	head->checksum = image_checksum(head, len);
}

static bool
sections_fit(const struct tokenizer_head *h)
{
	for (size_t i = 0; i < TOKENIZER_SECTIONS; i++) {
		uint64_t at = h->sections[i].at, count = h->sections[i].count;

		if (at % 8 != 0 || at < sizeof(*h) || at > h->size ||
			count > (h->size - at) / section_sizes[i])
			return false;
	}
	return true;
}

static bool
span_fits(const struct tokenizer *t, struct tokenizer_span s)
{
	size_t len = SECTION_COUNT(t, SECTION_TEXT);

	return s.at <= len && s.len <= len - s.at;
}

static bool
id_fits(const struct tokenizer *t, uint32_t id)
{
	return id < t->head->ids;
}

static bool
id_fits_or_none(const struct tokenizer *t, uint32_t id)
{
	return id < t->head->ids || id == TOKENIZER_NONE;
}

static bool
head_fits(const struct tokenizer *t)
{
	const struct tokenizer_head *h = t->head;
	size_t frames = SECTION_COUNT(t, SECTION_FRAME);

	if (h->model >= MODELS || h->ids > TOKENIZER_NONE || !id_fits_or_none(t, h->unknown) ||
		h->strategy >= STRATEGIES || h->maps > TOKENIZER_MAPS_MAX)
		return false;
	if (h->single > frames || h->single_len > frames - h->single || h->pair > frames ||
		h->pair_len > frames - h->pair)
		return false;
	if (h->prefix.len > TOKENIZER_AFFIX_MAX || h->suffix.len > TOKENIZER_AFFIX_MAX ||
		!span_fits(t, h->prefix) || !span_fits(t, h->suffix))
		return false;
	for (size_t i = 0; i < 256; i++)
		if (!id_fits_or_none(t, h->byte_ids[i]))
			return false;
	for (size_t i = 0; i < TOKENIZER_SHORT; i++)
		if (!id_fits_or_none(t, h->short_ids[i]))
			return false;
	return true;
}

static bool
maps_fit(const struct tokenizer *t)
{
	size_t blocks = SECTION_COUNT(t, SECTION_MAP) / 256;

	if (SECTION_COUNT(t, SECTION_CLASS_INDEX) != TOKENIZER_BLOCKS ||
		SECTION_COUNT(t, SECTION_MAP_INDEX) != (size_t)t->head->maps * TOKENIZER_BLOCKS)
		return false;
	for (size_t i = 0; i < TOKENIZER_BLOCKS; i++)
		if (t->class_index[i] >= SECTION_COUNT(t, SECTION_CLASS) / 256)
			return false;
	for (size_t i = 0; i < SECTION_COUNT(t, SECTION_MAP_INDEX); i++)
		if (t->map_index[i] >= blocks)
			return false;
	for (size_t i = 0; i < blocks * 256; i++)
		if (!span_fits(t, (struct tokenizer_span){MAP_AT(t->map[i]), MAP_LEN(t->map[i])}))
			return false;
	return true;
}

static bool
step_fits(const struct tokenizer *t, const struct tokenizer_step *s, bool normal)
{
	if (normal ? s->kind >= STEP_NORMAL_KINDS
		   : s->kind < STEP_NORMAL_KINDS || s->kind >= STEP_KINDS)
		return false;
	if ((s->kind == STEP_MAP || s->kind == STEP_CHARSMAP) && s->extra >= t->head->maps)
		return false;
	if (s->kind == STEP_METASPACE && (s->extra >= SCHEMES || s->a.len == 0))
		return false;
	if ((s->kind == STEP_PATTERN || s->kind == STEP_REPLACE) && s->a.len == 0)
		return false;
	return s->behavior < BEHAVIORS && span_fits(t, s->a) && span_fits(t, s->b);
}

static bool
steps_fit(const struct tokenizer *t)
{
	size_t normal = SECTION_COUNT(t, SECTION_NORMAL), split = SECTION_COUNT(t, SECTION_SPLIT);

	if (normal > TOKENIZER_STEPS_MAX || split > TOKENIZER_STEPS_MAX)
		return false;
	for (size_t i = 0; i < normal; i++)
		if (!step_fits(t, &t->normal[i], true))
			return false;
	for (size_t i = 0; i < split; i++)
		if (!step_fits(t, &t->split[i], false))
			return false;
	return true;
}

/* A text stands in a frame once at most, and the special tokens are as many as the head says: what
 * comes out is never longer than max_length. */
static bool
frame_fits(const struct tokenizer *t, uint32_t at, uint32_t len, uint32_t added, bool pair)
{
	uint32_t kinds[FRAME_KINDS] = {0};

	for (uint32_t i = at; i < at + len; i++) {
		const struct tokenizer_frame *f = &t->frame[i];

		if (f->kind >= FRAME_KINDS || f->type > 1 ||
			(f->kind == FRAME_SPECIAL && !id_fits(t, f->id)))
			return false;
		kinds[f->kind]++;
	}
	return kinds[FRAME_A] <= 1 && kinds[FRAME_B] <= (pair ? 1 : 0) &&
	       kinds[FRAME_SPECIAL] == added;
}

static bool
ids_fit(const struct tokenizer *t)
{
	size_t merges = SECTION_COUNT(t, SECTION_MERGE), i;

	if (!frame_fits(t, t->head->single, t->head->single_len, t->head->single_added, false) ||
		!frame_fits(t, t->head->pair, t->head->pair_len, t->head->pair_added, true))
		return false;
	for (i = 0; i < SECTION_COUNT(t, SECTION_ADDED); i++)
		if (!id_fits(t, t->added[i].id))
			return false;
	if ((merges & (merges - 1)) != 0 || SECTION_COUNT(t, SECTION_SCORE) > t->head->ids)
		return false;
	/* One slot must be free, or a search for what is not there would not end. */
	for (i = 0; i < merges; i++)
		if (t->merge[i].a != TOKENIZER_NONE && !id_fits(t, t->merge[i].id))
			return false;
	for (i = 0; i < merges && t->merge[i].a != TOKENIZER_NONE; i++)
		;
	return merges == 0 || i < merges;
}

static enum err_code
patterns_compile(pcre2_code **codes, const struct tokenizer *t, const struct tokenizer_step *steps,
	size_t len, struct err *e)
{
	for (size_t i = 0; i < len; i++) {
		const struct tokenizer_step *s = &steps[i];

		if ((s->kind == STEP_PATTERN || s->kind == STEP_REPLACE) &&
			(s->flags & STEP_REGEX) != 0 &&
			tokenizer_pattern_compile(&codes[i], t->text + s->a.at, s->a.len, e) !=
				ERR_OK)
			return e->code;
	}
	return ERR_OK;
}

static enum err_code
attach_checked(struct tokenizer *t, const struct tokenizer_head *h, size_t len, struct err *e)
{
	if (len < sizeof(*h) || (uintptr_t)h % 8 != 0 || memcmp(h->magic, magic, 8) != 0)
		return err_set(e, ERR_CONFIG, "tokenizer image: not one");
	if (h->version != TOKENIZER_IMAGE_VERSION || h->head_size != sizeof(*h))
		return err_set(e, ERR_CONFIG, "tokenizer image: version %u, this is for version %d",
			h->version, TOKENIZER_IMAGE_VERSION);
	if (h->size > len || h->size < sizeof(*h))
		return err_set(e, ERR_CONFIG, "tokenizer image: cut short");
	if (h->checksum != image_checksum(h, h->size))
		return err_set(e, ERR_CONFIG, "tokenizer image: damaged (checksum)");
	if (!sections_fit(h))
		return err_set(e, ERR_CONFIG, "tokenizer image: damaged (sections)");
	t->head = h;
#define X(id, name, type)                                                                          \
	t->name = (const type *)(const void *)((const char *)h + h->sections[id].at);
	TOKENIZER_SECTION_LIST(X)
#undef X
	if (!head_fits(t) || !maps_fit(t) || !steps_fit(t) || !ids_fit(t))
		return err_set(e, ERR_CONFIG, "tokenizer image: damaged (offsets)");
	if (patterns_compile(t->normal_code, t, t->normal, SECTION_COUNT(t, SECTION_NORMAL), e) !=
		ERR_OK)
		return e->code;
	return patterns_compile(t->split_code, t, t->split, SECTION_COUNT(t, SECTION_SPLIT), e);
}

enum err_code
tokenizer_attach(struct tokenizer **out, const void *image, size_t len, struct err *e)
{
	AUTO(tokenizer_free) struct tokenizer *t = calloc(1, sizeof(*t));
	struct err local;

	CHECK(t != NULL);
	if (attach_checked(t, image, len, e != NULL ? e : &local) != ERR_OK)
		return ERR_CONFIG;
	*out = t;
	t = NULL;
	return ERR_OK;
}

void
tokenizer_free(struct tokenizer **t_p)
{
	struct tokenizer *t = *t_p;

	if (t == NULL)
		return;
	for (size_t i = 0; i < TOKENIZER_STEPS_MAX; i++) {
		pcre2_code_free(t->normal_code[i]);
		pcre2_code_free(t->split_code[i]);
	}
	free(t);
	*t_p = NULL;
}

uint32_t
tokenizer_size(const struct tokenizer *t)
{
	return t->head->ids;
}

uint32_t
tokenizer_max_length(const struct tokenizer *t)
{
	return t->head->max_length;
}

uint32_t
tokenizer_class(const struct tokenizer *t, uint32_t c)
{
	return t->classes[(size_t)t->class_index[c >> 8] * 256 + (c & 255)];
}
