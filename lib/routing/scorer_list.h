/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_list.h - the one table of scorers
 *
 * Without include guard: define SCORER and include it.
 *
 * SCORER(symbol, name, kind, help)
 *   symbol  SCORER_<symbol>; lib/routing/scorer_<name>.c defines scorer_<name>_ops
 *   name    in configs, router-<name>-<threshold>, --scorer and scorer files
 *   kind    FIXED: needs no file; TRAINED: reads one, made by lib/lab/train_<name>.c;
 *           ENCODER: asks a classifier; TEST: only for `shunt eval`, never in a route
 */
SCORER(HEURISTIC, heuristic, FIXED, "length, structure and words of the prompt")
SCORER(RANDOM, random, FIXED, "a coin with the wanted bias, from the request's seed")
SCORER(WEAK, weak, FIXED, "always the weak model")
SCORER(STRONG, strong, FIXED, "always the strong model")
SCORER(LINEAR, linear, TRAINED, "hashed word and character n-grams, one ridge head per model")
SCORER(ENCODER, encoder, ENCODER, "a classifier of the config's encoders, asked for its win rate")
