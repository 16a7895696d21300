/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.c - YAML text to a checked, immutable struct config
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/fault.h"
#include "config/parse.h"
#include "lib/base/buf.h"

#define HASH_START UINT64_C(0xcbf29ce484222325) /* FNV-1a */

void
config_free(struct config **c_p)
{
	if (*c_p == NULL)
		return;
	config_section_fini(SECTION_TOP, *c_p);
	free(*c_p);
	*c_p = NULL;
}

static enum err_code
config_first_fault(const char *path, const struct config_faults *faults, struct err *e)
{
	const struct config_fault *first = &faults->rows[0];

	if (first->line == 0)
		return err_set(e, ERR_CONFIG, "%s: %s", path, first->text);
	return err_set(e, ERR_CONFIG, "%s:%u: %s", path, first->line, first->text);
}

enum err_code
config_parse(struct config **out, const char *path, const char *text, size_t len,
	struct config_faults *faults, struct err *e)
{
	AUTO(config_free) struct config *c = calloc(1, sizeof(*c));
	struct config_faults own;
	struct tree tree = {0};

	CHECK(c != NULL);
	if (faults == NULL)
		faults = &own;
	faults->len = 0;
	faults->more = 0;
	if (len > CONFIG_FILE_MAX)
		config_fault(faults, 0, "is larger than %d KiB", CONFIG_FILE_MAX / 1024);
	else if (tree_read(&tree, text, len, faults)) {
		config_read(c, &tree, faults);
		config_imply_values(c, path);
		config_imply_rows(c);
		config_check(c, &tree, faults);
	}
	tree_fini(&tree);
	if (faults->len > 0)
		return config_first_fault(path, faults, e);
	*out = c;
	c = NULL; /* handed over */
	return ERR_OK;
}

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

/* Read at most one byte more than is allowed, so that the check in config_parse sees it. */
static enum err_code
config_read_file(struct buf *out, const char *path, struct err *e)
{
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) != 0)
		return err_set(e, ERR_CONFIG, "%s: %s", path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return err_set(e, ERR_CONFIG, "%s: is a folder", path);
	buf_clear(out);
	buf_reserve(out, CONFIG_FILE_MAX + 1);
	while (out->len <= CONFIG_FILE_MAX) {
		n = read(fd, out->data + out->len, CONFIG_FILE_MAX + 1 - out->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(e, ERR_CONFIG, "%s: %s", path, strerror(errno));
		if (n == 0)
			break;
		out->len += (size_t)n;
	}
	out->data[out->len] = '\0';
	return ERR_OK;
}

enum err_code
config_load(struct config **out, struct buf *text_out, const char *path,
	struct config_faults *faults, struct err *e)
{
	enum err_code code;

	if (faults != NULL)
		faults->len = faults->more = 0;
	code = config_read_file(text_out, path, e);
	if (code != ERR_OK)
		return code;
	return config_parse(out, path, text_out->data, text_out->len, faults, e);
}

const struct config_backend *
config_backend(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->backends_len; i++)
		if (strcmp(c->backends[i].name, name) == 0)
			return &c->backends[i];
	return NULL;
}

const struct config_encoder *
config_encoder(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->encoders_len; i++)
		if (strcmp(c->encoders[i].name, name) == 0)
			return &c->encoders[i];
	return NULL;
}

const char *
config_route_encoder(const struct config *c, const struct config_route *route)
{
	if (route != NULL && route->encoder != NULL)
		return route->encoder;
	return c->encoders_len > 0 ? c->encoders[0].name : NULL;
}

const struct config_encoder *
config_encoder_of(const struct config *c, const char *process)
{
	const char *dash = strrchr(process, '-');
	size_t len = dash == NULL ? 0 : (size_t)(dash - process);

	for (size_t i = 0; len > 0 && i < c->encoders_len; i++)
		if (strlen(c->encoders[i].name) == len &&
			strncmp(c->encoders[i].name, process, len) == 0)
			return &c->encoders[i];
	return NULL;
}

const struct config_model *
config_model(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->models_len; i++)
		if (strcmp(c->models[i].name, name) == 0)
			return &c->models[i];
	return NULL;
}

const struct config_route *
config_route(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->routes_len; i++)
		if (strcmp(c->routes[i].name, name) == 0)
			return &c->routes[i];
	return NULL;
}

uint64_t
config_hash_gateway(const struct config *c)
{
	struct config_folder folders[CONFIG_SCORER_FOLDERS_MAX];
	uint64_t hash = HASH_START;
	size_t folders_len;

	for (size_t i = 0; i < c->listen_len; i++)
		hash = config_hash_bytes(hash, c->listen[i].text, strlen(c->listen[i].text));
	folders_len = config_scorer_folders(folders, ARRAY_LEN(folders), c);
	for (size_t i = 0; i < folders_len; i++)
		hash = config_hash_bytes(hash, folders[i].path, folders[i].len);
	hash = config_hash_bytes(hash, &c->journal.enabled, sizeof(c->journal.enabled));
	hash = config_hash_bytes(hash, &c->journal.ring_bytes, sizeof(c->journal.ring_bytes));
	hash = config_hash_bytes(hash, &c->journal.spill_bytes, sizeof(c->journal.spill_bytes));
	hash = config_hash_bytes(hash, &c->prompt_log_bytes, sizeof(c->prompt_log_bytes));
	return config_section_hash(SECTION_AUTH, c, hash);
}

uint64_t
config_hash_recorder(const struct config *c)
{
	return config_hash_bytes(HASH_START, c->state_dir, strlen(c->state_dir));
}

uint64_t
config_hash_backend(const struct config_backend *b)
{
	uint64_t hash = config_section_hash(SECTION_BACKEND, b, HASH_START);

	return config_hash_bytes(hash, &b->discover, sizeof(b->discover));
}

uint64_t
config_hash_encoder(const struct config_encoder *e)
{
	return config_section_hash(SECTION_ENCODER, e, HASH_START);
}

uint64_t
config_hash_weights(const struct config_encoder *e)
{
	uint64_t hash = config_hash_bytes(HASH_START, e->folder, strlen(e->folder));

	hash = config_hash_bytes(hash, &e->dtype, sizeof(e->dtype));
	return config_hash_bytes(hash, &e->isa, sizeof(e->isa));
}
