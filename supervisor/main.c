/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - shuntd, the supervisor of all other processes
 *
 * Runs as: the daemon itself; exit status 0 stopped as told, 1 could not start or a fault in the
 *   config, 2 wrong usage.
 * Handles: signals SIGTERM and SIGINT (drain, twice: at once), SIGHUP (reload); ends of workers.
 * Writes: the board's head, slot rows and config; RUN_DIR; the service manager's socket.
 * If it dies: the kernel ends all workers with it (PR_SET_PDEATHSIG); the service manager restarts.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "supervisor/supervisor.h"

enum { EXIT_USAGE = 2 };

struct main_args {
	const char *config;
	bool check;
};

static void
main_usage(FILE *out)
{
	(void)fputs(
		"Usage: shuntd -c FILE [--check]\n"
		"\n"
		"Start shunt with the config in FILE and stay in the foreground.\n"
		"\n"
		"  -c, --config FILE  the config (YAML; all keys: man shunt.yaml)\n"
		"      --check        only say what is wrong with it: FILE:LINE: what\n"
		"  -h, --help         this text\n"
		"  -V, --version      the version\n"
		"\n"
		"Signals: SIGHUP reads FILE again; SIGTERM or SIGINT lets running requests\n"
		"finish (drain_ms), a second one does not.\n"
		"Exit status: 0 stopped or checked, 1 could not start or faults found, 2 wrong\n"
		"usage. SHUNT_LIBEXEC: folder of the worker programs.\n",
		out);
}

/* Returns -1 to go on, else the exit status. */
static int
main_parse(struct main_args *args, int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check", no_argument, NULL, 'k'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "c:hV", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			args->config = optarg;
			break;
		case 'k':
			args->check = true;
			break;
		case 'h':
			main_usage(stdout);
			return EXIT_SUCCESS;
		case 'V':
			(void)puts("shuntd " SHUNT_VERSION);
			return EXIT_SUCCESS;
		default:
			main_usage(stderr);
			return EXIT_USAGE;
		}
	}
	if (args->config != NULL && optind == argc)
		return -1;
	if (args->config == NULL)
		(void)fputs("shuntd: no config file (-c FILE)\n", stderr);
	else
		(void)fprintf(stderr, "shuntd: what is `%s`?\n", argv[optind]);
	main_usage(stderr);
	return EXIT_USAGE;
}

/* Started without standard streams: or the next file opened would become the log. */
static void
main_fill_standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		(void)close(fd);
}

int
main(int argc, char **argv)
{
	AUTO(supervisor_free) struct supervisor *s = NULL;
	struct main_args args = {NULL, false};
	struct err e = {.code = ERR_OK};
	int status;

	main_fill_standard_fds();
	status = main_parse(&args, argc, argv);
	if (status >= 0)
		return status;
	if (args.check)
		return check_file(args.config);
	log_open("shuntd", LOG_INFO, LOG_TEXT);
	if (supervisor_new(&s, args.config, &e) != ERR_OK) {
		log_error("start_failed", "text=\"%s\"", e.text);
		return EXIT_FAILURE;
	}
	if (supervisor_run(s, &e) != ERR_OK) {
		log_error("failed", "text=\"%s\"", e.text);
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
