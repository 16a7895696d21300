/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_profiler.c - averages, health, rows and probe times: the profiler without its process
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "workers/profiler/profiler.h"

static const char yaml[] =
	"listen: [127.0.0.1:0]\n"
	"backends:\n"
	"  - {name: a, kind: sim, sim: {models: [m]}}\n"
	"  - {name: b, kind: openai, url: http://127.0.0.1:1, discover: yes}\n"
	"models:\n"
	"  - {name: one, deployments: [{backend: a, model: m}, {backend: b, model: n}]}\n"
	"routes:\n"
	"  - {name: auto, models: [one]}\n";

static struct config *
config_of(const char *text)
{
	struct config *c = NULL;
	struct err e = {0};

	cr_assert_eq(
		config_parse(&c, "t.yaml", text, strlen(text), NULL, &e), ERR_OK, "%s", e.text);
	return c;
}

static struct rows *
rows_new(const struct config *c)
{
	struct rows *rows = calloc(1, sizeof(*rows));

	cr_assert_not_null(rows);
	rows_configure(rows, c);
	return rows;
}

static size_t
rows_count(const struct rows *rows)
{
	size_t n = 0;

	for (size_t i = 0; i < PROFILES_MAX; i++)
		n += rows->row[i].info.used;
	return n;
}

static struct found
found(const char *name)
{
	struct found f = {.context_tokens = 4096,
		.endpoints = 1,
		.tools = TRI_YES,
		.vision = TRI_NO,
		.json = TRI_UNKNOWN,
		.loaded = TRI_YES};

	(void)snprintf(f.name, sizeof(f.name), "%s", name);
	return f;
}

/* ---- averages ---- */

static struct sample
calls(uint64_t ok, uint64_t failed, uint64_t ttft_ms)
{
	return (struct sample){.ok = ok,
		.failed = failed,
		.ttft_count = ok,
		.ttft_us_sum = ok * ttft_ms * 1000,
		.tokens = ok * 100,
		.token_us_sum = ok * 2000000,
		.total_us_sum = ok * 2500000};
}

Test(average, the_first_calls_set_it_and_eight_more_count_half)
{
	struct profile_info p = {0};
	struct sample s = calls(2, 0, 100);

	cr_assert(average_update(&p, &s, NS_PER_S));
	cr_assert_float_eq(p.ttft_ms, 100, 1e-3);
	cr_assert_float_eq(p.tokens_per_s, 50, 1e-3);
	cr_assert_float_eq(p.latency_ms, 2500, 1e-2);
	s = calls(8, 0, 300);
	cr_assert(average_update(&p, &s, NS_PER_S));
	cr_assert_float_eq(p.ttft_ms, 200, 1e-2);
	cr_assert_eq(p.ok, 10);
}

Test(average, failures_halve_over_sixteen_calls_and_over_a_quiet_minute)
{
	struct profile_info p = {0};
	struct sample s = calls(0, 16, 0), none = {0};

	cr_assert(average_update(&p, &s, NS_PER_S));
	cr_assert_float_eq(p.failure_rate, 0.5, 1e-5);
	cr_assert_eq(p.ttft_ms, 0);
	cr_assert(average_update(&p, &none, 60 * NS_PER_S));
	cr_assert_float_eq(p.failure_rate, 0.25, 1e-5);
	for (int i = 0; i < 100; i++)
		(void)average_update(&p, &none, 60 * NS_PER_S);
	cr_assert_eq(p.failure_rate, 0);
	cr_assert_not(average_update(&p, &none, NS_PER_S), "nothing moves any more");
}

Test(average, garbage_counters_give_finite_averages)
{
	struct profile_info p = {0};
	struct sample s;

	memset(&s, 0xff, sizeof(s));
	(void)average_update(&p, &s, UINT64_MAX);
	s.ttft_count = s.token_us_sum = s.ok = 1;
	(void)average_update(&p, &s, 1);
	cr_assert(isfinite(p.ttft_ms) && isfinite(p.tokens_per_s) && isfinite(p.latency_ms));
	cr_assert(p.failure_rate >= 0 && p.failure_rate <= 1);
}

Test(average, counters_that_went_back_began_again)
{
	struct sample now = calls(3, 1, 10), before = calls(100, 50, 10), d;

	d = sample_since(&now, &before);
	cr_assert_eq(d.ok, 3);
	cr_assert_eq(d.failed, 1);
	now = calls(101, 50, 10);
	d = sample_since(&now, &before);
	cr_assert_eq(d.ok, 1);
	cr_assert_eq(d.failed, 0);
}

/* ---- health ---- */

Test(health, every_event_leads_where_it_should_from_every_state)
{
	static const uint32_t after[HEALTH_EVENTS] = {[HEALTH_PROBE_OK] = HEALTH_UP,
		[HEALTH_PROBE_FAILED] = HEALTH_DOWN,
		[HEALTH_CALL_OK] = HEALTH_UP,
		[HEALTH_WORKER_GONE] = HEALTH_DOWN,
		[HEALTH_WORKER_BACK] = HEALTH_UNKNOWN};

	for (uint32_t from = HEALTH_UNKNOWN; from <= HEALTH_DOWN; from++) {
		for (unsigned e = 0; e < HEALTH_EVENTS; e++) {
			struct profile_info p = {.health = from, .why = "old"};

			cr_assert_eq(health_step(&p, (enum health_event)e, "new\nline"),
				from != after[e]);
			cr_assert_eq(p.health, after[e]);
			if (from != after[e])
				cr_assert_str_eq(p.why, after[e] == HEALTH_DOWN ? "new line" : "");
		}
	}
}

Test(health, failures_are_the_breakers_to_judge_and_a_success_is_up)
{
	struct sample now = {.failed = 9, .failed_in_row = 9}, d = {.failed = 9};

	cr_assert_eq(health_of_calls(&now, &d), HEALTH_EVENTS);
	now = (struct sample){.ok = 1, .failed = 3};
	d = (struct sample){.ok = 1};
	cr_assert_eq(health_of_calls(&now, &d), HEALTH_CALL_OK);
}

/* ---- rows ---- */

Test(rows, configured_deployments_always_have_one)
{
	struct config *c = config_of(yaml);
	struct rows *rows = rows_new(c);

	cr_assert_eq(rows_count(rows), 2);
	cr_assert_not_null(rows_find(rows, "a", "m"));
	cr_assert_eq(rows_find(rows, "b", "n")->info.health, HEALTH_UNKNOWN);
	cr_assert_eq(rows_find(rows, "b", "n")->info.tools, TRI_UNKNOWN);
	cr_assert(rows->notable);
	rows_list_end(rows, "b");
	cr_assert_eq(rows_count(rows), 2, "an empty list takes away found ones only");
	free(rows);
	config_free(&c);
}

Test(rows, a_backend_that_never_listed_anything_says_why)
{
	struct config *c = config_of(yaml);
	struct rows *rows = rows_new(c);

	rows_stand_in(rows, "a");
	cr_assert_eq(rows_count(rows), 2, "a deployment of its own speaks for it");
	rows_stand_in(rows, "x");
	rows_stand_in(rows, "x");
	cr_assert_eq(rows_count(rows), 3);
	cr_assert_eq(rows_health(rows, "x", HEALTH_PROBE_FAILED, "TLS: no"), 1);
	cr_assert_str_eq(rows_find(rows, "x", "")->info.why, "TLS: no");
	cr_assert_eq(rows_find(rows, "x", "")->info.discovered, 0, "nobody is routed there");
	rows_list_end(rows, "x");
	cr_assert_eq(rows_count(rows), 2);
	free(rows);
	config_free(&c);
}

Test(rows, found_models_live_while_listed_and_only_where_discovered)
{
	struct config *c = config_of(yaml);
	struct rows *rows = rows_new(c);
	struct found x = found("x"), m = found("m"), bad = found("a\nb"), empty = found("");

	cr_assert(rows_found(rows, config_backend(c, "b"), &x, 5));
	cr_assert(rows_found(rows, config_backend(c, "a"), &x, 5));
	cr_assert(rows_found(rows, config_backend(c, "a"), &m, 5));
	cr_assert(rows_found(rows, config_backend(c, "b"), &bad, 5));
	cr_assert(rows_found(rows, config_backend(c, "b"), &empty, 5));
	cr_assert_eq(rows_count(rows), 3, "a does not discover, names must be clean");
	cr_assert_eq(rows_find(rows, "a", "m")->info.vision, TRI_NO);
	rows_list_end(rows, "b");
	cr_assert_not_null(rows_find(rows, "b", "x"));
	rows_list_end(rows, "b");
	cr_assert_null(rows_find(rows, "b", "x"), "not in the second list");
	cr_assert_eq(rows_find(rows, "a", "m")->info.discovered, 1);
	free(rows);
	config_free(&c);
}

Test(rows, a_full_table_is_said_and_configured_ones_still_fit)
{
	struct config *c = config_of(yaml);
	struct rows *rows = calloc(1, sizeof(*rows));
	unsigned added = 0;

	for (unsigned i = 0; i < PROFILES_MAX + 10; i++) {
		char name[16];
		struct found f;

		(void)snprintf(name, sizeof(name), "m%u", i);
		f = found(name);
		added += rows_found(rows, config_backend(c, "b"), &f, 1);
	}
	cr_assert_eq(added, PROFILES_MAX);
	rows_configure(rows, c);
	cr_assert_not_null(rows_find(rows, "a", "m"));
	cr_assert_not_null(rows_find(rows, "b", "n"));
	free(rows);
	config_free(&c);
}

Test(rows, a_reload_drops_what_the_config_no_longer_names)
{
	struct config *c = config_of(yaml), *less = NULL;
	struct rows *rows = rows_new(c);
	struct found x = found("x");

	(void)rows_found(rows, config_backend(c, "b"), &x, 5);
	less = config_of("listen: [127.0.0.1:0]\n"
			 "backends: [{name: a, kind: sim, sim: {models: [m]}}]\n"
			 "models: [{name: one, deployments: [{backend: a, model: m}]}]\n"
			 "routes: [{name: auto, models: [one]}]\n");
	rows->notable = false;
	rows_configure(rows, less);
	cr_assert_eq(rows_count(rows), 1);
	cr_assert_not_null(rows_find(rows, "a", "m"));
	cr_assert(rows->notable);
	free(rows);
	config_free(&c);
	config_free(&less);
}

Test(rows, a_predecessors_rows_are_taken_over_with_their_averages)
{
	struct config *c = config_of(yaml);
	struct rows *rows = calloc(1, sizeof(*rows));
	struct profile_info left = {.backend = "a",
		.model = "m",
		.used = 1,
		.health = HEALTH_UP,
		.ttft_ms = 42,
		.ok = 7};
	struct profile_info odd = {.backend = "a", .model = "m", .used = 1};
	struct profile_info wild = {.backend = "a", .model = "z", .used = 77};
	struct profile_info bare = {.used = 1};

	rows_adopt(rows, 0, &left);
	rows_adopt(rows, 1, &odd);
	rows_adopt(rows, 2, &wild);
	rows_adopt(rows, 3, &bare);
	rows_configure(rows, c);
	cr_assert_eq(rows_count(rows), 2);
	cr_assert_eq(rows_find(rows, "a", "m")->info.ttft_ms, 42);
	cr_assert_eq(rows_find(rows, "a", "m")->info.ok, 7);
	cr_assert(rows->row[2].dirty && rows->row[3].dirty, "the board must lose the broken ones");
	free(rows);
	config_free(&c);
}

Test(rows, calls_move_averages_and_health_once)
{
	struct config *c = config_of(yaml);
	struct rows *rows = rows_new(c);
	struct deployment_stat stat = {.model = "m"};
	struct row *row = rows_find(rows, "a", "m");

	(void)rows_health(rows, "a", HEALTH_PROBE_FAILED, "probe");
	atomic_store(&stat.failed, 4);
	atomic_store(&stat.failed_in_row, 4);
	cr_assert_null(rows_sample(rows, "a", 4, &stat, ROWS_COUNT, 1));
	cr_assert_eq(row->info.health, HEALTH_DOWN);
	atomic_store(&stat.ok, 1);
	atomic_store(&stat.failed_in_row, 0);
	cr_assert_eq(rows_sample(rows, "a", 4, &stat, ROWS_COUNT, 1), row);
	cr_assert_eq(row->info.health, HEALTH_UP);
	cr_assert_eq(row->info.failed, 4);
	free(rows);
	config_free(&c);
}

Test(rows, a_baseline_is_not_counted_and_another_slot_starts_at_zero)
{
	struct config *c = config_of(yaml);
	struct rows *rows = rows_new(c);
	struct deployment_stat stat = {.model = "m"};
	struct row *row = rows_find(rows, "a", "m");

	atomic_store(&stat.ok, 50);
	cr_assert_null(rows_sample(rows, "a", 4, &stat, ROWS_BASELINE, 1));
	cr_assert_eq(row->info.ok, 0);
	atomic_store(&stat.ok, 52);
	(void)rows_sample(rows, "a", 4, &stat, ROWS_COUNT, 1);
	cr_assert_eq(row->info.ok, 2);
	(void)rows_sample(rows, "a", 5, &stat, ROWS_COUNT, 1);
	cr_assert_eq(row->info.ok, 54);
	memset(stat.model, 'x', sizeof(stat.model));
	cr_assert_null(rows_sample(rows, "a", 5, &stat, ROWS_COUNT, 1), "an unterminated name");
	free(rows);
	config_free(&c);
}

/* ---- probes ---- */

enum { S = 1000 };
#define AT(ms) (UINT64_C(1000000000000) + clock_ms_to_ns(ms))

static struct probe *
probe_ready(struct probes *all, struct config *c)
{
	struct probe *p;

	probes_configure(all, c, AT(0));
	p = probes_find(all, "a");
	cr_assert_not_null(p);
	cr_assert_not(probe_due(p, AT(0)), "no worker yet");
	cr_assert_eq(probe_worker_is(p, 3, 1, AT(0)), PROBE_WORKER_NEW);
	return p;
}

Test(probe, a_new_life_is_asked_for_its_models_at_once)
{
	struct config *c = config_of(yaml);
	struct probes all = {0};
	struct probe *p = probe_ready(&all, c);

	cr_assert(probe_due(p, AT(0)));
	probe_start(p, &all, AT(0));
	cr_assert(p->discover);
	cr_assert_not(probe_due(p, AT(1)), "one at a time");
	cr_assert_eq(probes_by_id(&all, p->id, 3), p);
	cr_assert_null(probes_by_id(&all, p->id, 4), "from its own slot only");
	probe_end(p, PROBE_GOOD, 5 * S, AT(10));
	cr_assert_null(probes_by_id(&all, p->id, 3), "an answer counts once");
	cr_assert_not(probe_due(p, AT(10 + 4 * S)));
	cr_assert(probe_due(p, AT(10 + 6 * S)));
	probe_start(p, &all, AT(6 * S));
	cr_assert_not(p->discover, "the list is asked for once a minute");
	probe_end(p, PROBE_BAD, 5 * S, AT(6 * S));
	probe_start(p, &all, AT(12 * S));
	cr_assert(p->discover, "and when it was down");
	cr_assert_eq(probe_worker_is(p, 3, 2, AT(13 * S)), PROBE_WORKER_NEW);
	cr_assert(probe_due(p, AT(13 * S)), "the old question died with its worker");
	config_free(&c);
}

Test(probe, a_silent_worker_is_late)
{
	struct config *c = config_of(yaml);
	struct probes all = {0};
	struct probe *p = probe_ready(&all, c);

	probe_start(p, &all, AT(0));
	cr_assert_not(probe_late(p, AT(19 * S)));
	cr_assert(probe_late(p, AT(20 * S)));
	probe_end(p, PROBE_GOOD, S, AT(20 * S));
	cr_assert_not(probe_late(p, AT(40 * S)));
	probe_start(p, &all, AT(22 * S));
	cr_assert(probe_late(p, AT(27 * S)), "a health check waits less");
	config_free(&c);
}

Test(probe, suspicion_brings_the_next_one_forward_once_a_second)
{
	struct config *c = config_of(yaml);
	struct probes all = {0};
	struct probe *p = probe_ready(&all, c);

	probe_start(p, &all, AT(0));
	probe_end(p, PROBE_GOOD, 60 * S, AT(5));
	for (int i = 0; i < 100; i++)
		probe_suspect(p, AT(100));
	cr_assert_not(probe_due(p, AT(999)));
	cr_assert(probe_due(p, AT(1000)));
	probe_start(p, &all, AT(1000));
	probe_end(p, PROBE_GOOD, 60 * S, AT(1001));
	probe_suspect(p, AT(5 * S));
	cr_assert(probe_due(p, AT(5 * S)), "after a quiet second at once");
	config_free(&c);
}

Test(probe, a_worker_is_gone_after_its_grace_and_only_once)
{
	struct config *c = config_of(yaml);
	struct probes all = {0};
	struct probe *p = probe_ready(&all, c);

	cr_assert_eq(probe_worker_is(p, 3, 1, AT(1)), PROBE_WORKER_SAME);
	cr_assert_eq(
		probe_worker_is(p, -1, 0, AT(10)), PROBE_WORKER_SAME, "a restart takes a moment");
	cr_assert_eq(probe_worker_is(p, -1, 0, AT(9 + PROBE_GRACE_MS)), PROBE_WORKER_SAME);
	cr_assert_eq(probe_worker_is(p, -1, 0, AT(10 + PROBE_GRACE_MS)), PROBE_WORKER_GONE);
	cr_assert_eq(probe_worker_is(p, -1, 0, AT(20 + PROBE_GRACE_MS)), PROBE_WORKER_SAME);
	cr_assert_not(probe_due(p, AT(99 * S)));
	cr_assert_eq(probe_worker_is(p, 3, 2, AT(99 * S)), PROBE_WORKER_NEW);
	config_free(&c);
}

Test(probe, a_reload_keeps_probes_of_backends_that_stay)
{
	struct config *c = config_of(yaml), *less = NULL;
	struct probes all = {0};
	struct probe *p = probe_ready(&all, c);

	less = config_of("listen: [127.0.0.1:0]\n"
			 "backends: [{name: a, kind: sim, sim: {models: [m]}}]\n"
			 "models: [{name: one, deployments: [{backend: a, model: m}]}]\n"
			 "routes: [{name: auto, models: [one]}]\n");
	probes_configure(&all, less, AT(1));
	cr_assert_eq(probes_find(&all, "a"), p);
	cr_assert_eq(p->slot, 3);
	cr_assert_null(probes_find(&all, "b"));
	config_free(&c);
	config_free(&less);
}

Test(probe, periods_are_jittered_within_a_tenth)
{
	struct config *c = config_of(yaml);
	struct probes all = {0};
	struct probe *p = probe_ready(&all, c);
	uint64_t least = UINT64_MAX, most = 0;

	for (int i = 0; i < 500; i++) {
		probe_start(p, &all, AT(i));
		probe_end(p, PROBE_GOOD, 10 * S, AT(i));
		least = MIN(least, p->next_ns - AT(i));
		most = MAX(most, p->next_ns - AT(i));
	}
	cr_assert(least >= clock_ms_to_ns(9 * S) && most <= clock_ms_to_ns(11 * S));
	cr_assert_gt(most - least, clock_ms_to_ns(S), "and do vary");
	config_free(&c);
}
