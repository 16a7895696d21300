/* SPDX-License-Identifier: Apache-2.0 */
/*
 * board_config.c - the text of the accepted config, for each worker to parse for itself
 */
#include <stdio.h>
#include <string.h>

#include "lib/base/buf.h"
#include "shm/board.h"
#include "shm/board_map.h"
#include "shm/twin.h"

uint64_t
board_config_generation(const struct board *b)
{
	return twin_begin(&b->map->config->twin);
}

uint64_t
board_config(const struct board *b, struct buf *text, char path[256])
{
	const struct config_row *row = b->map->config;
	uint64_t seq;
	uint32_t len;
	unsigned i;

	for (int tries = 0; tries < TWIN_TRIES; tries++) {
		seq = twin_begin(&row->twin);
		i = twin_index(seq);
		len = row->copy[i].len;
		buf_clear(text);
		path[0] = '\0';
		if (seq == 0)
			return 0;
		if (len <= CONFIG_TEXT_MAX) { /* else: changed under us, or garbage */
			buf_add(text, row->copy[i].text, len);
			memcpy(path, row->copy[i].path, sizeof(row->copy[i].path));
			path[sizeof(row->copy[i].path) - 1] = '\0';
			if (twin_unchanged(&row->twin, seq))
				return seq;
		}
	}
	buf_clear(text);
	path[0] = '\0';
	return 0;
}

enum err_code
board_set_config(struct board *b, const char *path, const char *text, size_t len, struct err *e)
{
	struct config_row *row;
	unsigned i;

	CHECK(b->all != NULL);
	row = b->all->config;
	if (len > CONFIG_TEXT_MAX)
		return err_set(
			e, ERR_CONFIG, "%s: %zu bytes, at most %d fit", path, len, CONFIG_TEXT_MAX);
	if (strlen(path) >= sizeof(row->copy[0].path))
		return err_set(e, ERR_CONFIG, "%s: the path is longer than %zu bytes", path,
			sizeof(row->copy[0].path) - 1);
	i = twin_spare(&row->twin);
	CHECK(i < ARRAY_LEN(row->copy));
	memcpy(row->copy[i].text, text, len);
	row->copy[i].len = (uint32_t)len;
	(void)snprintf(row->copy[i].path, sizeof(row->copy[i].path), "%s", path);
	twin_flip(&row->twin);
	return ERR_OK;
}
