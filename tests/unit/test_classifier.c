/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_classifier.c - the classifier's queue and its passes, over an encoder for the head
 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "lib/base/clock.h"
#include "workers/classifier/classifier.h"

static struct queue queue;
static struct pass *pass;
static struct model model;
static struct tokenizer_scratch *scratch;
static struct err e;

static void
set_up(void)
{
	static const struct encoder_limits limits = {.batch = 4, .tokens = 10, .threads = 1};
	char image[64] = {0};

	queue_init(&queue);
	pass = pass_new();
	model.limits = limits;
	cr_assert_eq(encoder_attach(&model.encoder, image, sizeof(image), &limits, &e), ERR_OK);
	scratch = tokenizer_scratch_new();
}

static void
tear_down(void)
{
	pass_drop(pass);
	pass_free(&pass);
	encoder_free(&model.encoder);
	tokenizer_scratch_free(&scratch);
}

TestSuite(classifier, .init = set_up, .fini = tear_down);

static struct job *
new_job(enum job_kind kind, uint64_t id, const void *data, size_t len)
{
	const struct msg m = {.head = {.request_id = id, .deadline_ns = UINT64_MAX - 1}};
	struct bytes *payload = bytes_copy(data, len);
	struct job *j = job_new(kind, &m, payload);

	bytes_unref(&payload);
	j->wanted = WANTED_PROBABILITIES;
	return j;
}

static struct job *
text_job(uint64_t id, const char *text)
{
	return new_job(JOB_CLASSIFY, id, text, strlen(text));
}

/* Inputs of an Embed: texts, or where ids is not NULL those. */
static struct job *
embed_job(uint64_t id, const char *const *texts, uint32_t count, const uint32_t *ids, uint32_t n)
{
	AUTO(buf_fini) struct buf b = BUF_INIT;
	struct job *j;
	uint32_t len;

	for (uint32_t i = 0; i < count; i++) {
		len = ids != NULL ? n * 4 | 1U << 31 : (uint32_t)strlen(texts[i]);
		buf_add(&b, &len, sizeof(len));
		if (ids != NULL)
			buf_add(&b, ids, n * sizeof(*ids));
		else
			buf_add(&b, texts[i], len);
		buf_add(&b, "\0\0\0", (0 - len) & 3);
	}
	j = new_job(JOB_EMBED, id, b.data, b.len);
	j->texts = count;
	return j;
}

static uint64_t
taken(size_t room, const enum job_kind *kind)
{
	struct job *j = queue_take(&queue, room, kind);
	uint64_t id = j == NULL ? 0 : j->request_id;

	job_free(&j);
	return id;
}

static float
value(size_t text, size_t i)
{
	float f;

	cr_assert_geq(pass->texts[text].values.len, (i + 1) * sizeof(f));
	memcpy(&f, pass->texts[text].values.data + i * sizeof(f), sizeof(f));
	return f;
}

static void
run(void)
{
	pass_run(pass, &model, scratch);
}

static void
add(struct job *j)
{
	cr_assert_eq(pass_add(pass, j, &e), ERR_OK, "%s", e.text);
}

/* ---- queue ---- */

Test(classifier, jobs_come_out_in_their_order)
{
	for (uint64_t id = 1; id <= 3; id++)
		queue_add(&queue, text_job(id, "x"));
	cr_assert_eq(queue.len, 3);
	for (uint64_t id = 1; id <= 3; id++)
		cr_assert_eq(taken(1, NULL), id);
	cr_assert_eq(taken(1, NULL), 0);
	cr_assert_eq(queue.len, 0);
}

Test(classifier, classifications_go_before_embeddings_but_not_for_ever)
{
	static const char *const texts[] = {"x"};
	unsigned before = 0;

	queue_add(&queue, embed_job(100, texts, 1, NULL, 0));
	for (uint64_t id = 1; id <= 20; id++)
		queue_add(&queue, text_job(id, "x"));
	while (taken(1, NULL) != 100)
		before++;
	cr_assert(before >= 1 && before <= 5, "%u classifications went before", before);
	while (queue.len > 0)
		cr_assert_neq(taken(1, NULL), 0);
}

Test(classifier, a_pass_is_of_one_kind_and_a_job_that_does_not_fit_waits)
{
	static const char *const texts[] = {"x", "y", "z"};
	const enum job_kind embed = JOB_EMBED;

	queue_add(&queue, text_job(1, "x"));
	queue_add(&queue, embed_job(2, texts, 3, NULL, 0));
	cr_assert_eq(taken(2, &embed), 0, "three inputs do not fit");
	cr_assert_eq(taken(3, &embed), 2);
	cr_assert_eq(taken(3, &embed), 0);
	cr_assert_eq(taken(1, NULL), 1);
}

Test(classifier, late_jobs_are_found_wherever_they_stand)
{
	static const char *const texts[] = {"x"};
	uint64_t late[3] = {0};
	struct job *j;

	for (uint64_t id = 1; id <= 5; id++) {
		j = id == 3 ? embed_job(id, texts, 1, NULL, 0) : text_job(id, "x");
		j->deadline_ns = id % 2 == 1 ? 100 : 1000;
		queue_add(&queue, j);
	}
	for (size_t i = 0; i < 3; i++) {
		j = queue_take_late(&queue, 500);
		cr_assert_not_null(j);
		late[j->request_id / 2] = j->request_id;
		job_free(&j);
	}
	cr_assert_null(queue_take_late(&queue, 500));
	cr_assert(late[0] == 1 && late[1] == 3 && late[2] == 5);
	queue_add(&queue, text_job(6, "x"));
	cr_assert_eq(taken(1, NULL), 2);
	cr_assert_eq(taken(1, NULL), 4);
	cr_assert_eq(taken(1, NULL), 6, "the line's end is where it should be");
}

/* ---- passes ---- */

Test(classifier, probabilities_logits_and_embedding_come_in_the_order_of_their_bits)
{
	struct job *j = text_job(1, "ab cde");

	j->wanted = WANTED_ALL;
	add(j);
	run();
	cr_assert_eq(pass->texts[0].err.code, ERR_OK, "%s", pass->texts[0].err.text);
	cr_assert_eq(pass->texts[0].values.len, (2 + 2 + 4) * sizeof(float));
	cr_assert_float_eq((double)value(0, 0), 1 / (1 + exp(-2)), 1e-6);
	cr_assert_float_eq((double)value(0, 0) + (double)value(0, 1), 1, 1e-6);
	cr_assert_eq(value(0, 2), 2, "the first logit is the number of tokens");
	cr_assert_eq(value(0, 4), 2);
	cr_assert_eq(value(0, 5), 2, "the first id");
	cr_assert_eq(pass->texts[0].label, 0);
	cr_assert_eq(pass->texts[0].win_rate, value(0, 0));
}

Test(classifier, runs_keep_the_limits_of_texts_and_tokens)
{
	for (uint64_t id = 1; id <= 5; id++)
		add(text_job(id, "x")); /* 4 texts at most: 4 + 1 */
	run();
	cr_assert_eq(pass->runs, 2);
	pass_drop(pass);
	for (uint64_t id = 1; id <= 3; id++)
		add(text_job(id, "a b c d")); /* 10 tokens at most: 8 + 4 */
	run();
	cr_assert_eq(pass->runs, 2);
	cr_assert_eq(pass->tokens, 12);
	for (size_t i = 0; i < 3; i++)
		cr_assert_eq(pass->texts[i].err.code, ERR_OK);
}

Test(classifier, a_classification_is_cut_as_the_models_files_say)
{
	add(text_job(1, "1 2 3 4 5 6 7 8 9 10"));
	run();
	cr_assert_eq(pass->texts[0].err.code, ERR_OK, "%s", pass->texts[0].err.text);
	cr_assert_eq(pass->texts[0].tokens.len, 8);
	cr_assert_eq(pass->texts[0].tokens.dropped, 2);
}

Test(classifier, an_embedding_alone_is_of_as_much_text_as_the_model_takes)
{
	struct job *j = text_job(1, "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17");

	j->wanted = WANTED_EMBEDDING;
	j->cut = TOKENIZER_CUT_RIGHT;
	add(j);
	run();
	cr_assert_eq(pass->texts[0].err.code, ERR_OK, "%s", pass->texts[0].err.text);
	cr_assert_eq(pass->texts[0].tokens.len, 16);
	cr_assert_eq(pass->texts[0].tokens.dropped, 1);
	cr_assert_eq(pass->texts[0].values.len, 4 * sizeof(float));
}

Test(classifier, an_input_too_long_to_embed_fails_alone)
{
	static const char *const texts[] = {"x", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", "y"};

	add(embed_job(1, texts, 3, NULL, 0));
	run();
	cr_assert_eq(pass->texts[0].err.code, ERR_OK);
	cr_assert_eq(pass->texts[1].err.code, ERR_CONTEXT_LENGTH);
	cr_assert_not_null(strstr(pass->texts[1].err.text, "17 tokens, the model takes 16"), "%s",
		pass->texts[1].err.text);
	cr_assert_eq(pass->texts[2].err.code, ERR_OK);
}

Test(classifier, one_bad_id_spoils_its_own_input_only)
{
	static const uint32_t good[] = {1, 2, 3}, bad[] = {1, 1000};

	add(embed_job(1, NULL, 1, good, 3));
	add(embed_job(2, NULL, 1, bad, 2));
	add(embed_job(3, NULL, 1, good, 1));
	run();
	cr_assert_eq(pass->texts[0].err.code, ERR_OK);
	cr_assert_eq(value(0, 0), 3);
	cr_assert_eq(pass->texts[1].err.code, ERR_INPUT);
	cr_assert_not_null(strstr(pass->texts[1].err.text, "1000"));
	cr_assert_eq(pass->texts[2].err.code, ERR_OK);
	cr_assert_eq(value(2, 0), 1);
}

Test(classifier, an_answer_that_is_no_number_is_an_error_of_its_text)
{
	static const uint32_t good[] = {1, 2, 3}, bad[] = {999, 1};

	add(embed_job(1, NULL, 1, good, 3));
	add(embed_job(2, NULL, 1, bad, 2));
	run();
	cr_assert_eq(pass->texts[0].err.code, ERR_OK);
	cr_assert_eq(pass->texts[1].err.code, ERR_MALFORMED);
	cr_assert_not_null(strstr(pass->texts[1].err.text, "NaN"));
	cr_assert_eq(pass->texts[1].values.len, 0);
}

Test(classifier, what_is_late_by_now_is_not_run)
{
	struct job *j = text_job(1, "x");

	j->deadline_ns = clock_ns() - 1;
	add(j);
	add(text_job(2, "x"));
	run();
	cr_assert_eq(pass->texts[0].err.code, ERR_DEADLINE);
	cr_assert_eq(pass->texts[1].err.code, ERR_OK);
	cr_assert_eq(pass->tokens, 1);
}

Test(classifier, a_payload_that_is_not_the_inputs_it_claims_is_refused_whole)
{
	static const char *const texts[] = {"hello", "x"};
	struct job *j;

	for (size_t cut = 1; cut < 20; cut++) {
		struct bytes *shorter;

		j = embed_job(1, texts, 2, NULL, 0);
		cr_assert_eq(j->payload->len, 4 + 8 + 4 + 4);
		shorter = bytes_copy(j->payload->data, j->payload->len - cut);
		bytes_unref(&j->payload);
		j->payload = shorter;
		cr_assert_eq(pass_add(pass, j, &e), ERR_INPUT, "cut by %zu", cut);
		cr_assert_eq(pass->len, 0);
		job_free(&j);
	}
	j = embed_job(1, texts, 2, NULL, 0);
	j->texts = 1;
	cr_assert_eq(pass_add(pass, j, &e), ERR_INPUT, "bytes behind the last input");
	job_free(&j);
}

Test(classifier, memory_of_a_pass_is_used_again)
{
	for (int round = 0; round < 3; round++) {
		add(text_job(1, "a b"));
		run();
		cr_assert_eq(pass->texts[0].values.len, 2 * sizeof(float));
		cr_assert_eq(pass->texts[0].tokens.len, 2);
		pass_drop(pass);
		cr_assert_eq(pass->len, 0);
	}
}
