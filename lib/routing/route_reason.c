/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_reason.c - a decision in one line: x-shunt-reason
 */
#include <stdio.h>
#include <string.h>

#include "lib/routing/parts.h"

/* Header-safe: whatever a name holds, the line stays printable ASCII. */
void
reason_say(struct route_decision *d, const char *text)
{
	size_t i;

	for (i = 0; i < sizeof(d->reason) - 1 && text[i] != '\0'; i++)
		d->reason[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	d->reason[i] = '\0';
}

/* The term in which the winner leads the next candidate most, or its largest one. */
static enum route_term
reason_telling_term(const struct route_decision *d)
{
	const struct route_candidate *a = &d->ranked[0],
				     *b = d->ranked_len > 1 ? &d->ranked[1] : NULL;
	double lead, most = -1;
	unsigned t, best = 0;

	for (t = 0; t < ROUTE_TERMS; t++) {
		lead = a->weight[t] * (a->term[t] - (b != NULL ? b->term[t] : 0));
		if (lead > most) {
			most = lead;
			best = t;
		}
	}
	return (enum route_term)best;
}

/* Of a learned scorer's choice: what it expects. */
static void
reason_learned(const struct work *w, struct buf *text)
{
	const struct route_decision *d = w->out;
	const struct route_candidate *best = &d->ranked[0];

	buf_addf(text, " %s expects quality %.2f", d->scorer, best->quality);
	if (d->abstained)
		buf_addf(text, ", no gain beyond its error +-%.2f: best single model,",
			MAX(best->error, 0));
	else
		buf_addf(text, ",");
}

/* What the call will decide. */
static void
reason_cascade(const struct work *w, struct buf *text)
{
	const struct route_decision *d = w->out;
	const char *weak = w->c->deployments[d->ranked[0].deployment].model, *strong = weak;

	for (size_t i = 1; i < d->ranked_len && strcmp(strong, weak) == 0; i++)
		strong = w->c->deployments[d->ranked[i].deployment].model;
	buf_addf(text, "cascade: %.60s first, %.60s where its confidence is < %.3f", weak, strong,
		d->threshold);
	if (w->note != NULL)
		buf_addf(text, ", %s", w->note);
}

static void
reason_score(struct work *w, struct buf *text)
{
	const struct route_decision *d = w->out;
	const struct score_plan *p = &w->plan;

	if (d->cascades) {
		reason_cascade(w, text);
		return;
	}
	if (p->quality == SCORE_TIER)
		buf_addf(text, "score: %s wanted,",
			p->difficulty >= p->threshold ? "strong" : "weak");
	else if (p->dial >= 0)
		buf_addf(text, "score: dial %.2f,", p->dial);
	else
		buf_addf(text, "score: %s,", strategy_name(p->strategy));
	if (p->quality == SCORE_LEARNED)
		reason_learned(w, text);
	else if (d->difficulty >= 0)
		buf_addf(text, "%s%s difficulty %.2f %s %.2f,", d->judged ? " " : "",
			d->judged ? d->scorer : "", d->difficulty,
			d->difficulty >= d->threshold ? ">=" : "<", d->threshold);
	if (d->ranked_len == 1)
		buf_add_str(text, " only candidate");
	else if (p->dial < 0 &&
		 (p->strategy == STRATEGY_ROUND_ROBIN || p->strategy == STRATEGY_WEIGHTED))
		buf_addf(text, " its turn among %zu", d->ranked_len);
	else if (d->abstained)
		buf_addf(text, " of %zu", d->ranked_len);
	else
		buf_addf(text, " best of %zu at %.3f, ahead by %s", d->ranked_len,
			d->ranked[0].score, route_term_name(reason_telling_term(d)));
	if (w->note != NULL)
		buf_addf(text, ", %s", w->note);
}

/* The default tier: nothing to judge, or nobody who did. */
static void
reason_default(struct work *w, struct buf *text)
{
	const struct route_deployment *best = &w->c->deployments[w->out->ranked[0].deployment];

	if (w->judgement.why[0] != '\0')
		buf_addf(text, "default: %s, ", w->judgement.why);
	else
		buf_add_str(text, "default: no text to judge, ");
	if (w->favoured_model == NULL)
		buf_addf(text, "best single model %s", best->model);
	else
		buf_addf(text, "default model %s", w->favoured_model);
	if (w->favoured_model != NULL && !work_favours(w, best))
		buf_addf(text, " can not answer now; %s is next", best->model);
}

void
reason_make(struct work *w)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	const struct route_decision *d = w->out;
	const struct route_deployment *best = &w->c->deployments[d->ranked[0].deployment];

	switch (d->phase) {
	case PHASE_EXPLICIT:
		buf_addf(&text, "explicit: %s was named",
			w->named.backend != NULL ? "deployment" : "model");
		if (d->ranked_len > 1)
			buf_addf(&text, ", %s of %zu deployments", best->backend, d->ranked_len);
		break;
	case PHASE_RULE:
		buf_addf(&text, "rule: %s sends to %s", d->rule, w->rule->model);
		if (!work_favours(w, best))
			buf_addf(&text, ", which can not answer now; %s is next", best->model);
		break;
	case PHASE_SESSION:
		buf_addf(&text, "session: stays on %s, turn %u of %u that wanted %s", best->model,
			d->session.falls, work_route(w)->session_falls, w->wanted);
		break;
	case PHASE_DEFAULT:
		reason_default(w, &text);
		break;
	default:
		reason_score(w, &text);
		break;
	}
	if (d->arm[0] != '\0')
		buf_addf(&text, " (experiment: %s)", d->arm);
	if (d->dropped_len > 0)
		buf_addf(&text, " (%zu filtered out)", d->dropped_len);
	reason_say(w->out, buf_str(&text));
}
