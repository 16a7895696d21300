/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_text.c - what of a conversation a scorer sees, and asking its file
 *
 * The latest turn comes first, because that is where a model with a short window begins to read; it
 * gets three quarters of the room where there are others. "commit it" after hard work is judged
 * with the work behind it.
 */
#include <string.h>

#include "lib/routing/judge.h"
#include "lib/routing/scorers.h"

static const char text_gap[] = "\n\n";

/* Is p[0] the first byte of a character? */
static bool
text_starts(const char *p)
{
	return ((unsigned char)*p & 0xc0) != 0x80;
}

/* Copy at most room bytes: beginning and end, whole characters. Returns how many. */
static size_t
text_put(char *out, size_t room, const char *text, size_t len)
{
	size_t head, tail;

	if (len <= room) {
		memcpy(out, text, len);
		return len;
	}
	if (room < sizeof(text_gap))
		return 0;
	room -= sizeof(text_gap) - 1;
	head = room - room / 4;
	tail = len - room / 4;
	while (head > 0 && !text_starts(text + head))
		head--;
	while (tail < len && !text_starts(text + tail))
		tail++;
	memcpy(out, text, head);
	memcpy(out + head, text_gap, sizeof(text_gap) - 1);
	memcpy(out + head + sizeof(text_gap) - 1, text + tail, len - tail);
	return head + sizeof(text_gap) - 1 + (len - tail);
}

size_t
route_text(
	char out[ROUTE_TEXT_MAX], const struct route_request *r, const struct config_route *route)
{
	enum text_policy policy = route != NULL ? route->text : TEXT_TURNS;
	size_t turns = policy == TEXT_LAST ? MIN(r->turns_count, (size_t)1) : r->turns_count;
	size_t others = policy == TEXT_ALL ? r->others_len : 0, len = 0, room;

	for (size_t i = 0; i < turns; i++) {
		room = ROUTE_TEXT_MAX - len;
		if (i == 0 && (turns > 1 || others > 0))
			room -= room / 4;
		if (i > 0 && room > sizeof(text_gap)) {
			memcpy(out + len, text_gap, sizeof(text_gap) - 1);
			len += sizeof(text_gap) - 1;
			room -= sizeof(text_gap) - 1;
		}
		len += text_put(out + len, room, r->turns[i], r->turns_len[i]);
	}
	if (others > 0 && ROUTE_TEXT_MAX - len > sizeof(text_gap)) {
		memcpy(out + len, text_gap, sizeof(text_gap) - 1);
		len += sizeof(text_gap) - 1;
		len += text_put(out + len, ROUTE_TEXT_MAX - len, r->others, others);
	}
	return len;
}

void
route_judge_guessed(struct route_judgement *out, const struct route_question *q,
	const struct scorer_guess *guess)
{
	const struct scorer_input nothing = {.text = ""}; /* only fixed scorers look at it */

	out->guess = guess;
	if (q->form == QUESTION_WANT)
		out->want =
			scorer_want_guessed(q->row->scorer, guess, &nothing, q->weak, q->strong);
}

void
route_judge_file(struct route_judgement *out, const struct route_question *q, const char *text,
	size_t len, const float *embedding)
{
	const struct scorers_row *row = q->row;
	const struct scorer_embedding *wanted = scorer_embedding(row->scorer);
	const struct scorer_input in = {.text = text,
		.len = len,
		.embedding = embedding,
		.embedding_len = wanted == NULL ? 0 : wanted->len,
		.seed = q->request->seed};

	CHECK((wanted == NULL) == (embedding == NULL));
	out->cached = false;
	scorer_guess(row->scorer, row->guess, &in, row->scratch);
	route_judge_guessed(out, q, row->guess);
}
