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
		"States, restarts, heartbeat ages and memory of the workers; what each backend has "
		"in\n"
		"flight, answered and failed; which models can answer.\n"},
	{"route", "[PROMPT]", "rucjh", 0, 1, cli_route,
		"the model that would answer a prompt, and why; calls nothing",
		"Without PROMPT, or with -, the prompt is read from standard input.\n"},
	{"models", "", "ucjh", 0, 0, cli_models, "names that clients may ask for", ""},
	{"check", "FILE", "jh", 1, 1, cli_check, "validate a config file",
		"Prints FILE:LINE: what, for each fault. Needs no daemon.\n"},
	{"version", "", "jh", 0, 0, command_version, "version of this program", ""},
	{"help", "[COMMAND]", "jh", 0, 1, command_help, "this text, or a command's", ""},
};

static const struct option_row {
	struct option option;
	const char *arg, *help;
} option_rows[] = {
	{{"route", required_argument, NULL, 'r'}, "ROUTE",
		"decide as if the client had asked for this route"},
	{{"url", required_argument, NULL, 'u'}, "URL",
		"where the daemon is, e.g. http://gpu1:8787"},
	{{"config", required_argument, NULL, 'c'}, "FILE",
		"find the daemon that runs with this config"},
	{{"json", no_argument, NULL, 'j'}, "", "one JSON value instead of tables"},
	{{"help", no_argument, NULL, 'h'}, "", "this text"},
};

static const char footer[] =
	"\nThe daemon is looked for at --url, $SHUNT_URL, the socket $SHUNT_SOCKET, the socket of "
	"the\n"
	"config's run_dir, and http://127.0.0.1:8787. $SHUNT_KEY is sent as API key.\n"
	"Exit codes: 0 good, 1 the answer is bad news, 2 wrong command line, 3 no daemon "
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
	char flag[40];

	(void)fprintf(to, "usage: shunt %s [OPTION]...%s%s\n\n%s\n%s\n", c->name,
		c->args[0] != '\0' ? " " : "", c->args, c->help, c->more);
	for (size_t i = 0; i < ARRAY_LEN(option_rows); i++) {
		const struct option_row *o = &option_rows[i];

		if (strchr(c->options, o->option.val) == NULL)
			continue;
		(void)snprintf(
			flag, sizeof(flag), "-%c, --%s %s", o->option.val, o->option.name, o->arg);
		(void)fprintf(to, "  %-20s %s\n", flag, o->help);
	}
	(void)fputs(footer, to);
}

static void
command_print_list(FILE *to)
{
	(void)fputs("usage: shunt COMMAND [OPTION]...\n\n", to);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		(void)fprintf(to, "  %-8s %-10s %s\n", commands[i].name, commands[i].args,
			commands[i].help);
	(void)fputs("\nshunt COMMAND --help tells a command's options.\n", to);
	(void)fputs(footer, to);
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
		*shorts++ = (char)o->val;
		if (o->has_arg == required_argument)
			*shorts++ = ':';
	}
	longs[n] = (struct option){0};
	*shorts = '\0';
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
		if (letter == 'j')
			cli->output = CLI_JSON;
		else if (letter == 'u')
			cli->url = optarg;
		else if (letter == 'c')
			cli->config = optarg;
		else if (letter == 'r')
			cli->route = optarg;
		else {
			(void)fprintf(cli->err,
				"shunt %s: %s %s; `shunt %s --help` lists the options\n", c->name,
				letter == ':' ? "needs a value:" : "unknown option",
				argv[optind - 1], c->name);
			return READ_WRONG;
		}
	}
	cli->args = argv + optind;
	cli->args_len = argc - optind;
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
