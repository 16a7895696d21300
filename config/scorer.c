/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer.c - a route's scorer: its name, its file, and the folders that gateways read for them
 */
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "lib/base/buf.h"

struct scorer_name {
	const char *name;
	enum config_scorer_kind kind;
};

enum {
	KIND_FIXED = CONFIG_SCORER_PLAIN,
	KIND_TRAINED = CONFIG_SCORER_FILE,
	KIND_ENCODER = CONFIG_SCORER_ASKS,
	KIND_TEST = CONFIG_SCORER_UNKNOWN /* only for `shunt eval` */
};

static const struct scorer_name scorer_names[] = {
#define SCORER(symbol, name, kind, help) {#name, (enum config_scorer_kind)KIND_##kind},
#include "config/scorer_list.h"
#undef SCORER
};

struct config_scorer
config_scorer_split(const char *text)
{
	const char *colon = strchr(text, ':');

	if (colon == NULL)
		return (struct config_scorer){.name_len = strlen(text)};
	return (struct config_scorer){.name_len = (size_t)(colon - text), .rest = colon + 1};
}

enum config_scorer_kind
config_scorer_kind(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(scorer_names); i++)
		if (strlen(scorer_names[i].name) == len &&
			memcmp(scorer_names[i].name, name, len) == 0)
			return scorer_names[i].kind;
	return CONFIG_SCORER_UNKNOWN;
}

/* The scorer file that a route names; NULL: none. */
static const char *
scorer_file_of(const struct config_route *route)
{
	const char *scorer = route->scorer == NULL ? "" : route->scorer; /* NULL: a faulty config */
	struct config_scorer s = config_scorer_split(scorer);

	return config_scorer_kind(scorer, s.name_len) == CONFIG_SCORER_FILE ? s.rest : NULL;
}

size_t
config_scorer_folders(struct config_folder *out, size_t max, const struct config *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->routes_len; i++) {
		const char *file = scorer_file_of(&c->routes[i]);
		const char *slash = file == NULL ? NULL : strrchr(file, '/');
		size_t k, len;

		if (slash == NULL)
			continue;
		len = MAX((size_t)(slash - file), (size_t)1);
		for (k = 0; k < n && (out[k].len != len || memcmp(out[k].path, file, len) != 0);
			k++)
			;
		if (k == n && n < max)
			out[n++] = (struct config_folder){file, len};
	}
	return n;
}

static bool
targets_have(const struct buf *targets, const char *folder)
{
	for (size_t at = 0; at < targets->len; at += strlen(targets->data + at) + 1)
		if (strcmp(targets->data + at, folder) == 0)
			return true;
	return false;
}

size_t
config_scorer_targets(struct buf *out, const struct config *c)
{
	char target[PATH_MAX];
	size_t n = 0;

	buf_clear(out);
	for (size_t i = 0; i < c->routes_len && n < CONFIG_SCORER_FOLDERS_MAX; i++) {
		const char *file = scorer_file_of(&c->routes[i]), *folder;

		if (file == NULL)
			continue;
		if (realpath(file, target) == NULL)
			(void)snprintf(target, sizeof(target), "%s", file);
		folder = dirname(target);
		if (targets_have(out, folder))
			continue;
		buf_add(out, folder, strlen(folder) + 1);
		n++;
	}
	return n;
}
