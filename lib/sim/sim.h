/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.h - what the simulated model says: a pure function of seed, model and prompt
 *
 * The backend worker answers with it, and the chaos runner knows by it what an answer must be.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"

/* The i-th token of the answer to prompt: a word with a space before it (none before the first).
 * out has room for SIM_TOKEN_MAX bytes; returns its length. */
enum { SIM_TOKEN_MAX = 24 };
uint64_t sim_prompt_hash(uint64_t seed, const char *model, const char *prompt, size_t len);
size_t sim_token(char *out, uint64_t hash, uint32_t i);
/* Tokens that n bytes of text count as: (n + 3) / 4. */
uint32_t sim_count_tokens(size_t bytes);
/* The whole answer of `tokens` tokens. */
void sim_text(struct buf *out, uint64_t hash, uint32_t tokens);
/* Bytes of the piece of text that a stream sends at once, from `at` on: a word, or part of one. */
size_t sim_piece(const struct buf *text, size_t at);
/* How sure the model is of that answer: the probability of each of its tokens, in (0, 1]. */
double sim_confidence(uint64_t hash);
/* One embedding, numbers in -1..1. */
enum { SIM_DIMENSIONS = 64 };
float sim_embedding(uint64_t hash, uint32_t i);
