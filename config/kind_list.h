/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kind_list.h - the one table of backend kinds
 *
 * Without include guard: define BACKEND_KIND and include it. A new kind is one row here, one file
 * workers/backend/kind_<name>.c that defines `const struct backend_kind backend_kind_<name>`.
 *
 * BACKEND_KIND(symbol, name, wants_url, local_port, tells_probs, help)
 *   local_port: where such a server is looked for by discover_local (0: not)
 *   tells_probs: its API has the probabilities of tokens (whether a server gives them is its own affair)
 */
BACKEND_KIND(OPENAI, openai, true, 0, true, "any server with OpenAI's API: llama.cpp, vLLM, LM Studio, hosted")
BACKEND_KIND(OLLAMA, ollama, true, 11434, true, "Ollama's own API")
BACKEND_KIND(ANTHROPIC, anthropic, true, 0, false, "Anthropic's messages API")
BACKEND_KIND(ENCODER, encoder, false, 0, false, "embeddings by an encoder of shunt's own, see encoders")
BACKEND_KIND(SIM, sim, false, 0, true, "simulated model: deterministic text, set speed")
