/* SPDX-License-Identifier: Apache-2.0 */
/*
 * generate.c - a scenario out of a seed
 *
 * Three simulated backends say the same text, so whichever answers, the text is known. The first
 * two meet faults, the third is whole. Requests go to each in turn, so faults are met. Where
 * broken streams go on or begin anew, every request must end in an answer; else those that broke
 * after their first byte in a clear error. Of a killed gateway, connections are lost, no more.
 */
#include <inttypes.h>
#include <string.h>

#include "lib/chaos/chaos.h"

/* Shorter loads end before anything could have recovered. */
enum { RECOVERED_FROM_MS = 4500, CLIENTS = 32, LIMIT_MORE_MS = 60000 };

struct dice {
	uint64_t seed, n;
};

static uint64_t
dice_roll(struct dice *d, uint64_t sides)
{
	return fault_random(d->seed, d->n++) % sides;
}

/* Before the first byte: another backend answers. */
static const char *const early[] = {"status status=500", "status status=503",
	"rate_limit retry_after=1s", "refuse", "reset", "garbage", "hang", "delay time=30ms",
	"status status=401", "tls"};
/* Within the answer: of a whole answer another backend's; of a stream, a clear end. */
static const char *const late[] = {"cut tokens=3", "reset_body tokens=5", "stall tokens=4",
	"bad_json tokens=2", "bad_event tokens=6"};
static const char *const processes[] = {"kill worker=a", "abort worker=b", "segfault worker=a",
	"stop worker=b time=200ms", "kill worker=profiler", "kill worker=recorder",
	"stop worker=recorder time=200ms"};

static const char *const strategies[] = {"round_robin", "round_robin", "least_loaded", "balanced"};
static const char *const policies[] = {"continue", "restart", "error"};
/* Before the delays of faults, amid them, and within the time of most answers. */
static const uint64_t hedges[] = {0, 0, 1, 25, 150};
static const uint64_t holds[] = {0, 0, 4, 30};
/* More than are under way at once, or fewer. */
static const uint64_t places[] = {64, 64, 3, 1};

/* What the seed says of the whole scenario. */
struct scene {
	const char *strategy, *policy;
	bool kills_gateway; /* one of two */
	uint64_t hedge_ms; /* 0: nothing is hedged */
	uint64_t hold;
	uint64_t retries;
	uint64_t places; /* of each backend */
};

static void
generate_config(struct buf *out, const struct scene *scene)
{
	static const char names[] = "abc";

	buf_addf(out, "config:\n  gateways: %d\n", scene->kills_gateway ? 2 : 1);
	/* more calls fail, and for longer, than retries are saved up for by default */
	buf_add_str(out, "  restart: {delay_ms: 5ms, delay_max_ms: 100ms}\n"
			 "  breaker: {retry_burst: 1000}\n"
			 "  backends:\n");
	for (unsigned i = 0; i < 3; i++)
		buf_addf(out,
			"    - {name: %c, kind: sim, first_byte_ms: 400ms, stall_ms: 400ms, "
			"probe_ms: 100ms, max_in_flight: %" PRIu64
			",\n       sim: {seed: 7, ttft_ms: 2ms, tokens_per_s: 1000, "
			"tokens: 24, models: [m]}}\n",
			names[i], scene->places);
	buf_add_str(out, "  models:\n    - {name: m, deployments: [{backend: a}, {backend: b}, "
			 "{backend: c}]}\n");
	buf_addf(out,
		"  routes:\n    - {name: auto, models: [m], strategy: %s, session_ms: 0, "
		"mid_stream: %s, hedge_ms: %" PRIu64 "ms,\n       hold: %" PRIu64
		", retries: %" PRIu64 "}\n",
		scene->strategy, scene->policy, scene->hedge_ms, scene->hold, scene->retries);
}

static void
generate_load(struct buf *out, struct dice *d, uint64_t time_ms)
{
	uint64_t rate = 30 + dice_roll(d, 70);

	buf_addf(out,
		"load:\n  - {model: auto, rate: %" PRIu64 ", time: %" PRIu64
		"ms, clients: %d, stream: %" PRIu64 "%%, leave: %" PRIu64
		"%%, users: [ada, eve, kim]}\n",
		rate, time_ms, CLIENTS, 20 + dice_roll(d, 60), dice_roll(d, 8));
}

static void
generate_step(struct buf *out, uint64_t at_ms, const char *what)
{
	buf_addf(out, "  - {at: %" PRIu64 "ms, do: \"%s\"}\n", at_ms, what);
}

/* Faults of calls in the first 60 %, all gone at 70 %; process faults in between. */
static void
generate_faults(struct buf *out, struct dice *d, const struct scene *scene, uint64_t time_ms)
{
	AUTO(buf_fini) struct buf line = BUF_INIT;
	uint64_t n = 2 + dice_roll(d, 3);

	buf_add_str(out, "faults:\n");
	for (uint64_t i = 0; i < n; i++) {
		const char *kind = i == 0 ? late[dice_roll(d, ARRAY_LEN(late))]
					  : early[dice_roll(d, ARRAY_LEN(early))];

		buf_clear(&line);
		buf_addf(&line, "%s backend=%c probability=0.%" PRIu64 " seed=%" PRIu64, kind,
			(char)('a' + dice_roll(d, 2)), 1 + dice_roll(d, 5), dice_roll(d, 1000000));
		generate_step(out, dice_roll(d, time_ms / 4), buf_str(&line));
	}
	n = 1 + dice_roll(d, 3);
	for (uint64_t i = 0; i < n; i++)
		generate_step(out, time_ms / 4 + dice_roll(d, time_ms / 3),
			processes[dice_roll(d, ARRAY_LEN(processes))]);
	/* after all others, and well after it was asked for: who dies then has no step to answer */
	if (scene->kills_gateway)
		generate_step(out, time_ms * 62 / 100, "kill worker=gateway-0 after=300ms");
	generate_step(out, time_ms * 7 / 10, "clear");
}

static void
generate_invariants(struct buf *out, const struct scene *scene, uint64_t time_ms)
{
	bool goes_on = strcmp(scene->policy, "error") != 0;

	/* a kind of fault that is set for a tenth of few calls may not come */
	buf_add_str(out, "invariants:\n  in_time: 5s\n  faults_hit: no\n");
	/* each gateway has connections of its own to all workers, which have none when one looks */
	buf_addf(out, "  descriptors: %d\n", scene->kills_gateway ? 100 : 60);
	if (scene->kills_gateway)
		buf_addf(out, "  answered: %d%%\n  lost: %d\n", goes_on ? 90 : 70, CLIENTS);
	else
		buf_addf(out, "  answered: %d%%\n", goes_on ? 100 : 80);
	if (time_ms >= RECOVERED_FROM_MS)
		buf_add_str(out, "  recovered_within: 1s\n");
}

void
generate_scenario(struct buf *out, uint64_t seed, uint64_t time_ms)
{
	struct dice d = {.seed = seed};
	const struct scene scene = {.strategy = strategies[dice_roll(&d, ARRAY_LEN(strategies))],
		.policy = policies[dice_roll(&d, ARRAY_LEN(policies))],
		.kills_gateway = dice_roll(&d, 4) == 0 && time_ms >= RECOVERED_FROM_MS,
		.hedge_ms = hedges[dice_roll(&d, ARRAY_LEN(hedges))],
		.hold = holds[dice_roll(&d, ARRAY_LEN(holds))],
		.retries = dice_roll(&d, 3),
		.places = places[dice_roll(&d, ARRAY_LEN(places))]};

	CHECK(time_ms >= 100);
	buf_addf(out,
		"# Made by `shunt chaos random`, seed %" PRIu64 ".\n"
		"name: random-%" PRIu64 "\nabout: made of its seed\nseed: %" PRIu64
		"\nlimit: %" PRIu64 "ms\n",
		seed, seed, seed, time_ms + LIMIT_MORE_MS);
	generate_config(out, &scene);
	generate_load(out, &d, time_ms);
	generate_faults(out, &d, &scene, time_ms);
	generate_invariants(out, &scene, time_ms);
}

uint64_t
generate_seed(uint64_t seed, uint64_t round)
{
	return round == 0 ? seed : fault_random(seed, round) >> 32;
}
