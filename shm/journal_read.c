/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_read.c - the reader's side of a ring
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "shm/journal_ring.h"

enum { CHUNK_BYTES = 64 * 1024 }; /* of the spill file, read at once; more than one record */

MUST enum err_code
journal_open(struct journal **out, const char *path, struct err *e)
{
	AUTO(journal_close) struct journal *j = NULL;

	if (strlen(path) >= JOURNAL_PATH_MAX)
		return err_set(e, ERR_INPUT, "the path of a ring is too long");
	j = journal_new(path);
	j->fd = open(path, O_RDWR | O_CLOEXEC);
	if (j->fd < 0)
		return err_set(e, ERR_SYS, "%s: %s", path, strerror(errno));
	if (journal_map(j, e) != ERR_OK)
		return e->code;
	journal_rewind(j);
	*out = j;
	j = NULL;
	return ERR_OK;
}

void
journal_rewind(struct journal *j)
{
	j->at = atomic_load(&j->head->tail);
	j->spill_at = atomic_load(&j->head->spill_tail);
	buf_clear(&j->chunk);
}

/* The record in p[0..room) that stands at position `at`; NULL: there is none. */
static const void *
frame_read(const unsigned char *p, uint64_t room, uint64_t at, size_t *len)
{
	struct journal_frame frame;

	if (room < sizeof(frame))
		return NULL;
	memcpy(&frame, p, sizeof(frame));
	if (frame.len == 0 || frame.len > JOURNAL_RECORD_MAX || journal_span(frame.len) > room)
		return NULL;
	if (frame.check != journal_check(at, p + sizeof(frame), frame.len))
		return NULL;
	*len = frame.len;
	return p + sizeof(frame);
}

/* Step over the unused end of the data area. */
static void
ring_skip(struct journal *j, uint64_t head)
{
	const uint64_t rest = j->size - (j->at & (j->size - 1));
	uint32_t len;

	memcpy(&len, j->data + (j->at & (j->size - 1)), sizeof(len));
	if (len == JOURNAL_SKIP && j->at + rest <= head)
		j->at += rest;
}

static bool
ring_next(struct journal *j, uint64_t head, const void **record, size_t *len,
	struct journal_place *place, struct err *e)
{
	uint64_t rest;

	ring_skip(j, head);
	if (j->at == head)
		return false;
	rest = j->size - (j->at & (j->size - 1));
	*record = frame_read(j->data + (j->at & (j->size - 1)),
		rest < head - j->at ? rest : head - j->at, j->at, len);
	if (*record == NULL) {
		(void)err_set(e, ERR_INPUT, "%s: %llu damaged bytes skipped", j->path,
			(unsigned long long)(head - j->at));
		j->at = head;
		return false;
	}
	*place = (struct journal_place){j->id, 'r', j->at};
	j->at += journal_span(*len);
	return true;
}

/* Make the chunk hold the bytes from spill_at on, as many as there are. */
static bool
spill_load(struct journal *j, uint64_t head, struct err *e)
{
	const uint64_t want = head - j->spill_at < CHUNK_BYTES ? head - j->spill_at : CHUNK_BYTES;
	ssize_t n;

	buf_clear(&j->chunk);
	buf_reserve(&j->chunk, want);
	n = pread(j->spill_fd, j->chunk.data, want, (off_t)j->spill_at);
	if (n < 0) {
		(void)err_set(e, ERR_SYS, "%s: spill file: %s", j->path, strerror(errno));
		return false;
	}
	j->chunk.len = (size_t)n;
	j->chunk_at = j->spill_at;
	return true;
}

static bool
spill_next(struct journal *j, uint64_t head, const void **record, size_t *len,
	struct journal_place *place, struct err *e)
{
	for (int tries = 0; tries < 2; tries++) {
		const uint64_t from = j->spill_at - j->chunk_at;

		*record = NULL;
		if (j->chunk.len > 0 && from < j->chunk.len)
			*record = frame_read((unsigned char *)j->chunk.data + from,
				j->chunk.len - from, j->spill_at, len);
		if (*record != NULL) {
			*place = (struct journal_place){j->id, 's', j->spill_at};
			j->spill_at += journal_span(*len);
			return true;
		}
		/* not in the chunk, or only its beginning */
		if (tries == 0 && !spill_load(j, head, e))
			return false;
	}
	(void)err_set(e, ERR_INPUT, "%s: %llu damaged bytes skipped in its spill file", j->path,
		(unsigned long long)(head - j->spill_at));
	j->spill_at = head;
	return false;
}

bool
journal_next(struct journal *j, const void **record, size_t *len, struct journal_place *place,
	struct err *e)
{
	/* in this order: what lies in the spill file came after all that the ring holds */
	const uint64_t spill_head =
		atomic_load_explicit(&j->head->spill_head, memory_order_acquire);
	const uint64_t head = atomic_load_explicit(&j->head->head, memory_order_acquire);

	*e = (struct err){0};
	if (head - j->at > j->size || head % JOURNAL_ALIGN != 0 || spill_head < j->spill_at) {
		(void)err_set(e, ERR_INPUT,
			"%s: its heads make no sense; what it holds is given up", j->path);
		j->at = head;
		j->spill_at = spill_head;
		return false;
	}
	if (j->at != head && ring_next(j, head, record, len, place, e))
		return true;
	if (e->code != ERR_OK || j->spill_at == spill_head)
		return false;
	return spill_next(j, spill_head, record, len, place, e);
}

void
journal_done(struct journal *j)
{
	const uint64_t before = atomic_load_explicit(&j->head->spill_tail, memory_order_relaxed);

	atomic_store_explicit(&j->head->tail, j->at, memory_order_release);
	atomic_store_explicit(&j->head->spill_tail, j->spill_at, memory_order_release);
	/* give the room back to the file system; where it can't, the file keeps its size */
	if (j->spill_at != before)
		(void)fallocate(j->spill_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			(off_t)j->spill_at);
}

bool
journal_sleep(struct journal *j)
{
	atomic_store(&j->head->asleep, 1);
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load(&j->head->head) == j->at &&
		atomic_load(&j->head->spill_head) == j->spill_at)
		return true;
	atomic_store(&j->head->asleep, 0);
	return false;
}

bool
journal_remove(struct journal *j)
{
	char spill[JOURNAL_PATH_MAX + 8];

	if (flock(j->fd, LOCK_EX | LOCK_NB) != 0)
		return false; /* its writer lives */
	if (journal_waiting(j) != 0) {
		(void)flock(j->fd, LOCK_UN);
		return false;
	}
	journal_spill_path(spill, j);
	(void)unlink(spill);
	return unlink(j->path) == 0;
}

bool
journal_put_aside(const char *path)
{
	char bad[JOURNAL_PATH_MAX + 8];
	int fd = open(path, O_RDWR | O_CLOEXEC);
	bool done = false;

	if (fd < 0)
		return false;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
		(void)snprintf(bad, sizeof(bad), "%s.bad", path);
		done = rename(path, bad) == 0;
	}
	(void)close(fd);
	return done;
}
