/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command.h - what the commands of `shunt` share: the table, the options, exit codes
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "lib/base/base.h"
#include "lib/base/err.h"

/* Exit codes; documented in shunt(1). */
enum cli_exit {
	CLI_OK = 0,
	CLI_BAD_NEWS = 1,   /* answered, but the answer is an error, a fault or empty */
	CLI_USAGE = 2,	    /* the command line is wrong */
	CLI_UNREACHABLE = 3 /* no daemon answers */
};

enum cli_output { CLI_TABLES, CLI_JSON };

enum { CLI_LIST_MAX = 64 };

/* The values of an option that may be given again and again. */
struct cli_list {
	const char *values[CLI_LIST_MAX];
	size_t len;
};

/* The command line, read. Strings are argv's or the environment's. */
struct cli {
	const char *command; /* its name */
	enum cli_output output;
	const char *values[128]; /* of the options, by letter; "" where it takes none */
	struct cli_list data, train_data; /* --data and the arguments behind it; --train-data */
	struct cli_list among; /* models of --among */
	const char *url;    /* --url */
	const char *config; /* -c; NULL: the usual places */
	const char *route;  /* --route */
	char **args;	    /* what is left after the options */
	int args_len;
	FILE *out, *err; /* results; complaints */
};

/* Run a whole command line; argv[0] is the program. The exit code. */
int cli_main(int argc, char **argv, FILE *out, FILE *err);

/* The commands, one file each. */
enum cli_exit cli_status(const struct cli *cli);
enum cli_exit cli_route(const struct cli *cli);
enum cli_exit cli_models(const struct cli *cli);
enum cli_exit cli_journal(const struct cli *cli);
enum cli_exit cli_check(const struct cli *cli);
enum cli_exit cli_fault(const struct cli *cli);
enum cli_exit cli_chaos(const struct cli *cli);

/* fault.c: the rows of /admin/faults */
struct json;
void fault_print_table(struct json faults, FILE *to);
enum cli_exit cli_tokenize(const struct cli *cli);
enum cli_exit cli_encode(const struct cli *cli);
enum cli_exit cli_eval(const struct cli *cli);
enum cli_exit cli_train(const struct cli *cli);
enum cli_exit cli_calibrate(const struct cli *cli);
enum cli_exit cli_bench(const struct cli *cli);
