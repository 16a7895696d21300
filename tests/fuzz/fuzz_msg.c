/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_msg.c - any bytes through msg_decode; what it accepts is encoded and decoded again
 */
#include <stdlib.h>
#include <string.h>

#include "schemas/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Encoding reads every field and every byte of every string of the views. */
static void
fuzz_round_trip(const struct msg *m)
{
	AUTO(buf_fini) struct buf once = BUF_INIT;
	AUTO(buf_fini) struct buf twice = BUF_INIT;
	struct msg back;
	struct err e;

	msg_encode(&once, m);
	CHECK(once.len <= MSG_LEN_MAX);
	CHECK(msg_decode(&back, once.data, once.len, &e) == ERR_OK);
	CHECK(back.type == m->type);
	CHECK(memcmp(&back.head, &m->head, offsetof(struct msg_head, sender_role) + 1) == 0);
	msg_encode(&twice, &back);
	CHECK(twice.len == once.len && memcmp(twice.data, once.data, once.len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	void *copy = malloc(size == 0 ? 1 : size); /* exact, so that ASan sees a byte too many */
	struct msg m;
	struct err e;

	CHECK(copy != NULL);
	if (size > 0)
		memcpy(copy, data, size);
	if (msg_decode(&m, copy, size, &e) == ERR_OK)
		fuzz_round_trip(&m);
	else
		CHECK(e.code == ERR_MALFORMED && e.text[0] != '\0');
	free(copy);
	return 0;
}
