/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tokenizer.c - small tokenizers of every kind: what becomes of texts, images, faults
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encoder/tokenizer_parts.h"

#define WORDPIECE(more)                                                                            \
	"{\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,"                        \
	"\"handle_chinese_chars\":true,\"strip_accents\":null,\"lowercase\":true},"                \
	"\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}," more                                  \
	"\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",2],"                   \
	"\"cls\":[\"[CLS]\",1]},"                                                                  \
	"\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"max_input_chars_per_word\":"  \
	"6,"                                                                                       \
	"\"continuing_subword_prefix\":\"##\",\"vocab\":{\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,"     \
	"\"a\":3,\"##b\":4,\"abc\":5,\"##bc\":6,\",\":7,\"\u4e2d\":8,\"e\":9}}}"

#define BPE(options)                                                                               \
	"{\"model\":{\"type\":\"BPE\"," options                                                    \
	"\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"bc\":4,\"abc\":5,\"u\":6,\"<0x64>\":7},"    \
	"\"merges\":[\"b c\",\"a b\",\"a bc\"]}}"

#define UNIGRAM(options)                                                                           \
	"{\"model\":{\"type\":\"Unigram\",\"unk_id\":0," options                                   \
	"\"vocab\":[[\"u\",0],[\"a\",-1],[\"b\",-1],[\"ab\",-1.5],[\"aba\",-2],[\"<0x64>\",-9]]}}"

/* A tokenizer and what it needs, for one test. */
struct kit {
	struct buf image;
	struct tokenizer *t;
	struct tokenizer_scratch *s;
	struct tokens tokens;
	struct err e;
};

static void
kit_fini(struct kit *k)
{
	tokenizer_free(&k->t);
	tokenizer_scratch_free(&k->s);
	tokens_fini(&k->tokens);
	buf_fini(&k->image);
}

static struct kit
kit_make(const char *json)
{
	struct kit k = {.image = BUF_INIT, .tokens = TOKENS_INIT};

	cr_assert_eq(tokenizer_compile(&k.image, "test", json, strlen(json), &k.e), ERR_OK, "%s",
		k.e.text);
	cr_assert_eq(
		tokenizer_attach(&k.t, k.image.data, k.image.len, &k.e), ERR_OK, "%s", k.e.text);
	k.s = tokenizer_scratch_new();
	return k;
}

/* The ids as text: "1 3 4 2". */
static const char *
ids_of(struct buf *out, const struct tokens *tokens)
{
	buf_clear(out);
	for (size_t i = 0; i < tokens->len; i++)
		buf_addf(out, i > 0 ? " %u" : "%u", tokens->ids[i]);
	return buf_str(out);
}

static void
expect(struct kit *k, const char *text, const char *pair, struct tokenizer_options options,
	const char *ids)
{
	AUTO(buf_fini) struct buf got = BUF_INIT;
	struct tokenizer_text a = {text, strlen(text)}, b = {pair, pair != NULL ? strlen(pair) : 0};

	cr_assert_eq(tokenizer_encode(
			     &k->tokens, k->t, k->s, a, pair != NULL ? &b : NULL, &options, &k->e),
		ERR_OK, "%s: %s", text, k->e.text);
	cr_expect_str_eq(
		ids_of(&got, &k->tokens), ids, "%s: %s instead of %s", text, buf_str(&got), ids);
}

#define PLAIN ((struct tokenizer_options){.max_length = 0})
#define CUT(n, where) ((struct tokenizer_options){.max_length = (n), .cut = (where)})

Test(tokenizer, wordpiece_takes_the_longest_piece_and_gives_up_on_whole_words)
{
	AUTO(kit_fini) struct kit k = kit_make(WORDPIECE(""));

	expect(&k, "abc", NULL, PLAIN, "1 5 2");
	expect(&k, "abbc", NULL, PLAIN, "1 3 4 6 2");
	expect(&k, "abx a", NULL, PLAIN, "1 0 3 2");
	expect(&k, "abbbbb abbbbbb", NULL, PLAIN, "1 3 4 4 4 4 4 0 2"); /* 6 characters, 7 */
	expect(&k, "A,B", NULL, PLAIN, "1 3 7 0 2");
	expect(&k, "", NULL, PLAIN, "1 2");
	expect(&k, "\u00c9a\u4e2da", NULL, PLAIN, "1 0 8 3 2");
	expect(&k, "e\u0301 \u00e9", NULL, PLAIN, "1 9 9 2");
}

Test(tokenizer, pairs_get_types_and_no_special_leaves_the_texts)
{
	AUTO(kit_fini) struct kit k = kit_make(WORDPIECE(""));
	const uint8_t types[] = {0, 0, 0, 1, 1, 1};

	expect(&k, "a", "abc e", PLAIN, "1 3 2 5 9 2");
	cr_assert_arr_eq(k.tokens.types, types, sizeof(types));
	expect(&k, "a", "abc", (struct tokenizer_options){.no_special = true}, "3 5");
	cr_assert_eq(tokenizer_size(k.t), 10);
}

Test(tokenizer, cuts_at_the_end_that_is_asked_for_and_counts_what_is_lost)
{
	AUTO(kit_fini) struct kit k = kit_make(WORDPIECE(""));
	const char *text = "a e abc , \u4e2d";

	expect(&k, text, NULL, CUT(5, TOKENIZER_CUT_RIGHT), "1 3 9 5 2");
	cr_assert_eq(k.tokens.dropped, 2);
	expect(&k, text, NULL, CUT(5, TOKENIZER_CUT_LEFT), "1 5 7 8 2");
	expect(&k, text, NULL, CUT(5, TOKENIZER_CUT_MIDDLE), "1 3 9 8 2");
	expect(&k, text, NULL, CUT(7, TOKENIZER_CUT_MIDDLE), "1 3 9 5 7 8 2");
	cr_assert_eq(k.tokens.dropped, 0);
	expect(&k, text, NULL, CUT(2, TOKENIZER_CUT_RIGHT), "1 2");
	expect(&k, "a a a a", "e e", CUT(7, TOKENIZER_CUT_FILE), "1 3 3 2 9 9 2");
	expect(&k, "a a a a", "e e e e", CUT(8, TOKENIZER_CUT_FILE), "1 3 3 2 9 9 9 2");
}

Test(tokenizer, a_limit_without_room_for_the_special_tokens_is_an_error)
{
	AUTO(kit_fini) struct kit k = kit_make(WORDPIECE(""));
	struct tokenizer_options o = {.max_length = 1};

	cr_assert_eq(tokenizer_encode(
			     &k.tokens, k.t, k.s, (struct tokenizer_text){"a", 1}, NULL, &o, &k.e),
		ERR_INPUT);
	cr_assert_str_eq(k.e.text, "max_length 1 has no room for 2 special tokens");
}

Test(tokenizer, the_strategy_of_the_file_decides_which_text_is_cut)
{
	AUTO(kit_fini)
	struct kit k = kit_make(WORDPIECE(
		"\"truncation\":{\"max_length\":6,\"strategy\":\"OnlyFirst\",\"stride\":0,"
		"\"direction\":\"Left\"},"));

	cr_assert_eq(tokenizer_max_length(k.t), 6);
	expect(&k, "a e abc", "e e", PLAIN, "1 5 2 9 9 2");
	cr_assert_eq(tokenizer_encode(&k.tokens, k.t, k.s, (struct tokenizer_text){"a", 1},
			     &(struct tokenizer_text){"e e e e e", 9}, NULL, &k.e),
		ERR_INPUT);
	cr_assert_not_null(strstr(k.e.text, "may only cut the first text"), "%s", k.e.text);
}

Test(tokenizer, added_tokens_take_spaces_whole_words_and_normalized_text)
{
	AUTO(kit_fini)
	struct kit k = kit_make(WORDPIECE(
		"\"added_tokens\":[{\"id\":1,\"content\":\"[CLS]\",\"normalized\":false},"
		"{\"id\":10,\"content\":\"<L>\",\"lstrip\":true,\"rstrip\":true,\"normalized\":"
		"false},"
		"{\"id\":11,\"content\":\"Ab\",\"single_word\":true,\"normalized\":true}],"));

	expect(&k, "a[CLS]a", NULL, PLAIN, "1 3 1 3 2");
	expect(&k, "a[cls]a", NULL, PLAIN, "1 3 0 0 0 3 2");
	expect(&k, "a  <L>  a", NULL, PLAIN, "1 3 10 3 2");
	expect(&k, "AB, aB", NULL, PLAIN, "1 11 7 11 2");
	expect(&k, "abc xab", NULL, PLAIN, "1 5 0 2");
}

Test(tokenizer, bpe_merges_by_rank_and_from_the_left)
{
	AUTO(kit_fini) struct kit k = kit_make(BPE(""));

	expect(&k, "abc", NULL, PLAIN, "5"); /* b c, then a bc */
	expect(&k, "abab", NULL, PLAIN, "3 3");
	expect(&k, "abbc", NULL, PLAIN, "3 4");
	expect(&k, "axb", NULL, PLAIN, "3"); /* no unknown token: x is left out */
}

Test(tokenizer, bpe_treats_unknown_characters_as_the_file_says)
{
	AUTO(kit_fini) struct kit one = kit_make(BPE("\"unk_token\":\"u\","));
	AUTO(kit_fini) struct kit fused = kit_make(BPE("\"unk_token\":\"u\",\"fuse_unk\":true,"));
	AUTO(kit_fini)
	struct kit bytes = kit_make(BPE("\"unk_token\":\"u\",\"byte_fallback\":true,"));

	expect(&one, "axyb", NULL, PLAIN, "0 6 6 1");
	expect(&fused, "axyb", NULL, PLAIN, "0 6 1");
	expect(&bytes, "adx", NULL, PLAIN, "0 7 6");
}

Test(tokenizer, long_words_give_the_same_merges_as_short_ones)
{
	AUTO(kit_fini) struct kit k = kit_make(BPE(""));
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(buf_fini) struct buf want = BUF_INIT;

	for (int i = 0; i < 300; i++) { /* abc abc ... : the heap; 3 of them: the scan */
		buf_add_str(&text, "abc");
		buf_add_str(&want, i > 0 ? " 5" : "5");
	}
	expect(&k, "abcabcabc", NULL, PLAIN, "5 5 5");
	expect(&k, buf_str(&text), NULL, PLAIN, buf_str(&want));
}

Test(tokenizer, unigram_finds_the_best_path_and_fuses_unknown_text)
{
	AUTO(kit_fini) struct kit k = kit_make(UNIGRAM(""));
	AUTO(kit_fini) struct kit bytes = kit_make(UNIGRAM("\"byte_fallback\":true,"));

	expect(&k, "ab", NULL, PLAIN, "3");
	expect(&k, "abab", NULL, PLAIN, "3 3");
	expect(&k, "aba", NULL, PLAIN, "4");
	expect(&k, "axya", NULL, PLAIN, "1 0 1");
	expect(&bytes, "add", NULL, PLAIN, "1 5 5");
	expect(&bytes, "adx", NULL, PLAIN, "1 0");
}

Test(tokenizer, bytes_that_are_no_utf8_become_replacement_characters)
{
	AUTO(kit_fini)
	struct kit k = kit_make("{\"model\":{\"type\":\"BPE\",\"unk_token\":\"u\",\"vocab\":"
				"{\"u\":0,\"\\ufffd\":1,\"a\":2,\"\\u0000\":3},\"merges\":[]}}");
	static const struct {
		const char *bytes;
		size_t len;
		const char *ids;
	} rows[] = {
		{"a\xff"
		 "a",
			3, "2 1 2"},
		{"\xf0\x9f\x98"
		 "a",
			4, "1 2"},
		{"\xc3", 1, "1"},
		{"\xed\xa0\x80", 3, "1 1 1"},
		{"\xe0\x80\x80", 3, "1 1 1"},
		{"\xc0\xaf", 2, "1 1"},
		{"a\0a", 3, "2 3 2"},
		{"\x80\x80", 2, "1 1"},
		{"\xe2\x82", 2, "1"},
	};
	AUTO(buf_fini) struct buf got = BUF_INIT;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cr_assert_eq(tokenizer_encode(&k.tokens, k.t, k.s,
				     (struct tokenizer_text){rows[i].bytes, rows[i].len}, NULL,
				     NULL, &k.e),
			ERR_OK);
		cr_expect_str_eq(
			ids_of(&got, &k.tokens), rows[i].ids, "row %zu: %s", i, buf_str(&got));
	}
}

/* Ids of the characters that pieces begin with are all that these tests look at. */
#define SPLIT(pre)                                                                                 \
	"{\"pre_tokenizer\":" pre ",\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"?\","        \
	"\"vocab\":{\"?\":0,\"a\":1,\"-\":2,\"--\":3,\"a-\":4,\"-a\":5,\"a--\":6,\"b\":7,\"1\":8," \
	"\"12\":9,\"_a\":10,\"_b\":11,\"_a_b\":12,\"-b\":13}}}"
#define DASHES(behavior, invert)                                                                   \
	SPLIT("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"-\"},\"behavior\":\"" behavior         \
	      "\",\"invert\":" invert "}")

Test(tokenizer, splits_behave_as_named)
{
	static const struct {
		const char *json, *ids;
	} rows[] = {
		{DASHES("Removed", "false"), "1 7"},
		{DASHES("Removed", "true"), "2 2"},
		{DASHES("Isolated", "false"), "1 2 2 7"},
		{DASHES("Contiguous", "false"), "1 3 7"},
		{DASHES("MergedWithPrevious", "false"), "4 2 7"},
		{DASHES("MergedWithNext", "false"), "1 2 13"},
		{SPLIT("{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}"), "1 3 7"},
		{SPLIT("{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"-\"}"), "1 7"},
		{SPLIT("{\"type\":\"Whitespace\"}"), "1 3 7"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(kit_fini) struct kit k = kit_make(rows[i].json);

		expect(&k, "a--b", NULL, PLAIN, rows[i].ids);
	}
}

Test(tokenizer, digits_and_metaspace)
{
	AUTO(kit_fini)
	struct kit each = kit_make(SPLIT("{\"type\":\"Digits\",\"individual_digits\":true}"));
	AUTO(kit_fini) struct kit runs = kit_make(SPLIT("{\"type\":\"Digits\"}"));
	AUTO(kit_fini)
	struct kit first = kit_make(SPLIT("{\"type\":\"Sequence\",\"pretokenizers\":["
					  "{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"-\"},"
					  "{\"type\":\"Metaspace\",\"replacement\":\"_\","
					  "\"prepend_scheme\":\"first\"}]}"));
	AUTO(kit_fini)
	struct kit cut = kit_make(SPLIT("{\"type\":\"Metaspace\",\"replacement\":\"_\","
					"\"prepend_scheme\":\"first\"},\"normalizer\":{\"type\":"
					"\"Replace\",\"pattern\":{\"String\":\"-\"},"
					"\"content\":\"\"}"));
	AUTO(kit_fini)
	struct kit whole = kit_make(SPLIT("{\"type\":\"Metaspace\",\"replacement\":\"_\","
					  "\"split\":false}"));

	expect(&each, "a11", NULL, PLAIN, "1 8 8");
	expect(&runs, "a12b", NULL, PLAIN, "1 9 7");
	expect(&first, "a-b", NULL, PLAIN, "10 7");
	expect(&first, "a b", NULL, PLAIN, "10 11");
	expect(&cut, "a- b", NULL, PLAIN, "10 11");
	expect(&cut, "-a b", NULL, PLAIN, "1 11"); /* what is left is not the text's beginning */
	expect(&whole, "a b", NULL, PLAIN, "12");
}

#define NORMAL(steps)                                                                              \
	"{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" steps "]},"                     \
	"\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"a\":1,"        \
	"\"\u00e9\":2,\"e\u0301\":3,\"e\":4,\"fi\":5,\"a b\":6,\"xa\":7,\"\ud55c\":8,"             \
	"\"a\u0323\u0307\":9,\"\u1ea1\u0307\":10,\"\u0120a\":11}}}"

Test(tokenizer, normalizers_do_what_their_names_say)
{
	static const struct {
		const char *json, *text, *ids;
	} rows[] = {
		{NORMAL("{\"type\":\"NFC\"}"), "e\u0301", "2"},
		{NORMAL("{\"type\":\"NFD\"}"), "\u00e9", "3"},
		{NORMAL("{\"type\":\"NFC\"}"), "\u1112\u1161\u11ab", "8"},
		{NORMAL("{\"type\":\"NFD\"}"), "a\u0307\u0323", "9"},
		{NORMAL("{\"type\":\"NFC\"}"), "a\u0307\u0323", "10"},
		{NORMAL("{\"type\":\"NFKC\"}"), "\ufb01", "5"},
		{NORMAL("{\"type\":\"NFKD\"}"), "\ufb01", "5"},
		{NORMAL("{\"type\":\"NFD\"},{\"type\":\"StripAccents\"}"), "\u00e9", "4"},
		{NORMAL("{\"type\":\"Lowercase\"}"), "\u00c9", "2"},
		{NORMAL("{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}"),
			"\u3000 a\n", "1"},
		{NORMAL("{\"type\":\"Strip\",\"strip_left\":false,\"strip_right\":true}"), " a ",
			"0"},
		{NORMAL("{\"type\":\"Nmt\"}"),
			"a\u200b"
			"b",
			"6"},
		{NORMAL("{\"type\":\"Prepend\",\"prepend\":\"x\"}"), "a", "7"},
		{NORMAL("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"[xy]+\"},\"content\":\" "
			"\"}"),
			"axyb", "6"},
		{NORMAL("{\"type\":\"Replace\",\"pattern\":{\"String\":\"..\"},\"content\":\"\"}"),
			"..a....", "1"},
		{NORMAL("{\"type\":\"ByteLevel\"}"), " a", "11"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(kit_fini) struct kit k = kit_make(rows[i].json);

		expect(&k, rows[i].text, NULL, PLAIN, rows[i].ids);
	}
}

Test(tokenizer, a_fault_names_the_file_the_key_and_what_is_supported)
{
	static const struct {
		const char *json, *want;
	} rows[] = {
		{"{", "test: line 1"},
		{"[]", "test: not a tokenizer.json"},
		{"{\"model\":{\"type\":\"Other\"}}",
			"model `Other` is not supported; supported are "
			"WordPiece, BPE, Unigram, WordLevel"},
		{"{\"normalizer\":{\"type\":\"Odd\"}}", "normalizer `Odd` is not supported; "
							"supported are BertNormalizer"},
		{"{\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}}",
			"pre_tokenizer `UnicodeScripts` is not supported"},
		{"{\"post_processor\":{\"type\":\"Odd\"}}", "post_processor `Odd` is not"},
		{BPE("\"dropout\":0.1,"), "model.dropout: must be null"},
		{BPE("\"unk_token\":\"zz\","), "model.unk_token `zz` is not in the vocabulary"},
		{"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}",
			"model.merges: a side or the result of `ab`"},
		{"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"\":0},\"merges\":[[\"\",\"\"]]}}",
			"model.merges: must be a list of pairs"},
		{"{\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(\"},"
		 "\"content\":\"\"}}",
			"test: pattern (: "},
		{"{\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"!\"}}",
			"precompiled_charsmap: must be base64"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(buf_fini) struct buf image = BUF_INIT;
		struct err e;

		cr_expect_eq(
			tokenizer_compile(&image, "test", rows[i].json, strlen(rows[i].json), &e),
			ERR_CONFIG, "%s", rows[i].json);
		cr_expect_not_null(strstr(e.text, rows[i].want), "%s: %s", rows[i].json, e.text);
		cr_expect_eq(image.len, 0);
	}
}

Test(tokenizer, a_damaged_or_cut_image_is_refused)
{
	AUTO(kit_fini) struct kit k = kit_make(WORDPIECE(""));
	struct tokenizer *t = NULL;

	for (size_t at = 8; at < k.image.len; at += 509) {
		k.image.data[at] = (char)(k.image.data[at] ^ 4);
		cr_expect_eq(tokenizer_attach(&t, k.image.data, k.image.len, &k.e), ERR_CONFIG,
			"byte %zu", at);
		k.image.data[at] = (char)(k.image.data[at] ^ 4);
	}
	cr_assert_eq(tokenizer_attach(&t, k.image.data, k.image.len - 1, &k.e), ERR_CONFIG);
	cr_assert_eq(tokenizer_attach(&t, k.image.data, 8, &k.e), ERR_CONFIG);
	cr_assert_null(t);
}

Test(tokenizer, an_image_works_wherever_it_lies)
{
	AUTO(kit_fini) struct kit k = kit_make(WORDPIECE(""));
	char *copy = malloc(k.image.len + 8);

	cr_assert_not_null(copy);
	memcpy(copy + 8, k.image.data, k.image.len);
	tokenizer_free(&k.t);
	cr_assert_eq(tokenizer_attach(&k.t, copy + 8, k.image.len, &k.e), ERR_OK);
	expect(&k, "abc", NULL, PLAIN, "1 5 2");
	free(copy);
}

/* The words of one tokenizer must not answer for another's, though the scratch is the same. */
Test(tokenizer, a_scratch_may_go_from_one_tokenizer_to_another)
{
	AUTO(kit_fini) struct kit a = kit_make(BPE(""));
	AUTO(kit_fini) struct kit b = kit_make(UNIGRAM(""));
	struct tokenizer_scratch *own = b.s;

	expect(&a, "ab", NULL, PLAIN, "3");
	b.s = a.s;
	expect(&b, "aba", NULL, PLAIN, "4");
	expect(&a, "aba", NULL, PLAIN, "3 0");
	b.s = own;
}

/* Steps that the model takes for a text, by the counter of the scratch. */
static uint64_t
work_for(struct kit *k, const char *unit, size_t bytes)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	uint64_t before = k->s->work;

	while (text.len < bytes)
		buf_add_str(&text, unit);
	cr_assert_eq(tokenizer_encode(&k->tokens, k->t, k->s,
			     (struct tokenizer_text){text.data, text.len}, NULL, NULL, &k->e),
		ERR_OK);
	return k->s->work - before;
}

Test(tokenizer, twice_the_text_takes_about_twice_the_steps)
{
	static const struct {
		const char *json, *unit;
	} rows[] = {
		{BPE(""), "a"},
		{BPE(""), "ab"},
		{BPE(""), "abc"},
		{BPE("\"unk_token\":\"u\","), "x"},
		{UNIGRAM(""), "a"},
		{UNIGRAM(""), "ab"},
		{UNIGRAM(""), "x"},
		{WORDPIECE(""), "a"},
		{WORDPIECE(""), "a "},
		{WORDPIECE(""), ","},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(kit_fini) struct kit k = kit_make(rows[i].json);
		uint64_t half = work_for(&k, rows[i].unit, 500000);
		uint64_t whole = work_for(&k, rows[i].unit, 1000000);

		cr_expect_leq(whole, 2 * half + half / 4 + 1000, "row %zu: %lu, then %lu", i,
			(unsigned long)half, (unsigned long)whole);
		cr_expect_leq(
			whole, (uint64_t)1000000 * 64, "row %zu: %lu", i, (unsigned long)whole);
	}
}

Test(tokenizer, a_costly_pattern_ends_in_an_error_and_not_in_hours)
{
	AUTO(kit_fini)
	struct kit k = kit_make(SPLIT("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a|a|aa)+$\"},"
				      "\"behavior\":\"Isolated\",\"invert\":false}"));
	char text[200];

	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = 'b';
	cr_assert_eq(tokenizer_encode(&k.tokens, k.t, k.s,
			     (struct tokenizer_text){text, sizeof(text)}, NULL, NULL, &k.e),
		ERR_INPUT);
	cr_assert_not_null(strstr(k.e.text, "too many steps"), "%s", k.e.text);
}
