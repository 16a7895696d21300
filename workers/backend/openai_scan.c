/* SPDX-License-Identifier: Apache-2.0 */
/*
 * openai_scan.c - look into a chunk or a body of OpenAI's shape without changing it
 *
 * Only what the router must know: an error, the finish reason, the usage, whether text came, how
 * probable its tokens were.
 */
#include <string.h>

#include "workers/backend/backend.h"

static void
scan_usage(struct answer *a, struct json usage)
{
	struct json_iter it = json_iter(usage);
	struct json key, v;
	struct usage *u = &a->usage;

	u->known = true;
	while (json_next_member(&it, &key, &v)) {
		if (json_equals(key, "prompt_tokens"))
			u->prompt = answer_u32(v);
		else if (json_equals(key, "completion_tokens"))
			u->completion = answer_u32(v);
		else if (json_equals(key, "prompt_cache_hit_tokens") && u->cached == 0)
			u->cached = answer_u32(v);
		else if (json_equals(key, "prompt_tokens_details"))
			u->cached = answer_u32(json_get(v, "cached_tokens"));
		else if (json_equals(key, "completion_tokens_details"))
			u->reasoning = answer_u32(json_get(v, "reasoning_tokens"));
	}
}

static bool
has_text(struct json v)
{
	return (v.type == JSON_STRING || v.type == JSON_ARRAY) && v.len > 2;
}

/* A delta counts as a token when it carries text, reasoning or a piece of a tool call. */
static bool
scan_delta(struct json delta)
{
	struct json_iter it = json_iter(delta);
	struct json key, v;

	while (json_next_member(&it, &key, &v))
		if (has_text(v) && !json_equals(key, "role") &&
			!json_equals(key, "reasoning_details"))
			return true;
	return false;
}

static void
scan_choice(struct answer *a, struct json choice)
{
	struct json_iter it = json_iter(choice);
	uint64_t bit = UINT64_C(1) << (answer_u32(json_get(choice, "index")) & 63);
	struct json key, v;

	a->begun_choices |= bit;
	while (json_next_member(&it, &key, &v)) {
		if (json_equals(key, "finish_reason") && v.type == JSON_STRING) {
			(void)json_copy_text(a->finish_reason, sizeof(a->finish_reason), v);
			if (v.len > 2)
				a->ended_choices |= bit;
		}
		if (json_equals(key, "delta") && v.type == JSON_OBJECT)
			a->tokens += scan_delta(v);
		else if (json_equals(key, "text"))
			a->tokens += has_text(v);
		else if (json_equals(key, "logprobs") && a->probs.wanted)
			probs_read(&a->probs, v);
	}
}

MUST enum err_code
openai_scan(struct answer *a, struct json v, struct err *e)
{
	struct json_iter it = json_iter(v), choices;
	struct json key, member, choice;

	while (json_next_member(&it, &key, &member)) {
		if (member.type == JSON_ARRAY && json_equals(key, "choices")) {
			choices = json_iter(member);
			while (json_next_item(&choices, &choice))
				if (choice.type == JSON_OBJECT)
					scan_choice(a, choice);
		} else if (member.type == JSON_OBJECT && json_equals(key, "usage")) {
			scan_usage(a, member);
		} else if ((member.type == JSON_OBJECT || member.type == JSON_STRING) &&
			   json_equals(key, "error")) {
			return answer_refused(a, v, e);
		}
	}
	return ERR_OK;
}
