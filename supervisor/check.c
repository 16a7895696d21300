/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - `shuntd --check`: say everything that is wrong with a config file, start nothing
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/encoder_folder.h"
#include "lib/base/buf.h"
#include "supervisor/spawn.h"
#include "supervisor/supervisor.h"

static void
check_print_faults(const char *path, const struct config_faults *faults, const struct err *e)
{
	/* The file could not be read at all. */
	if (faults->len == 0)
		(void)printf("%s:1: %s\n", path, e->text);
	for (size_t i = 0; i < faults->len; i++)
		(void)printf(
			"%s:%u: %s\n", path, MAX(faults->rows[i].line, 1U), faults->rows[i].text);
	if (faults->more > 0)
		(void)printf("%s:1: and %zu more faults\n", path, faults->more);
}

static bool
check_names_scorer_file(const struct config *c)
{
	for (size_t i = 0; i < c->routes_len; i++) {
		const char *scorer = c->routes[i].scorer;

		if (config_scorer_kind(scorer, config_scorer_split(scorer).name_len) ==
			CONFIG_SCORER_FILE)
			return true;
	}
	return false;
}

/* What this process does not parse, the program that reads models checks, too: scorer files, and
 * whether their encoders fit them. It prints its own faults. */
static int
check_by_classifier(const char *path)
{
	const char *role = table_role(ROLE_CLASSIFIER)->name;
	char folder[256], program[320];
	int status = 0;
	struct err e;
	pid_t pid;

	if (spawn_find_folder(folder, role, &e) != ERR_OK) {
		(void)printf("%s:1: scorer files are not checked: %s\n", path, e.text);
		return EXIT_FAILURE;
	}
	(void)snprintf(program, sizeof(program), "%s/shunt-%s", folder, role);
	(void)fflush(stdout);
	pid = fork();
	if (pid == 0) {
		(void)execl(program, program, "--check", path, (char *)NULL);
		(void)printf("%s:1: %s: %s\n", path, program, strerror(errno));
		(void)fflush(stdout);
		_exit(EXIT_FAILURE);
	}
	if (pid < 0) {
		(void)printf("%s:1: fork: %s\n", path, strerror(errno));
		return EXIT_FAILURE;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_FAILURE;
	if (WIFSIGNALED(status))
		(void)printf("%s:1: scorer files are not checked: %s died of signal %d\n", path,
			program, WTERMSIG(status));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int
check_file(const char *path)
{
	AUTO(config_free) struct config *c = NULL;
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct config_faults faults = {.len = 0};
	int status = EXIT_SUCCESS;
	struct err e;

	if (config_load(&c, &text, path, &faults, &e) != ERR_OK) {
		check_print_faults(path, &faults, &e);
		return EXIT_FAILURE;
	}
	if (config_encoder_folders(&faults, c) > 0) {
		check_print_faults(path, &faults, &e);
		status = EXIT_FAILURE;
	}
	if (check_names_scorer_file(c) && check_by_classifier(path) != EXIT_SUCCESS)
		status = EXIT_FAILURE;
	if (status != EXIT_SUCCESS)
		return status;
	(void)printf("%s: OK: %zu listening, %u gateways, %zu backends, %zu models, %zu routes, "
		     "%zu rules\n",
		path, c->listen_len, c->gateways, c->backends_len, c->models_len, c->routes_len,
		c->rules_len);
	return EXIT_SUCCESS;
}
