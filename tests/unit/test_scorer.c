/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_scorer.c - every scorer learns from a small world, survives its file, and refuses bad ones
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lab/rng.h"
#include "lib/lab/train.h"
#include "lib/routing/scorer_parts.h"
#include "lib/routing/scorer_text.h"

enum { WORLD_ROWS = 160, WORLD_TRAINED = 120, EMBEDDING = 4 };

/* Hard prompts are of other words than easy ones; only the strong model answers them. */
struct world {
	struct dataset d;
	uint32_t train[WORLD_TRAINED];
	float embedding[WORLD_ROWS * EMBEDDING];
	bool hard[WORLD_ROWS];
};

static const char *const hard_words[] = {"integral", "tensor", "lemma", "eigenvalue", "manifold",
	"isomorphic", "converges", "bounded"};
static const char *const easy_words[] = {
	"cat", "milk", "house", "blue", "sunny", "dinner", "friend", "garden"};

static void
world_row(struct buf *out, struct rng *r, size_t i, bool hard)
{
	const char *const *words = hard ? hard_words : easy_words;

	buf_addf(out, "{\"id\":\"%zu\",\"dataset\":\"world/%s\",\"prompt\":\"no. %zu:", i,
		hard ? "hard" : "easy", i);
	for (unsigned k = 0; k < 9; k++)
		buf_addf(out, " %s", words[rng_below(r, 8)]);
	buf_addf(out, "\",\"scores\":{\"vendor/Weak-7B\":%d,\"strong-70b\":1", hard ? 0 : 1);
	if (i % 3 == 0) /* this one has not seen all prompts */
		buf_addf(out, ",\"rare\":%d", hard ? 1 : 0);
	buf_addf(out, "},\"costs\":{\"vendor/Weak-7B\":0.001,\"strong-70b\":0.01}}\n");
}

static void
world_init(struct world *w)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct rng r = {7};
	struct err e;

	memset(w, 0, sizeof(*w));
	for (size_t i = 0; i < WORLD_ROWS; i++) {
		w->hard[i] = rng_below(&r, 2) == 1;
		world_row(&text, &r, i, w->hard[i]);
		for (size_t k = 0; k < EMBEDDING; k++)
			w->embedding[i * EMBEDDING + k] =
				(float)rng_unit(&r) + (k == 0 && w->hard[i] ? 2 : 0);
		if (i < WORLD_TRAINED)
			w->train[i] = (uint32_t)i;
	}
	cr_assert_eq(dataset_add(&w->d, "world", text.data, text.len, &e), ERR_OK, "%s", e.text);
}

static void
world_fini(struct world *w)
{
	dataset_free(&w->d);
}

static const struct train_options world_plain = {.seed = 1, .threads = 2};

static void
world_train_encoded(struct buf *out, const struct world *w, enum scorer_id id)
{
	struct train_options o = world_plain;
	struct err e;

	o.embeddings = w->embedding;
	o.encoder = (struct scorer_embedding){EMBEDDING, 4711, "made for this test"};
	cr_assert_eq(train_run(out, NULL, &w->d, w->train, WORLD_TRAINED, id, &o, &e), ERR_OK, "%s",
		e.text);
}

/* Of the text alone where the scorer can. */
static void
world_train(struct buf *out, const struct world *w, enum scorer_id id)
{
	const struct train_options o = world_plain;
	struct err e;

	if (scorer_kind(id) == SCORER_KIND_ENCODER) {
		world_train_encoded(out, w, id);
		return;
	}

	cr_assert_eq(train_run(out, NULL, &w->d, w->train, WORLD_TRAINED, id, &o, &e), ERR_OK, "%s",
		e.text);
}

static void *
scratch_new(const struct scorer *s)
{
	return aligned_alloc(SCORER_ALIGN, scorer_align(scorer_scratch_bytes(s) + 1));
}

static struct criterion_test_params
trained_scorers(void)
{
	static enum scorer_id ids[SCORERS];
	size_t n = 0;

	for (unsigned i = 0; i < SCORERS; i++) {
		if (scorer_kind((enum scorer_id)i) != SCORER_KIND_FIXED)
			ids[n++] = (enum scorer_id)i;
	}
	return cr_make_param_array(enum scorer_id, ids, n);
}

ParameterizedTestParameters(scorer, learns_which_prompts_want_the_strong_model)
{
	return trained_scorers();
}

ParameterizedTest(enum scorer_id *id, scorer, learns_which_prompts_want_the_strong_model)
{
	AUTO(world_fini) struct world w;
	AUTO(scorer_free) struct scorer *s = NULL;
	AUTO(buf_fini) struct buf file = BUF_INIT;
	double want[WORLD_ROWS];
	size_t pairs = 0, right = 0;
	void *scratch;
	struct err e;

	world_init(&w);
	world_train(&file, &w, *id);
	cr_assert_eq(scorer_open(&s, *id, "file", file.data, file.len, &e), ERR_OK, "%s", e.text);
	scratch = scratch_new(s);
	for (size_t i = WORLD_TRAINED; i < WORLD_ROWS; i++) {
		struct scorer_input in = {.text = w.d.rows[i].prompt,
			.len = w.d.rows[i].prompt_len,
			.embedding = w.embedding + i * EMBEDDING,
			.embedding_len = EMBEDDING};

		want[i] = scorer_want_strong(s, &in, scorer_model_find(s, "Weak-7B"),
			scorer_model_find(s, "strong-70b"), scratch);
	}
	for (size_t i = WORLD_TRAINED; i < WORLD_ROWS; i++) {
		for (size_t k = WORLD_TRAINED; k < WORLD_ROWS; k++) {
			if (!w.hard[i] || w.hard[k])
				continue;
			pairs++;
			right += want[i] > want[k];
		}
	}
	free(scratch);
	cr_assert_gt(right, pairs * 9 / 10, "%s: %zu of %zu", scorer_name(*id), right, pairs);
}

ParameterizedTestParameters(scorer, the_same_run_gives_the_same_bytes)
{
	return trained_scorers();
}

ParameterizedTest(enum scorer_id *id, scorer, the_same_run_gives_the_same_bytes)
{
	AUTO(world_fini) struct world w;
	AUTO(buf_fini) struct buf one = BUF_INIT, two = BUF_INIT;

	world_init(&w);
	world_train(&one, &w, *id);
	world_train(&two, &w, *id);
	cr_assert_eq(one.len, two.len);
	cr_assert_eq(memcmp(one.data, two.data, one.len), 0);
}

/* How much a text that says nothing wants the strong model, by its embedding's first number. */
static double
want_by_embedding(const struct scorer *s, float first, void *scratch)
{
	const float embedding[EMBEDDING] = {first, 0.5F, 0.5F, 0.5F};
	const struct scorer_input in = {
		.text = "no. 7:", .len = 6, .embedding = embedding, .embedding_len = EMBEDDING};

	return scorer_want_strong(s, &in, scorer_model_find(s, "Weak-7B"),
		scorer_model_find(s, "strong-70b"), scratch);
}

ParameterizedTestParameters(scorer, learns_from_embeddings_where_they_are_given)
{
	return trained_scorers();
}

ParameterizedTest(enum scorer_id *id, scorer, learns_from_embeddings_where_they_are_given)
{
	AUTO(world_fini) struct world w;
	AUTO(scorer_free) struct scorer *s = NULL, *plain = NULL;
	AUTO(buf_fini) struct buf file = BUF_INIT, without = BUF_INIT;
	void *scratch;
	struct err e;

	world_init(&w);
	world_train_encoded(&file, &w, *id);
	world_train(&without, &w, *id);
	cr_assert_eq(scorer_open(&s, *id, "f", file.data, file.len, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(
		scorer_open(&plain, *id, "f", without.data, without.len, &e), ERR_OK, "%s", e.text);
	cr_assert_not_null(scorer_embedding(s));
	cr_expect_eq(scorer_embedding(s)->len, EMBEDDING);
	cr_expect_eq(scorer_embedding(s)->identity, 4711);
	cr_expect_str_eq(scorer_embedding(s)->name, "made for this test");
	scratch = scratch_new(s);
	cr_expect_neq(want_by_embedding(s, 2.5F, scratch), want_by_embedding(s, 0.5F, scratch),
		"%s", scorer_name(*id));
	if (*id != SCORER_MLP && *id != SCORER_MF && *id != SCORER_IRT) /* lost in so odd a text */
		cr_expect_gt(want_by_embedding(s, 2.5F, scratch),
			want_by_embedding(s, 0.5F, scratch), "%s", scorer_name(*id));
	if (scorer_kind(*id) == SCORER_KIND_TRAINED) {
		cr_expect_null(scorer_embedding(plain));
		cr_expect_eq(want_by_embedding(plain, 2.5F, scratch),
			want_by_embedding(plain, 0.5F, scratch), "%s", scorer_name(*id));
	}
	free(scratch);
}

/* Encoders whose embeddings are not of length 1 have them of any. */
Test(scorer, learns_from_embeddings_of_any_length)
{
	static const float lengths[] = {1e-6F, 1, 1e6F};
	AUTO(world_fini) struct world w;

	world_init(&w);
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		struct world longer = w;
		AUTO(scorer_free) struct scorer *s = NULL;
		AUTO(buf_fini) struct buf file = BUF_INIT;
		struct scorer_guess all[8];
		void *scratch;
		struct err e;

		for (size_t k = 0; k < ARRAY_LEN(longer.embedding); k++)
			longer.embedding[k] *= lengths[i];
		world_train_encoded(&file, &longer, SCORER_ENCODER);
		cr_assert_eq(scorer_open(&s, SCORER_ENCODER, "f", file.data, file.len, &e), ERR_OK,
			"%s", e.text);
		scratch = scratch_new(s);
		for (size_t row = WORLD_TRAINED; row < WORLD_ROWS; row++) {
			const struct scorer_input in = {.text = "x",
				.len = 1,
				.embedding = longer.embedding + row * EMBEDDING,
				.embedding_len = EMBEDDING};

			scorer_guess(s, all, &in, scratch);
			cr_expect_eq(all[scorer_model_find(s, "Weak-7B")].quality < 0.5F,
				w.hard[row], "row %zu at length %g", row, (double)lengths[i]);
		}
		free(scratch);
	}
}

/* Where the table of sections has this tag. */
static char *
section_tag(struct buf *file, const char *tag)
{
	for (size_t at = 64; at + 8 < file->len; at += 8)
		if (strncmp(file->data + at, tag, 8) == 0)
			return file->data + at;
	cr_assert_fail("no section '%s'", tag);
	return NULL;
}

Test(scorer, what_does_not_say_its_encoder_is_refused)
{
	AUTO(world_fini) struct world w;
	AUTO(scorer_free) struct scorer *s = NULL;
	AUTO(buf_fini) struct buf file = BUF_INIT;
	struct scorer_encoder head;
	struct err e;
	char *tag, *section;
	uint64_t offset;

	world_init(&w);
	world_train_encoded(&file, &w, SCORER_LINEAR);
	tag = section_tag(&file, "encoder");
	memcpy(&offset, tag + 8, sizeof(offset));
	section = file.data + offset;
	memcpy(&head, section, sizeof(head));
	for (uint64_t len = 0; len < EMBEDDING; len++) {
		const struct scorer_encoder wrong = {.identity = head.identity, .len = len};

		memcpy(section, &wrong, sizeof(wrong));
		scorer_file_seal(file.data, file.len);
		cr_expect_eq(
			scorer_open(&s, SCORER_LINEAR, "f", file.data, file.len, &e), ERR_CONFIG);
		cr_expect(strstr(e.text, "'encoder' is damaged") != NULL, "%s", e.text);
	}
	memcpy(section, &head, sizeof(head));
	memcpy(tag, "another", 8);
	scorer_file_seal(file.data, file.len);
	cr_expect_eq(scorer_open(&s, SCORER_LINEAR, "f", file.data, file.len, &e), ERR_CONFIG);
	cr_expect(strstr(e.text, "train it again") != NULL, "%s", e.text);
}

Test(scorer, finds_models_by_name_up_to_case_and_vendor)
{
	AUTO(world_fini) struct world w;
	AUTO(scorer_free) struct scorer *s = NULL;
	AUTO(buf_fini) struct buf file = BUF_INIT;
	struct err e;

	world_init(&w);
	world_train(&file, &w, SCORER_LINEAR);
	cr_assert_eq(scorer_open(&s, SCORER_LINEAR, "f", file.data, file.len, &e), ERR_OK);
	cr_assert_eq(scorer_models(s), 3);
	cr_assert_str_eq(scorer_model(s, 0), "vendor/Weak-7B");
	cr_assert_eq(scorer_model_find(s, "vendor/Weak-7B"), 0);
	cr_assert_eq(scorer_model_find(s, "other/weak-7b"), 0);
	cr_assert_eq(scorer_model_find(s, "STRONG-70B"), 1);
	cr_assert_eq(scorer_model_find(s, "strong"), -1);
	cr_assert_float_eq(scorer_mean(s, 1), 1, 1e-6);
}

Test(scorer, guesses_cost_where_the_data_has_it)
{
	AUTO(world_fini) struct world w;
	AUTO(scorer_free) struct scorer *s = NULL;
	AUTO(buf_fini) struct buf file = BUF_INIT;
	struct scorer_input in = {.text = "a cat", .len = 5};
	struct scorer_guess out[3];
	void *scratch;
	struct err e;

	world_init(&w);
	world_train(&file, &w, SCORER_LINEAR);
	cr_assert_eq(scorer_open(&s, SCORER_LINEAR, "f", file.data, file.len, &e), ERR_OK);
	scratch = scratch_new(s);
	scorer_guess(s, out, &in, scratch);
	free(scratch);
	cr_assert_float_eq(out[0].cost, 0.001, 1e-5);
	cr_assert_float_eq(out[1].cost, 0.01, 1e-4);
	cr_assert_lt(out[2].cost, 0);
	cr_assert_gt(out[0].error, 0);
}

Test(scorer, answers_any_text)
{
	AUTO(world_fini) struct world w;
	AUTO(scorer_free) struct scorer *s = NULL;
	AUTO(buf_fini) struct buf file = BUF_INIT, huge = BUF_INIT;
	static const char binary[] = "\xff\x00\xfe\xed\x80\x80\xc3";
	struct scorer_guess out[3];
	void *scratch;
	struct err e;

	world_init(&w);
	world_train(&file, &w, SCORER_ENSEMBLE);
	cr_assert_eq(scorer_open(&s, SCORER_ENSEMBLE, "f", file.data, file.len, &e), ERR_OK);
	scratch = scratch_new(s);
	while (huge.len < 1 << 20)
		buf_addf(&huge, "%s word%zu \xe6\xbc\xa2 ", binary, huge.len);
	const struct scorer_input inputs[] = {{.text = "", .len = 0},
		{.text = binary, .len = sizeof(binary)}, {.text = huge.data, .len = huge.len},
		{.text = huge.data, .len = 12287}, {.text = huge.data, .len = 12289}};
	for (size_t i = 0; i < ARRAY_LEN(inputs); i++) {
		scorer_guess(s, out, &inputs[i], scratch);
		for (size_t m = 0; m < 3; m++)
			cr_assert(out[m].quality >= 0 && out[m].quality <= 1);
	}
	free(scratch);
}

Test(scorer, letter_case_and_spaces_change_nothing)
{
	AUTO(world_fini) struct world w;
	AUTO(scorer_free) struct scorer *s = NULL;
	AUTO(buf_fini) struct buf file = BUF_INIT;
	const struct scorer_input plain = {.text = "The lemma holds. (a) yes", .len = 24};
	const struct scorer_input loud = {.text = "  THE\tLEMMA  holds.\n (A)   YES ", .len = 32};
	struct scorer_guess a[3], b[3];
	void *scratch;
	struct err e;

	world_init(&w);
	world_train(&file, &w, SCORER_LINEAR);
	cr_assert_eq(scorer_open(&s, SCORER_LINEAR, "f", file.data, file.len, &e), ERR_OK);
	scratch = scratch_new(s);
	scorer_guess(s, a, &plain, scratch);
	scorer_guess(s, b, &loud, scratch);
	free(scratch);
	cr_assert_float_eq(a[0].quality, b[0].quality, 1e-6);
}

static float
asked_quality(const struct scorer *s, const char *text)
{
	const struct scorer_input in = {.text = text, .len = strlen(text)};
	struct scorer_guess out[3];
	void *scratch = scratch_new(s);

	scorer_guess(s, out, &in, scratch);
	free(scratch);
	return out[0].quality;
}

Test(scorer, what_is_embedded_begins_behind_the_courtesies)
{
	static const struct {
		const char *text, *rest;
	} rows[] = {
		{"", ""},
		{"Why is 7 * 8 = 56?", "Why is 7 * 8 = 56?"},
		{"Hi there! I hope you are doing well.\n\nWhy is it blue?", "\nWhy is it blue?"},
		{"  HELLO,  could you help me?  Sort the list.", " Sort the list."},
		{"Hello.", "Hello."},
		{"Bonjour \xc3\xa0 tous! Hi.", "Bonjour \xc3\xa0 tous! Hi."},
		{"\xff\xfe hi! a", "\xff\xfe hi! a"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		cr_expect_str_eq(rows[i].text + text_courtesy(rows[i].text, strlen(rows[i].text)),
			rows[i].rest, "row %zu", i);
}

Test(scorer, courtesies_before_the_question_change_nothing)
{
	AUTO(world_fini) struct world w;
	AUTO(scorer_free) struct scorer *s = NULL;
	AUTO(buf_fini) struct buf file = BUF_INIT;
	struct err e;
	float bare;

	world_init(&w);
	world_train(&file, &w, SCORER_LINEAR);
	cr_assert_eq(scorer_open(&s, SCORER_LINEAR, "f", file.data, file.len, &e), ERR_OK);
	bare = asked_quality(s, "The tensor converges. Which lemma?");
	cr_expect_eq(bare, asked_quality(s, "Hey, I need your help. Thanks!\n\nThe tensor "
					    "converges. Which lemma?"));
	cr_expect_eq(bare, asked_quality(s, "Good morning! A quick question: The tensor "
					    "converges. Which lemma?"));
	cr_expect_neq(bare, asked_quality(s, "Dinner. The tensor converges. Which lemma?"),
		"what is no courtesy counts");
	cr_expect_neq(asked_quality(s, "Could you help me?"), asked_quality(s, ""),
		"a text of nothing else is looked at");
}

Test(scorer, knows_its_error)
{
	static const enum scorer_id ids[] = {SCORER_LINEAR, SCORER_KNN, SCORER_ELO, SCORER_CLUSTER,
		SCORER_MLP, SCORER_MF, SCORER_IRT, SCORER_ENSEMBLE};
	AUTO(world_fini) struct world w;

	world_init(&w);
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		AUTO(scorer_free) struct scorer *s = NULL;
		AUTO(buf_fini) struct buf file = BUF_INIT;
		const struct scorer_input in = {.text = "cat", .len = 3};
		struct scorer_guess out[3];
		struct err e;
		void *scratch;

		world_train(&file, &w, ids[i]);
		cr_assert_eq(scorer_open(&s, ids[i], "f", file.data, file.len, &e), ERR_OK);
		scratch = scratch_new(s);
		scorer_guess(s, out, &in, scratch);
		free(scratch);
		cr_expect(out[0].error > 0 && out[0].error < 0.5F, "%s: %g", scorer_name(ids[i]),
			(double)out[0].error);
	}
}

/* Two models: each answers prompts of its own kind, or both anything by lot. */
static void
rivals_init(struct dataset *d, bool kinds)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct rng r = {11};
	struct err e;

	for (size_t i = 0; i < WORLD_ROWS; i++) {
		bool hard = rng_below(&r, 2) == 1;
		const char *const *words = hard ? hard_words : easy_words;
		int a = kinds ? !hard : (int)rng_below(&r, 2);
		int b = kinds ? hard : (int)rng_below(&r, 2);

		buf_addf(&text, "{\"dataset\":\"rivals\",\"prompt\":\"no. %zu:", i);
		for (unsigned k = 0; k < 9; k++)
			buf_addf(&text, " %s", words[rng_below(&r, 8)]);
		buf_addf(&text, "\",\"scores\":{\"a\":%d,\"b\":%d}}\n", a, b);
	}
	cr_assert_eq(dataset_add(d, "rivals", text.data, text.len, &e), ERR_OK, "%s", e.text);
}

/* The lead that a guess needs. */
static double
rivals_error(bool kinds, enum scorer_id id)
{
	AUTO(dataset_free) struct dataset d = {.rows = NULL};
	AUTO(scorer_free) struct scorer *s = NULL;
	AUTO(buf_fini) struct buf file = BUF_INIT;
	const struct train_options o = {.seed = 1, .threads = 1};
	const struct scorer_input in = {.text = "cat", .len = 3};
	struct scorer_guess out[2];
	void *scratch;
	struct err e;

	rivals_init(&d, kinds);
	cr_assert_eq(train_run(&file, NULL, &d, NULL, 0, id, &o, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(scorer_open(&s, id, "f", file.data, file.len, &e), ERR_OK);
	scratch = scratch_new(s);
	scorer_guess(s, out, &in, scratch);
	free(scratch);
	return (double)fmaxf(out[0].error, out[1].error);
}

Test(scorer, asks_for_a_larger_lead_where_leaving_the_best_single_model_does_not_pay)
{
	static const enum scorer_id ids[] = {SCORER_LINEAR, SCORER_KNN, SCORER_ENSEMBLE};

	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		cr_expect_gt(rivals_error(false, ids[i]), 5 * rivals_error(true, ids[i]), "%s",
			scorer_name(ids[i]));
}

Test(scorer, refuses_damaged_files)
{
	AUTO(world_fini) struct world w;
	AUTO(buf_fini) struct buf file = BUF_INIT;
	struct scorer *s = NULL;
	struct err e;

	world_init(&w);
	world_train(&file, &w, SCORER_LINEAR);
	cr_assert_eq(scorer_open(&s, SCORER_KNN, "f", file.data, file.len, &e), ERR_CONFIG);
	cr_assert(strstr(e.text, "another scorer") != NULL);
	cr_assert_eq(scorer_open(&s, SCORER_LINEAR, "f", NULL, 0, &e), ERR_CONFIG);
	cr_assert_eq(scorer_open(&s, SCORER_LINEAR, "f", file.data, file.len - 1, &e), ERR_CONFIG);
	cr_assert_eq(scorer_open(&s, SCORER_LINEAR, "f", file.data, 63, &e), ERR_CONFIG);
	for (size_t i = 0; i < file.len; i += i < 512 ? 1 : 9973) {
		file.data[i] = (char)(file.data[i] ^ 0x10);
		cr_assert_eq(scorer_open(&s, SCORER_LINEAR, "f", file.data, file.len, &e),
			ERR_CONFIG, "byte %zu", i);
		file.data[i] = (char)(file.data[i] ^ 0x10);
	}
	/* cut inside of its sections, and sealed again */
	scorer_file_seal(file.data, 4096);
	cr_assert_eq(scorer_open(&s, SCORER_LINEAR, "f", file.data, 4096, &e), ERR_CONFIG);
	cr_assert(strstr(e.text, "outside the file") != NULL, "%s", e.text);
}

static bool
stop_at_once(void *arg, const char *stage, double done)
{
	(void)arg;
	(void)stage;
	(void)done;
	return false;
}

Test(train, ends_when_its_caller_wants_no_more)
{
	AUTO(world_fini) struct world w;
	AUTO(buf_fini) struct buf file = BUF_INIT;
	struct train_options o;
	struct err e;

	world_init(&w);
	o = world_plain;
	o.progress = stop_at_once;
	cr_assert_eq(train_run(&file, NULL, &w.d, NULL, 0, SCORER_ENSEMBLE, &o, &e), ERR_CANCELLED);
	cr_assert_eq(file.len, 0);
}

/* Their error is measured by scorers of a third of the rows each, which may be too few for one. */
Test(train, few_rows_are_enough_whatever_their_thirds_are)
{
	AUTO(world_fini) struct world w;

	world_init(&w);
	for (size_t n = 10; n < 60; n += 3) {
		AUTO(buf_fini) struct buf file = BUF_INIT;
		AUTO(scorer_free) struct scorer *s = NULL;
		struct err e;

		cr_assert_eq(train_run(&file, NULL, &w.d, w.train, n, SCORER_KNN, &world_plain, &e),
			ERR_OK, "%zu rows: %s", n, e.text);
		cr_assert_eq(scorer_open(&s, SCORER_KNN, "f", file.data, file.len, &e), ERR_OK,
			"%s", e.text);
	}
}

Test(train, says_what_it_cannot_train)
{
	AUTO(world_fini) struct world w;
	AUTO(buf_fini) struct buf file = BUF_INIT;
	struct train_options o = {.seed = 1};
	struct err e;

	world_init(&w);
	cr_assert_eq(train_run(&file, NULL, &w.d, NULL, 0, SCORER_WEAK, &o, &e), ERR_INPUT);
	cr_assert_eq(train_run(&file, NULL, &w.d, w.train, 5, SCORER_LINEAR, &o, &e), ERR_INPUT);
	cr_assert_eq(train_run(&file, NULL, &w.d, NULL, 0, SCORER_ENCODER, &o, &e), ERR_INPUT);
	cr_assert(strstr(e.text, "embeddings") != NULL);
}

Test(scorer, fixed_ones_need_no_file)
{
	static const struct {
		enum scorer_id id;
		double least, most;
	} rows[] = {{SCORER_WEAK, 0, 0}, {SCORER_STRONG, 1, 1}, {SCORER_RANDOM, 0, 1},
		{SCORER_HEURISTIC, 0, 1}};
	struct scorer_input in = {.text = "prove it", .len = 8, .seed = 3};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(scorer_free) struct scorer *s = NULL;
		struct err e;
		double want;

		cr_assert_eq(scorer_open(&s, rows[i].id, "none", NULL, 0, &e), ERR_OK);
		want = scorer_want_strong(s, &in, 0, 0, NULL);
		cr_assert(want >= rows[i].least && want <= rows[i].most);
		cr_assert_eq(scorer_models(s), 0);
	}
}
