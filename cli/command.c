/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command.c - the table of commands, their options and help
 */
#include <getopt.h>
#include <string.h>

#include "cli/command.h"
#include "lib/base/near.h"

struct command {
	const char *name;
	const char *args; /* after the options, for the usage line */
	const char *options; /* letters of option_rows that it takes */
	int args_min, args_max;
	enum cli_exit (*fn)(const struct cli *cli);
	const char *help; /* one line */
	const char *more; /* what its own help adds */
};

static enum cli_exit command_version(const struct cli *cli);
static enum cli_exit command_help(const struct cli *cli);

static const struct command commands[] = {
	{"status", "", "ucjh", 0, 0, cli_status,
		"workers, backends and models of the running daemon",
		"States, restarts, heartbeat ages and memory of the workers; what each backend has in\n"
		"flight, answered and failed; which models can answer.\n"},
	{"route", "[PROMPT]", "rEucjh", 0, 1, cli_route,
		"the model that would answer a prompt, and why; calls nothing",
		"Without PROMPT, or with -, the prompt is read from standard input.\n"},
	{"models", "", "ucjh", 0, 0, cli_models, "names that clients may ask for", ""},
	{"check", "FILE", "jh", 1, 1, cli_check, "validate a config file",
		"Prints FILE:LINE: what, for each fault. Needs no daemon.\n"},
	{"journal", "[FOLDER]", "NRVcjh", 0, 1, cli_journal,
		"the newest records of requests and attempts",
		"Reads the journal's files; FOLDER is STATE_DIR/journal of the config unless given.\n"
		"Needs no daemon. --json prints the records as they are, one a line.\n"},
	{"eval", "[FILE]...", "dtsAwSmKkOxPpebgCDjh", 0, CLI_LIST_MAX, cli_eval,
		"what a scorer gains over the best single model",
		"A trained scorer without a file is cross-validated: trained on the other folds\n"
		"(equal prompts are in one fold). With --train-data it is trained on those files\n"
		"alone. NAME:FILE reads a scorer file, NAME:default the one that comes with shunt.\n"
		"Scorers: those of routes, and chars, id, oracle to check the figures by. Exit code 1\n"
		"where it is not surely better than that of --against.\n"},
	{"train", "[FILE]...", "dsoekOgCDjh", 0, CLI_LIST_MAX, cli_train,
		"make a scorer's file from routing data",
		"The same data, seed and threads give the same bytes. Ctrl-C leaves no file.\n"},
	{"calibrate", "[FILE]...", "dswSnqOCDjh", 0, CLI_LIST_MAX, cli_calibrate,
		"the threshold for a share of strong calls, or for a quality",
		"Rows without scores, {\"prompt\": ...}, do for --strong-pct: what the daemon logged.\n"
		"--quality is a mean score of the data, or N% of the strong model's.\n"},
	{"fault", "add KIND [NAME=VALUE]... | list | clear [ID] | kinds", "ucjh", 1, 32, cli_fault,
		"faults on purpose, to see what the daemon makes of them",
		"`shunt fault kinds` tells what can go wrong and what each kind takes; `clear` without an\n"
		"ID ends all. Needs the daemon's Unix socket, or an admin key in $SHUNT_KEY.\n"},
	{"chaos", "run FILE.yaml | random | invariants", "eWYHUoujh", 1, 2, cli_chaos,
		"play a scenario of failures and judge what became of the requests",
		"Starts a daemon of its own with simulated backends, plays load and faults, checks\n"
		"invariants and ends it; exit code 1 where one is broken. With --url another daemon\n"
		"is met, with the scenario's config, no process faults, and an admin key in\n"
		"$SHUNT_KEY. `random` plays scenarios made of --seed for --minutes.\n"},
	{"tokenize", "", "Tlh", 0, 0, cli_tokenize, "token ids of lines of text",
		"Reads standard input, prints {\"ids\":[...]} for each line. Needs no daemon.\n"},
	{"encode", "", "MLDlh", 0, 0, cli_encode, "embeddings or class scores of lines of text",
		"Reads standard input. For each line an embedding, {\"embedding\":[...]}, or what a\n"
		"classifier says: {\"logits\":[...],\"label\":...,\"win_rate\":...}; win_rate is the\n"
		"probability of label 0. With --pool a classifier gives its embedding too. Longer\n"
		"texts than the model takes are cut. Needs no daemon.\n"},
	{"bench", "classifier [TOKENS]...", "MDIgijh", 1, 32, cli_bench,
		"how long a model's forward pass takes here",
		"For texts of 8 to 512 tokens, or of TOKENS. With - it times what lines of\n"
		"standard input ask for, TOKENS RUNS. Needs no daemon.\n"},
	{"version", "", "jh", 0, 0, command_version, "version of this program", ""},
	{"help", "[COMMAND]", "jh", 0, 1, command_help, "this text, or a command's", ""},
};

static const struct option_row {
	struct option option;
	const char *arg, *help;
} option_rows[] = {
	{{"route", required_argument, NULL, 'r'}, "ROUTE",
		"decide as if the client had asked for this route"},
	{{"explain", no_argument, NULL, 'E'}, "",
		"also why not the others, and what another dial or threshold would give"},
	{{"url", required_argument, NULL, 'u'}, "URL",
		"where the daemon is, e.g. http://gpu1:8787"},
	{{"config", required_argument, NULL, 'c'}, "FILE",
		"find the daemon that runs with this config"},
	{{"last", required_argument, NULL, 'N'}, "N", "so many records; 20"},
	{{"request", required_argument, NULL, 'R'}, "ID", "only the records of this request"},
	{{"verify", no_argument, NULL, 'V'}, "",
		"check every record: whole, and none twice; exit code 1 where not"},
	{{"data", required_argument, NULL, 'd'}, "FILE",
		"routing data, JSON lines, gzip or not; again for more, - for standard input"},
	{{"train-data", required_argument, NULL, 't'}, "FILE",
		"train on these files and on no row of --data; again for more"},
	{{"encoder", required_argument, NULL, 'C'}, "DIR",
		"the model whose embeddings the scorer learns from, or learned from; "
		"see encode's --model"},
	{{"only", required_argument, NULL, 'O'}, "PREFIX",
		"of --data, only rows whose dataset begins so"},
	{{"scorer", required_argument, NULL, 's'}, "NAME[:FILE]", "the scorer"},
	{{"against", required_argument, NULL, 'A'}, "NAME[:FILE]",
		"compare with this scorer on the same rows, by what a daemon would choose"},
	{{"weak", required_argument, NULL, 'w'}, "MODEL", "the cheap model of a pair"},
	{{"strong", required_argument, NULL, 'S'}, "MODEL", "the good model of a pair"},
	{{"many", no_argument, NULL, 'm'}, "", "choose among all models, even of two"},
	{{"among", required_argument, NULL, 'K'}, "MODEL",
		"choose among these models alone; again for more"},
	{{"strong-pct", required_argument, NULL, 'n'}, "PERCENT",
		"share of the prompts that may go to the strong model"},
	{{"quality", required_argument, NULL, 'q'}, "SCORE", "mean score to reach"},
	{{"folds", required_argument, NULL, 'k'}, "N", "of the cross-validation; 5"},
	{{"cost-source", required_argument, NULL, 'x'}, "SOURCE",
		"costs, prices, out_chars or none; costs where every row has them"},
	{{"prices", required_argument, NULL, 'P'}, "FILE",
		"USD per token by model, in LiteLLM's format, for --cost-source prices"},
	{{"plot", required_argument, NULL, 'p'}, "FILE", "draw the curve as .svg or .png"},
	{{"out", required_argument, NULL, 'o'}, "FILE", "where the scorer's file goes"},
	{{"seed", required_argument, NULL, 'e'}, "N", "of folds, draws and training; 0"},
	{{"threads", required_argument, NULL, 'g'}, "N", "to work with; 1"},
	{{"resamples", required_argument, NULL, 'b'}, "N", "of the intervals; 1000"},
	{{"trace", required_argument, NULL, 'W'}, "FILE",
		"write plan, decisions and verdicts, without any time"},
	{{"replay", required_argument, NULL, 'Y'}, "TRACE",
		"play the trace's seed again; exit code 1 where something differs"},
	{{"html", required_argument, NULL, 'H'}, "FILE",
		"write a page with the verdict and a timeline"},
	{{"minutes", required_argument, NULL, 'U'}, "N", "how long; 1"},
	{{"tokenizer", required_argument, NULL, 'T'}, "DIR",
		"folder with a tokenizer.json, or that file; or a BERT's GGUF file, NAME.gguf"},
	{{"model", required_argument, NULL, 'M'}, "DIR",
		"folder with config.json, model.safetensors and tokenizer.json; "
		"or a BERT's GGUF file, NAME.gguf"},
	{{"pool", required_argument, NULL, 'L'}, "KIND", "mean or cls; as the model's files say"},
	{{"dtype", required_argument, NULL, 'D'}, "TYPE",
		"of the weights while computing: f32, bf16 or i8; f32"},
	{{"jsonl", no_argument, NULL, 'l'}, "",
		"lines are objects {\"text\", \"pair\"?, \"max_length\"?}"},
	{{"isa", required_argument, NULL, 'I'}, "NAME",
		"kernels for auto, blas, avx2, avx512 or amx; auto takes the best that runs"},
	{{"image", required_argument, NULL, 'i'}, "FILE",
		"map packed weights from here; an empty or missing file is filled first"},
	{{"json", no_argument, NULL, 'j'}, "", "one JSON value instead of tables"},
	{{"help", no_argument, NULL, 'h'}, "", "this text"},
};

/* Long names only: they have no letter of their own on the command line. */
static const char long_only[] = "WYHUEdtsOwSmnqkxPpoegbTlMLDIiC";

static const char footer[] =
	"\nThe daemon is looked for at --url, $SHUNT_URL, the socket $SHUNT_SOCKET, the socket of "
	"the\n"
	"config's run_dir, and http://127.0.0.1:8787. $SHUNT_KEY is sent as API key.\n";

static const char exit_codes[] =
	"\nExit codes: 0 good, 1 the answer is bad news, 2 wrong command line, 3 no daemon "
	"answers.\n";

static const struct command *
command_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static void
command_print_help(FILE *to, const struct command *c)
{
	char flag[40], letter[4];

	(void)fprintf(to, "usage: shunt %s [OPTION]...%s%s\n\n%s\n%s\n", c->name,
		c->args[0] != '\0' ? " " : "", c->args, c->help, c->more);
	for (size_t i = 0; i < ARRAY_LEN(option_rows); i++) {
		const struct option_row *o = &option_rows[i];

		if (strchr(c->options, o->option.val) == NULL)
			continue;
		(void)snprintf(letter, sizeof(letter), "-%c,", o->option.val);
		(void)snprintf(flag, sizeof(flag), "%3s --%s %s",
			strchr(long_only, o->option.val) != NULL ? "" : letter, o->option.name,
			o->arg);
		(void)fprintf(to, "  %-24s %s\n", flag, o->help);
	}
	if (strchr(c->options, 'u') != NULL)
		(void)fputs(footer, to);
	(void)fputs(exit_codes, to);
}

static void
command_print_list(FILE *to)
{
	(void)fputs("usage: shunt COMMAND [OPTION]...\n\n", to);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		(void)fprintf(to, "  %-9s %-10s %s\n", commands[i].name, commands[i].args,
			commands[i].help);
	(void)fputs("\nshunt COMMAND --help tells a command's options.\n", to);
	(void)fputs(footer, to);
	(void)fputs(exit_codes, to);
}

static enum cli_exit
command_unknown(const char *name, FILE *err)
{
	const char *names[ARRAY_LEN(commands)], *near;

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		names[i] = commands[i].name;
	near = near_name(name, names, ARRAY_LEN(names));
	if (name[0] == '-')
		(void)fprintf(
			err, "shunt: options come after the command: shunt COMMAND %s\n", name);
	else if (near != NULL)
		(void)fprintf(err, "shunt: unknown command `%s`; did you mean `%s`?\n", name, near);
	else
		(void)fprintf(err, "shunt: unknown command `%s`; `shunt help` lists them\n", name);
	return CLI_USAGE;
}

static enum cli_exit
command_version(const struct cli *cli)
{
	(void)fprintf(cli->out, cli->output == CLI_JSON ? "{\"version\":\"%s\"}\n" : "shunt %s\n",
		SHUNT_VERSION);
	return CLI_OK;
}

static void
command_list_json(FILE *out)
{
	(void)fputs("{\"commands\":[", out);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		(void)fprintf(out, "%s{\"name\":\"%s\",\"args\":\"%s\",\"help\":\"%s\"}",
			i > 0 ? "," : "", commands[i].name, commands[i].args, commands[i].help);
	(void)fputs("]}\n", out);
}

static enum cli_exit
command_help(const struct cli *cli)
{
	const struct command *c;

	if (cli->output == CLI_JSON) {
		command_list_json(cli->out);
		return CLI_OK;
	}
	if (cli->args_len == 0) {
		command_print_list(cli->out);
		return CLI_OK;
	}
	c = command_find(cli->args[0]);
	if (c == NULL)
		return command_unknown(cli->args[0], cli->err);
	command_print_help(cli->out, c);
	return CLI_OK;
}

/* The options as getopt wants them: those that the command takes. */
static void
command_getopt_tables(const struct command *c, struct option *longs, char *shorts)
{
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(option_rows); i++) {
		const struct option *o = &option_rows[i].option;

		if (strchr(c->options, o->val) == NULL)
			continue;
		longs[n++] = *o;
		if (strchr(long_only, o->val) != NULL)
			continue;
		*shorts++ = (char)o->val;
		if (o->has_arg == required_argument)
			*shorts++ = ':';
	}
	longs[n] = (struct option){0};
	*shorts = '\0';
}

static bool
command_add(struct cli *cli, struct cli_list *list, const char *what, const char *value)
{
	if (list->len == CLI_LIST_MAX) {
		(void)fprintf(
			cli->err, "shunt %s: more than %d %s\n", cli->command, CLI_LIST_MAX, what);
		return false;
	}
	list->values[list->len++] = value;
	return true;
}

/* Keep an option's value. */
static bool
command_take(struct cli *cli, char letter, const char *value)
{
	cli->values[(unsigned char)letter] = value;
	switch (letter) {
	case 'j':
		cli->output = CLI_JSON;
		return true;
	case 'u':
		cli->url = value;
		return true;
	case 'c':
		cli->config = value;
		return true;
	case 'r':
		cli->route = value;
		return true;
	case 'd':
		return command_add(cli, &cli->data, "files", value);
	case 't':
		return command_add(cli, &cli->train_data, "files", value);
	case 'K':
		return command_add(cli, &cli->among, "models", value);
	default:
		return true;
	}
}

enum read_result { READ_OK, READ_HELP, READ_WRONG };

/* argv[0] is the command's name. */
static enum read_result
command_read(const struct command *c, struct cli *cli, int argc, char **argv)
{
	struct option longs[ARRAY_LEN(option_rows) + 1];
	char shorts[2 * ARRAY_LEN(option_rows) + 2] = ":";
	int letter;

	command_getopt_tables(c, longs, shorts + 1);
	optind = 0; /* glibc: start over */
	while ((letter = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (letter == 'h')
			return READ_HELP;
		if (letter == '?' || letter == ':') {
			(void)fprintf(cli->err,
				"shunt %s: %s %s; `shunt %s --help` lists the options\n", c->name,
				letter == ':' ? "needs a value:" : "unknown option",
				argv[optind - 1], c->name);
			return READ_WRONG;
		}
		if (!command_take(cli, (char)letter, optarg != NULL ? optarg : ""))
			return READ_WRONG;
	}
	cli->args = argv + optind;
	cli->args_len = argc - optind;
	for (int i = 0; strchr(c->options, 'd') != NULL && i < cli->args_len; i++) {
		if (cli->train_data.len > 0) {
			(void)fprintf(cli->err,
				"shunt %s: is `%s` data or training data? Put --data or "
				"--train-data before each file\n",
				c->name, cli->args[i]);
			return READ_WRONG;
		}
		if (!command_add(cli, &cli->data, "files", cli->args[i]))
			return READ_WRONG;
	}
	if (cli->args_len >= c->args_min && cli->args_len <= c->args_max)
		return READ_OK;
	(void)fprintf(cli->err, "shunt %s: %s; usage: shunt %s [OPTION]... %s\n", c->name,
		cli->args_len < c->args_min ? "something is missing" : "too many arguments",
		c->name, c->args);
	return READ_WRONG;
}

int
cli_main(int argc, char **argv, FILE *out, FILE *err)
{
	struct cli cli = {.output = CLI_TABLES, .out = out, .err = err};
	const struct command *c;
	const char *name;
	enum cli_exit code;

	if (argc < 2) {
		command_print_list(err);
		return CLI_USAGE;
	}
	name = argv[1];
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		name = "help";
	else if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
		name = "version";
	c = command_find(name);
	if (c == NULL)
		return command_unknown(name, err);
	cli.command = c->name;
	switch (command_read(c, &cli, argc - 1, argv + 1)) {
	case READ_HELP:
		command_print_help(out, c);
		code = CLI_OK;
		break;
	case READ_OK:
		code = c->fn(&cli);
		break;
	default:
		return CLI_USAGE;
	}
	/* A full disk or a closed pipe must not look like an answer. */
	if (fflush(out) != 0 || ferror(out)) {
		(void)fprintf(err, "shunt: cannot write the answer\n");
		return CLI_BAD_NEWS;
	}
	return code;
}
