/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prefill.c - make an OpenAI-compatible server go on with an answer that another backend began
 *
 * llama.cpp and others go on with a last message that is the assistant's; vLLM must be told so by
 * two members; who does neither is told by a message.
 */
#include "workers/backend/backend.h"

static const char prefill_words[] =
	"Your answer above was cut off. Go on exactly where it stops, in the middle of a word if "
	"need be. Repeat nothing of it, and say nothing about the interruption.";

static void
prefill_messages(struct buf *out, struct json messages, enum prefill form)
{
	buf_add(out, messages.p, messages.len - 1);
	if (form == PREFILL_INSTRUCT) {
		json_put_begin(out, '{');
		json_put_member_str(out, "role", "user");
		json_put_member_str(out, "content", prefill_words);
		json_put_end(out, '}');
	}
	buf_add_char(out, ']');
}

MUST enum err_code
prefill_write(struct buf *out, const struct call_request *in, struct err *e)
{
	struct json root, key, v;
	struct json_iter it;
	enum err_code code = json_check(&root, in->body, in->body_len, e);

	if (code != ERR_OK)
		return code;
	it = json_iter(root);
	json_put_begin(out, '{');
	while (json_next_member(&it, &key, &v)) {
		if (in->prefill == PREFILL_VLLM &&
			(json_equals(key, "add_generation_prompt") ||
				json_equals(key, "continue_final_message")))
			continue;
		json_put_raw(out, key);
		buf_add_char(out, ':');
		if (json_equals(key, "model"))
			json_put_str(out, in->model);
		else if (json_equals(key, "messages") && v.type == JSON_ARRAY)
			prefill_messages(out, v, in->prefill);
		else
			json_put_raw(out, v);
	}
	if (in->prefill == PREFILL_VLLM) {
		json_put_member_bool(out, "add_generation_prompt", false);
		json_put_member_bool(out, "continue_final_message", true);
	}
	json_put_end(out, '}');
	return ERR_OK;
}
