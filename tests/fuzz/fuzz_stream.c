/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_stream.c - foreign bytes as an upstream's answer
 *
 * First byte: bits 0-1 the dialect, bits 2-3 the endpoint, bit 4 whole answer instead of stream,
 * bit 6 somebody other than the client asked for log-probabilities. The second byte is the size of
 * the pieces that the rest arrives in. Whatever comes: no crash, whole events only, and the same
 * output however the bytes were cut.
 */
#include <stdlib.h>
#include <string.h>

#include "workers/backend/backend.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const enum backend_kind_id kinds[] = {
	BACKEND_OPENAI, BACKEND_OLLAMA, BACKEND_ANTHROPIC, BACKEND_OPENAI};
static const enum msg_endpoint endpoints[] = {
	MSG_ENDPOINT_CHAT, MSG_ENDPOINT_COMPLETIONS, MSG_ENDPOINT_EMBEDDINGS, MSG_ENDPOINT_CHAT};

static enum err_code
run(struct answer *a, uint8_t how, const char *p, size_t len, size_t piece)
{
	enum err_code code = ERR_OK;
	struct err e;

	answer_init(a, backend_kinds[kinds[how & 3]], endpoints[how >> 2 & 3]);
	a->want_usage = true;
	a->probs.wanted = a->probs.hidden = how >> 6 & 1;
	for (size_t at = 0; code == ERR_OK && at < len; at += piece)
		code = answer_feed(a, p + at, MIN(piece, len - at), &e);
	return code == ERR_OK ? answer_end(a, &e) : code;
}

static void
fuzz_whole(uint8_t how, const char *p, size_t len)
{
	AUTO(buf_fini) struct buf body = BUF_INIT;
	struct answer a;
	struct json v;
	struct err e;

	answer_init(&a, backend_kinds[kinds[how & 3]], endpoints[how >> 2 & 3]);
	a.base64 = how >> 5 & 1;
	a.probs.wanted = a.probs.hidden = how >> 6 & 1;
	buf_add(&body, p, len);
	if (answer_whole(&a, &body, &e) == ERR_OK &&
		json_check(&v, buf_str(&body), body.len, &e) != ERR_OK)
		abort();
	answer_fini(&a);
}

/* Every event that came out is one JSON object. */
static void
check_events(const struct buf *out)
{
	const char *p = buf_str(out), *end = p + out->len, *stop;
	struct json v;
	struct err e;

	while (p < end) {
		stop = memmem(p, (size_t)(end - p), "\n\n", 2);
		if (stop == NULL || memcmp(p, "data: ", 6) != 0)
			abort();
		/* an event of several data lines is JSON only with its marks taken out */
		if (memchr(p, '\n', (size_t)(stop - p)) == NULL &&
			(json_check(&v, p + 6, (size_t)(stop - p - 6), &e) != ERR_OK ||
				v.type != JSON_OBJECT))
			abort();
		p = stop + 2;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data + 2;
	struct answer whole, cut;
	enum err_code code;

	if (size < 2)
		return 0;
	if (data[0] & 16) {
		fuzz_whole(data[0], p, size - 2);
		return 0;
	}
	code = run(&whole, data[0], p, size - 2, size);
	if (code != run(&cut, data[0], p, size - 2, (size_t)data[1] + 1) ||
		whole.out.len != cut.out.len ||
		memcmp(buf_str(&whole.out), buf_str(&cut.out), cut.out.len) != 0)
		abort();
	check_events(&whole.out);
	answer_fini(&whole);
	answer_fini(&cut);
	return 0;
}
