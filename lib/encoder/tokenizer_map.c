/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_map.c - tables of what becomes of each character, made once for an image
 *
 * Lower-casing, decomposing, dropping accents and controls all look at one character at a time, so
 * a chain of them is one table: code point to bytes. Blocks of 256 entries, equal ones shared by
 * their being all MAP_SAME (block 0).
 */
#include <string.h>

#include "lib/base/utf8.h"
#include "lib/encoder/tokenizer_parts.h"

enum { MAP_POINTS_MAX = 64 };

static uint32_t
map_entry(struct tokenizer_draft *d, uint32_t c, const uint32_t *points, size_t len)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct tokenizer_span span;
	uint32_t mark = 0;

	if (len == 1 && points[0] == c) /* nearly always */
		return MAP_SAME | (tokenizer_unicode_order(c) != 0 ? MAP_MARK : 0);
	for (size_t i = 0; i < len; i++) {
		utf8_add(&text, points[i]);
		mark |= tokenizer_unicode_order(points[i]) != 0 ? MAP_MARK : 0;
	}
	span = tokenizer_draft_text(d, buf_str(&text), text.len);
	d->too_large = d->too_large || span.len > MAP_LEN(~0u) || span.at > MAP_AT_MAX;
	return MAP_TEXT | mark | span.at << 8 | span.len;
}

static void
blocks_put(struct tokenizer_draft *d, const uint32_t *block)
{
	struct buf *map = &d->sections[SECTION_MAP];
	uint16_t index = 0;

	for (size_t i = 0; i < 256 && index == 0; i++)
		index = block[i] != MAP_SAME;
	if (index != 0) {
		index = (uint16_t)(map->len / (256 * sizeof(*block)));
		buf_add(map, block, 256 * sizeof(*block));
	}
	buf_add(&d->sections[SECTION_MAP_INDEX], &index, sizeof(index));
}

static uint32_t
map_begin(struct tokenizer_draft *d)
{
	static const uint32_t same[256];

	if (d->sections[SECTION_MAP].len == 0)
		buf_add(&d->sections[SECTION_MAP], same, sizeof(same));
	return d->head.maps++;
}

void
tokenizer_map_build(
	struct tokenizer_draft *d, uint32_t *index_out, tokenizer_map_fn *fn, const void *arg)
{
	uint32_t block[256], points[MAP_POINTS_MAX];

	*index_out = map_begin(d);
	for (uint32_t c = 0; c < 0x110000; c++) {
		bool skip = (c >= 0xd800 && c <= 0xdfff) || (c >= UNICODE_USED && c < UNICODE_TAGS);
		int n = skip ? -1 : fn(points, c, arg);

		points[0] = n < 0 ? c : points[0];
		block[c % 256] = map_entry(d, c, points, n < 0 ? 1 : (size_t)n);
		if (c % 256 == 255)
			blocks_put(d, block);
	}
}

void
tokenizer_map_charsmap(
	struct tokenizer_draft *d, uint32_t *index_out, struct tokenizer_span replacements)
{
	const struct buf *units = &d->sections[SECTION_CHARSMAP];
	AUTO(buf_fini) struct buf text = BUF_INIT;
	uint32_t block[256], at;

	*index_out = map_begin(d);
	for (uint32_t c = 0; c < 0x110000; c++) {
		buf_clear(&text);
		utf8_add(&text, c);
		block[c % 256] = MAP_SAME;
		if ((c < 0xd800 || c > 0xdfff) &&
			tokenizer_charsmap_find(&at, (const uint32_t *)(const void *)units->data,
				units->len / sizeof(uint32_t), text.data, text.len) &&
			at < replacements.len) {
			const char *p = d->sections[SECTION_TEXT].data + replacements.at + at;
			size_t len = strnlen(p, MIN(replacements.len - at, MAP_LEN(~0u)));

			d->too_large = d->too_large || replacements.at + at > MAP_AT_MAX;
			block[c % 256] = MAP_TEXT | (replacements.at + at) << 8 | (uint32_t)len;
		}
		if (c % 256 == 255)
			blocks_put(d, block);
	}
}

uint32_t
tokenizer_map_entry(const struct tokenizer *t, uint32_t map, uint32_t c)
{
	return t->map[(size_t)t->map_index[map * TOKENIZER_BLOCKS + (c >> 8)] * 256 + (c & 255)];
}
