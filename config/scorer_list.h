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
SCORER(CASCADE, cascade, FIXED, "none of the prompt: the weak model answers, and a strong one where it is unsure of its own tokens")
SCORER(LINEAR, linear, TRAINED, "hashed word and character n-grams, one ridge head per model")
SCORER(KNN, knn, TRAINED, "what the models scored on the nearest training prompts")
SCORER(ELO, elo, TRAINED, "Bradley-Terry strengths from the nearest training prompts")
SCORER(CLUSTER, cluster, TRAINED, "k-means clusters of prompts, each model's mean in them")
SCORER(MLP, mlp, TRAINED, "a small neural network on the leading directions of the n-grams")
SCORER(MF, mf, TRAINED, "matrix factorisation: factors of the prompt times factors of the model")
SCORER(IRT, irt, TRAINED, "item response: ease of the prompt, ability and discrimination of models")
SCORER(ENSEMBLE, ensemble, TRAINED, "linear, knn and cluster, averaged")
SCORER(ENCODER, encoder, ENCODER, "a classifier of the config's encoders, asked for its win rate")
