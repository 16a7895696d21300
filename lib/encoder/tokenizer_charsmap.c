/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_charsmap.c - walk the double array of a SentencePiece normalizer
 *
 * The format is that of darts-clone, as the charsmap of a tokenizer.json has it: a unit holds a
 * label (bits 0..7, and bit 31 for units that are values), a leaf bit (8) and the distance to its
 * children (bits 10.., shifted by 8 more where bit 9 is set). Every index is checked here.
 */
#include "lib/encoder/tokenizer_parts.h"

static size_t
children_of(uint32_t unit)
{
	return (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
}

bool
tokenizer_charsmap_find(
	uint32_t *at, const uint32_t *units, size_t units_len, const char *text, size_t len)
{
	size_t node;

	if (units_len == 0)
		return false;
	node = children_of(units[0]);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		node ^= c;
		if (c == 0 || node >= units_len || (units[node] & (1u << 31 | 0xffu)) != c)
			return false;
		if ((units[node] & (1u << 8)) != 0) {
			node ^= children_of(units[node]);
			if (node >= units_len)
				return false;
			*at = units[node] & ~(1u << 31);
			return true;
		}
		node ^= children_of(units[node]);
	}
	return false;
}
