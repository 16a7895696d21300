/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.c - `shunt status`: workers, backends and models of the running daemon
 */
#include <inttypes.h>
#include <string.h>

#include "cli/daemon.h"
#include "cli/table.h"

enum { MINUTE_S = 60, HOUR_S = 3600, DAY_S = 86400 };

/* "3 d 4 h", "5 min 2 s", "850 ms": two units are enough. */
static void
put_duration(struct buf *out, uint64_t s)
{
	if (s >= DAY_S)
		buf_addf(out, "%" PRIu64 " d %" PRIu64 " h", s / DAY_S, s % DAY_S / HOUR_S);
	else if (s >= HOUR_S)
		buf_addf(out, "%" PRIu64 " h %" PRIu64 " min", s / HOUR_S, s % HOUR_S / MINUTE_S);
	else if (s >= MINUTE_S)
		buf_addf(out, "%" PRIu64 " min %" PRIu64 " s", s / MINUTE_S, s % MINUTE_S);
	else
		buf_addf(out, "%" PRIu64 " s", s);
}

static enum table_colour
state_colour(struct json state)
{
	if (json_equals(state, "ready") || json_equals(state, "up") || json_equals(state, "closed"))
		return TABLE_GOOD;
	if (json_equals(state, "starting") || json_equals(state, "draining") ||
		json_equals(state, "half-open"))
		return TABLE_WARN;
	return TABLE_BAD;
}

static void
cell_state(struct table *t, struct json state)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;

	json_text(&text, state);
	table_cell(t, buf_str(&text), state_colour(state));
}

static void
cell_format(struct table *t, struct json number, const char *unit, double divisor, int digits)
{
	char text[48] = "";
	double v;

	if (json_double(&v, number) && v > 0)
		(void)snprintf(text, sizeof(text), "%.*f%s", digits, v / divisor, unit);
	table_cell(t, text, TABLE_PLAIN);
}

static void
cell_age(struct table *t, struct json ms)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	uint64_t v;

	if (json_u64(&v, ms) && v < 10000)
		buf_addf(&text, "%" PRIu64 " ms", v);
	else if (json_u64(&v, ms))
		put_duration(&text, v / 1000);
	table_cell(t, buf_str(&text), TABLE_PLAIN);
}

static void
print_workers(struct json status, FILE *out)
{
	AUTO(table_free) struct table *t = NULL;
	struct json_iter it = json_iter(json_get(status, "workers"));
	struct json w, pss;

	table_new(&t);
	table_column(t, "NAME", TABLE_LEFT);
	table_column(t, "ROLE", TABLE_LEFT);
	table_column(t, "STATE", TABLE_LEFT);
	table_column(t, "PID", TABLE_RIGHT);
	table_column(t, "RESTARTS", TABLE_RIGHT);
	table_column(t, "HEARTBEAT", TABLE_RIGHT);
	table_column(t, "MEMORY", TABLE_RIGHT);
	while (json_next_item(&it, &w)) {
		double kb = 0;

		table_cell_json(t, json_get(w, "name"));
		table_cell_json(t, json_get(w, "role"));
		cell_state(t, json_get(w, "state"));
		table_cell_u64(t, json_get(w, "pid"));
		table_cell_u64(t, json_get(w, "restarts"));
		cell_age(t, json_get(w, "heartbeat_age_ms"));
		/* Shared pages counted once where the kernel tells; else all that is resident. */
		pss = json_get(w, "pss_kb");
		if (!json_double(&kb, pss) || kb <= 0)
			pss = json_get(w, "rss_kb");
		cell_format(t, pss, " MB", 1024, 1);
	}
	table_print(t, "Workers", out);
}

/* One line, where anybody waits or was sent away. */
static void
print_queue(struct json status, FILE *out)
{
	static const char *const causes[] = {"refused_full", "refused_user", "refused_deadline", "shed",
		"expired"};
	struct json q = json_get(status, "queue");
	uint64_t waiting = 0, oldest_ms = 0, refused = 0, n;

	(void)json_u64(&waiting, json_get(q, "length"));
	(void)json_u64(&oldest_ms, json_get(q, "oldest_wait_ms"));
	for (size_t i = 0; i < ARRAY_LEN(causes); i++)
		if (json_u64(&n, json_get(q, causes[i])))
			refused += n;
	if (waiting + refused > 0)
		(void)fprintf(out,
			"Queue: %" PRIu64 " wait, the first for %" PRIu64 " ms; %" PRIu64
			" refused or sent away so far\n\n",
			waiting, oldest_ms, refused);
}

static void
print_backends(struct json status, FILE *out)
{
	AUTO(table_free) struct table *t = NULL;
	struct json_iter it = json_iter(json_get(status, "backends"));
	struct json b;

	table_new(&t);
	table_column(t, "NAME", TABLE_LEFT);
	table_column(t, "KIND", TABLE_LEFT);
	table_column(t, "STATE", TABLE_LEFT);
	table_column(t, "HEALTH", TABLE_LEFT);
	table_column(t, "BREAKER", TABLE_LEFT);
	table_column(t, "IN FLIGHT", TABLE_RIGHT);
	table_column(t, "OK", TABLE_RIGHT);
	table_column(t, "FAILED", TABLE_RIGHT);
	table_column(t, "MEAN", TABLE_RIGHT);
	table_column(t, "WHY", TABLE_LEFT);
	while (json_next_item(&it, &b)) {
		table_cell_json(t, json_get(b, "name"));
		table_cell_json(t, json_get(b, "kind"));
		cell_state(t, json_get(b, "state"));
		cell_state(t, json_get(b, "health"));
		cell_state(t, json_get(b, "breaker"));
		table_cell_u64(t, json_get(b, "in_flight"));
		table_cell_u64(t, json_get(b, "ok"));
		table_cell_u64(t, json_get(b, "failed"));
		cell_format(t, json_get(b, "ewma_ms"), " ms", 1, 1);
		table_cell_json(t, json_get(b, "why"));
	}
	table_print(t, "Backends", out);
}

/* Who serves a model: "gpu1, gpu2"; those that are down in brackets. */
static void
put_deployments(struct buf *out, struct json model)
{
	struct json_iter it = json_iter(json_get(model, "deployments"));
	struct json d;

	while (json_next_item(&it, &d)) {
		bool up = !json_equals(json_get(d, "health"), "down");

		buf_add_str(out, out->len > 0 ? ", " : "");
		buf_add_str(out, up ? "" : "(");
		table_add_text(out, json_get(d, "backend"));
		buf_add_str(out, up ? "" : ")");
	}
}

static void
cell_abilities(struct table *t, struct json model)
{
	static const char *const abilities[] = {"tools", "vision", "json"};
	AUTO(buf_fini) struct buf text = BUF_INIT;

	for (size_t i = 0; i < ARRAY_LEN(abilities); i++)
		if (json_is_true(json_get(model, abilities[i])))
			buf_addf(&text, "%s%s", text.len > 0 ? "," : "", abilities[i]);
	table_cell(t, buf_str(&text), TABLE_PLAIN);
}

static void
print_models(struct json status, FILE *out)
{
	AUTO(table_free) struct table *t = NULL;
	struct json_iter it = json_iter(json_get(status, "models"));
	struct json m;

	table_new(&t);
	table_column(t, "NAME", TABLE_LEFT);
	table_column(t, "HEALTH", TABLE_LEFT);
	table_column(t, "SERVED BY", TABLE_LEFT);
	table_column(t, "CONTEXT", TABLE_RIGHT);
	table_column(t, "CAN", TABLE_LEFT);
	table_column(t, "FIRST TOKEN", TABLE_RIGHT);
	table_column(t, "SPEED", TABLE_RIGHT);
	while (json_next_item(&it, &m)) {
		AUTO(buf_fini) struct buf servers = BUF_INIT;

		put_deployments(&servers, m);
		table_cell_json(t, json_get(m, "name"));
		cell_state(t, json_get(m, "health"));
		table_cell(t, buf_str(&servers), TABLE_PLAIN);
		cell_format(t, json_get(m, "context_tokens"), "", 1, 0);
		cell_abilities(t, m);
		cell_format(t, json_get(m, "ttft_ms"), " ms", 1, 0);
		cell_format(t, json_get(m, "tokens_per_s"), " tok/s", 1, 0);
	}
	table_print(t, "Models", out);
}

/* "minilm-0, minilm-1 (generation 2)" */
static void
put_mappers(struct buf *out, struct json segment)
{
	struct json_iter it = json_iter(json_get(segment, "mapped_by"));
	uint64_t current = 0, mapped;
	struct json m;

	(void)json_u64(&current, json_get(segment, "generation"));
	while (json_next_item(&it, &m)) {
		buf_add_str(out, out->len > 0 ? ", " : "");
		table_add_text(out, json_get(m, "worker"));
		if (json_u64(&mapped, json_get(m, "generation")) && mapped != current)
			buf_addf(out, " (generation %" PRIu64 ")", mapped);
	}
}

/* Below the table: which file and what is wrong in it is too long for a column. */
static void
print_weights_failed(struct json status, FILE *out)
{
	struct json_iter it = json_iter(json_get(status, "weights"));
	struct json g;

	while (json_next_item(&it, &g)) {
		AUTO(buf_fini) struct buf line = BUF_INIT;
		size_t name;

		table_add_text(&line, json_get(g, "name"));
		buf_add_str(&line, " failed: ");
		name = line.len;
		table_add_text(&line, json_get(g, "why"));
		if (line.len > name)
			(void)fprintf(out, "%s\n", buf_str(&line));
	}
}

/* Only where there are encoders. */
static void
print_weights(struct json status, FILE *out)
{
	AUTO(table_free) struct table *t = NULL;
	struct json_iter it = json_iter(json_get(status, "weights"));
	struct json g;
	bool any = false;

	table_new(&t);
	table_column(t, "ENCODER", TABLE_LEFT);
	table_column(t, "STATE", TABLE_LEFT);
	table_column(t, "FORM", TABLE_LEFT);
	table_column(t, "MEMORY", TABLE_RIGHT);
	table_column(t, "GENERATION", TABLE_RIGHT);
	table_column(t, "LOADS", TABLE_RIGHT);
	table_column(t, "MAPPED BY", TABLE_LEFT);
	while (json_next_item(&it, &g)) {
		AUTO(buf_fini) struct buf form = BUF_INIT, mappers = BUF_INIT;

		table_add_text(&form, json_get(g, "dtype"));
		buf_add_char(&form, ' ');
		table_add_text(&form, json_get(g, "isa"));
		put_mappers(&mappers, g);
		table_cell_json(t, json_get(g, "name"));
		cell_state(t, json_get(g, "state"));
		table_cell(t, form.len > 1 ? buf_str(&form) : "", TABLE_PLAIN);
		cell_format(t, json_get(g, "bytes"), " MB", 1e6, 1);
		table_cell_u64(t, json_get(g, "generation"));
		table_cell_u64(t, json_get(g, "loads"));
		table_cell(t, buf_str(&mappers), TABLE_PLAIN);
		any = true;
	}
	if (!any)
		return;
	(void)fputc('\n', out);
	table_print(t, "Weights", out);
	print_weights_failed(status, out);
}

enum cli_exit
cli_status(const struct cli *cli)
{
	AUTO(buf_fini) struct buf body = BUF_INIT;
	AUTO(buf_fini) struct buf line = BUF_INIT;
	struct json status;
	enum cli_exit code = daemon_call(&status, &body, cli, "/admin/status", NULL);
	uint64_t uptime_s = 0;

	if (code != CLI_OK)
		return code;
	if (cli->output == CLI_JSON) {
		(void)fprintf(cli->out, "%s\n", buf_str(&body));
		return CLI_OK;
	}
	buf_add_str(&line, "shunt ");
	table_add_text(&line, json_get(status, "version"));
	if (json_u64(&uptime_s, json_get(status, "uptime_s"))) {
		buf_add_str(&line, ", up ");
		put_duration(&line, uptime_s);
	}
	(void)fprintf(cli->out, "%s\n\n", buf_str(&line));
	if (json_get(status, "faults").len > 2) { /* more than [] */
		fault_print_table(json_get(status, "faults"), cli->out);
		(void)fputc('\n', cli->out);
	}
	print_queue(status, cli->out);
	print_workers(status, cli->out);
	(void)fputc('\n', cli->out);
	print_backends(status, cli->out);
	(void)fputc('\n', cli->out);
	print_models(status, cli->out);
	print_weights(status, cli->out);
	return CLI_OK;
}
