/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_json.c - what is JSON and what is not; reading in place; writing
 */
#include <criterion/criterion.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/json.h"
#include "lib/base/utf8.h"

/* The bytes of a literal, NULs inside included. */
struct text {
	const char *p;
	size_t len;
};
#define T(s) {s, sizeof(s) - 1}

static const struct text valid_texts[] = {
	T("null"), T("true"), T("false"), T("0"), T("-0"), T("\"\""), T("[]"), T("{}"),
	T(" \t\r\n1\n"), T("[1, 2 ,3]"), T("[[[[]]]]"), T("[{},[],\"\",0,null,true,false]"),
	T("{\"\":0}"), T("{\"a\":{\"b\":[{\"c\":null}]}}"), T("{\"a\":1,\"a\":2}"),
	T("1e1"), T("1E+2"), T("1e-2"), T("0e1"), T("0.0"), T("-0.5e-10"), T("123.456e789"),
	T("123456789012345678901234567890"), T("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
	T("\"\\u0000\\u001f\\uABCD\\uabcd\""), T("\"\\ud834\\udd1e\""), T("\"\\ud800\""),
	T("\"\x7f\""), T("\"\xc2\x80\xdf\xbf\""), T("\"\xe0\xa0\x80\xef\xbf\xbf\""),
	T("\"\xed\x9f\xbf\xee\x80\x80\""), T("\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\""),
	T("\"\xe2\x80\xa8\xe2\x80\xa9\""), T("[\"12345678\",\"1234567\\\\\",\"123456789abcdef\"]"),
};

static const struct text invalid_texts[] = {
	T(""), T(" "), T("\xef\xbb\xbfnull"), T("nul"), T("nulll"), T("True"), T("NaN"),
	T("Infinity"), T("-Infinity"), T("+1"), T("-"), T("01"), T("-01"), T("00"), T("1."), T(".5"),
	T("-.5"), T("1.e1"), T("1e"), T("1e+"), T("1e1.5"), T("0x10"), T("1_000"), T("1 2"), T("--1"),
	T("1a"), T("["), T("]"), T("[1"), T("[1,"), T("[1,]"), T("[,1]"), T("[1,,2]"), T("[1 2]"),
	T("[1}"), T("[\"a\""), T("[1]]"), T("[] []"), T("{"), T("}"), T("{]"), T("{\"a\"}"),
	T("{\"a\":}"), T("{\"a\":1,}"), T("{,}"), T("{\"a\":1 \"b\":2}"), T("{a:1}"), T("{'a':1}"),
	T("{1:1}"), T("{\"a\" 1}"), T("{\"a\"::1}"), T("{\"a\":1]"), T("{\"a\":1}}"), T("{\"a\":1,,}"),
	T("{\"a\":1/**/}"), T("//x\n1"), T("\""), T("\"a"), T("\"\\\""), T("\"\\"), T("\"\\x41\""),
	T("\"\\a\""), T("\"\\u12\""), T("\"\\u12G4\""), T("\"\\u\""), T("\"\\U0041\""), T("'a'"),
	T("\"\n\""), T("\"\t\""), T("\"\x1f\""), T("\"\0\""), T("\"\\\0\""), T("1\0"), T("\0"),
	T("[1\0]"), T("\"a\"\0"), T("\"\x80\""), T("\"\xbf\""), T("\"\xc0\x80\""), T("\"\xc1\xbf\""),
	T("\"\xc2\""), T("\"\xc2\x41\""), T("\"\xe0\x80\x80\""), T("\"\xe0\x9f\xbf\""),
	T("\"\xe2\x82\""), T("\"\xed\xa0\x80\""), T("\"\xed\xbf\xbf\""), T("\"\xf0\x80\x80\x80\""),
	T("\"\xf0\x8f\xbf\xbf\""), T("\"\xf4\x90\x80\x80\""), T("\"\xf5\x80\x80\x80\""),
	T("\"\xff\""), T("\"\xfe\""), T("[\"\xf0\x9f\x98\"]"), T("\"1234567\x01\""),
	T("\"123456789012345\xff\""), T("1\x0b"), T("1\x0c"), T("\xc2\xa0""1"), T("[\x1f]"),
};

static enum err_code
check(struct json *v, const char *text, struct err *e)
{
	return json_check(v, text, strlen(text), e);
}

static struct json
parse(const char *text)
{
	struct json v = {JSON_NONE, NULL, 0};
	struct err e;

	cr_assert_eq(check(&v, text, &e), ERR_OK, "%s", text);
	return v;
}

/* A copy of exactly len bytes on the heap, so that ASan sees a read behind its end. */
static char *
exact(struct text t)
{
	char *p = malloc(t.len == 0 ? 1 : t.len);

	cr_assert_not_null(p);
	memcpy(p, t.p, t.len);
	return p;
}

Test(json, accepts_every_valid_text)
{
	struct json v;
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(valid_texts); i++) {
		char *p = exact(valid_texts[i]);

		e.text[0] = '\0';
		cr_expect_eq(json_check(&v, p, valid_texts[i].len, &e), ERR_OK, "%s: %s",
			valid_texts[i].p, e.text);
		free(p);
	}
}

Test(json, refuses_every_invalid_text)
{
	for (size_t i = 0; i < ARRAY_LEN(invalid_texts); i++) {
		char *p = exact(invalid_texts[i]);
		struct json v = {JSON_NONE, NULL, 7};
		struct err e;

		cr_expect_eq(json_check(&v, p, invalid_texts[i].len, &e), ERR_INPUT, "row %zu: %s", i,
			invalid_texts[i].p);
		cr_expect_eq(v.len, 7, "row %zu touched its output", i);
		free(p);
	}
}

Test(json, every_proper_prefix_of_an_object_is_refused)
{
	static const char text[] =
		"{\"a\":[1.5e3,true,null,\"x\\u00e9\\n\xc3\xa9\"],\"b\":{\"c\":false}}";
	struct json v;
	struct err e;

	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		struct text t = {text, len};
		char *p = exact(t);

		cr_expect_eq(json_check(&v, p, len, &e), ERR_INPUT, "%.*s", (int)len, text);
		free(p);
	}
}

Test(json, an_error_has_line_and_column)
{
	struct json v;
	struct err e;

	cr_assert_eq(check(&v, "{\n  \"a\": 1,\n  \"b\": tru\n}", &e), ERR_INPUT);
	cr_assert_str_eq(e.text, "line 3 column 8: value expected");
	cr_assert_eq(check(&v, "[\"\xc3\xa9\xc3\xa9\", x]", &e), ERR_INPUT);
	cr_assert_str_eq(e.text, "line 1 column 8: value expected", "columns count characters");
	cr_assert_eq(check(&v, "{} {}", &e), ERR_INPUT);
	cr_assert_str_eq(e.text, "line 1 column 4: bytes after the value");
	cr_assert_eq(check(&v, "[1,\n", &e), ERR_INPUT);
	cr_assert_str_eq(e.text, "line 2 column 1: text ends inside a value");
}

Test(json, depth_is_limited)
{
	char text[2 * (JSON_DEPTH_MAX + 1)];
	struct json v;
	struct err e;

	memset(text, '[', JSON_DEPTH_MAX);
	memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
	cr_assert_eq(json_check(&v, text, 2 * JSON_DEPTH_MAX, &e), ERR_OK);
	memset(text, '[', JSON_DEPTH_MAX + 1);
	memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
	cr_assert_eq(json_check(&v, text, sizeof(text), &e), ERR_INPUT);
	cr_assert_not_null(strstr(e.text, "deep"));
}

Test(json, object_and_array_ends_are_not_mixed_up_when_nested)
{
	struct json v;
	struct err e;

	cr_assert_eq(check(&v, "[{\"a\":[{\"b\":[]}]}]", &e), ERR_OK);
	cr_assert_eq(check(&v, "[{\"a\":[{\"b\":[}]]}]", &e), ERR_INPUT);
	cr_assert_eq(check(&v, "[{\"a\":[{\"b\":[]]}}]", &e), ERR_INPUT);
}

Test(json, every_special_byte_is_found_at_every_offset_of_a_long_string)
{
	for (size_t len = 1; len < 40; len++) {
		for (size_t at = 0; at < len; at++) {
			char text[64];
			struct json v;
			struct err e;

			text[0] = '"';
			memset(text + 1, 'x', len);
			text[len + 1] = '"';
			cr_assert_eq(json_check(&v, text, len + 2, &e), ERR_OK);
			text[1 + at] = '\x1f';
			cr_assert_eq(json_check(&v, text, len + 2, &e), ERR_INPUT);
			text[1 + at] = '\xff';
			cr_assert_eq(json_check(&v, text, len + 2, &e), ERR_INPUT);
			text[1 + at] = '"';
			cr_assert_eq(json_check(&v, text, len + 2, &e), ERR_INPUT);
			text[1 + at] = '\\';
			cr_assert_eq(json_check(&v, text, len + 2, &e), ERR_INPUT);
			text[1 + at] = '\x7f';
			cr_assert_eq(json_check(&v, text, len + 2, &e), ERR_OK);
		}
	}
}

Test(json, get_and_path_find_members)
{
	struct json v = parse("{\"id\": \"x\", \"usage\" : {\"prompt_tokens\": 12 , \"d\":{}}, "
			      "\"caf\\u00e9\":1, \"id\":2}");
	uint64_t n;

	cr_assert(json_equals(json_get(v, "id"), "x"), "the first of two");
	cr_assert_eq(json_count(v, "id"), 2);
	cr_assert_eq(json_count(v, "nope"), 0);
	cr_assert(json_u64(&n, json_path(v, "usage.prompt_tokens")));
	cr_assert_eq(n, 12);
	cr_assert_eq(json_path(v, "usage.prompt_tokens.x").type, JSON_NONE);
	cr_assert_eq(json_path(v, "usage.d").type, JSON_OBJECT);
	cr_assert_eq(json_get(v, "caf\xc3\xa9").type, JSON_NUMBER, "escaped keys are decoded");
	cr_assert_eq(json_get(parse("[1]"), "id").type, JSON_NONE);
	cr_assert_eq(json_get((struct json){JSON_NONE, NULL, 0}, "id").type, JSON_NONE);
}

Test(json, iteration_sees_every_item_with_its_exact_bytes)
{
	static const char *const items[] = {"1", "-2.50", "\"a,]\\\"\"", "[1, [2]]",
		"{\"a\" : \"}\"}", "true", "null"};
	struct json v = parse("[ 1,-2.50 , \"a,]\\\"\",[1, [2]],{\"a\" : \"}\"},\ntrue,null ]");
	struct json_iter it = json_iter(v);
	struct json item;
	size_t n = 0;

	while (json_next_item(&it, &item)) {
		cr_assert_lt(n, ARRAY_LEN(items));
		cr_assert_eq(item.len, strlen(items[n]), "item %zu has %zu bytes", n, item.len);
		cr_assert_eq(memcmp(item.p, items[n], item.len), 0);
		n++;
	}
	cr_assert_eq(n, ARRAY_LEN(items));
	cr_assert_not(json_next_item(&it, &item), "and stays at the end");
}

/* Rebuild v out of its parts with the writer, byte for byte but for white space. */
static void
rebuild(struct buf *out, struct json v, unsigned depth)
{
	struct json_iter it = json_iter(v);
	struct json key, item;

	if (v.type == JSON_ARRAY && depth > 0) {
		json_put_begin(out, '[');
		while (json_next_item(&it, &item))
			rebuild(out, item, depth - 1);
		json_put_end(out, ']');
	} else if (v.type == JSON_OBJECT && depth > 0) {
		json_put_begin(out, '{');
		while (json_next_member(&it, &key, &item)) {
			json_put_raw(out, key);
			buf_add_char(out, ':');
			rebuild(out, item, depth - 1);
		}
		json_put_end(out, '}');
	} else {
		json_put_raw(out, v);
	}
}

Test(json, put_raw_of_every_slice_reproduces_the_text)
{
	static const char text[] =
		"{\"a\":[1.50,-0,1e400,\"\\u0041\\/\",{\"b\":{},\"c\":[]},[[null,true],false]],"
		"\"a\":\"\xf0\x9f\x98\x80\",\"n\":123456789012345678901234567890}";

	for (unsigned depth = 0; depth < 6; depth++) {
		AUTO(buf_fini) struct buf out = BUF_INIT;

		rebuild(&out, parse(text), depth);
		cr_assert_str_eq(buf_str(&out), text, "taken apart to depth %u", depth);
	}
}

Test(json, text_decodes_every_escape)
{
	static const struct {
		const char *json;
		struct text want;
	} rows[] = {
		{"\"plain\"", T("plain")},
		{"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", T("\"\\/\b\f\n\r\t")},
		{"\"\\u0041\\u00e9\\u20AC\"", T("A\xc3\xa9\xe2\x82\xac")},
		{"\"\\ud83d\\ude00\"", T("\xf0\x9f\x98\x80")},
		{"\"\\ud83dx\"", T("\xef\xbf\xbdx")},
		{"\"\\ude00\"", T("\xef\xbf\xbd")},
		{"\"\\ud83d\\n\"", T("\xef\xbf\xbd\n")},
		{"\"\\ud83d\\u0041\"", T("\xef\xbf\xbd""A")},
		{"\"\\ud83d\\ud83d\\ude00\"", T("\xef\xbf\xbd\xf0\x9f\x98\x80")},
		{"\"a\\u0000b\"", T("a\0b")},
		{"17", T("")},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(buf_fini) struct buf out = BUF_INIT;

		json_text(&out, parse(rows[i].json));
		cr_expect_eq(out.len, rows[i].want.len, "%s", rows[i].json);
		cr_expect_eq(memcmp(buf_str(&out), rows[i].want.p, out.len), 0, "%s", rows[i].json);
	}
}

Test(json, copy_text_wants_room_and_no_nul)
{
	char out[6] = "?";

	cr_assert(json_copy_text(out, sizeof(out), parse("\"12\\u003345\"")));
	cr_assert_str_eq(out, "12345");
	cr_assert_not(json_copy_text(out, 5, parse("\"12345\"")));
	cr_assert_str_eq(out, "");
	cr_assert_not(json_copy_text(out, sizeof(out), parse("\"a\\u0000\"")));
	cr_assert_not(json_copy_text(out, sizeof(out), parse("5")));
	cr_assert(json_copy_text(out, 1, parse("\"\"")));
}

Test(json, equality_decodes_escapes_and_is_exact)
{
	cr_assert(json_equals(parse("\"model\""), "model"));
	cr_assert(json_equals(parse("\"m\\u006fdel\""), "model"));
	cr_assert_not(json_equals(parse("\"models\""), "model"));
	cr_assert_not(json_equals(parse("\"mode\""), "model"));
	cr_assert_not(json_equals(parse("\"model\\u0000\""), "model"));
	cr_assert_not(json_equals(parse("5"), "5"));
	cr_assert(json_equals(parse("\"\""), ""));
}

Test(json, integers_are_exact_or_refused)
{
	static const struct {
		const char *json;
		bool i64, u64;
		int64_t i;
		uint64_t u;
	} rows[] = {
		{"0", true, true, 0, 0},
		{"-0", true, true, 0, 0},
		{"42", true, true, 42, 42},
		{"-42", true, false, -42, 0},
		{"9223372036854775807", true, true, INT64_MAX, INT64_MAX},
		{"9223372036854775808", false, true, 0, UINT64_C(9223372036854775808)},
		{"-9223372036854775808", true, false, INT64_MIN, 0},
		{"-9223372036854775809", false, false, 0, 0},
		{"18446744073709551615", false, true, 0, UINT64_MAX},
		{"18446744073709551616", false, false, 0, 0},
		{"1.0", true, true, 1, 1},
		{"12.50", false, false, 0, 0},
		{"12.5e1", true, true, 125, 125},
		{"1e3", true, true, 1000, 1000},
		{"1000e-3", true, true, 1, 1},
		{"1e-1", false, false, 0, 0},
		{"1e19", false, true, 0, UINT64_C(10000000000000000000)},
		{"1e20", false, false, 0, 0},
		{"0e999999999999", true, true, 0, 0},
		{"1e999999999999", false, false, 0, 0},
		{"1e-999999999999", false, false, 0, 0},
		{"\"1\"", false, false, 0, 0},
		{"true", false, false, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t s = 0;
		uint64_t u = 0;

		cr_expect_eq(json_i64(&s, parse(rows[i].json)), rows[i].i64, "%s", rows[i].json);
		cr_expect_eq(json_u64(&u, parse(rows[i].json)), rows[i].u64, "%s", rows[i].json);
		cr_expect_eq(s, rows[i].i, "%s", rows[i].json);
		cr_expect_eq(u, rows[i].u, "%s", rows[i].json);
	}
}

Test(json, doubles_read_back_as_they_were_written)
{
	static const double rows[] = {0, 1, -1, 0.1, 0.2 + 0.1, 1.0 / 3, 1e21, 123456789012.25,
		DBL_MAX, DBL_MIN, 5e-324, 2.2250738585072011e-308, 1e-7, 0.7, 100, 1e15, 1e16};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(buf_fini) struct buf out = BUF_INIT;
		double back = -1;

		json_put_double(&out, rows[i]);
		cr_expect(json_double(&back, parse(buf_str(&out))), "%s", buf_str(&out));
		cr_expect(back == rows[i], "%s", buf_str(&out));
	}
}

static const char *
printed(struct buf *out, double v)
{
	buf_clear(out);
	json_put_double(out, v);
	return buf_str(out);
}

Test(json, doubles_are_short)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;

	cr_assert_str_eq(printed(&out, 0.1), "0.1");
	cr_assert_str_eq(printed(&out, 3), "3");
	cr_assert_str_eq(printed(&out, 5e-324), "5e-324");
	cr_assert_str_eq(printed(&out, 0.1 + 0.2), "0.30000000000000004");
	cr_assert_str_eq(printed(&out, NAN), "null");
	cr_assert_str_eq(printed(&out, INFINITY), "null");
}

Test(json, a_double_out_of_range_is_refused)
{
	double v = 7;

	cr_assert_not(json_double(&v, parse("1e400")));
	cr_assert_not(json_double(&v, parse("\"1\"")));
	cr_assert_eq(v, 7);
	cr_assert(json_double(&v, parse("1e-400")));
	cr_assert_eq(v, 0);
}

Test(json, doubles_ignore_the_locale)
{
	static const char *const commas[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "nl_NL.UTF-8",
		"da_DK.UTF-8"};
	AUTO(buf_fini) struct buf out = BUF_INIT;
	double v = 0;
	bool found = false;

	for (size_t i = 0; i < ARRAY_LEN(commas) && !found; i++)
		found = setlocale(LC_ALL, commas[i]) != NULL;
	if (!found)
		cr_skip_test("no locale with a decimal comma is installed");
	cr_assert_str_eq(printed(&out, 1.5), "1.5");
	cr_assert(json_double(&v, parse("2.25")));
	cr_assert_eq(v, 2.25);
}

Test(json, the_writer_sets_commas_where_they_belong)
{
	AUTO(buf_fini) struct buf b = BUF_INIT;

	buf_add_str(&b, "data: ");
	json_put_begin(&b, '{');
	json_put_member_str(&b, "s", "a{");
	json_put_member_u64(&b, "u", UINT64_MAX);
	json_put_member_double(&b, "d", 0.5);
	json_put_member_bool(&b, "t", true);
	json_put_key(&b, "list");
	json_put_begin(&b, '[');
	json_put_i64(&b, INT64_MIN);
	json_put_null(&b);
	json_put_begin(&b, '{');
	json_put_end(&b, '}');
	json_put_begin(&b, '[');
	json_put_end(&b, ']');
	json_put_bool(&b, false);
	json_put_str(&b, "");
	json_put_str(&b, ":");
	json_put_end(&b, ']');
	json_put_member_raw(&b, "r", parse("[1]"));
	json_put_end(&b, '}');
	cr_assert_str_eq(buf_str(&b),
		"data: {\"s\":\"a{\",\"u\":18446744073709551615,\"d\":0.5,\"t\":true,"
		"\"list\":[-9223372036854775808,null,{},[],false,\"\",\":\"],\"r\":[1]}");
}

Test(json, strings_are_escaped_and_bad_utf8_is_replaced)
{
	AUTO(buf_fini) struct buf b = BUF_INIT;
	static const char s[] = "q\" b\\ n\n t\t z\0 u\x1f d\x7f e\xc3\xa9 x\xff y\xed\xa0\x80 w\xe2\x82";

	json_put_string(&b, s, sizeof(s) - 1);
	cr_assert_str_eq(buf_str(&b),
		"\"q\\\" b\\\\ n\\n t\\t z\\u0000 u\\u001f d\x7f e\xc3\xa9 x\xef\xbf\xbd "
		"y\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd w\xef\xbf\xbd\xef\xbf\xbd\"");
	(void)parse(buf_str(&b));
}

Test(utf8, every_code_point_is_one_sequence_and_its_neighbours_are_none)
{
	for (uint32_t c = 0; c <= 0x10ffff; c += c < 0x3000 ? 1 : 61) {
		AUTO(buf_fini) struct buf b = BUF_INIT;
		bool surrogate = c >= 0xd800 && c <= 0xdfff;

		utf8_add(&b, c);
		cr_assert_eq(utf8_sequence(b.data, b.data + b.len), b.len);
		if (b.len > 1)
			cr_assert_eq(utf8_sequence(b.data, b.data + b.len - 1), 0);
		cr_assert_eq(b.len, surrogate ? 3 : c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
	}
}
