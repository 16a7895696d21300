/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.c - what the simulated model says: a pure function of seed, model and prompt
 *
 * hash = FNV-1a (64 bit) over: the seed in decimal, a 0 byte, the model's name, a 0 byte, the
 * prompt. The prompt of a chat is the text of its last user turn, followed by the URLs of its
 * images; that of a completion is its prompt. Word i of the answer is sim_words[mix(hash + i) %
 * 64], mix being the finaliser of splitmix64; words are joined by single spaces. The probability of
 * each of its tokens is ((mix(~hash) >> 40) + 1) / 2^24. So anybody can tell what the answer to a
 * prompt must be, how sure of it the model is, and whether a byte of it got lost on the way.
 */
#include <stdio.h>
#include <string.h>

#include "lib/sim/sim.h"

static const char *const sim_words[64] = {"amber", "anchor", "arc", "atlas", "basin", "beacon",
	"birch", "bridge", "canyon", "carbon", "cedar", "circuit", "cloud", "cobalt", "copper",
	"coral", "current", "delta", "drift", "ember", "falcon", "fern", "field", "flint", "forest",
	"garnet", "glacier", "granite", "harbor", "hazel", "horizon", "iron", "island", "ivory",
	"juniper", "lantern", "laurel", "ledger", "lumen", "maple", "marble", "meadow", "mercury",
	"mirror", "nickel", "oak", "ocean", "onyx", "orbit", "pebble", "pine", "prism", "quartz",
	"raven", "ridge", "river", "signal", "silver", "slate", "spruce", "summit", "timber",
	"valley", "willow"};

static uint64_t
fnv(uint64_t h, const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)p[i]) * UINT64_C(0x100000001b3);
	return h;
}

static uint64_t
mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint64_t
sim_prompt_hash(uint64_t seed, const char *model, const char *prompt, size_t len)
{
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)seed);
	uint64_t h = fnv(UINT64_C(0xcbf29ce484222325), digits, (size_t)n + 1);

	h = fnv(h, model, strlen(model) + 1);
	return fnv(h, prompt, len);
}

size_t
sim_token(char *out, uint64_t hash, uint32_t i)
{
	const char *word = sim_words[mix(hash + i) % ARRAY_LEN(sim_words)];

	return (size_t)snprintf(out, SIM_TOKEN_MAX, "%s%s", i == 0 ? "" : " ", word);
}

uint32_t
sim_count_tokens(size_t bytes)
{
	return (uint32_t)MIN((bytes + 3) / 4, (size_t)UINT32_MAX);
}

void
sim_text(struct buf *out, uint64_t hash, uint32_t tokens)
{
	char token[SIM_TOKEN_MAX];

	for (uint32_t i = 0; i < tokens; i++)
		buf_add(out, token, sim_token(token, hash, i));
}

size_t
sim_piece(const struct buf *text, size_t at)
{
	enum { PIECE_MAX = 16 };
	size_t n = 1;

	while (at + n < text->len && text->data[at + n] != ' ') {
		if (n >= PIECE_MAX && ((unsigned char)text->data[at + n] & 0xc0) != 0x80)
			break; /* a long word, cut between characters */
		n++;
	}
	return n;
}

double
sim_confidence(uint64_t hash)
{
	return (double)((mix(~hash) >> 40) + 1) / (double)(1U << 24);
}

float
sim_embedding(uint64_t hash, uint32_t i)
{
	return (float)((double)(mix(hash + i) >> 40) / (double)(1U << 23) - 1.0);
}
