/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_encoder_models.c - models with recorded figures: classifiers, model2vec, RouteLLM's
 * checkpoint
 */
#include "tests/unit/encoder_model.h"

static const char models[] = "../shared/data/models";

static const char *
model_path(char *out, size_t size, const char *name)
{
	char rest[512];

	(void)snprintf(rest, sizeof(rest), "%s/%s", models, name);
	return source_path(out, size, rest);
}

static void
skip_without_models(void)
{
	char path[512];

	if (!path_there(source_path(path, sizeof(path), models)))
		cr_skip_test("no models: ../shared/data/models is not there");
}

static const char *const classifiers[] = {
	"tiny-random-BertForSequenceClassification", "prompt-domain-bert-tiny"};

/* Both classifiers on every kernel of a dtype. */
static void
check_classifiers(enum encoder_dtype dtype, double logits, double probability)
{
	char path[512], golden[600];

	skip_without_models();
	if (!encoder_isa_runs(ENCODER_ISA_AUTO, dtype))
		cr_skip_test("this machine has no kernel for this dtype");
	for (int isa = ENCODER_ISA_BLAS; isa < ENCODER_ISAS; isa++)
		for (size_t i = 0; i < ARRAY_LEN(classifiers); i++) {
			AUTO(model_fini) struct model m = {0};
			struct golden_result r;

			if (!encoder_isa_runs((enum encoder_isa)isa, dtype))
				continue;
			model_path(path, sizeof(path), classifiers[i]);
			(void)snprintf(golden, sizeof(golden), "%s/golden.dev.jsonl", path);
			cr_assert_eq(model_load(&m, path, (enum encoder_isa)isa, dtype), ERR_OK,
				"%s", m.e.text);
			r = golden_compare(&m, golden);
			cr_expect_leq(r.logits, logits, "%s, %s on %s: logits differ by %g",
				classifiers[i], encoder_dtype_name(dtype),
				encoder_isa_name((enum encoder_isa)isa), r.logits);
			cr_expect_leq(r.probability, probability,
				"%s, %s on %s: probabilities differ by %g", classifiers[i],
				encoder_dtype_name(dtype), encoder_isa_name((enum encoder_isa)isa),
				r.probability);
			cr_expect_eq(r.argmax_differs, 0, "%s, %s on %s: %zu labels differ",
				classifiers[i], encoder_dtype_name(dtype),
				encoder_isa_name((enum encoder_isa)isa), r.argmax_differs);
		}
}

Test(encoder_models, f32_logits_equal_the_golden_ones)
{
	check_classifiers(ENCODER_F32, 1e-4, 1e-4);
}

Test(encoder_models, bf16_keeps_label_and_probability)
{
	check_classifiers(ENCODER_BF16, HUGE_VAL, 0.01);
}

Test(encoder_models, i8_keeps_label_and_probability)
{
	check_classifiers(ENCODER_I8, HUGE_VAL, 0.02);
}

Test(encoder_models, one_loaded_for_itself_is_the_same)
{
	static const uint32_t ids[] = {101, 2054, 2003, 102};
	const struct encoder_plan plan = {.dtype = ENCODER_F32, .isa = ENCODER_ISA_AUTO};
	const struct encoder_limits limits = {.batch = 1, .threads = 1};
	const struct encoder_input in = {.ids = ids, .len = ARRAY_LEN(ids)};
	AUTO(model_fini) struct model m = {0};
	AUTO(encoder_free) struct encoder *enc = NULL;
	struct encoder_output mine, theirs;
	char path[512];

	skip_without_models();
	model_path(path, sizeof(path), classifiers[1]);
	cr_assert_eq(encoder_load(&enc, path, &plan, &limits, &m.e), ERR_OK, "%s", m.e.text);
	cr_assert_eq(model_load(&m, path, ENCODER_ISA_AUTO, ENCODER_F32), ERR_OK, "%s", m.e.text);
	cr_assert_eq(encoder_run(enc, &mine, &in, 1, ENCODER_POOL_MODEL, &m.e), ERR_OK);
	cr_assert_eq(encoder_run(m.enc, &theirs, &in, 1, ENCODER_POOL_MODEL, &m.e), ERR_OK);
	cr_expect_arr_eq(mine.embedding, theirs.embedding,
		encoder_info(enc)->hidden * sizeof(*mine.embedding));
	cr_expect_not_null(encoder_tokenizer(enc));
}

/* The same texts in one batch with two threads and alone: lengths beside every block size. */
static void
check_lengths(enum encoder_isa isa, enum encoder_dtype dtype, const uint32_t *ids)
{
	static const uint32_t lengths[] = {1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 63, 64,
		65, 95, 97, 127, 128, 129, 191, 255, 256, 257, 383, 384, 385, 511, 512};
	const struct encoder_plan plan = {.dtype = dtype, .isa = isa};
	AUTO(model_fini) struct model blas = {0};
	AUTO(model_fini) struct model one = {0};
	AUTO(model_fini) struct model two = {0};
	struct encoder_source *s = NULL;
	struct encoder_input in[4];
	struct encoder_output want, alone, out[4];
	char path[512];

	model_path(path, sizeof(path), classifiers[1]);
	cr_assert_eq(model_load(&blas, path, ENCODER_ISA_BLAS, ENCODER_F32), ERR_OK);
	cr_assert_eq(model_load(&one, path, isa, dtype), ERR_OK);
	cr_assert_eq(encoder_open(&s, path, &plan, &two.e), ERR_OK);
	cr_assert_eq(model_attach(&two, &s, 4, 2), ERR_OK);
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		uint32_t labels = encoder_info(one.enc)->labels;

		for (size_t k = 0; k < 4; k++)
			in[k] = (struct encoder_input){
				.ids = ids, .len = lengths[(i + k * 11) % ARRAY_LEN(lengths)]};
		cr_assert_eq(encoder_run(two.enc, out, in, 4, ENCODER_POOL_MEAN, &two.e), ERR_OK,
			"%s", two.e.text);
		cr_assert_eq(
			encoder_run(one.enc, &alone, in, 1, ENCODER_POOL_MEAN, &one.e), ERR_OK);
		cr_assert_eq(
			encoder_run(blas.enc, &want, in, 1, ENCODER_POOL_MEAN, &blas.e), ERR_OK);
		for (uint32_t j = 0; j < labels; j++) {
			cr_expect_float_eq(alone.logits[j], out[0].logits[j], 1e-4,
				"%s on %s, %u tokens: logit %u differs in a batch",
				encoder_dtype_name(dtype), encoder_isa_name(isa), lengths[i], j);
			cr_expect_float_eq(encoder_probability(alone.logits, labels, j),
				encoder_probability(want.logits, labels, j),
				dtype == ENCODER_F32 ? 1e-4 : 0.02,
				"%s on %s, %u tokens: label %u is another than by BLAS",
				encoder_dtype_name(dtype), encoder_isa_name(isa), lengths[i], j);
		}
	}
}

Test(encoder_models, every_length_and_batch_on_every_kernel_is_what_blas_gives)
{
	uint32_t ids[512];

	skip_without_models();
	ids[0] = 101;
	for (uint32_t i = 1; i < ARRAY_LEN(ids); i++)
		ids[i] = 1000 + i * 7919 % 20000;
	for (int isa = ENCODER_ISA_BLAS; isa < ENCODER_ISAS; isa++)
		for (int dtype = ENCODER_F32; dtype < ENCODER_DTYPES; dtype++)
			if (encoder_isa_runs((enum encoder_isa)isa, (enum encoder_dtype)dtype))
				check_lengths(
					(enum encoder_isa)isa, (enum encoder_dtype)dtype, ids);
}

/* Encode text the model's way and run it. */
static struct encoder_output
run_text(struct model *m, const char *text, size_t len)
{
	const struct tokenizer_options options = encoder_tokenizer_options(m->enc);
	struct tokenizer_scratch *scratch = tokenizer_scratch_new();
	struct tokens tokens = TOKENS_INIT;
	struct encoder_input in;
	struct encoder_output out;

	cr_assert(encoder_tokenizer(m->enc) != NULL);
	cr_assert_eq(tokenizer_encode(&tokens, encoder_tokenizer(m->enc), scratch,
			     (struct tokenizer_text){text, len}, NULL, &options, &m->e),
		ERR_OK, "%s", m->e.text);
	in = (struct encoder_input){.ids = tokens.ids, .types = tokens.types, .len = tokens.len};
	cr_assert_eq(encoder_run(m->enc, &out, &in, 1, ENCODER_POOL_MODEL, &m->e), ERR_OK, "%s",
		m->e.text);
	tokens_fini(&tokens);
	tokenizer_scratch_free(&scratch);
	return out;
}

/* A file [[numbers]] of model2vec's own tests. */
static void
check_static(const char *model, const char *text, const char *file)
{
	AUTO(model_fini) struct model m = {0};
	AUTO(buf_fini) struct buf json = BUF_INIT;
	char path[512], name[128];
	struct json want;
	struct json_iter it;
	struct encoder_output out;

	(void)snprintf(name, sizeof(name), "model2vec/%s", model);
	cr_assert_eq(
		model_load(&m, model_path(path, sizeof(path), name), ENCODER_ISA_AUTO, ENCODER_F32),
		ERR_OK, "%s", m.e.text);
	(void)snprintf(name, sizeof(name), "model2vec/%s", file);
	cr_assert_eq(file_read(&json, model_path(path, sizeof(path), name), GOLDEN_MAX, &m.e),
		ERR_OK, "%s", m.e.text);
	cr_assert_eq(json_check(&want, json.data, json.len, &m.e), ERR_OK);
	it = json_iter(want);
	cr_assert(json_next_item(&it, &want));
	out = run_text(&m, text, strlen(text));
	cr_expect(out.logits == NULL);
	cr_expect_leq(golden_difference(out.embedding, want, 1), 1e-4, "%s of %s differs by %g",
		file, model, golden_difference(out.embedding, want, 1));
}

Test(encoder_models, static_embeddings_equal_model2vec)
{
	AUTO(buf_fini) struct buf longer = BUF_INIT;

	skip_without_models();
	for (int i = 0; i < 1000; i++)
		buf_add_str(&longer, "hello ");
	check_static("float32", "hello world", "embeddings_short.json");
	check_static("float32", buf_str(&longer), "embeddings_long.json");
	check_static("vocab-quantized", buf_str(&longer), "embeddings_vocab_quantized.json");
}

/* Half precision keeps the direction; an int8 table is another quantization of the same vectors. */
Test(encoder_models, static_embeddings_of_every_dtype_agree)
{
	static const char *const names[] = {"model2vec/float16", "model2vec/int8"};
	AUTO(model_fini) struct model exact = {0};
	char path[512];
	float want[2];

	skip_without_models();
	cr_assert_eq(model_load(&exact, model_path(path, sizeof(path), "model2vec/float32"),
			     ENCODER_ISA_AUTO, ENCODER_F32),
		ERR_OK, "%s", exact.e.text);
	memcpy(want, run_text(&exact, "hello world", 11).embedding, sizeof(want));
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		AUTO(model_fini) struct model m = {0};
		struct encoder_output out;

		cr_assert_eq(model_load(&m, model_path(path, sizeof(path), names[i]),
				     ENCODER_ISA_AUTO, ENCODER_F32),
			ERR_OK, "%s", m.e.text);
		out = run_text(&m, "hello world", 11);
		cr_expect_gt(out.embedding[0] * want[0] + out.embedding[1] * want[1], 0.999, "%s",
			names[i]);
	}
}

Test(encoder_models, a_static_embedding_of_nothing_is_zero)
{
	AUTO(model_fini) struct model m = {0};
	char path[512];
	struct encoder_output out;

	skip_without_models();
	cr_assert_eq(model_load(&m, model_path(path, sizeof(path), "model2vec/float32"),
			     ENCODER_ISA_AUTO, ENCODER_F32),
		ERR_OK, "%s", m.e.text);
	out = run_text(&m, "", 0);
	cr_expect_eq(out.embedding[0], 0);
	cr_expect_eq(out.embedding[1], 0);
}

/* The text of a golden row, its pair if it has one, through the tokenizer that was packed with the
 * model. */
static void
check_text_row(struct golden_result *r, struct model *m, struct json row)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(buf_fini) struct buf second = BUF_INIT;
	AUTO(tokenizer_scratch_free) struct tokenizer_scratch *scratch = tokenizer_scratch_new();
	AUTO(tokens_fini) struct tokens tokens = TOKENS_INIT;
	struct tokenizer_options options = encoder_tokenizer_options(m->enc);
	struct tokenizer_text pair;
	struct encoder_input in;
	struct encoder_output out;
	uint64_t length;

	json_text(&text, json_get(row, "text"));
	json_text(&second, json_get(row, "pair"));
	pair = (struct tokenizer_text){buf_str(&second), second.len};
	if (json_u64(&length, json_get(row, "max_length")))
		options.max_length = (uint32_t)length;
	cr_assert_eq(
		tokenizer_encode(&tokens, encoder_tokenizer(m->enc), scratch,
			(struct tokenizer_text){buf_str(&text), text.len},
			json_get(row, "pair").type == JSON_STRING ? &pair : NULL, &options, &m->e),
		ERR_OK, "%s", m->e.text);
	in = (struct encoder_input){.ids = tokens.ids, .types = tokens.types, .len = tokens.len};
	cr_assert_eq(encoder_run(m->enc, &out, &in, 1, ENCODER_POOL_MODEL, &m->e), ERR_OK, "%s",
		m->e.text);
	golden_compare_logits(r, out.logits, encoder_info(m->enc)->labels, json_get(row, "logits"));
	r->rows++;
}

Test(encoder_models, texts_through_the_packed_tokenizer_give_the_golden_logits)
{
	skip_without_models();
	for (size_t i = 0; i < ARRAY_LEN(classifiers); i++) {
		AUTO(model_fini) struct model m = {0};
		AUTO(buf_fini) struct buf text = BUF_INIT;
		struct golden_result r = {0};
		char path[512], golden[600];
		char *line, *save = NULL;
		struct json row;

		model_path(path, sizeof(path), classifiers[i]);
		(void)snprintf(golden, sizeof(golden), "%s/golden.dev.jsonl", path);
		cr_assert_eq(model_load(&m, path, ENCODER_ISA_AUTO, ENCODER_F32), ERR_OK, "%s",
			m.e.text);
		cr_assert_eq(file_read(&text, golden, GOLDEN_MAX, &m.e), ERR_OK, "%s", m.e.text);
		for (line = strtok_r(text.data, "\n", &save); line != NULL;
			line = strtok_r(NULL, "\n", &save)) {
			cr_assert_eq(json_check(&row, line, strlen(line), &m.e), ERR_OK);
			check_text_row(&r, &m, row);
		}
		cr_expect_gt(r.rows, 50);
		cr_expect_leq(r.logits, 1e-4, "%s: logits differ by %g", path, r.logits);
	}
}

/* Scores that the Python reference gave for routellm/bert_gpt4_augmented: the win rate of the
 * strong model is the probability of label 0. */
Test(encoder_models, routellm_checkpoint_gives_its_golden_scores)
{
	static const struct {
		const char *text;
		double score;
	} rows[] = {
		{"What is 2+2?", 0.4197},
		{"Hello!", 0.2947},
		{"Explain quantum entanglement and its implications for EPR paradox", 0.3607},
		{"Write a proof that there are infinitely many prime numbers", 0.3947},
		{"Analyze the geopolitical implications of climate change on international "
		 "relations",
			0.1696},
		{"What is the capital of France?", 0.3646},
		{"Find the degree for the given field extension Q(sqrt(2), sqrt(3), sqrt(18)) over "
		 "Q.\nA. 0\nB. 4\nC. 2\nD. 6\nAnswer:",
			0.7854},
	};
	const char *folder = getenv("SHUNT_ROUTELLM_DIR");
	AUTO(model_fini) struct model m = {0};

	if (folder == NULL)
		cr_skip_test(
			"SHUNT_ROUTELLM_DIR does not name a copy of routellm/bert_gpt4_augmented");
	cr_assert_eq(model_load(&m, folder, ENCODER_ISA_AUTO, ENCODER_F32), ERR_OK, "%s", m.e.text);
	cr_assert_eq(encoder_info(m.enc)->labels, 3);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct encoder_output out = run_text(&m, rows[i].text, strlen(rows[i].text));
		double score = encoder_probability(out.logits, 3, 0);

		cr_expect_float_eq(score, rows[i].score, 0.001, "%s: %g", rows[i].text, score);
	}
}
