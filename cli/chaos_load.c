/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chaos_load.c - all requests and faults of a plan, each in its time
 *
 * One thread, one curl multi handle. A request begins when its time has come and its load has a
 * client free; a fault when its time has come, or before the request that it names. No run is
 * longer than the scenario's limit.
 */
#include <curl/curl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cli/chaos.h"
#include "lib/base/clock.h"

enum { POLL_MS = 1000 };

struct play {
	struct chaos_plan *p;
	struct chaos_seen *seen;
	const struct chaos_scenario *s;
	struct chaos_daemon *d;
	CURLM *multi;
	int signal_fd;
	uint64_t start_ns;
	size_t next[CHAOS_LOADS_MAX]; /* first of its requests that has not begun */
	uint32_t busy[CHAOS_LOADS_MAX];
	size_t running, steps_begun, steps_running;
	struct chaos_transfer **transfers; /* running ones */
	size_t transfers_cap;
	struct err *e;
	enum err_code code;
};

static uint64_t
play_ms(const struct play *y)
{
	return (clock_ns() - y->start_ns) / NS_PER_MS;
}

static struct chaos_transfer *
play_add(struct play *y)
{
	struct chaos_transfer *t = calloc(1, sizeof(*t));

	CHECK(t != NULL);
	if (y->running == y->transfers_cap) {
		y->transfers_cap = MAX(2 * y->transfers_cap, (size_t)16);
		y->transfers = reallocarray(
			y->transfers, y->transfers_cap, sizeof(struct chaos_transfer *));
		CHECK(y->transfers != NULL);
	}
	y->transfers[y->running++] = t;
	return t;
}

static void
play_begin(struct play *y, struct chaos_request *r)
{
	struct chaos_transfer *t = play_add(y);

	r->began_ms = play_ms(y);
	chaos_client_open(t, y->d, &y->s->loads[r->load], r);
	(void)curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, (long)y->s->limit_ms);
	CHECK(curl_multi_add_handle(y->multi, t->easy) == CURLM_OK);
	y->busy[r->load]++;
}

/* ---- steps ---- */

static void
play_step(struct play *y)
{
	const struct chaos_step *step = &y->s->steps[y->steps_begun++];
	struct chaos_transfer *t;

	y->seen->last_fault_ms = play_ms(y);
	if (strcmp(step->what, "reload") == 0) {
		(void)kill(y->d->pid, SIGHUP);
		return;
	}
	t = play_add(y);
	chaos_client_open_step(t, y->d, step);
	CHECK(curl_multi_add_handle(y->multi, t->easy) == CURLM_OK);
	y->steps_running++;
}

static void
play_end_step(struct play *y, struct chaos_transfer *t, CURLcode curl)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	long status = 0;
	uint64_t id;
	struct json v;
	bool is_json = json_check(&v, buf_str(&t->body), t->body.len, NULL) == ERR_OK;

	y->steps_running--;
	y->seen->last_fault_ms = play_ms(y);
	(void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	if (is_json && json_u64(&id, json_get(v, "id")) && y->d->faults_len < CHAOS_STEPS_MAX)
		y->d->faults[y->d->faults_len++] = id;
	if ((curl == CURLE_OK && status == 200) || y->code != ERR_OK)
		return;
	if (is_json)
		json_text(&text, json_path(v, "error.message"));
	y->code = err_set(y->e, ERR_INPUT, "line %u: `%.100s`: %s", t->step->line, t->step->what,
		text.len > 0 ? buf_str(&text) : curl_easy_strerror(curl));
}

/* Steps go in the file's order. Is the next one due? */
static bool
play_step_is_due(const struct play *y, uint32_t number)
{
	const struct chaos_step *step = &y->s->steps[y->steps_begun];

	if (y->steps_begun == y->s->steps_len)
		return false;
	return step->before > 0 ? step->before <= number : step->at_ms <= play_ms(y);
}

/* ---- requests ---- */

static struct chaos_request *
play_next(struct play *y, uint32_t load)
{
	while (y->next[load] < y->p->len && y->p->requests[y->next[load]].load != load)
		y->next[load]++;
	return y->next[load] < y->p->len ? &y->p->requests[y->next[load]] : NULL;
}

/* Begin what is due. Returns milliseconds until more may be. */
static uint64_t
play_due(struct play *y)
{
	uint64_t wait_ms = POLL_MS, now_ms;
	struct chaos_request *r;

	while (play_step_is_due(y, 0))
		play_step(y);
	for (uint32_t l = 0; l < y->s->loads_len; l++)
		while ((r = play_next(y, l)) != NULL && y->busy[l] < y->s->loads[l].clients) {
			now_ms = play_ms(y);
			if (r->at_ms > now_ms) {
				wait_ms = MIN(wait_ms, r->at_ms - now_ms);
				break;
			}
			while (play_step_is_due(y, r->number))
				play_step(y);
			/* a fault is in force before what it is meant for begins */
			if (y->steps_running > 0)
				break;
			y->next[l]++;
			play_begin(y, r);
		}
	now_ms = play_ms(y);
	if (y->steps_begun < y->s->steps_len && y->s->steps[y->steps_begun].before == 0) {
		uint64_t at_ms = y->s->steps[y->steps_begun].at_ms;

		wait_ms = MIN(wait_ms, at_ms > now_ms ? at_ms - now_ms : 0);
	}
	return wait_ms;
}

static void
play_end(struct play *y, CURL *easy, CURLcode curl)
{
	struct chaos_transfer *t = NULL;
	size_t i = 0;

	while (i < y->running && y->transfers[i]->easy != easy)
		i++;
	CHECK(i < y->running);
	t = y->transfers[i];
	y->transfers[i] = y->transfers[--y->running];
	(void)curl_multi_remove_handle(y->multi, easy);
	if (t->request != NULL) {
		t->request->ended_ms = play_ms(y);
		y->busy[t->request->load]--;
	} else {
		play_end_step(y, t, curl);
	}
	chaos_client_close(t, (int)curl);
	free(t);
}

static bool
play_is_over(struct play *y)
{
	for (uint32_t l = 0; l < y->s->loads_len; l++)
		if (play_next(y, l) != NULL)
			return false;
	return y->running == 0;
}

/* Let the transfers go on; true: some ended. */
static bool
play_perform(struct play *y)
{
	bool ended = false;
	CURLMsg *m;
	int n;

	(void)curl_multi_perform(y->multi, &n);
	while ((m = curl_multi_info_read(y->multi, &n)) != NULL) {
		if (m->msg != CURLMSG_DONE)
			continue;
		play_end(y, m->easy_handle, m->data.result);
		ended = true;
	}
	return ended;
}

static void
play_loop(struct play *y)
{
	struct curl_waitfd signals = {.fd = y->signal_fd, .events = CURL_WAIT_POLLIN};
	int n;

	while (y->code == ERR_OK && !play_is_over(y)) {
		uint64_t wait_ms = play_due(y);

		if (!play_perform(y) && wait_ms > 0 && !play_is_over(y))
			(void)curl_multi_poll(y->multi, &signals, 1, (int)wait_ms, &n);
		if (signals.revents != 0)
			y->code = err_set(y->e, ERR_CANCELLED, "interrupted");
		if (play_ms(y) > y->s->limit_ms) /* the rest is not run: lost */
			break;
	}
	/* a fault that was asked for is known only by its answer */
	while (y->steps_running > 0)
		if (!play_perform(y))
			(void)curl_multi_poll(y->multi, NULL, 0, POLL_MS, &n);
}

/* Faults that were to come; planned for requests or set by steps. */
static uint64_t
play_kinds(const struct play *y)
{
	struct fault_rule rule;
	uint64_t kinds = 0;
	struct err e;

	for (size_t i = 0; i < y->s->steps_len; i++)
		if (fault_parse(&rule, y->s->steps[i].what, &e) == ERR_OK)
			kinds |= UINT64_C(1) << rule.kind;
	for (size_t i = 0; i < y->p->len; i++)
		if (y->p->requests[i].fault[0] != '\0' &&
			fault_parse(&rule, y->p->requests[i].fault, &e) == ERR_OK)
			kinds |= UINT64_C(1) << rule.kind;
	return kinds;
}

MUST enum err_code
chaos_load_play(struct chaos_plan *p, struct chaos_seen *seen, const struct chaos_scenario *s,
	struct chaos_daemon *d, int signal_fd, struct err *e)
{
	struct play y = {.p = p, .seen = seen, .s = s, .d = d, .signal_fd = signal_fd, .e = e};

	y.multi = curl_multi_init();
	CHECK(y.multi != NULL);
	seen->kinds_set = play_kinds(&y);
	y.start_ns = clock_ns();
	play_loop(&y);
	while (y.running > 0)
		play_end(&y, y.transfers[0]->easy, CURLE_ABORTED_BY_CALLBACK);
	(void)curl_multi_cleanup(y.multi);
	free(y.transfers);
	return y.code;
}
