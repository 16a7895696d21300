/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_compare.c - what the same request would get with another dial or threshold
 */
#include "lib/routing/parts.h"

static struct route_alternative
compare_one(struct route_decision *scratch, const struct route_request *r,
	const struct route_catalog *c, const struct route_rules *rules, double value)
{
	struct route_alternative out = {.value = value, .cost_usd = -1, .none = true};

	if (route_decide(scratch, r, c, rules, NULL) != ERR_OK || scratch->ranked_len == 0)
		return out;
	out.none = false;
	out.deployment = scratch->ranked[0].deployment;
	out.cost_usd = scratch->ranked[0].cost_usd;
	return out;
}

void
route_compare_settings(struct route_alternatives *out, struct route_decision *scratch,
	const struct route_request *r, const struct route_catalog *c,
	const struct route_rules *rules)
{
	struct route_request other = *r;
	double value;

	/* settings are compared, not where the conversation happens to be */
	other.session = NULL;
	for (unsigned i = 0; i < ROUTE_DIALS; i++) {
		value = (double)i / (ROUTE_DIALS - 1);
		other.dial = value;
		out->dials[i] = compare_one(scratch, &other, c, rules, value);
	}
	other.dial = -1;
	other.threshold_said = true;
	for (unsigned i = 0; i < ROUTE_THRESHOLDS; i++) {
		value = (double)(i + 1) / (ROUTE_THRESHOLDS + 1);
		other.threshold = value;
		out->thresholds[i] = compare_one(scratch, &other, c, rules, value);
	}
}
