/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chaos.c - `shunt chaos`: play a scenario of failures against a daemon and judge it
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/chaos.h"
#include "lib/base/file.h"
#include "lib/base/json.h"

enum { MINUTES_MAX = 24 * 60, ROUND_MS = 10000, ROUND_MIN_MS = 500, TRACE_MAX = 64 * 1024 * 1024 };

/* One run of a scenario and what it takes. */
struct chaos_run {
	const struct cli *cli;
	struct chaos_scenario *s;
	struct chaos_plan plan;
	struct chaos_seen seen;
	struct chaos_verdict verdict;
	struct chaos_daemon daemon;
	int signal_fd;
};

static enum cli_exit
chaos_fail(const struct cli *cli, enum cli_exit code, const char *what, const char *text)
{
	(void)fprintf(cli->err, "shunt chaos: %s%s%s\n", what, what[0] != '\0' ? ": " : "", text);
	return code;
}

static void
chaos_run_fini(struct chaos_run *r)
{
	chaos_daemon_fini(&r->daemon);
	chaos_plan_fini(&r->plan);
	scenario_free(&r->s);
	buf_fini(&r->seen.journal_why);
	buf_fini(&r->seen.orders_why);
}

/* On a thread of OpenBLAS, which began before main and blocks nothing: on to the main thread. */
static void
chaos_pass_on(int signal_number)
{
	(void)tgkill(getpid(), getpid(), signal_number);
}

/* SIGINT and SIGTERM as a descriptor: everything is ended in order. -1: sys/signalfd failed. */
static int
chaos_signals(void)
{
	const struct sigaction action = {.sa_handler = chaos_pass_on, .sa_flags = SA_RESTART};
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static enum err_code
chaos_write_file(const char *path, const struct buf *text, struct err *e)
{
	FILE *f = fopen(path, "we");
	bool ok;

	if (f == NULL)
		return err_set(e, ERR_SYS, "%s: %s", path, strerror(errno));
	ok = fwrite(buf_str(text), 1, text->len, f) == text->len;
	if (fclose(f) != 0 || !ok)
		return err_set(e, ERR_SYS, "%s: %s", path, strerror(errno));
	return ERR_OK;
}

/* ---- one run ---- */

static enum err_code
chaos_play(struct chaos_run *r, uint64_t seed, struct err *e)
{
	const char *url = r->cli->url;
	enum err_code code;

	chaos_plan_make(&r->plan, r->s, seed);
	if (url != NULL && scenario_needs_own(r->s))
		return err_set(e, ERR_INPUT,
			"process and resource faults need a daemon of the runner's own: leave "
			"--url out");
	if (url != NULL)
		buf_add_str(&r->daemon.url, url);
	code = url != NULL ? ERR_OK : chaos_daemon_start(&r->daemon, r->s, r->signal_fd, e);
	if (code != ERR_OK)
		return code;
	chaos_look_base(&r->seen, &r->daemon);
	code = chaos_load_play(&r->plan, &r->seen, r->s, &r->daemon, r->signal_fd, e);
	if (code != ERR_OK)
		return code;
	chaos_look(&r->seen, r->s, &r->plan, &r->daemon, r->signal_fd);
	chaos_daemon_stop(&r->daemon);
	r->seen.exit_status = r->daemon.exit_status;
	r->seen.processes_left = r->daemon.processes_left;
	verdict_make(&r->verdict, &r->plan, r->s, &r->seen);
	return ERR_OK;
}

/* --trace, --replay, --html: what is written and compared after a run. */
static enum cli_exit
chaos_files(const struct chaos_run *r, const struct buf *old)
{
	const char *trace_path = r->cli->values['W'], *html_path = r->cli->values['H'];
	AUTO(buf_fini) struct buf trace = BUF_INIT;
	AUTO(buf_fini) struct buf page = BUF_INIT;
	char text[80];
	struct err e;
	size_t line;

	trace_write(&trace, r->s, &r->plan, &r->verdict);
	chaos_report_html(&page, r->s, &r->plan, &r->verdict);
	if ((trace_path != NULL && chaos_write_file(trace_path, &trace, &e) != ERR_OK) ||
		(html_path != NULL && chaos_write_file(html_path, &page, &e) != ERR_OK))
		return chaos_fail(r->cli, CLI_BAD_NEWS, "", e.text);
	line = old != NULL ? trace_differs(old, &trace) : 0;
	if (line == 0)
		return CLI_OK;
	(void)snprintf(text, sizeof(text), "differs from this run, first in line %zu", line);
	return chaos_fail(r->cli, CLI_BAD_NEWS, r->cli->values['Y'], text);
}

static void
chaos_print(const struct chaos_run *r)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;

	if (r->cli->output == CLI_JSON) {
		chaos_report_json(&text, &r->plan, &r->verdict);
		buf_add_char(&text, '\n');
	} else {
		chaos_report_text(&text, r->s, &r->plan, &r->verdict);
	}
	(void)fputs(buf_str(&text), r->cli->out);
}

static bool
chaos_number(double *out, const char *text, double most)
{
	char *end;
	double v = strtod(text, &end);

	if (text[0] < '0' || text[0] > '9' || *end != '\0' || !isfinite(v) || v > most)
		return false;
	*out = v;
	return true;
}

/* --seed, or the trace's, or the scenario's. */
static enum cli_exit
chaos_seed(uint64_t *out, const struct chaos_run *r, const struct buf *trace)
{
	const char *said = r->cli->values['e'];
	double v;
	struct err e;

	*out = r->s->seed;
	if (said != NULL) {
		if (!chaos_number(&v, said, 9007199254740992.0) || v != floor(v))
			return chaos_fail(r->cli, CLI_USAGE, "--seed takes a number, not", said);
		*out = (uint64_t)v;
	} else if (trace != NULL &&
		   trace_seed(out, r->s, buf_str(trace), trace->len, &e) != ERR_OK) {
		return chaos_fail(r->cli, CLI_BAD_NEWS, r->cli->values['Y'], e.text);
	}
	return CLI_OK;
}

static enum cli_exit
chaos_run_text(const struct cli *cli, const char *path, const struct buf *text, int signal_fd)
{
	AUTO(chaos_run_fini)
	struct chaos_run r = {.cli = cli, .signal_fd = signal_fd, .daemon = {.pidfd = -1}};
	AUTO(buf_fini) struct buf old = BUF_INIT;
	bool replay = cli->values['Y'] != NULL;
	enum cli_exit code, files;
	uint64_t seed;
	struct err e = {0};

	if (scenario_read(&r.s, path, buf_str(text), text->len, &e) != ERR_OK)
		return chaos_fail(cli, CLI_BAD_NEWS, "", e.text);
	if (replay && file_read(&old, cli->values['Y'], TRACE_MAX, &e) != ERR_OK)
		return chaos_fail(cli, CLI_BAD_NEWS, "", e.text);
	code = chaos_seed(&seed, &r, replay ? &old : NULL);
	if (code != CLI_OK)
		return code;
	if (chaos_play(&r, seed, &e) != ERR_OK)
		return chaos_fail(cli, CLI_BAD_NEWS, path, e.text);
	chaos_print(&r);
	files = chaos_files(&r, replay ? &old : NULL);
	return r.verdict.ok ? files : CLI_BAD_NEWS;
}

static enum cli_exit
chaos_run_file(const struct cli *cli, int signal_fd)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	const char *path = cli->args[1];
	struct err e;

	if (file_read(&text, path, CHAOS_FILE_MAX, &e) != ERR_OK)
		return chaos_fail(cli, CLI_BAD_NEWS, "", e.text);
	return chaos_run_text(cli, path, &text, signal_fd);
}

/* ---- random ones ---- */

static enum cli_exit
chaos_random(const struct cli *cli, int signal_fd)
{
	const char *minutes_said = cli->values['U'], *seed_said = cli->values['e'];
	double minutes = 1, seed = 1;
	enum cli_exit code = CLI_OK;
	uint64_t left_ms;

	if (minutes_said != NULL && !chaos_number(&minutes, minutes_said, MINUTES_MAX))
		return chaos_fail(cli, CLI_USAGE, "--minutes takes up to 1440, not", minutes_said);
	if (seed_said != NULL && !chaos_number(&seed, seed_said, 9007199254740992.0))
		return chaos_fail(cli, CLI_USAGE, "--seed takes a number, not", seed_said);
	left_ms = MAX((uint64_t)(minutes * 60000), (uint64_t)ROUND_MIN_MS);
	for (uint64_t n = 0; left_ms >= ROUND_MIN_MS && code == CLI_OK; n++) {
		AUTO(buf_fini) struct buf text = BUF_INIT;
		uint64_t round_ms = MIN(left_ms, (uint64_t)ROUND_MS);
		uint64_t round_seed = generate_seed((uint64_t)seed, n);
		struct cli round = *cli;
		char name[64];
		struct err e;

		left_ms -= round_ms;
		round.values['e'] = NULL; /* the scenario says its own */
		generate_scenario(&text, round_seed, round_ms);
		if (cli->values['o'] != NULL &&
			chaos_write_file(cli->values['o'], &text, &e) != ERR_OK)
			return chaos_fail(cli, CLI_BAD_NEWS, "", e.text);
		(void)snprintf(name, sizeof(name), "random-%" PRIu64, round_seed);
		code = chaos_run_text(&round, name, &text, signal_fd);
	}
	return code;
}

static enum cli_exit
chaos_invariants_json(const struct cli *cli)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;

	json_put_begin(&out, '{');
	json_put_key(&out, "invariants");
	json_put_begin(&out, '[');
	for (unsigned i = 0; i < CHAOS_INVARIANTS; i++) {
		json_put_begin(&out, '{');
		json_put_member_str(&out, "name", chaos_invariant_at(i)->name);
		json_put_member_str(&out, "help", chaos_invariant_at(i)->help);
		json_put_member_bool(&out, "asked", chaos_invariant_at(i)->standard < 0);
		json_put_end(&out, '}');
	}
	json_put_end(&out, ']');
	json_put_end(&out, '}');
	(void)fprintf(cli->out, "%s\n", buf_str(&out));
	return CLI_OK;
}

static enum cli_exit
chaos_invariants(const struct cli *cli)
{
	if (cli->output == CLI_JSON)
		return chaos_invariants_json(cli);
	for (unsigned i = 0; i < CHAOS_INVARIANTS; i++)
		(void)fprintf(cli->out, "%-17s %s%s\n", chaos_invariant_at(i)->name,
			chaos_invariant_at(i)->help,
			chaos_invariant_at(i)->standard < 0 ? " (where the scenario asks)" : "");
	return CLI_OK;
}

enum cli_exit
cli_chaos(const struct cli *cli)
{
	const char *verb = cli->args[0];
	enum cli_exit code = CLI_USAGE;
	int signal_fd;

	if (strcmp(verb, "invariants") == 0 && cli->args_len == 1)
		return chaos_invariants(cli);
	signal_fd = chaos_signals();
	if (signal_fd < 0)
		return chaos_fail(cli, CLI_BAD_NEWS, "signalfd", strerror(errno));
	if (strcmp(verb, "run") == 0 && cli->args_len == 2)
		code = chaos_run_file(cli, signal_fd);
	else if (strcmp(verb, "random") == 0 && cli->args_len == 1)
		code = chaos_random(cli, signal_fd);
	else
		code = chaos_fail(
			cli, CLI_USAGE, "usage", "shunt chaos run FILE.yaml | random | invariants");
	(void)close(signal_fd);
	return code;
}
