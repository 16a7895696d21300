/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_config.c - good configs: defaults, values, what is implied, hashes, shipped examples
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "lib/base/buf.h"
#include "lib/base/near.h"
#include "shm/board.h"

_Static_assert((int)CONFIG_FILE_MAX == (int)CONFIG_TEXT_MAX, "the board holds every config");
_Static_assert((int)CONFIG_NAME_MAX < (int)NAME_MAX_LEN, "names fit the board with their NUL");
_Static_assert(
	(int)CONFIG_MODEL_MAX < (int)MODEL_MAX_LEN, "model names fit the board with their NUL");

static struct config *
parse(const char *text)
{
	struct config *c = NULL;
	struct err e = {.code = ERR_OK};

	cr_assert_eq(config_parse(&c, "/etc/shunt/f.yaml", text, strlen(text), NULL, &e), ERR_OK,
		"%s", e.text);
	return c;
}

/* What a config can't know is left to the daemon. */
Test(config, a_cascade_may_have_a_weak_model_that_tells_or_is_not_known)
{
	static const char *const weak[] = {"{backend: b}], quality: 0.1", "{backend: a}]",
		"{backend: a}, {backend: b}], quality: 0.1"};
	AUTO(buf_fini) struct buf text = BUF_INIT;

	for (size_t i = 0; i < ARRAY_LEN(weak); i++) {
		AUTO(config_free) struct config *c = NULL;

		buf_clear(&text);
		buf_addf(&text,
			"backends: [{name: a, kind: anthropic, url: http://h}, "
			"{name: b, kind: sim}]\n"
			"models: [{name: m, deployments: [%s}, "
			"{name: n, quality: 0.9, deployments: [{backend: a}]}]\n"
			"routes: [{name: r, scorer: cascade, threshold: 0.5}]\n",
			weak[i]);
		c = parse(buf_str(&text));
		cr_expect_str_eq(c->routes[0].scorer, "cascade");
	}
}

Test(config, one_backend_is_enough)
{
	AUTO(config_free)
	struct config *c = parse("backends: [{name: b, url: \"http://h:1/v1/\"}]");

	cr_assert_eq(c->listen_len, 2);
	cr_assert_str_eq(c->listen[0].host, "127.0.0.1");
	cr_assert_eq(c->listen[0].port, 8787);
	cr_assert_eq(c->gateways, 2);
	cr_assert_eq(c->log_level, LOG_INFO);
	cr_assert_eq(c->limits.body_bytes, 32u << 20);
	cr_assert_eq(c->limits.request_ms, 600000);
	cr_assert_null(c->auth.keys_file);
	cr_assert_eq(c->restart.delay_ms, 10);
	cr_assert_eq(c->backends_len, 1);
	cr_assert_eq(c->backends[0].kind, BACKEND_OPENAI);
	cr_assert_str_eq(c->backends[0].url, "http://h:1/v1", "no slash at the end");
	cr_assert(c->backends[0].tls_verify);
	cr_assert(c->backends[0].discover, "without models it serves what it lists");
	cr_assert_eq(c->routes_len, 1);
	cr_assert_str_eq(c->routes[0].name, "auto");
	cr_assert_str_eq(c->routes[0].models[0], "*");
	cr_assert_lt(c->routes[0].dial, 0);
	cr_assert_lt(c->routes[0].max_usd, 0);
	cr_assert_not_null(config_route(c, "auto"));
	cr_assert_not_null(config_backend(c, "b"));
	cr_assert_null(config_model(c, "b"));
}

Test(config, what_a_model_does_not_say_is_not_known)
{
	AUTO(config_free)
	struct config *c = parse("backends: [{name: b, kind: sim}]\n"
				 "models: [{name: m, deployments: [{backend: b}]}]\n");
	const struct config_model *m = config_model(c, "m");

	cr_assert_not_null(m);
	cr_assert_lt(m->quality, 0);
	cr_assert_lt(m->input_usd, 0);
	cr_assert_eq(m->tools, TRI_UNKNOWN);
	cr_assert_eq(m->context_tokens, 0);
	cr_assert_str_eq(m->deployments[0].model, "m", "the upstream's name is the same");
	cr_assert_eq(m->deployments[0].weight, 1);
	cr_assert_not(c->backends[0].discover, "a declared backend serves what is declared");
	cr_assert_str_eq(c->backends[0].sim.models[0], "b");
}

Test(config, every_kind_of_value_arrives)
{
	AUTO(config_free)
	struct config *c = parse(
		"listen: [\"[::1]:0\", \"unix:/tmp/a.sock,mode=0660\", \"*:9\"]\n"
		"run_dir: /tmp/r\n"
		"log: {level: debug, format: json}\n"
		"limits: {body_bytes: 1.5MiB, idle_ms: 2m, header_ms: 1500, body_min_bytes_per_s: "
		"0}\n"
		"auth: {keys_file: k, admin_keys_file: /a}\n"
		"backends:\n"
		"  - {name: b, kind: sim, standby: on, discover: true,\n"
		"     sim: {seed: 9007199254740992, ttft_ms: 0.5s, models: [x, \"y:1\"]}}\n"
		"routes: [{name: r, models: [x, b/z], strategy: \"cost_first\", dial: 0.25, "
		"first_byte_ms: \"3s\"}]\n"
		"rules: [{name: v, priority: -3, on_image: yes, words: [\"plan*\"], model: r}]\n");

	cr_assert_str_eq(c->listen[0].host, "::1");
	cr_assert_eq(c->listen[0].port, 0);
	cr_assert_str_eq(c->listen[1].path, "/tmp/a.sock");
	cr_assert_eq(c->listen[1].mode, 0660);
	cr_assert_str_eq(c->listen[2].host, "0.0.0.0");
	cr_assert_str_eq(c->listen[3].path, "/tmp/r/shunt.sock");
	cr_assert_eq(c->listen[3].mode, 0600);
	cr_assert_eq(c->log_level, LOG_DEBUG);
	cr_assert_eq(c->log_format, LOG_JSON);
	cr_assert_eq(c->limits.body_bytes, 1536 * 1024);
	cr_assert_eq(c->limits.idle_ms, 120000);
	cr_assert_eq(c->limits.header_ms, 1500);
	cr_assert_eq(c->limits.body_min_bytes_per_s, 0);
	cr_assert_str_eq(c->auth.keys_file, "/etc/shunt/k");
	cr_assert_str_eq(c->auth.admin_keys_file, "/a");
	cr_assert(c->backends[0].standby && c->backends[0].discover);
	cr_assert_eq(c->backends[0].sim.seed, UINT64_C(9007199254740992));
	cr_assert_eq(c->backends[0].sim.ttft_ms, 500);
	cr_assert_eq(c->backends[0].sim.models_len, 2);
	cr_assert_eq(c->routes[0].strategy, STRATEGY_COST_FIRST);
	cr_assert_eq(c->routes[0].first_byte_ms, 3000);
	cr_assert_float_eq(c->routes[0].dial, 0.25, 1e-12);
	cr_assert_eq(c->rules[0].priority, -3);
	cr_assert(c->rules[0].on_image);
}

Test(config, a_service_has_the_folders_that_its_manager_made)
{
	const char *plain = "backends: [{name: b, kind: sim}]\n";
	const char *placed = "run_dir: /run/x\nbackends: [{name: b, kind: sim}]\n";

	(void)setenv("RUNTIME_DIRECTORY", "/run/shunt:/run/other", 1);
	(void)setenv("STATE_DIRECTORY", "/var/lib/shunt", 1);
	{
		AUTO(config_free) struct config *c = parse(plain);
		AUTO(config_free) struct config *p = parse(placed);

		cr_assert_str_eq(c->run_dir, "/run/shunt", "the first of several");
		cr_assert_str_eq(c->state_dir, "/var/lib/shunt");
		cr_assert_str_eq(p->run_dir, "/run/x", "the file has the last word");
		cr_assert_str_eq(p->state_dir, "/var/lib/shunt", "a run folder is no place to stay");
	}
	(void)unsetenv("RUNTIME_DIRECTORY");
	(void)unsetenv("STATE_DIRECTORY");
	{
		AUTO(config_free) struct config *p = parse(placed);

		cr_assert_str_eq(p->state_dir, "/run/x/state");
	}
}

Test(config, the_command_lines_socket_is_listened_on_once)
{
	AUTO(config_free)
	struct config *c = parse("run_dir: /tmp/r\n"
				 "listen: [\"unix:/tmp/r/shunt.sock,mode=0666\"]\n"
				 "backends: [{name: b, kind: sim}]\n");

	cr_assert_eq(c->listen_len, 1);
	cr_assert_eq(c->listen[0].mode, 0666, "what the file says stands");
}

Test(config, local_servers_join_unless_they_are_declared)
{
	AUTO(config_free) struct config *all = parse("discover_local: yes\n");
	AUTO(config_free)
	struct config *some =
		parse("discover_local: yes\nlisten: [\"0.0.0.0:8000\"]\n"
		      "backends: [{name: mine, kind: ollama, url: \"http://localhost:11434\"}]\n");

	cr_assert_eq(all->backends_len, 3);
	cr_assert_eq(config_backend(all, "ollama-local")->kind, BACKEND_OLLAMA);
	cr_assert_str_eq(config_backend(all, "ollama-local")->url, "http://127.0.0.1:11434");
	cr_assert_str_eq(config_backend(all, "llamacpp-local")->url, "http://127.0.0.1:8080");
	cr_assert_eq(config_backend(all, "vllm-local")->kind, BACKEND_OPENAI);
	cr_assert(config_backend(all, "vllm-local")->discover);
	cr_assert_null(config_backend(some, "ollama-local"), "declared under another name");
	cr_assert_null(config_backend(some, "vllm-local"), "that is our own port");
	cr_assert_not_null(config_backend(some, "llamacpp-local"));
}

Test(config, ollama_has_a_usual_address)
{
	AUTO(config_free) struct config *c = parse("backends: [{name: o, kind: ollama}]\n");

	cr_assert_str_eq(c->backends[0].url, "http://127.0.0.1:11434");
}

static const char *const hashed[] = {
	"backends: [{name: b, url: \"http://h\"}]",
	"backends: [{name: c, url: \"http://h\"}]",
	"backends: [{name: b, url: \"http://h2\"}]",
	"backends: [{name: b, url: \"http://h\", key_file: k}]",
	"backends: [{name: b, url: \"http://h\", ca_file: k}]",
	"backends: [{name: b, url: \"http://h\", tls_verify: no}]",
	"backends: [{name: b, url: \"http://h\", discover: no}]",
	"backends: [{name: b, url: \"http://h\", max_in_flight: 65}]",
	"backends: [{name: b, kind: sim}]",
	"backends: [{name: b, kind: sim, sim: {seed: 2}}]",
	"backends: [{name: b, kind: sim, sim: {models: [ab, c]}}]",
	"backends: [{name: b, kind: sim, sim: {models: [a, bc]}}]",
};

Test(config, a_backends_hash_differs_with_each_of_its_values)
{
	uint64_t seen[ARRAY_LEN(hashed)];

	for (size_t i = 0; i < ARRAY_LEN(hashed); i++) {
		AUTO(config_free) struct config *c = parse(hashed[i]);

		seen[i] = config_hash_backend(&c->backends[0]);
		for (size_t j = 0; j < i; j++)
			cr_expect_neq(seen[i], seen[j], "%s and %s", hashed[i], hashed[j]);
	}
}

Test(config, hashes_change_only_with_their_own_input)
{
	AUTO(config_free) struct config *a = parse("backends: [{name: b, url: \"http://h\"}]");
	AUTO(config_free)
	struct config *b = parse("# moved down\n\nlog: {level: debug}\nlimits: {idle_ms: 9s}\n"
				 "backends:\n  - url: http://h/\n    name: b\n"
				 "  - {name: other, kind: sim}\n");
	AUTO(config_free)
	struct config *other = parse("listen: [\"127.0.0.1:1\"]\n"
				     "backends: [{name: b, url: \"http://h\"}]");

	cr_assert_eq(config_hash_backend(&a->backends[0]), config_hash_backend(&b->backends[0]));
	cr_assert_eq(config_hash_gateway(a), config_hash_gateway(b));
	cr_assert_neq(config_hash_gateway(a), config_hash_gateway(other));
	cr_assert_eq(
		config_hash_backend(&a->backends[0]), config_hash_backend(&other->backends[0]));
}

Test(config, a_gateway_is_replaced_for_key_files_that_its_sandbox_did_not_admit)
{
	AUTO(config_free) struct config *open = parse("backends: [{name: b, kind: sim}]");
	AUTO(config_free)
	struct config *closed = parse("auth: {keys_file: /etc/shunt/keys}\n"
				      "backends: [{name: b, kind: sim}]");

	cr_assert_neq(config_hash_gateway(open), config_hash_gateway(closed));
}

static const char *
source_root(void)
{
	const char *root = getenv("SHUNT_SOURCE_ROOT");

	return root != NULL ? root : ".";
}

Test(config, shipped_examples_are_good)
{
	static const char *const names[] = {"demo", "lab", "minimal"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		AUTO(buf_fini) struct buf path = BUF_INIT;
		AUTO(buf_fini) struct buf text = BUF_INIT;
		AUTO(config_free) struct config *c = NULL;
		struct err e = {.code = ERR_OK};

		buf_addf(&path, "%s/config/%s.yaml", source_root(), names[i]);
		cr_expect_eq(
			config_load(&c, &text, buf_str(&path), NULL, &e), ERR_OK, "%s", e.text);
	}
}

Test(config, the_demo_prefers_a_real_server)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(config_free) struct config *c = NULL;
	struct err e = {.code = ERR_OK};

	buf_addf(&path, "%s/config/demo.yaml", source_root());
	cr_assert_eq(config_load(&c, &text, buf_str(&path), NULL, &e), ERR_OK, "%s", e.text);
	for (size_t i = 0; i < c->backends_len; i++)
		cr_expect_eq(c->backends[i].standby, c->backends[i].kind == BACKEND_SIM, "%s",
			c->backends[i].name);
	cr_assert_not_null(config_backend(c, "llamacpp-local"));
	cr_assert_not_null(config_route(c, "auto"));
	cr_assert_eq(c->rules_len, 4);
}

Test(config, the_committed_reference_is_the_generated_one)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	AUTO(buf_fini) struct buf want = BUF_INIT;
	AUTO(buf_fini) struct buf have = BUF_INIT;
	char piece[4096];
	size_t n;
	FILE *f;

	buf_addf(&path, "%s/docs/config.md", source_root());
	f = fopen(buf_str(&path), "r");
	cr_assert_not_null(f, "%s", buf_str(&path));
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
		buf_add(&have, piece, n);
	(void)fclose(f);
	config_reference(&want, CONFIG_DOC_MARKDOWN);
	cr_assert_str_eq(buf_str(&have), buf_str(&want),
		"docs/config.md is stale: build/config/config-reference markdown > docs/config.md");
}

Test(config, every_default_of_the_reference_reads_back_as_itself)
{
	/* A file that spells every default out is the file that says nothing. */
	AUTO(config_free) struct config *empty = parse("backends: [{name: b, url: \"http://h\"}]");
	AUTO(config_free)
	struct config *full = parse(
		"listen: [\"127.0.0.1:8787\"]\ngateways: 2\ndiscover_local: no\nstart_ms: 10s\n"
		"heartbeat_ms: 5s\ndrain_ms: 30s\nspin_us: 0\npin_cpus: no\n"
		"log: {level: info, format: text}\n"
		"limits: {body_bytes: 32MiB, header_bytes: 32KiB, response_bytes: 64MiB, "
		"connections: 1024,\n"
		"  header_ms: 10s, body_ms: 60s, body_min_bytes_per_s: 1KiB, idle_ms: 75s, "
		"write_ms: 30s,\n"
		"  request_ms: 10m}\n"
		"restart: {delay_ms: 10ms, delay_max_ms: 10s, healthy_ms: 5s}\n"
		"backends: [{name: b, kind: openai, url: \"http://h\", tls_verify: yes, discover: "
		"unknown,\n"
		"  standby: no, max_in_flight: 64, connect_ms: 5s, first_byte_ms: 5m, stall_ms: "
		"60s,\n"
		"  probe_ms: 10s}]\n");

	cr_assert_eq(
		config_hash_backend(&empty->backends[0]), config_hash_backend(&full->backends[0]));
	cr_assert_eq(config_hash_gateway(empty), config_hash_gateway(full));
	cr_assert_arr_eq(&empty->limits, &full->limits, sizeof(empty->limits));
	cr_assert_arr_eq(&empty->restart, &full->restart, sizeof(empty->restart));
	cr_assert_eq(empty->start_ms, full->start_ms);
	cr_assert_eq(empty->heartbeat_ms, full->heartbeat_ms);
	cr_assert_eq(empty->drain_ms, full->drain_ms);
	cr_assert_eq(empty->spin_us, full->spin_us);
}

Test(config, strategy_names_are_those_of_the_file)
{
	cr_assert_str_eq(strategy_name(STRATEGY_BALANCED), "balanced");
	cr_assert_str_eq(strategy_name(STRATEGY_LEAST_LOADED), "least_loaded");
}

Test(near, suggests_what_was_meant_and_nothing_far_off)
{
	static const char *const names[] = {"model", "models", "deployments", "url"};

	cr_assert_str_eq(near_name("modle", names, 4), "model");
	cr_assert_str_eq(near_name("Deployment", names, 4), "deployments");
	cr_assert_str_eq(near_name("ulr", names, 4), "url");
	cr_assert_null(near_name("xyz", names, 4));
	cr_assert_null(near_name("", names, 4));
	cr_assert_eq(near_distance("abcd", "abdc"), 1, "a swap is one edit");
	cr_assert_eq(near_distance("", "abc"), 3);
}
