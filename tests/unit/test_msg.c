/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_msg.c - messages survive the trip, and nothing else gets through
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "schemas/msg.h"

static struct msg
sample(enum msg_type type)
{
	struct msg m;

	memset(&m, 0, sizeof(m));
	m.type = type;
	m.head = (struct msg_head){.request_id = 0x1122334455667788,
		.deadline_ns = UINT64_MAX,
		.sender_generation = 3,
		.target_generation = 4,
		.sender_slot = 127,
		.sender_role = MSG_ROLE_GATEWAY};
	return m;
}

/* Decode a copy that is exactly as long as the message, so that ASan sees any step outside. */
static enum err_code
decode(struct msg *out, void **copy, const void *data, size_t len, struct err *e)
{
	*copy = malloc(len == 0 ? 1 : len);
	cr_assert_not_null(*copy);
	memcpy(*copy, data, len);
	return msg_decode(out, *copy, len, e);
}

Test(msg, every_field_of_a_message_arrives)
{
	struct msg in = sample(MSG_CHAT_START), out;
	struct buf b = BUF_INIT;
	void *copy;
	char model[MSG_CHAT_START_MODEL_MAX + 1];
	struct err e;

	in.chat_start = (struct msg_chat_start){.endpoint = MSG_ENDPOINT_EMBEDDINGS,
		.stream = true,
		.model = msg_str("qwen3:8b"),
		.model_at = 17,
		.model_len = UINT32_MAX,
		.credit_bytes = 1,
		.first_byte_ms = 30000,
		.idle_ms = 2};
	msg_encode(&b, &in);
	cr_assert_eq(decode(&out, &copy, b.data, b.len, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(out.type, MSG_CHAT_START);
	cr_assert_eq(out.head.request_id, in.head.request_id);
	cr_assert_eq(out.head.deadline_ns, UINT64_MAX);
	cr_assert_eq(out.head.sender_generation, 3);
	cr_assert_eq(out.head.target_generation, 4);
	cr_assert_eq(out.head.sender_slot, 127);
	cr_assert_eq(out.head.sender_role, MSG_ROLE_GATEWAY);
	cr_assert_eq(out.chat_start.endpoint, MSG_ENDPOINT_EMBEDDINGS);
	cr_assert(out.chat_start.stream);
	cr_assert_str_eq(msg_str_copy(model, sizeof(model), out.chat_start.model), "qwen3:8b");
	cr_assert_eq(out.chat_start.model_at, 17);
	cr_assert_eq(out.chat_start.model_len, UINT32_MAX);
	cr_assert_eq(out.chat_start.idle_ms, 2);
	free(copy);
	buf_fini(&b);
}

Test(msg, all_types_travel_empty)
{
	for (unsigned type = MSG_NONE + 1; type < MSG_TYPES; type++) {
		struct msg in = sample((enum msg_type)type), out;
		struct buf b = BUF_INIT;
		void *copy;
		struct err e;

		msg_encode(&b, &in);
		cr_assert_eq(decode(&out, &copy, b.data, b.len, &e), ERR_OK, "%s: %s",
			msg_name((enum msg_type)type), e.text);
		cr_assert_eq(out.type, type);
		free(copy);
		buf_fini(&b);
	}
}

Test(msg, the_longest_strings_fit)
{
	struct msg in = sample(MSG_SUSPECT), out;
	struct buf b = BUF_INIT;
	char backend[MSG_SUSPECT_BACKEND_MAX], model[MSG_SUSPECT_MODEL_MAX];
	void *copy;
	struct err e;

	memset(backend, 'b', sizeof(backend));
	memset(model, 'm', sizeof(model));
	in.suspect = (struct msg_suspect){.backend = {backend, sizeof(backend)},
		.model = {model, sizeof(model)},
		.code = UINT16_MAX};
	msg_encode(&b, &in);
	cr_assert_leq(b.len, (size_t)MSG_LEN_MAX);
	cr_assert_eq(decode(&out, &copy, b.data, b.len, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(out.suspect.model.len, sizeof(model));
	cr_assert_eq(memcmp(out.suspect.model.p, model, sizeof(model)), 0);
	cr_assert_eq(out.suspect.backend.len, sizeof(backend));
	free(copy);
	buf_fini(&b);
}

Test(msg, a_message_cut_anywhere_is_malformed)
{
	struct msg in = sample(MSG_CHAT_FAIL), out;
	struct buf b = BUF_INIT;
	struct err e;

	in.chat_fail.text = msg_str("the upstream closed the connection");
	in.chat_fail.code = 7;
	msg_encode(&b, &in);
	for (size_t len = 0; len < b.len; len++) {
		void *copy;

		cr_assert_eq(decode(&out, &copy, b.data, len, &e), ERR_MALFORMED, "%zu", len);
		free(copy);
	}
	buf_fini(&b);
}

Test(msg, bytes_after_the_message_are_malformed)
{
	struct msg in = sample(MSG_CHAT_CREDIT), out;
	struct buf b = BUF_INIT;
	struct err e;

	in.chat_credit.bytes = 9;
	msg_encode(&b, &in);
	for (int more = 0; more < 16; more++) {
		void *copy;

		buf_add_char(&b, '\0');
		cr_assert_eq(decode(&out, &copy, b.data, b.len, &e), ERR_MALFORMED);
		free(copy);
	}
	buf_fini(&b);
}

Test(msg, another_file_identifier_is_malformed)
{
	struct msg in = sample(MSG_CHAT_CREDIT), out;
	struct buf b = BUF_INIT;
	struct err e;
	void *copy;

	msg_encode(&b, &in);
	b.data[4] ^= 1;
	cr_assert_eq(decode(&out, &copy, b.data, b.len, &e), ERR_MALFORMED);
	free(copy);
	buf_fini(&b);
}

/* Whatever one changed byte does, the message is refused or every view stays inside it. */
Test(msg, a_changed_byte_never_leads_outside)
{
	struct msg in = sample(MSG_PROBE_MODEL), out;
	struct buf b = BUF_INIT;
	unsigned refused = 0;

	in.probe_model.model = msg_str("llama-3.1-8b-instruct");
	in.probe_model.context_tokens = 131072;
	in.probe_model.vision = true;
	msg_encode(&b, &in);
	for (size_t i = 0; i < b.len * 255; i++) {
		struct err e;
		void *copy;
		char saved = b.data[i / 255];

		b.data[i / 255] = (char)((unsigned char)saved + 1 + i % 255);
		if (decode(&out, &copy, b.data, b.len, &e) != ERR_OK) {
			refused++;
		} else if (out.type == MSG_PROBE_MODEL) {
			const char *p = out.probe_model.model.p, *start = copy;

			cr_assert_leq(out.probe_model.model.len, (size_t)MSG_PROBE_MODEL_MODEL_MAX);
			if (out.probe_model.model.len > 0)
				cr_assert(
					p > start && p + out.probe_model.model.len < start + b.len);
		}
		free(copy);
		b.data[i / 255] = saved;
	}
	cr_assert_gt(refused, b.len * 100, "only %u refused", refused);
	buf_fini(&b);
}

Test(msg, a_text_is_cut_at_a_whole_character)
{
	struct msg_str s = msg_str_cut("abc\xc3\xa4\xe2\x82\xac", 7);

	cr_assert_eq(s.len, 5);
	cr_assert_eq(msg_str_cut("abc\xc3\xa4", 4).len, 3);
	cr_assert_eq(msg_str_cut("abc", 3).len, 3);
	cr_assert_eq(msg_str_cut("abcd", 3).len, 3);
	cr_assert_eq(msg_str_cut("", 3).len, 0);
}

Test(msg, a_copied_string_is_cut_and_terminated)
{
	char out[4];

	cr_assert_str_eq(msg_str_copy(out, sizeof(out), msg_str("abcdef")), "abc");
	cr_assert_str_eq(msg_str_copy(out, sizeof(out), (struct msg_str){"xy", 1}), "x");
	cr_assert_str_eq(msg_str_copy(out, sizeof(out), (struct msg_str){NULL, 0}), "");
}

Test(msg, a_string_over_its_limit_is_our_own_bug, .signal = SIGABRT)
{
	struct msg in = sample(MSG_CHAT_CANCEL);
	struct buf b = BUF_INIT;
	char reason[MSG_CHAT_CANCEL_REASON_MAX + 1];

	memset(reason, 'r', sizeof(reason));
	in.chat_cancel.reason = (struct msg_str){reason, sizeof(reason)};
	msg_encode(&b, &in);
}

Test(msg, names_are_those_of_the_schema)
{
	cr_assert_str_eq(msg_name(MSG_CHAT_START), "ChatStart");
	cr_assert_str_eq(msg_name(MSG_TYPES), "?");
	cr_assert(msg_may_carry_payload(MSG_CHAT_DELTA));
	cr_assert_not(msg_may_carry_payload(MSG_CHAT_CREDIT));
	cr_assert_not(msg_may_carry_payload(MSG_TYPES));
}
