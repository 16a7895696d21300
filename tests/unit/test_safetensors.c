/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_safetensors.c - what the reader of SafeTensors accepts, refuses and converts
 */
#include "lib/encoder/half.h"
#include "lib/encoder/safetensors.h"
#include "tests/unit/encoder_model.h"

/* 8 bytes of length, the header, zero bytes of data. */
static void
file_make(struct buf *out, const char *header, size_t data_len)
{
	uint64_t len = strlen(header);

	buf_clear(out);
	buf_add(out, &len, sizeof(len));
	buf_add_str(out, header);
	for (size_t i = 0; i < data_len; i++)
		buf_add_char(out, '\0');
}

#define TENSOR(name, dtype, shape, begin, end)                                                     \
	"\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin       \
	"," end "]}"

Test(safetensors, refuses_headers_that_lie)
{
	static const struct {
		const char *header;
		size_t data_len;
		const char *want; /* part of the message */
	} rows[] = {
		{"{" TENSOR("a", "F32", "[2]", "0", "8") "}", 4, "outside of the 4 bytes"},
		{"{" TENSOR("a", "F32", "[2]", "0", "8") "}", 12, "4 bytes at the end"},
		{"{" TENSOR("a", "F32", "[3]", "0", "8") "}", 8, "do not fit shape and dtype F32"},
		{"{" TENSOR("a", "F32", "[2]", "8", "0") "}", 8, "outside"},
		{"{" TENSOR("a", "F33", "[2]", "0", "8") "}", 8, "dtype is missing or not one"},
		{"{" TENSOR("a", "F32", "[-2]", "0", "8") "}", 8, "shape holds what is no size"},
		{"{" TENSOR("a", "F32", "[1.5]", "0", "8") "}", 8, "shape holds what is no size"},
		{"{" TENSOR("a", "F32", "2", "0", "8") "}", 8, "shape is missing or no array"},
		{"{" TENSOR("a", "F32", "[4294967296,4294967296,2]", "0", "8") "}", 8,
			"shape is too large"},
		{"{" TENSOR("a", "F64", "[4611686018427387904]", "0", "0") "}", 0, "do not fit"},
		{"{" TENSOR("a", "U8", "[1,1,1,1,1,1,1,1,1]", "0", "1") "}", 1,
			"more than 8 dimensions"},
		{"{" TENSOR("a", "U8", "[4]", "0", "4") "," TENSOR("b", "U8", "[4]", "2", "6") "}",
			6, "overlaps another one"},
		{"{" TENSOR("a", "U8", "[4]", "0", "4") "," TENSOR("b", "U8", "[4]", "8", "12") "}",
			12, "bytes before it that belong to none"},
		{"{" TENSOR("a", "U8", "[4]", "0", "4") "," TENSOR("a", "U8", "[4]", "4", "8") "}",
			8, "tensor a is there twice"},
		{"{" TENSOR("a", "U8", "[4]", "0", "4") "," TENSOR(
			 "\\u0061", "U8", "[4]", "4", "8") "}",
			8, "tensor a is there twice"},
		{"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
			1, "a key stands there twice"},
		{"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1,
			"data_offsets is not [begin, end]"},
		{"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,1]}}", 1,
			"data_offsets is not [begin, end]"},
		{"{\"a\":[]}", 0, "tensor a: not an object"},
		{"{" TENSOR("", "U8", "[1]", "0", "1") "}", 1, "name is empty"},
		{"{" TENSOR("a\\u0000b", "U8", "[1]", "0", "1") "}", 1, "holds a NUL"},
		{"{\"__metadata__\":1}", 0, "__metadata__"},
		{"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__"},
		{"[]", 0, "the header is no object"},
		{"{", 0, "line 1"},
		{"{} x", 0, "line 1"},
	};
	AUTO(buf_fini) struct buf file = BUF_INIT;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tensor_set *s = NULL;
		struct err e = {0};

		file_make(&file, rows[i].header, rows[i].data_len);
		cr_expect_eq(safetensors_parse(&s, "FILE", file.data, file.len, &e), ERR_CONFIG,
			"%s", rows[i].header);
		cr_expect(strstr(e.text, rows[i].want) != NULL && strstr(e.text, "FILE") != NULL,
			"%s gives: %s", rows[i].header, e.text);
		tensor_set_free(&s);
	}
}

Test(safetensors, refuses_a_length_beyond_the_file)
{
	static const unsigned char huge[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{',
		'}'},
				   longer[16] = {9, 0, 0, 0, 0, 0, 0, 0, '{', '}'},
				   gguf[16] = {'G', 'G', 'U', 'F', 3};
	struct tensor_set *s = NULL;
	struct err e;

	for (size_t len = 0; len < 8; len++)
		cr_expect_eq(safetensors_parse(&s, "FILE", longer, len, &e), ERR_CONFIG);
	cr_expect_eq(safetensors_parse(&s, "FILE", huge, sizeof(huge), &e), ERR_CONFIG);
	cr_expect_eq(safetensors_parse(&s, "FILE", longer, sizeof(longer), &e), ERR_CONFIG);
	cr_expect_eq(safetensors_parse(&s, "FILE", gguf, sizeof(gguf), &e), ERR_CONFIG);
	cr_expect(strstr(e.text, "not a SafeTensors file") != NULL, "%s", e.text);
}

Test(safetensors, finds_tensors_by_name_whatever_their_order)
{
	AUTO(buf_fini) struct buf file = BUF_INIT;
	AUTO(tensor_set_free) struct tensor_set *s = NULL;
	const struct tensor *t;
	struct err e;

	file_make(&file,
		"{\"__metadata__\":{\"format\":\"pt\"}," TENSOR(
			"z", "F16", "[2,3]", "4", "16") "," TENSOR("empty", "F32", "[0,7]", "4",
			"4") "," TENSOR("a", "I32", "[]", "0", "4") "}   ",
		16);
	cr_assert_eq(safetensors_parse(&s, "FILE", file.data, file.len, &e), ERR_OK, "%s", e.text);
	cr_expect_eq(tensor_set_count(s), 3);
	cr_expect_str_eq(tensor_set_at(s, 0)->name, "a");
	cr_expect_eq(tensor_set_at(s, 0)->elements, 1);
	t = tensor_set_find(s, "z");
	cr_assert(t != NULL);
	cr_expect(t->rank == 2 && t->shape[0] == 2 && t->shape[1] == 3 && t->dtype == TENSOR_F16);
	cr_expect_eq((const char *)t->data - file.data, (ptrdiff_t)file.len - 12);
	cr_expect(tensor_set_find(s, "y") == NULL);
}

/* One folder in memory with an index over two files. */
static enum err_code
open_shards(struct tensor_set **out, const char *index, struct err *e)
{
	AUTO(buf_fini) struct buf one = BUF_INIT;
	AUTO(buf_fini) struct buf two = BUF_INIT;
	AUTO(model_folder_close) struct model_folder *folder = NULL;
	enum err_code code;

	file_make(&one, "{" TENSOR("a", "U8", "[4]", "0", "4") "}", 4);
	file_make(&two, "{" TENSOR("b", "U8", "[2]", "0", "2") "}", 2);
	{
		const struct model_memory_file files[] = {
			{"model.safetensors.index.json", index, strlen(index)},
			{"one.safetensors", one.data, one.len},
			{"two.safetensors", two.data, two.len},
			{"same.safetensors", one.data, one.len},
		};

		model_folder_memory(&folder, files, ARRAY_LEN(files));
		code = safetensors_open(out, folder, e);
	}
	return code;
}

Test(safetensors, shards_are_one_set_of_tensors)
{
	AUTO(tensor_set_free) struct tensor_set *s = NULL;
	struct err e;

	cr_assert_eq(open_shards(&s,
			     "{\"metadata\":{\"total_size\":6},\"weight_map\":{"
			     "\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}",
			     &e),
		ERR_OK, "%s", e.text);
	cr_expect_eq(tensor_set_count(s), 2);
	cr_expect(tensor_set_find(s, "b") != NULL);
}

Test(safetensors, an_index_that_lies_is_refused)
{
	static const struct {
		const char *index, *want;
	} rows[] = {
		{"{}", "no weight_map"},
		{"{\"weight_map\":{\"a\":\"../one.safetensors\"}}", "no plain file name"},
		{"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "no plain file name"},
		{"{\"weight_map\":{\"a\":7}}", "no plain file name"},
		{"{\"weight_map\":{\"a\":\"three.safetensors\"}}", "missing"},
		{"{\"weight_map\":{\"c\":\"one.safetensors\"}}", "tensor c is not in the file"},
		{"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\"}}",
			"tensor b is not in the file"},
		{"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"same.safetensors\"}}",
			"tensor a is there twice"},
		{"{\"weight_map\":", "line 1"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tensor_set *s = NULL;
		struct err e = {0};

		cr_expect_eq(open_shards(&s, rows[i].index, &e), ERR_CONFIG, "%s", rows[i].index);
		cr_expect(strstr(e.text, rows[i].want) != NULL, "%s gives: %s", rows[i].index,
			e.text);
		tensor_set_free(&s);
	}
}

Test(safetensors, values_become_floats_exactly)
{
	static const float want[4] = {1, -2.5f, 0, 65504};
	static const double f64[4] = {1, -2.5, 0, 65504};
	static const uint16_t f16[4] = {0x3c00, 0xc100, 0, 0x7bff},
			      bf16[4] = {0x3f80, 0xc020, 0, 0x477f};
	static const int8_t i8[4] = {1, -2, 0, -128};
	struct tensor t = {.name = "t", .file = "FILE", .elements = 4};
	float out[4];
	struct err e;

	t.dtype = TENSOR_F64;
	t.data = f64;
	cr_assert_eq(tensor_floats(out, &t, 0, 4, &e), ERR_OK);
	cr_expect_arr_eq(out, want, sizeof(want));
	t.dtype = TENSOR_F16;
	t.data = f16;
	cr_assert_eq(tensor_floats(out, &t, 0, 4, &e), ERR_OK);
	cr_expect_arr_eq(out, want, sizeof(want));
	t.dtype = TENSOR_BF16;
	t.data = bf16;
	cr_assert_eq(tensor_floats(out, &t, 1, 2, &e), ERR_OK);
	cr_expect_eq(out[0], -2.5f);
	t.dtype = TENSOR_I8;
	t.data = i8;
	cr_assert_eq(tensor_floats(out, &t, 0, 4, &e), ERR_OK);
	cr_expect_eq(out[3], -128);
	t.dtype = TENSOR_I64;
	cr_expect_eq(tensor_floats(out, &t, 0, 4, &e), ERR_CONFIG);
	cr_expect_str_eq(
		e.text, "FILE: tensor t is I64; weights can be F32, F16, BF16, F64, I8 or Q8_0");
}

Test(safetensors, values_that_are_not_finite_are_refused)
{
	static const float values[3] = {1, HUGE_VALF, 2};
	const struct tensor t = {
		.name = "t", .file = "FILE", .elements = 3, .dtype = TENSOR_F32, .data = values};
	float out[3];
	struct err e;

	cr_expect_eq(tensor_floats(out, &t, 0, 3, &e), ERR_CONFIG);
	cr_expect_str_eq(e.text, "FILE: tensor t holds infinity or NaN");
}

/* Every f16 there and back; ties go to even, beyond the largest to infinity. */
Test(safetensors, halves_round_trip)
{
	for (uint32_t h = 0; h < 0x10000; h++) {
		if ((h & 0x7c00) == 0x7c00 && (h & 0x3ff) != 0)
			continue; /* NaN */
		cr_assert_eq(half_f16_from_f32(half_f16_to_f32((uint16_t)h)), h, "%x", h);
	}
	cr_expect_eq(half_f16_from_f32(2049), 0x6800, "2049 lies between 2048 and 2050");
	cr_expect_eq(half_f16_from_f32(2051), 0x6802);
	cr_expect_eq(half_f16_from_f32(65520), 0x7c00);
	cr_expect_eq(half_f16_from_f32(0x1p-25f), 0);
	cr_expect_eq(half_f16_from_f32(0x1.8p-25f), 1);
	cr_expect_eq(half_bf16_from_f32(1.00390625f), 0x3f80, "a tie goes to even");
	cr_expect_eq(half_bf16_from_f32(1.01171875f), 0x3f82);
}

/* Files of other projects; what is not supported by the encoder is still read. */
Test(safetensors, reads_files_from_elsewhere)
{
	static const struct {
		const char *name;
		size_t tensors;
	} rows[] = {{"djl-list", 2}, {"jfk-codes", 1}, {"tensor-1d-int32", 1},
		{"tensor-2d-float64", 1}, {"tensor-4d-float32", 1}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(buf_fini) struct buf file = BUF_INIT;
		AUTO(tensor_set_free) struct tensor_set *s = NULL;
		char rest[128], path[512];
		struct err e;

		(void)snprintf(rest, sizeof(rest),
			"../shared/data/formats/safetensors/%s.safetensors", rows[i].name);
		if (!path_there(source_path(path, sizeof(path), rest)))
			cr_skip_test("no files: ../shared/data/formats is not there");
		cr_assert_eq(file_read(&file, path, GOLDEN_MAX, &e), ERR_OK, "%s", e.text);
		cr_expect_eq(
			safetensors_parse(&s, path, file.data, file.len, &e), ERR_OK, "%s", e.text);
		cr_expect_eq(s != NULL ? tensor_set_count(s) : 0, rows[i].tensors);
	}
}
