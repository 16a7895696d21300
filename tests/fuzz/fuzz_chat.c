/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_chat.c - any bytes as a chat, completion, embedding or route body
 *
 * First byte: which of them. Whatever is accepted must name its model where it stands.
 */
#include <stdlib.h>
#include <string.h>

#include "workers/gateway/gateway.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
fuzz_accepted(const struct chat_body *b, const char *body, size_t len)
{
	struct json value;
	char model[MODEL_MAX_LEN];

	for (size_t i = 0; i < b->route.turns_count; i++)
		CHECK(strnlen(b->route.turns[i], b->route.turns_len[i] + 1) <=
			b->route.turns_len[i]);
	if (b->model_len == 0) {
		CHECK(b->route.model == NULL);
		return;
	}
	CHECK((size_t)b->model_at + b->model_len <= len);
	CHECK(json_check(&value, body + b->model_at, b->model_len, NULL) == ERR_OK);
	CHECK(json_copy_text(model, sizeof(model), value) && strcmp(model, b->route.model) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(chat_body_fini) struct chat_body b = {0};
	struct err e = {0};
	char *body;

	if (size == 0)
		return 0;
	/* exactly as large as the body: ASan sees the first byte read behind it */
	body = malloc(size - 1);
	CHECK(body != NULL || size == 1);
	memcpy(body, data + 1, size - 1);
	if (chat_body_read(&b, (enum route_endpoint)(data[0] % 3),
		    data[0] % 4 == 3 ? CHAT_BODY_QUESTION : CHAT_BODY_REQUEST, body, size - 1,
		    &e) == ERR_OK)
		fuzz_accepted(&b, body, size - 1);
	else
		CHECK(e.code == ERR_INPUT && e.text[0] != '\0');
	free(body);
	return 0;
}
