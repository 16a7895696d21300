/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rings.c - all rings of RUN_DIR/journal, drained into the ledger
 *
 * A record leaves its ring only after the ledger has it. Between the two the recorder may be
 * killed: its successor finds the record in both, and the ledger's last sources tell.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/base/json.h"
#include "lib/base/log.h"
#include "workers/recorder/recorder.h"

void
rings_init(struct rings *r, const char *run_dir)
{
	AUTO(buf_fini) struct buf folder = BUF_INIT;

	*r = (struct rings){.lock_fd = -1};
	buf_addf(&folder, "%s/journal", run_dir);
	r->folder = strdup(buf_str(&folder));
	CHECK(r->folder != NULL);
}

static void
ring_forget(struct ring *ring)
{
	journal_close(&ring->journal);
	free(ring->path);
	ring->path = NULL;
}

void
rings_fini(struct rings *r)
{
	for (size_t i = 0; i < RINGS_MAX; i++)
		ring_forget(&r->ring[i]);
	if (r->lock_fd >= 0)
		(void)close(r->lock_fd);
	r->lock_fd = -1;
	free(r->folder);
	r->folder = NULL;
}

/* The row of a path, or a free one; NULL: all are taken. */
static struct ring *
rings_row(struct rings *r, const char *path)
{
	struct ring *free_row = NULL;

	for (size_t i = 0; i < RINGS_MAX; i++) {
		if (r->ring[i].path == NULL)
			free_row = &r->ring[i];
		else if (strcmp(r->ring[i].path, path) == 0)
			return &r->ring[i];
	}
	return free_row;
}

static void
rings_add(struct rings *r, const char *path)
{
	struct ring *ring = rings_row(r, path);
	struct err e = {0};

	if (ring == NULL || ring->journal != NULL)
		return;
	if (journal_open(&ring->journal, path, &e) == ERR_OK) {
		ring->path = strdup(path);
		CHECK(ring->path != NULL);
	} else if (e.code != ERR_INPUT) {
		log_error("ring_unreadable", "text=\"%s\"", e.text);
	} else if (journal_put_aside(path)) {
		log_error("ring_damaged", "path=%s.bad text=\"put aside, its records are lost\"",
			path);
	}
}

static bool
is_ring(const char *name)
{
	size_t len = strlen(name), suffix = strlen(JOURNAL_RING_SUFFIX);

	return len > suffix && strcmp(name + len - suffix, JOURNAL_RING_SUFFIX) == 0;
}

/* Are we the one reader? After a change of state_dir two recorders run for a moment. */
static bool
rings_lock(struct rings *r)
{
	int fd;

	if (r->lock_fd >= 0)
		return true;
	fd = open(r->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) /* no gateway made it yet */
		return false;
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		(void)close(fd);
		return false;
	}
	r->lock_fd = fd;
	return true;
}

void
rings_look(struct rings *r)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	DIR *d = rings_lock(r) ? opendir(r->folder) : NULL;
	struct dirent *entry;

	if (d == NULL)
		return;
	while ((entry = readdir(d)) != NULL) {
		if (!is_ring(entry->d_name))
			continue;
		buf_clear(&path);
		buf_addf(&path, "%s/%s", r->folder, entry->d_name);
		rings_add(r, buf_str(&path));
	}
	(void)closedir(d);
}

/* One record into the batch. What is no JSON object, from a gateway out of its mind, is kept too.
 */
static void
ring_store(struct ledger *l, const struct journal_place *place, const void *record, size_t len,
	struct rings_count *count)
{
	AUTO(buf_fini) struct buf wrapped = BUF_INIT;
	char source[LEDGER_SOURCE_MAX];
	struct json v = {0};

	(void)snprintf(source, sizeof(source), "%016" PRIx64 ":%c:%" PRIu64, place->ring,
		place->part, place->at);
	if (ledger_has(l, source)) {
		count->again++;
		return;
	}
	if (json_check(&v, record, len, NULL) == ERR_OK && v.type == JSON_OBJECT && v.len == len &&
		len > 2 && memchr(record, '\n', len) == NULL) {
		ledger_add(l, source, record, len);
	} else {
		json_put_begin(&wrapped, '{');
		json_put_member_str(&wrapped, "kind", "malformed");
		json_put_key(&wrapped, "text");
		json_put_string(&wrapped, record, MIN(len, (size_t)1024));
		json_put_end(&wrapped, '}');
		ledger_add(l, source, wrapped.data, wrapped.len);
	}
	count->written++;
}

/* Fill the batch from one ring; false where the batch is full. */
static bool
ring_drain(struct ring *ring, struct ledger *l, struct rings_count *count)
{
	struct journal_place place;
	const void *record;
	struct err e;
	size_t len;

	while (!ledger_is_full(l)) {
		if (journal_next(ring->journal, &record, &len, &place, &e)) {
			ring_store(l, &place, record, len, count);
			continue;
		}
		if (e.code == ERR_OK)
			return true;
		count->damaged++;
		log_error("ring_damaged", "text=\"%s\"", e.text);
		if (e.code != ERR_INPUT) /* it can't be read now */
			return true;
	}
	return false;
}

enum rings_drained
rings_drain(struct rings *r, struct ledger *l, struct rings_count *count, struct err *e)
{
	bool all = true;
	enum err_code code;

	*count = (struct rings_count){0};
	for (size_t i = 0; i < RINGS_MAX && all; i++)
		if (r->ring[i].journal != NULL)
			all = ring_drain(&r->ring[i], l, count);
	code = count->written > 0 ? ledger_write(l, e) : ERR_OK;
	for (size_t i = 0; i < RINGS_MAX; i++) {
		if (r->ring[i].journal == NULL)
			continue;
		if (code == ERR_OK)
			journal_done(r->ring[i].journal);
		else
			journal_rewind(r->ring[i].journal);
	}
	if (code != ERR_OK)
		return RINGS_FAILED;
	return all ? RINGS_EMPTY : RINGS_MORE;
}

bool
rings_sleep(struct rings *r)
{
	for (size_t i = 0; i < RINGS_MAX; i++)
		if (r->ring[i].journal != NULL && !journal_sleep(r->ring[i].journal))
			return false;
	return true;
}

uint64_t
rings_waiting(const struct rings *r)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < RINGS_MAX; i++)
		if (r->ring[i].journal != NULL)
			bytes += journal_waiting(r->ring[i].journal);
	return bytes;
}

void
rings_tidy(struct rings *r)
{
	for (size_t i = 0; i < RINGS_MAX; i++)
		if (r->ring[i].journal != NULL &&
			(journal_remove(r->ring[i].journal) || access(r->ring[i].path, F_OK) != 0))
			ring_forget(&r->ring[i]);
}
