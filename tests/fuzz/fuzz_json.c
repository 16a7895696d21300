/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_json.c - any bytes through json_check; what it accepts through every reader and back
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Everything that can be asked of one value. */
static void
fuzz_leaf(struct json v)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(buf_fini) struct buf again = BUF_INIT;
	AUTO(buf_fini) struct buf twice = BUF_INIT;
	struct json back;
	char small[16];
	int64_t i;
	uint64_t u;
	double d;

	json_text(&text, v);
	(void)json_copy_text(small, sizeof(small), v);
	(void)json_is_true(v);
	if (json_i64(&i, v) && i >= 0)
		CHECK(json_u64(&u, v) && u == (uint64_t)i);
	if (json_double(&d, v)) {
		json_put_double(&again, d);
		CHECK(json_check(&back, again.data, again.len, NULL) == ERR_OK);
	} else if (v.type == JSON_STRING) {
		json_put_string(&again, buf_str(&text), text.len);
		CHECK(json_check(&back, again.data, again.len, NULL) == ERR_OK);
		json_text(&twice, back);
		CHECK(twice.len == text.len);
	}
}

/* Depth is at most JSON_DEPTH_MAX for a checked text, so a fixed stack of iterators does. */
static void
fuzz_walk(struct json root)
{
	struct json_iter stack[JSON_DEPTH_MAX + 1];
	bool object[JSON_DEPTH_MAX + 1];
	size_t depth = 0;
	struct json v = root, key;

	for (;;) {
		fuzz_leaf(v);
		if (v.type == JSON_OBJECT || v.type == JSON_ARRAY) {
			CHECK(depth <= JSON_DEPTH_MAX);
			object[depth] = v.type == JSON_OBJECT;
			stack[depth++] = json_iter(v);
		}
		while (depth > 0 &&
			!(object[depth - 1] ? json_next_member(&stack[depth - 1], &key, &v)
					    : json_next_item(&stack[depth - 1], &v)))
			depth--;
		if (depth == 0)
			return;
		if (object[depth - 1])
			fuzz_leaf(key);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf_fini) struct buf copy = BUF_INIT;
	char *text = malloc(size == 0 ? 1 : size); /* exact, so that ASan sees a byte too many */
	struct json v, back;
	struct err e;

	CHECK(text != NULL);
	if (size > 0)
		memcpy(text, data, size);
	if (json_check(&v, text, size, &e) == ERR_OK) {
		json_put_raw(&copy, v);
		CHECK(json_check(&back, copy.data, copy.len, &e) == ERR_OK);
		CHECK(back.len == v.len && back.type == v.type);
		(void)json_path(v, "a.b");
		(void)json_count(v, "model");
		fuzz_walk(v);
	} else {
		CHECK(e.code == ERR_INPUT && strncmp(e.text, "line ", 5) == 0);
	}
	free(text);
	return 0;
}
