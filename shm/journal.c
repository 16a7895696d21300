/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal.c - the writer's side of a ring, and what both sides share
 *
 * The order that makes a record whole or absent: its bytes, then the head (release). The order that
 * keeps the sequence: while anything lies in the spill file, new records go behind it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "shm/journal_ring.h"

uint32_t
journal_check(uint64_t at, const void *record, size_t len)
{
	uLong check = crc32(0, (const Bytef *)&at, sizeof(at));

	return (uint32_t)crc32(check, record, (uInt)len);
}

uint64_t
journal_span(uint64_t len)
{
	const uint64_t span = sizeof(struct journal_frame) + len;

	return (span + JOURNAL_ALIGN - 1) / JOURNAL_ALIGN * JOURNAL_ALIGN;
}

struct journal *
journal_new(const char *path)
{
	struct journal *j = calloc(1, sizeof(*j));

	CHECK(j != NULL && strlen(path) < sizeof(j->path));
	(void)snprintf(j->path, sizeof(j->path), "%s", path);
	j->fd = j->spill_fd = -1;
	return j;
}

void
journal_close(struct journal **j_p)
{
	struct journal *j = *j_p;

	*j_p = NULL;
	if (j == NULL)
		return;
	if (j->head != NULL)
		(void)munmap(j->head, JOURNAL_PAGE + j->size);
	if (j->fd >= 0)
		(void)close(j->fd); /* and with it the lock */
	if (j->spill_fd >= 0)
		(void)close(j->spill_fd);
	buf_fini(&j->chunk);
	free(j);
}

void
journal_spill_path(char out[JOURNAL_PATH_MAX + 8], const struct journal *j)
{
	size_t len = strlen(j->path), suffix = strlen(JOURNAL_RING_SUFFIX);

	if (len > suffix && strcmp(j->path + len - suffix, JOURNAL_RING_SUFFIX) == 0)
		len -= suffix;
	(void)snprintf(out, JOURNAL_PATH_MAX + 8, "%.*s" JOURNAL_SPILL_SUFFIX, (int)len, j->path);
}

/* Can these heads be true? */
static bool
journal_is_sane(const struct journal_head *h, uint64_t file_size)
{
	const uint64_t head = atomic_load(&h->head), tail = atomic_load(&h->tail);

	return h->magic == JOURNAL_MAGIC && h->version == JOURNAL_VERSION &&
	       h->size >= JOURNAL_RING_MIN && (h->size & (h->size - 1)) == 0 &&
	       file_size == JOURNAL_PAGE + h->size && head >= tail && head - tail <= h->size &&
	       head % JOURNAL_ALIGN == 0 && tail % JOURNAL_ALIGN == 0 &&
	       atomic_load(&h->spill_head) >= atomic_load(&h->spill_tail);
}

MUST enum err_code
journal_map(struct journal *j, struct err *e)
{
	char spill[JOURNAL_PATH_MAX + 8];
	struct stat st;
	void *p;

	if (fstat(j->fd, &st) != 0)
		return err_set(e, ERR_SYS, "%s: %s", j->path, strerror(errno));
	if (st.st_size < JOURNAL_PAGE + JOURNAL_RING_MIN || st.st_size > INT32_MAX)
		return err_set(e, ERR_INPUT, "%s is no journal ring", j->path);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, j->fd, 0);
	if (p == MAP_FAILED)
		return err_set(e, ERR_SYS, "%s: mmap: %s", j->path, strerror(errno));
	j->head = p;
	j->size = (uint64_t)st.st_size - JOURNAL_PAGE;
	j->data = (unsigned char *)p + JOURNAL_PAGE;
	if (!journal_is_sane(j->head, (uint64_t)st.st_size))
		return err_set(e, ERR_INPUT, "%s is no journal ring, or damaged", j->path);
	j->id = j->head->id;
	journal_spill_path(spill, j);
	j->spill_fd = open(spill, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (j->spill_fd < 0)
		return err_set(e, ERR_SYS, "%s: %s", spill, strerror(errno));
	return ERR_OK;
}

/* ---- the writer ---- */

static uint64_t
journal_round(size_t ring_bytes)
{
	uint64_t size = JOURNAL_RING_MIN;

	while (size < ring_bytes && size < (UINT64_C(1) << 30))
		size *= 2;
	return size;
}

static MUST enum err_code
journal_lock(struct journal *j, struct err *e)
{
	if (flock(j->fd, LOCK_EX | LOCK_NB) == 0)
		return ERR_OK;
	if (errno == EWOULDBLOCK)
		return err_set(e, ERR_BUSY, "%s: another process writes or removes it", j->path);
	return err_set(e, ERR_SYS, "%s: %s", j->path, strerror(errno));
}

/* All blocks are allocated now: a full disk would be a SIGBUS later. */
static MUST enum err_code
journal_fill(struct journal *j, uint64_t size, uint64_t spill_bytes, struct err *e)
{
	struct journal_head head = {.magic = JOURNAL_MAGIC,
		.version = JOURNAL_VERSION,
		.size = size,
		.spill_size = spill_bytes};
	char spill[JOURNAL_PATH_MAX + 8];
	int rc;

	if (getrandom(&head.id, sizeof(head.id), 0) != (ssize_t)sizeof(head.id))
		return err_set(e, ERR_SYS, "getrandom: %s", strerror(errno));
	journal_spill_path(spill, j);
	if (unlink(spill) != 0 && errno != ENOENT) /* of another ring */
		return err_set(e, ERR_SYS, "%s: %s", spill, strerror(errno));
	rc = posix_fallocate(j->fd, 0, (off_t)(JOURNAL_PAGE + size));
	if (rc != 0)
		return err_set(e, ERR_SYS, "%s: %s", j->path, strerror(rc));
	if (pwrite(j->fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head))
		return err_set(e, ERR_SYS, "%s: %s", j->path, strerror(errno));
	return ERR_OK;
}

/* A new ring, locked and whole before it gets its name: nobody ever sees half of one. */
static MUST enum err_code
journal_make(struct journal *j, uint64_t size, uint64_t spill_bytes, struct err *e)
{
	char new_path[JOURNAL_PATH_MAX + 8];

	(void)snprintf(new_path, sizeof(new_path), "%s.new", j->path);
	if (unlink(new_path) != 0 && errno != ENOENT)
		return err_set(e, ERR_SYS, "%s: %s", new_path, strerror(errno));
	j->fd = open(new_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (j->fd < 0)
		return err_set(e, ERR_SYS, "%s: %s", new_path, strerror(errno));
	if (journal_lock(j, e) != ERR_OK || journal_fill(j, size, spill_bytes, e) != ERR_OK ||
		journal_map(j, e) != ERR_OK)
		return e->code;
	if (rename(new_path, j->path) != 0)
		return err_set(e, ERR_SYS, "%s: %s", j->path, strerror(errno));
	return ERR_OK;
}

/* The ring that is there, locked. ERR_NOT_FOUND: there is none (any more); what was no ring lies
 * aside. */
static MUST enum err_code
journal_take_over(struct journal *j, struct err *e)
{
	char bad[JOURNAL_PATH_MAX + 8];
	struct stat here, there;

	j->fd = open(j->path, O_RDWR | O_CLOEXEC);
	if (j->fd < 0)
		return errno == ENOENT ? ERR_NOT_FOUND
				       : err_set(e, ERR_SYS, "%s: %s", j->path, strerror(errno));
	if (journal_lock(j, e) != ERR_OK)
		return e->code;
	/* its reader may have removed it since it was opened */
	if (fstat(j->fd, &here) != 0 || stat(j->path, &there) != 0 || here.st_ino != there.st_ino ||
		here.st_dev != there.st_dev)
		return ERR_NOT_FOUND;
	if (journal_map(j, e) == ERR_OK)
		return ERR_OK;
	if (e->code != ERR_INPUT)
		return e->code;
	(void)snprintf(bad, sizeof(bad), "%s.bad", j->path);
	if (rename(j->path, bad) != 0)
		return err_set(e, ERR_SYS, "%s: %s", j->path, strerror(errno));
	return ERR_NOT_FOUND;
}

MUST enum err_code
journal_create(struct journal **out, const char *path, size_t ring_bytes, uint64_t spill_bytes,
	struct err *e)
{
	AUTO(journal_close) struct journal *j = journal_new(path);
	enum err_code code;

	*e = (struct err){0};
	code = journal_take_over(j, e);
	if (code == ERR_NOT_FOUND) {
		journal_close(&j);
		j = journal_new(path);
		*e = (struct err){0};
		code = journal_make(j, journal_round(ring_bytes), spill_bytes, e);
	}
	if (code != ERR_OK)
		return code == ERR_INPUT ? err_set(e, ERR_SYS, "%s can't be made", path) : code;
	j->head->spill_size = spill_bytes;
	*out = j;
	j = NULL;
	return ERR_OK;
}

/* Bytes to leave unused at position `at` so that span bytes follow each other. */
static uint64_t
journal_gap(const struct journal *j, uint64_t at, uint64_t span)
{
	const uint64_t rest = j->size - (at & (j->size - 1));

	return rest < span ? rest : 0;
}

static bool
journal_fits(const struct journal *j, uint64_t span)
{
	const uint64_t head = atomic_load_explicit(&j->head->head, memory_order_relaxed);
	const uint64_t tail = atomic_load_explicit(&j->head->tail, memory_order_acquire);

	return head - tail + journal_gap(j, head, span) + span <= j->size;
}

static bool
journal_is_spilling(const struct journal *j)
{
	return atomic_load_explicit(&j->head->spill_head, memory_order_relaxed) !=
	       atomic_load_explicit(&j->head->spill_tail, memory_order_acquire);
}

static bool
journal_spill_fits(const struct journal *j, uint64_t span)
{
	const uint64_t used = atomic_load_explicit(&j->head->spill_head, memory_order_relaxed) -
			      atomic_load_explicit(&j->head->spill_tail, memory_order_acquire);

	return used + span <= j->head->spill_size;
}

static void
journal_put_ring(struct journal *j, const void *record, size_t len)
{
	const uint64_t span = journal_span(len);
	uint64_t at = atomic_load_explicit(&j->head->head, memory_order_relaxed);
	const uint64_t gap = journal_gap(j, at, span);
	const struct journal_frame skip = {JOURNAL_SKIP, 0};
	struct journal_frame frame;
	unsigned char *p;

	if (gap > 0)
		memcpy(j->data + (at & (j->size - 1)), &skip, sizeof(skip));
	at += gap;
	p = j->data + (at & (j->size - 1));
	frame = (struct journal_frame){(uint32_t)len, journal_check(at, record, len)};
	memcpy(p, &frame, sizeof(frame));
	memcpy(p + sizeof(frame), record, len);
	atomic_store_explicit(&j->head->head, at + span, memory_order_release);
}

static bool
journal_put_spill(struct journal *j, const void *record, size_t len)
{
	unsigned char whole[sizeof(struct journal_frame) + JOURNAL_RECORD_MAX + JOURNAL_ALIGN] = {
		0};
	const uint64_t span = journal_span(len);
	const uint64_t at = atomic_load_explicit(&j->head->spill_head, memory_order_relaxed);
	const struct journal_frame frame = {(uint32_t)len, journal_check(at, record, len)};

	memcpy(whole, &frame, sizeof(frame));
	memcpy(whole + sizeof(frame), record, len);
	if (pwrite(j->spill_fd, whole, span, (off_t)at) != (ssize_t)span)
		return false;
	atomic_store_explicit(&j->head->spill_head, at + span, memory_order_release);
	return true;
}

enum journal_put
journal_put(struct journal *j, const void *record, size_t len)
{
	const uint64_t span = journal_span(len);

	CHECK(len > 0 && len <= JOURNAL_RECORD_MAX);
	if (!journal_is_spilling(j) && journal_fits(j, span)) {
		journal_put_ring(j, record, len);
		return JOURNAL_PUT;
	}
	if (journal_spill_fits(j, span) && journal_put_spill(j, record, len))
		return JOURNAL_SPILLED;
	atomic_fetch_add_explicit(&j->head->lost, 1, memory_order_relaxed);
	return JOURNAL_LOST;
}

bool
journal_has_room(const struct journal *j)
{
	const uint64_t span = journal_span(JOURNAL_RECORD_MAX);

	return (!journal_is_spilling(j) && journal_fits(j, span)) || journal_spill_fits(j, span);
}

bool
journal_take_wake(struct journal *j)
{
	/* the record's head must be out before the flag is looked at: see journal_sleep */
	atomic_thread_fence(memory_order_seq_cst);
	return atomic_load_explicit(&j->head->asleep, memory_order_relaxed) != 0 &&
	       atomic_exchange(&j->head->asleep, 0) != 0;
}

uint64_t
journal_id(const struct journal *j)
{
	return j->id;
}

uint64_t
journal_lost(const struct journal *j)
{
	return atomic_load(&j->head->lost);
}

uint64_t
journal_waiting(const struct journal *j)
{
	return atomic_load(&j->head->head) - atomic_load(&j->head->tail) +
	       atomic_load(&j->head->spill_head) - atomic_load(&j->head->spill_tail);
}
