/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probs.c - how sure a model is of its own answer, by the probabilities of the tokens it chose
 *
 * The measure is the geometric mean of the probabilities, exp of the mean log-probability: what one
 * token of the answer was worth, whatever its length. A whole sequence's probability would call
 * every long answer unsure (Gupta et al., "Language Model Cascades: Token-level uncertainty and
 * beyond", 2024, calls the mean Chow-Average).
 */
#include <math.h>
#include <string.h>

#include "workers/backend/backend.h"

/* OpenAI says -9999 of what was too improbable to tell: no single token may outweigh all others. */
static const double LOGPROB_MIN = -20;

bool
probs_asked(struct json body)
{
	struct json v = json_get(body, "logprobs");

	return json_is_true(v) || v.type == JSON_NUMBER;
}

void
probs_add(struct probs *p, double logprob)
{
	p->tokens++;
	p->log_sum += MIN(0, MAX(logprob, LOGPROB_MIN));
}

/* One of a chat's tokens {"token", "logprob", ...}, or a completion's bare number. */
static void
probs_read_token(struct probs *p, struct json token)
{
	struct json v = token.type == JSON_OBJECT ? json_get(token, "logprob") : token;
	double logprob;

	if (json_double(&logprob, v))
		probs_add(p, logprob);
}

static void
probs_read_list(struct probs *p, struct json list)
{
	struct json_iter it = json_iter(list);
	struct json token;

	while (list.type == JSON_ARRAY && json_next_item(&it, &token))
		probs_read_token(p, token);
}

void
probs_read(struct probs *p, struct json logprobs)
{
	static const char *const lists[] = {"content", "refusal", "token_logprobs"};

	if (logprobs.type == JSON_ARRAY)
		probs_read_list(p, logprobs);
	for (size_t i = 0; i < ARRAY_LEN(lists) && logprobs.type == JSON_OBJECT; i++)
		probs_read_list(p, json_get(logprobs, lists[i]));
}

double
probs_confidence(const struct probs *p)
{
	return p->tokens == 0 ? 0 : exp(p->log_sum / p->tokens);
}

bool
probs_hide(struct buf *out, struct json whole)
{
	struct json choices = json_get(whole, "choices"), choice, v;
	struct json_iter it = json_iter(choices);
	const char *from = whole.p;

	while (choices.type == JSON_ARRAY && json_next_item(&it, &choice)) {
		v = json_get(choice, "logprobs");
		if (v.type != JSON_OBJECT && v.type != JSON_ARRAY)
			continue;
		buf_add(out, from, (size_t)(v.p - from));
		buf_add_str(out, "null");
		from = v.p + v.len;
	}
	if (from == whole.p)
		return false;
	buf_add(out, from, (size_t)(whole.p + whole.len - from));
	return true;
}
