/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_rules.c - which word rule decides a request
 *
 * Looks at the latest user turn only. Of all rules that fire the one with the highest priority
 * wins, of equal ones the first in the config. A hit inside one of the rule's `except` phrases does
 * not count; one outside it, in the same text, still does.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "lib/routing/parts.h"

enum {
	PENDING_MAX = 256,
	TEXT_PART_MAX = 16 * 1024 /* of a longer turn only its beginning and its end are read */
};

struct route_rules {
	const struct config *config; /* outlives the rules */
	struct phrases *phrases; /* value: rule * 2, plus 1 for an except phrase */
};

void
route_rules_new(struct route_rules **out, const struct config *c)
{
	struct route_rules *r = calloc(1, sizeof(*r));
	size_t i, k;

	CHECK(r != NULL);
	r->config = c;
	r->phrases = phrases_new();
	for (i = 0; i < c->rules_len; i++) {
		for (k = 0; k < c->rules[i].words_len; k++)
			(void)phrases_add(r->phrases, c->rules[i].words[k], (uint32_t)(2 * i));
		for (k = 0; k < c->rules[i].except_len; k++)
			(void)phrases_add(r->phrases, c->rules[i].except[k], (uint32_t)(2 * i + 1));
	}
	*out = r;
}

void
route_rules_free(struct route_rules **r_p)
{
	struct route_rules *r = *r_p;

	*r_p = NULL;
	if (r == NULL)
		return;
	phrases_free(&r->phrases);
	free(r);
}

struct span {
	size_t rule;
	uint32_t from;
	uint32_t to;
};

/* One pass over a text. Hits of rules with exceptions wait until no exception can reach them. */
struct rules_pass {
	const struct route_rules *rules;
	const char *route;
	const struct config_rule *best;
	struct span hits[PENDING_MAX];
	size_t hits_len;
	struct span excepts[PENDING_MAX];
	size_t excepts_len;
};

static bool
rules_applies(const struct config_rule *rule, const char *route)
{
	size_t i;

	for (i = 0; i < rule->routes_len; i++) {
		if (strcmp(rule->routes[i], route) == 0)
			return true;
	}
	return rule->routes_len == 0;
}

static bool
rules_beats(const struct config_rule *rule, const struct config_rule *best)
{
	if (best == NULL)
		return true;
	return rule->priority > best->priority || (rule->priority == best->priority && rule < best);
}

static void
rules_offer(struct rules_pass *s, size_t i)
{
	const struct config_rule *rule = &s->rules->config->rules[i];

	if (rules_beats(rule, s->best))
		s->best = rule;
}

static bool
rules_excepted(const struct rules_pass *s, const struct span *hit)
{
	size_t i;

	for (i = 0; i < s->excepts_len; i++) {
		if (s->excepts[i].rule == hit->rule && s->excepts[i].from <= hit->from &&
			s->excepts[i].to >= hit->to)
			return true;
	}
	return false;
}

/* Decide all hits that began before `before`, forget what can't matter any more. */
static void
rules_settle(struct rules_pass *s, uint32_t before)
{
	size_t i, kept = 0;

	for (i = 0; i < s->hits_len; i++) {
		if (s->hits[i].from >= before)
			s->hits[kept++] = s->hits[i];
		else if (!rules_excepted(s, &s->hits[i]))
			rules_offer(s, s->hits[i].rule);
	}
	s->hits_len = kept;
	kept = 0;
	for (i = 0; i < s->excepts_len; i++) {
		if (s->excepts[i].to >= before)
			s->excepts[kept++] = s->excepts[i];
	}
	s->excepts_len = kept;
}

static void
rules_on_phrase(void *arg, uint32_t value, uint32_t from, uint32_t to)
{
	struct rules_pass *s = arg;
	const struct config_rule *rule = &s->rules->config->rules[value / 2];
	uint32_t reach = phrases_longest(s->rules->phrases);

	if (!rules_beats(rule, s->best) || !rules_applies(rule, s->route))
		return;
	if (rule->except_len == 0) {
		s->best = rule;
		return;
	}
	/* an exception around a hit ends less than `reach` words after the hit began */
	if (s->hits_len == PENDING_MAX || s->excepts_len == PENDING_MAX)
		rules_settle(s, to >= reach ? to - reach + 1 : 0);
	if (value % 2 == 0 && s->hits_len < PENDING_MAX)
		s->hits[s->hits_len++] = (struct span){value / 2, from, to};
	if (value % 2 == 1 && s->excepts_len < PENDING_MAX)
		s->excepts[s->excepts_len++] = (struct span){value / 2, from, to};
}

/* Beginning and end of a long text, without the words that the cuts go through. */
static size_t
rules_head_len(const char *text)
{
	size_t len = TEXT_PART_MAX;

	while (len > TEXT_PART_MAX - WORD_MAX && !isspace((unsigned char)text[len]))
		len--;
	return len;
}

static size_t
rules_tail_len(const char *end)
{
	size_t len = TEXT_PART_MAX;

	while (len > TEXT_PART_MAX - WORD_MAX && !isspace((unsigned char)end[-(ptrdiff_t)len - 1]))
		len--;
	return len;
}

static void
rules_scan(struct rules_pass *s, const char *text, size_t len)
{
	phrases_scan(s->rules->phrases, text, len, rules_on_phrase, s);
	rules_settle(s, UINT32_MAX);
}

const struct config_rule *
rules_match(const struct route_rules *rules, const struct route_request *r, const char *route)
{
	struct rules_pass s;
	const struct config_rule *rule;
	bool words = false;
	size_t i;

	if (rules == NULL || rules->config->rules_len == 0)
		return NULL;
	s.rules = rules;
	s.route = route;
	s.best = NULL;
	s.hits_len = s.excepts_len = 0;
	for (i = 0; i < rules->config->rules_len; i++) {
		rule = &rules->config->rules[i];
		words = words || (rule->words_len > 0 && rules_applies(rule, route));
		if (((rule->on_image && r->vision) || (rule->on_tools && r->tools)) &&
			rules_applies(rule, route))
			rules_offer(&s, i);
	}
	/* other routes' rules cost this one nothing */
	if (r->turns_count == 0 || !words)
		return s.best;
	if (r->turns_len[0] <= 2 * TEXT_PART_MAX) {
		rules_scan(&s, r->turns[0], r->turns_len[0]);
	} else {
		const char *end = r->turns[0] + r->turns_len[0];
		size_t tail_len = rules_tail_len(end);

		rules_scan(&s, r->turns[0], rules_head_len(r->turns[0]));
		rules_scan(&s, end - tail_len, tail_len);
	}
	return s.best;
}
