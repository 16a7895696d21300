/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_encoder.c - every architecture against the reference's figures; what a pass refuses
 *
 * The fixtures are made by tests/reference/make_encoders.py. SHUNT_REFERENCE_DIR may name a folder
 * with more of them, such as those of real size.
 */
#include <dirent.h>
#include <malloc.h>

#include "lib/encoder/encoder_source.h"
#include "tests/unit/encoder_model.h"

static const char fixtures[] = "tests/fixtures/encoder";

/* How far numbers of a dtype may lie from the reference's (a hidden state is about 1), and the
 * probabilities of labels; the best label is the same. Weights are random: trained models come
 * closer (test_encoder_models). */
static const struct {
	double values, probability;
} farthest[ENCODER_DTYPES] = {
	[ENCODER_F32] = {1e-4, 1e-4},
	[ENCODER_BF16] = {0.1, 0.01},
	[ENCODER_I8] = {0.5, 0.05},
};

static void
check_fixture(const char *path, const char *golden, enum encoder_isa isa, enum encoder_dtype dtype)
{
	AUTO(model_fini) struct model m = {0};
	struct golden_result r;
	char what[640];

	(void)snprintf(what, sizeof(what), "%s, %s on %s", path, encoder_dtype_name(dtype),
		encoder_isa_name(isa));
	cr_assert_eq(model_load(&m, path, isa, dtype), ERR_OK, "%s", m.e.text);
	r = golden_compare(&m, golden);
	cr_log_info("%s: logits differ by %.2g, probabilities by %.2g, embeddings by %.2g", what,
		r.logits, r.probability, r.embedding);
	cr_expect_leq(r.logits, farthest[dtype].values, "%s: logits differ by %g", what, r.logits);
	cr_expect_leq(r.embedding, farthest[dtype].values, "%s: embeddings differ by %g", what,
		r.embedding);
	cr_expect_leq(r.probability, farthest[dtype].probability, "%s: probabilities differ by %g",
		what, r.probability);
	cr_expect_eq(r.argmax_differs, 0, "%s: %zu labels differ", what, r.argmax_differs);
}

/* Every fixture in folder on one kernel. */
static size_t
check_fixtures(const char *folder, enum encoder_isa isa, enum encoder_dtype dtype)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	size_t count = 0;

	cr_assert(dir != NULL, "%s is missing", folder);
	while ((entry = readdir(dir)) != NULL) {
		char path[512], golden[600], file[600];

		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		(void)snprintf(golden, sizeof(golden), "%s/golden.jsonl", path);
		(void)snprintf(file, sizeof(file), "%s/model.gguf", path);
		if (!path_there(golden))
			continue;
		check_fixture(path_there(file) ? file : path, golden, isa, dtype);
		count++;
	}
	(void)closedir(dir);
	return count;
}

Test(encoder, every_architecture_equals_the_reference)
{
	char path[512];

	for (int isa = ENCODER_ISA_BLAS; isa < ENCODER_ISAS; isa++)
		if (encoder_isa_runs((enum encoder_isa)isa, ENCODER_F32))
			cr_expect_geq(check_fixtures(source_path(path, sizeof(path), fixtures),
					      (enum encoder_isa)isa, ENCODER_F32),
				14);
}

Test(encoder, real_sizes_equal_the_reference)
{
	const char *folder = getenv("SHUNT_REFERENCE_DIR");

	if (folder == NULL)
		cr_skip_test(
			"SHUNT_REFERENCE_DIR is not set: see tests/reference/make_encoders.py");
	for (int isa = ENCODER_ISA_BLAS; isa < ENCODER_ISAS; isa++)
		for (int dtype = ENCODER_F32; dtype < ENCODER_DTYPES; dtype++)
			if (encoder_isa_runs((enum encoder_isa)isa, (enum encoder_dtype)dtype))
				cr_expect_gt(check_fixtures(folder, (enum encoder_isa)isa,
						     (enum encoder_dtype)dtype),
					0);
}

static void
read_fixture(struct buf *out, const char *name)
{
	char rest[256], path[512];
	struct err e;

	(void)snprintf(rest, sizeof(rest), "%s/%s", fixtures, name);
	source_path(path, sizeof(path), rest);
	cr_assert_eq(file_read(out, path, GOLDEN_MAX, &e), ERR_OK, "%s", e.text);
}

/* The weights of a bare RoBERTa under a config of which only the names differ: BERT counts
 * positions from 0. Whoever forgets padding_idx + 1 computes this. */
Test(encoder, counting_positions_from_zero_would_fail_the_reference)
{
	static const char bert[] =
		"{\"architectures\":[\"BertModel\"],\"model_type\":\"bert\",\"vocab_size\":40,"
		"\"hidden_size\":24,\"num_hidden_layers\":2,\"num_attention_heads\":3,"
		"\"intermediate_size\":37,\"max_position_embeddings\":34,\"type_vocab_size\":1,"
		"\"layer_norm_eps\":1e-05}";
	AUTO(buf_fini) struct buf weights = BUF_INIT;
	AUTO(model_fini) struct model m = {0};
	const struct encoder_plan plan = {.dtype = ENCODER_F32, .isa = ENCODER_ISA_BLAS};
	struct model_memory_file files[] = {
		{"config.json", bert, sizeof(bert) - 1}, {"model.safetensors", NULL, 0}};
	struct model_folder *folder;
	struct encoder_source *s = NULL;
	struct golden_result r;
	char path[512];

	read_fixture(&weights, "roberta/model.safetensors");
	files[1].data = weights.data;
	files[1].len = weights.len;
	model_folder_memory(&folder, files, ARRAY_LEN(files));
	cr_assert_eq(encoder_open_folder(&s, &folder, &plan, &m.e), ERR_OK, "%s", m.e.text);
	cr_assert_eq(model_attach(&m, &s, 1, 1), ERR_OK, "%s", m.e.text);
	r = golden_compare(
		&m, source_path(path, sizeof(path), "tests/fixtures/encoder/roberta/golden.jsonl"));
	cr_expect_gt(r.embedding, 1e-2, "only %g apart", r.embedding);
}

static struct model
load_fixture(const char *name, enum encoder_dtype dtype)
{
	struct model m = {0};
	char rest[256], path[512];

	(void)snprintf(rest, sizeof(rest), "%s/%s", fixtures, name);
	cr_assert_eq(model_load(&m, source_path(path, sizeof(path), rest), ENCODER_ISA_AUTO, dtype),
		ERR_OK, "%s", m.e.text);
	return m;
}

static const uint32_t some_ids[] = {3, 7, 11, 30, 5, 8, 21, 33, 9, 4, 17, 12, 6, 39, 25, 3};

Test(encoder, a_batch_gives_each_text_what_it_gets_alone)
{
	AUTO(model_fini) struct model m = load_fixture("xlm-roberta-classifier", ENCODER_F32);
	struct encoder_input in[12];
	struct encoder_output out[12], alone;
	float logits[12][3], embedding[12][24];

	for (size_t i = 0; i < 12; i++)
		in[i] = (struct encoder_input){.ids = some_ids + i, .len = 1 + (i * 7) % 4};
	in[5].len = 1;
	cr_assert_eq(encoder_run(m.enc, out, in, 12, ENCODER_POOL_MEAN, &m.e), ERR_OK);
	for (size_t i = 0; i < 12; i++) {
		memcpy(logits[i], out[i].logits, sizeof(logits[i]));
		memcpy(embedding[i], out[i].embedding, sizeof(embedding[i]));
	}
	for (size_t i = 0; i < 12; i++) {
		cr_assert_eq(
			encoder_run(m.enc, &alone, &in[i], 1, ENCODER_POOL_MEAN, &m.e), ERR_OK);
		for (size_t j = 0; j < 3; j++)
			cr_expect_float_eq(alone.logits[j], logits[i][j], 1e-5);
		for (size_t j = 0; j < 24; j++)
			cr_expect_float_eq(alone.embedding[j], embedding[i][j], 1e-5);
	}
}

Test(encoder, two_threads_give_what_one_gives)
{
	const struct encoder_plan plan = {.dtype = ENCODER_F32};
	AUTO(model_fini) struct model one = load_fixture("mpnet", ENCODER_F32);
	AUTO(model_fini) struct model two = {0};
	struct encoder_source *s = NULL;
	struct encoder_output a, b;
	uint32_t ids[150];
	char path[512];

	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		ids[i] = 3 + i * 7 % 37;
	source_path(path, sizeof(path), "tests/fixtures/encoder/mpnet");
	cr_assert_eq(encoder_open(&s, path, &plan, &two.e), ERR_OK, "%s", two.e.text);
	cr_assert_eq(model_attach(&two, &s, 1, 2), ERR_OK, "%s", two.e.text);
	for (uint32_t len = 1; len <= ARRAY_LEN(ids); len += 29) {
		const struct encoder_input in = {.ids = ids, .len = len};

		cr_assert_eq(encoder_run(one.enc, &a, &in, 1, ENCODER_POOL_MODEL, &one.e), ERR_OK);
		cr_assert_eq(encoder_run(two.enc, &b, &in, 1, ENCODER_POOL_MODEL, &two.e), ERR_OK);
		for (size_t j = 0; j < 24; j++)
			cr_expect_float_eq(a.embedding[j], b.embedding[j], 1e-5);
	}
}

Test(encoder, a_pass_allocates_nothing_and_repeats_itself)
{
	AUTO(model_fini) struct model m = load_fixture("bert-classifier", ENCODER_F32);
	const struct encoder_input in = {.ids = some_ids, .len = ARRAY_LEN(some_ids)};
	struct encoder_output out;
	float first[3];
	size_t before;

	cr_assert_eq(encoder_run(m.enc, &out, &in, 1, ENCODER_POOL_CLS, &m.e), ERR_OK);
	memcpy(first, out.logits, sizeof(first));
	before = mallinfo2().uordblks;
	for (int i = 0; i < 20; i++)
		cr_assert_eq(encoder_run(m.enc, &out, &in, 1, ENCODER_POOL_CLS, &m.e), ERR_OK);
	cr_expect_eq(mallinfo2().uordblks, before);
	cr_expect_arr_eq(out.logits, first, sizeof(first));
}

Test(encoder, tells_what_it_is)
{
	AUTO(model_fini) struct model m = load_fixture("bert-classifier", ENCODER_F32);
	AUTO(model_fini) struct model sentence = load_fixture("bert-mean", ENCODER_F32);
	AUTO(model_fini) struct model multi = load_fixture("distilbert-classifier", ENCODER_F32);
	AUTO(model_fini) struct model number = load_fixture("camembert-classifier", ENCODER_F32);
	const struct encoder_info *info = encoder_info(m.enc);

	cr_expect_str_eq(info->architecture, "BertForSequenceClassification");
	cr_expect_eq(info->layers, 2);
	cr_expect_eq(info->hidden, 24);
	cr_expect_eq(info->labels, 3);
	cr_expect_eq(info->max_tokens, 34);
	cr_expect_eq(info->problem, ENCODER_SINGLE_LABEL);
	cr_expect_str_eq(encoder_label(m.enc, 2), "weak");
	cr_expect(encoder_tokenizer(m.enc) == NULL);
	info = encoder_info(sentence.enc);
	cr_expect_eq(info->labels, 0);
	cr_expect_eq(info->max_tokens, 16, "max_seq_length of sentence_bert_config.json");
	cr_expect(info->normalize && info->pool == ENCODER_POOL_MEAN);
	cr_expect_eq(encoder_info(multi.enc)->problem, ENCODER_MULTI_LABEL);
	cr_expect_eq(encoder_info(number.enc)->problem, ENCODER_REGRESSION);
	cr_expect_str_eq(encoder_label(number.enc, 0), "LABEL_0");
	cr_expect_eq(encoder_info(number.enc)->max_tokens, 32, "34 positions, 2 for the padding");
}

static uint64_t
identity_of(const struct model_memory_file *files, size_t count)
{
	const struct encoder_plan plan = {.dtype = ENCODER_F32};
	AUTO(encoder_close) struct encoder_source *s = NULL;
	struct model_folder *folder;
	struct err e;

	model_folder_memory(&folder, files, count);
	cr_assert_eq(encoder_open_folder(&s, &folder, &plan, &e), ERR_OK, "%s", e.text);
	return s->header.identity;
}

Test(encoder, a_model_is_told_from_another_by_its_files_alone)
{
	AUTO(model_fini) struct model m = load_fixture("bert-classifier", ENCODER_F32);
	AUTO(model_fini) struct model other = load_fixture("bert-mean", ENCODER_F32);
	AUTO(buf_fini) struct buf config = BUF_INIT, weights = BUF_INIT;
	struct model_memory_file files[2] = {
		{.name = "config.json"}, {.name = "model.safetensors"}};
	const uint64_t identity = encoder_info(m.enc)->identity;
	struct model_memory_file turned[2];
	uint64_t looked = 0;
	size_t len = 0;
	char path[512];

	read_fixture(&config, "bert-classifier/config.json");
	read_fixture(&weights, "bert-classifier/model.safetensors");
	files[0].data = config.data;
	files[0].len = config.len;
	files[1].data = weights.data;
	files[1].len = weights.len;
	turned[0] = files[1];
	turned[1] = files[0];
	cr_expect_neq(identity, encoder_info(other.enc)->identity);
	cr_expect_eq(identity_of(files, 2), identity, "wherever it lies");
	cr_expect_eq(identity_of(turned, 2), identity, "in whatever order it is read");
	if (encoder_isa_runs(ENCODER_ISA_AUTO, ENCODER_I8)) {
		AUTO(model_fini) struct model i8 = load_fixture("bert-classifier", ENCODER_I8);

		cr_expect_eq(encoder_info(i8.enc)->identity, identity, "whatever it is packed to");
	}
	source_path(path, sizeof(path), "tests/fixtures/encoder/bert-classifier");
	cr_assert_eq(encoder_look(&len, &looked, path, &m.e), ERR_OK, "%s", m.e.text);
	cr_expect(len == 24 && looked == identity);
	weights.data[weights.len - 2] ^= 1;
	cr_expect_neq(identity_of(files, 2), identity, "one bit of one weight");
}

Test(encoder, refuses_what_a_pass_cannot_take)
{
	AUTO(model_fini) struct model m = load_fixture("bert-classifier", ENCODER_F32);
	static const uint32_t ids[64] = {3, 40}, good[64] = {3};
	static const uint8_t types[64] = {0, 2};
	const struct {
		struct encoder_input in;
		size_t count;
		const char *text;
	} rows[] = {
		{{good, NULL, 0}, 1, "text 0 is empty"},
		{{good, NULL, 35}, 1, "text 0 has 35 tokens; the model takes 34"},
		{{ids, NULL, 2}, 1, "text 0: token id 40; the vocabulary has 40"},
		{{good, types, 2}, 1, "text 0: segment 2; the model has 2"},
		{{good, NULL, 1}, 17, "17 texts; at most 16 in a pass"},
	};
	struct encoder_output out[17];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct encoder_input in[17];

		for (size_t j = 0; j < 17; j++)
			in[j] = rows[i].in;
		cr_expect_eq(encoder_run(m.enc, out, in, rows[i].count, ENCODER_POOL_MODEL, &m.e),
			ERR_INPUT);
		cr_expect_str_eq(m.e.text, rows[i].text);
	}
}

Test(encoder, a_packed_form_that_is_damaged_is_refused)
{
	AUTO(model_fini) struct model m = load_fixture("bert-classifier", ENCODER_F32);
	const struct encoder_limits limits = {.batch = 1, .threads = 1};
	struct encoder *enc = NULL;
	unsigned char *bytes = m.image;

	for (size_t i = 0; i < sizeof(struct packed_header); i++) {
		bytes[i] ^= 0x55;
		cr_expect_eq(encoder_attach(&enc, m.image, m.len, &limits, &m.e), ERR_CONFIG,
			"byte %zu of the header", i);
		bytes[i] ^= 0x55;
	}
	cr_expect_eq(encoder_attach(&enc, m.image, m.len - 1, &limits, &m.e), ERR_CONFIG);
	cr_expect_eq(encoder_attach(&enc, m.image, 8, &limits, &m.e), ERR_CONFIG);
	cr_expect_eq(encoder_attach(&enc, m.image, m.len, &limits, &m.e), ERR_OK, "%s", m.e.text);
	encoder_free(&enc);
}

Test(encoder, without_a_tokenizer_no_folder_is_loaded_for_texts)
{
	const struct encoder_plan plan = {.dtype = ENCODER_F32, .isa = ENCODER_ISA_AUTO};
	const struct encoder_limits limits = {.batch = 1, .threads = 1};
	AUTO(encoder_free) struct encoder *enc = NULL;
	char rest[256], path[512];
	struct err e;

	(void)snprintf(rest, sizeof(rest), "%s/bert-cls", fixtures);
	source_path(path, sizeof(path), rest);
	cr_expect_eq(encoder_load(&enc, path, &plan, &limits, &e), ERR_CONFIG);
	cr_expect(strstr(e.text, "tokenizer.json: missing") != NULL, "%s", e.text);
	cr_expect_null(enc);
	cr_expect_eq(encoder_load(&enc, "/nonexistent", &plan, &limits, &e), ERR_CONFIG);
}

Test(encoder, packing_twice_gives_the_same_bytes)
{
	AUTO(model_fini) struct model a = load_fixture("mpnet-classifier", ENCODER_F32);
	AUTO(model_fini) struct model b = load_fixture("mpnet-classifier", ENCODER_F32);

	cr_assert_eq(a.len, b.len);
	cr_expect_arr_eq(a.image, b.image, a.len);
}

Test(encoder, probabilities_are_stable)
{
	static const float equal[] = {1, 1, 1}, large[] = {100, 200, 300};

	cr_expect_float_eq(encoder_probability(equal, 3, 0), 1.0 / 3, 1e-12);
	cr_expect_float_eq(encoder_probability(large, 3, 2), 1, 1e-12);
	cr_expect_float_eq(encoder_probability(large, 3, 0), 0, 1e-12);
}
