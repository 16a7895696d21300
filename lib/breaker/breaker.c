/* SPDX-License-Identifier: Apache-2.0 */
/*
 * breaker.c - the state machine of a breaker: one table, and the window it looks at
 */
#include "lib/breaker/breaker.h"

#include "lib/base/clock.h"

enum deed {
	IGNORE,
	COUNT, /* into the window; opens where that says so */
	COOL, /* open for the time asked for */
	EXTEND, /* open for longer, where the time asked for is longer */
	CLOSE,
	WORSEN, /* open again, for longer */
	REPEAT /* the trial said nothing: the next call is one */
};

enum { ROW_TRIAL = BREAKER_STATES, ROWS }; /* the trial of a half-open one has a row of its own */

/* What does not come from the trial is late news of calls from before: only a pause that is asked
 * for is worth something then. While a trial runs nothing ends that state but the trial, or there
 * would be a second one beside it. */
static const enum deed deeds[ROWS][BREAKER_EVENTS] = {
	/*                      OK      FAILED  LIMITED NOTHING */
	[BREAKER_CLOSED] = {COUNT, COUNT, COOL, IGNORE},
	[BREAKER_OPEN] = {IGNORE, IGNORE, EXTEND, IGNORE},
	[BREAKER_HALF_OPEN] = {IGNORE, IGNORE, IGNORE, IGNORE},
	[ROW_TRIAL] = {CLOSE, WORSEN, WORSEN, REPEAT},
};

static const char *const state_names[BREAKER_STATES] = {
	[BREAKER_CLOSED] = "closed",
	[BREAKER_OPEN] = "open",
	[BREAKER_HALF_OPEN] = "half-open",
};

const char *
breaker_state_name(enum breaker_state s)
{
	return (unsigned)s < BREAKER_STATES ? state_names[s] : "?";
}

bool
breaker_admits(const struct breaker *b, uint64_t now_ns)
{
	return b->state == BREAKER_CLOSED || (b->state == BREAKER_OPEN && now_ns >= b->until_ns);
}

enum breaker_call
breaker_begin(struct breaker *b, uint64_t now_ns)
{
	CHECK(breaker_admits(b, now_ns));
	if (b->state == BREAKER_CLOSED)
		return BREAKER_CALL;
	b->state = BREAKER_HALF_OPEN;
	return BREAKER_TRIAL;
}

static void
window_drop_first(struct breaker *b)
{
	b->failed -= b->result[b->first].failed;
	b->first = (b->first + 1) % BREAKER_CALLS_MAX;
	b->calls--;
}

static void
window_add(struct breaker *b, const struct breaker_rules *rules, bool failed, uint64_t now_ns)
{
	while (b->calls > 0 &&
		b->result[b->first].at_ns + clock_ms_to_ns(rules->window_ms) <= now_ns)
		window_drop_first(b);
	if (b->calls == BREAKER_CALLS_MAX)
		window_drop_first(b);
	b->result[(b->first + b->calls) % BREAKER_CALLS_MAX] =
		(struct breaker_result){.at_ns = now_ns, .failed = failed};
	b->calls++;
	b->failed += failed;
}

/* Told: that long. Not told: a floor that doubles with each cooldown in a row. */
static uint64_t
breaker_cooldown_ns(const struct breaker *b, const struct breaker_rules *rules, uint32_t hint_ms)
{
	uint64_t ms = rules->open_ms;
	uint32_t i;

	if (hint_ms > 0)
		return clock_ms_to_ns(MIN(hint_ms, (uint32_t)BREAKER_HINT_MAX_MS));
	for (i = 1; i < b->streak && ms < rules->open_max_ms; i++)
		ms *= 2;
	return clock_ms_to_ns(MIN(ms, (uint64_t)MAX(rules->open_ms, rules->open_max_ms)));
}

static void
breaker_open(
	struct breaker *b, const struct breaker_rules *rules, uint32_t hint_ms, uint64_t now_ns)
{
	if (b->streak < UINT32_MAX)
		b->streak++;
	b->state = BREAKER_OPEN;
	b->until_ns = now_ns + breaker_cooldown_ns(b, rules, hint_ms);
}

static void
breaker_close(struct breaker *b)
{
	b->state = BREAKER_CLOSED;
	b->until_ns = 0;
	b->streak = 0;
	b->calls = b->failed = b->first = 0;
}

static void
breaker_count(struct breaker *b, const struct breaker_rules *rules, bool failed, uint64_t now_ns)
{
	window_add(b, rules, failed, now_ns);
	if (failed && b->calls >= rules->min_calls && b->failed >= rules->failure_rate * b->calls)
		breaker_open(b, rules, 0, now_ns);
}

bool
breaker_end(struct breaker *b, const struct breaker_rules *rules, enum breaker_call call,
	enum breaker_event event, uint32_t hint_ms, uint64_t now_ns)
{
	bool trial = call == BREAKER_TRIAL && b->state == BREAKER_HALF_OPEN;
	uint64_t before = breaker_word(b);

	CHECK((unsigned)event < BREAKER_EVENTS && (unsigned)b->state < BREAKER_STATES);
	switch (deeds[trial ? ROW_TRIAL : (unsigned)b->state][event]) {
	case IGNORE:
		break;
	case COUNT:
		breaker_count(b, rules, event == BREAKER_FAILED, now_ns);
		break;
	case COOL:
	case WORSEN:
		breaker_open(b, rules, hint_ms, now_ns);
		break;
	case EXTEND:
		b->until_ns = MAX(b->until_ns, now_ns + breaker_cooldown_ns(b, rules, hint_ms));
		break;
	case CLOSE:
		breaker_close(b);
		window_add(b, rules, false, now_ns);
		break;
	case REPEAT:
		b->state = BREAKER_OPEN;
		b->until_ns = now_ns;
		break;
	}
	return breaker_word(b) != before;
}

uint64_t
breaker_word(const struct breaker *b)
{
	uint64_t until_us = b->state == BREAKER_OPEN ? b->until_ns / NS_PER_US : 0;

	return until_us << 2 | (unsigned)b->state;
}

enum breaker_state
breaker_word_state(uint64_t word)
{
	return (word & 3) < BREAKER_STATES ? (enum breaker_state)(word & 3) : BREAKER_CLOSED;
}

uint64_t
breaker_word_until_ns(uint64_t word)
{
	return (word >> 2) * NS_PER_US;
}

void
breaker_adopt(struct breaker *b, uint64_t word, uint64_t now_ns)
{
	*b = (struct breaker){.state = breaker_word_state(word)};
	if (b->state == BREAKER_CLOSED)
		return;
	/* what another process wrote may be garbage: no cooldown is longer than this */
	b->until_ns =
		MIN(breaker_word_until_ns(word), now_ns + clock_ms_to_ns(BREAKER_HINT_MAX_MS));
	if (b->state == BREAKER_HALF_OPEN)
		b->until_ns = now_ns;
	b->state = BREAKER_OPEN;
	b->streak = 1;
}
