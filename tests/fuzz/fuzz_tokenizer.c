/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_tokenizer.c - any bytes as tokenizer.json, compiled, attached, used; damaged images likewise
 *
 * What begins with a brace is a tokenizer.json. Other inputs damage an image that is good: the
 * first byte says which, then follow places (three bytes, scaled to the image) and values (four
 * bytes). The damaged image is sealed anew, so that it is not the checksum that saves us.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/encoder/tokenizer_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { IMAGES = 3, CHANGE = 7, TEXT_MAX = 4096 };

static const char *const good[IMAGES] = {
	"{\"truncation\":{\"max_length\":16,\"strategy\":\"LongestFirst\",\"stride\":0},"
	"\"added_tokens\":[{\"id\":1,\"content\":\"[CLS]\",\"special\":true},"
	"{\"id\":9,\"content\":\"Ab\",\"normalized\":true,\"lstrip\":true,\"rstrip\":true,"
	"\"single_word\":true}],"
	"\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,"
	"\"handle_chinese_chars\":true,\"strip_accents\":null,\"lowercase\":true},"
	"\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
	"\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",2],\"cls\":[\"[CLS]\","
	"1]},"
	"\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\","
	"\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100,"
	"\"vocab\":{\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,\"a\":3,\"##b\":4,\"abc\":5,\"##bc\":6}}}",
	"{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},"
	"{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x+\"},\"content\":\"ab\"}]},"
	"\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
	"\"pattern\":{\"Regex\":\"\\\\s+\"},\"behavior\":\"MergedWithNext\",\"invert\":false},"
	"{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":true}]},"
	"\"model\":{\"type\":\"BPE\",\"unk_token\":\"u\",\"fuse_unk\":true,"
	"\"byte_fallback\":true,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"abab\":3,\"u\":4,"
	"\"<0x0A>\":5,\"\\u0120\":6,\"\\u0120a\":7},"
	"\"merges\":[\"a b\",\"ab ab\",\"\\u0120 a\"]}}",
	"{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKD\"},"
	"{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}]},"
	"\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\","
	"\"prepend_scheme\":\"first\",\"split\":true},"
	"\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"byte_fallback\":true,\"vocab\":"
	"[[\"u\",0],[\"_\",-1],[\"a\",-2],[\"_a\",-2.5],[\"ab\",-3],[\"<0x41>\",-9]]}}",
};

static const char second[] = "a b\n  Ab abc[CLS]\xe4\xb8\xad xxABc aabab \xff\xcc\x81_a A";

/* Encode in several ways; ids must be smaller than the size. */
static void
fuzz_encode(const struct tokenizer *t, const char *bytes, size_t len)
{
	static const enum tokenizer_cut cuts[] = {
		TOKENIZER_CUT_FILE, TOKENIZER_CUT_RIGHT, TOKENIZER_CUT_LEFT, TOKENIZER_CUT_MIDDLE};
	AUTO(tokenizer_scratch_free) struct tokenizer_scratch *s = tokenizer_scratch_new();
	AUTO(tokens_fini) struct tokens tokens = TOKENS_INIT;
	struct tokenizer_text text = {bytes, len}, pair = {second, sizeof(second) - 1};
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		struct tokenizer_options o = {
			.max_length = i == 0 ? 0 : 7, .cut = cuts[i], .no_special = i == 2};

		if (tokenizer_encode(&tokens, t, s, text, i % 2 == 1 ? &pair : NULL, &o, &e) !=
			ERR_OK) {
			CHECK(e.code == ERR_INPUT);
			continue;
		}
		CHECK(o.max_length == 0 || tokens.len <= o.max_length);
		for (size_t k = 0; k < tokens.len; k++)
			CHECK(tokens.ids[k] < tokenizer_size(t) && tokens.types[k] <= 1);
	}
}

static void
fuzz_image(const void *image, size_t len, const char *text, size_t text_len)
{
	AUTO(tokenizer_free) struct tokenizer *t = NULL;
	struct err e;

	if (tokenizer_attach(&t, image, len, &e) == ERR_OK)
		fuzz_encode(t, text, text_len);
	else
		CHECK(e.code == ERR_CONFIG);
}

/* The good images are made once: a compile costs a thousand times what a damaged one does. */
static const struct buf *
fuzz_good(size_t which)
{
	static struct buf images[IMAGES];
	struct err e;

	if (images[which].len == 0)
		CHECK(tokenizer_compile(&images[which], "good", good[which], strlen(good[which]),
			      &e) == ERR_OK);
	return &images[which];
}

static void
fuzz_damage(const uint8_t *data, size_t size)
{
	const struct buf *image = fuzz_good(data[0] % IMAGES);
	char *copy = malloc(image->len);
	size_t at;

	CHECK(copy != NULL);
	memcpy(copy, image->data, image->len);
	for (data++, size--; size >= CHANGE; data += CHANGE, size -= CHANGE) {
		at = (size_t)(data[0] | data[1] << 8 | data[2] << 16) % (image->len - 4);
		memcpy(copy + at, data + 3, 4);
	}
	tokenizer_seal(copy, image->len);
	fuzz_image(copy, image->len, (const char *)data, size);
	fuzz_image(copy, image->len, second, sizeof(second) - 1);
	free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(buf_fini) struct buf image = BUF_INIT;
	struct err e;

	if (size == 0)
		return 0;
	if (data[0] != '{')
		fuzz_damage(data, size);
	else if (tokenizer_compile(&image, "fuzz", (const char *)data, size, &e) == ERR_OK)
		fuzz_image(image.data, image.len, (const char *)data, MIN(size, TEXT_MAX));
	else
		CHECK(e.code == ERR_CONFIG);
	return 0;
}
