/* SPDX-License-Identifier: Apache-2.0 */
/*
 * board.c - the memfd behind the board: making, mapping, checking and leaving it
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "shm/board.h"
#include "shm/board_map.h"

/* Another process must see these the same way: lock-free and as wide as they look. */
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "counters need lock-free 64-bit atomics");
_Static_assert(sizeof(struct twin) == 8, "twin is one atomic");
_Static_assert(sizeof(struct slot_info) == 96, "slot_info has no padding");
_Static_assert(sizeof(struct slot_row) == 8 + 2 * 96, "slot_row has no padding");
_Static_assert(sizeof(struct board_head) == 312, "board_head has no padding");
_Static_assert(sizeof(struct deployment_stat) == MODEL_MAX_LEN + 14 * 8, "all atomics in a row");
_Static_assert(sizeof(struct worker_row) % BOARD_PAGE == 0, "worker rows are whole pages");
_Static_assert(offsetof(struct worker_row, stats) % BOARD_PAGE == 0, "figures start on a page");
_Static_assert(sizeof(struct profile_info) % 8 == 0, "profile pairs stay aligned");
_Static_assert(sizeof(struct weights_info) % 8 == 0, "weights pairs stay aligned");
#define SHM_ROW(field, type, count, writer)                                                        \
	_Static_assert(offsetof(struct board_map, field) % BOARD_PAGE == 0, #field " on a page");  \
	_Static_assert((writer) != WRITER_SLOT || sizeof(type) % BOARD_PAGE == 0, #field " page"   \
											 "s");
#include "shm/shm_list.h"
#undef SHM_ROW

static const struct {
	const char *field, *type;
	size_t size, count, offset;
	enum board_writer writer;
} board_rows[] = {
#define SHM_ROW(field, type, count, writer)                                                        \
	{#field, #type, sizeof(type), count, offsetof(struct board_map, field), writer},
#include "shm/shm_list.h"
#undef SHM_ROW
};

/* FNV-1a: no secret is kept by it, it only tells two builds apart. */
static uint32_t
board_hash(uint32_t hash, const char *s)
{
	for (; *s != '\0'; s++)
		hash = (hash ^ (unsigned char)*s) * 16777619U;
	return hash;
}

/* Differs where two binaries do not agree on what lies where on the board. */
static uint32_t
board_layout(void)
{
	uint32_t hash = 2166136261U;
	char row[160];

	for (size_t i = 0; i < ARRAY_LEN(board_rows); i++) {
		(void)snprintf(row, sizeof(row), "%s %s %zu %zu %zu %d;", board_rows[i].field,
			board_rows[i].type, board_rows[i].size, board_rows[i].count,
			board_rows[i].offset, (int)board_rows[i].writer);
		hash = board_hash(hash, row);
	}
	for (enum counter c = 0; c < COUNTERS; c++)
		hash = board_hash(hash, counter_row(c)->metric);
	return hash;
}

static struct board *
board_alloc(void)
{
	struct board *b = calloc(1, sizeof(*b));

	CHECK(b != NULL);
	b->fd_rw = b->fd_ro = -1;
	return b;
}

/* Map [offset, offset + len) of fd shared. */
static enum err_code
board_mmap(void **out, int fd, size_t offset, size_t len, int prot, struct err *e)
{
	void *p = mmap(NULL, len, prot, MAP_SHARED, fd, (off_t)offset);

	if (p == MAP_FAILED)
		return err_set(e, ERR_SYS, "board: map %zu bytes: %s", len, strerror(errno));
	*out = p;
	return ERR_OK;
}

static enum err_code
board_open_memfd(struct board *b, struct err *e)
{
	char path[40];

	b->fd_rw = memfd_create("shunt-board", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (b->fd_rw < 0)
		return err_set(e, ERR_SYS, "board: memfd_create: %s", strerror(errno));
	if (ftruncate(b->fd_rw, (off_t)sizeof(struct board_map)) < 0)
		return err_set(e, ERR_SYS, "board: %zu bytes of memory: %s",
			sizeof(struct board_map), strerror(errno));
	/* No process may cut it short under the others: that would be SIGBUS for all of them. */
	if (fcntl(b->fd_rw, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return err_set(e, ERR_SYS, "board: seal: %s", strerror(errno));
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", b->fd_rw);
	b->fd_ro = open(path, O_RDONLY | O_CLOEXEC);
	if (b->fd_ro < 0)
		return err_set(e, ERR_SYS, "board: open %s read-only: %s", path, strerror(errno));
	return ERR_OK;
}

enum err_code
board_create(struct board **out, const char *run_dir, struct err *e)
{
	AUTO(board_close) struct board *b = board_alloc();
	struct board_head *head;
	void *p;

	if (strlen(run_dir) >= sizeof(head->run_dir))
		return err_set(e, ERR_CONFIG, "run_dir is longer than %zu bytes",
			sizeof(head->run_dir) - 1);
	if (board_open_memfd(b, e) != ERR_OK ||
		board_mmap(&p, b->fd_rw, 0, sizeof(struct board_map), PROT_READ | PROT_WRITE, e) !=
			ERR_OK)
		return ERR_SYS;
	b->all = p;
	b->map = p;
	b->profiles = b->all->profiles;
	b->faults = b->all->faults;
	head = b->all->head;
	head->magic = BOARD_MAGIC;
	head->layout = board_layout();
	head->started_wall_s = clock_wall_s();
	head->started_ns = clock_ns();
	head->supervisor_pid = (uint32_t)getpid();
	(void)snprintf(head->version, sizeof(head->version), "%s", SHUNT_VERSION);
	(void)snprintf(head->run_dir, sizeof(head->run_dir), "%s", run_dir);
	*out = b;
	b = NULL;
	return ERR_OK;
}

/* Refuse a board that another build laid out, before any row of it is used. */
static enum err_code
board_check_head(const struct board_head *head, struct err *e)
{
	if (head->magic != BOARD_MAGIC)
		return err_set(e, ERR_SYS, "board: wrong magic %08x", head->magic);
	if (strncmp(head->version, SHUNT_VERSION, sizeof(head->version)) != 0)
		return err_set(e, ERR_SYS, "board: made by version %.*s, this worker is %s",
			(int)sizeof(head->version), head->version, SHUNT_VERSION);
	if (head->layout != board_layout())
		return err_set(e, ERR_SYS, "board: layout %08x, this worker has %08x", head->layout,
			board_layout());
	return ERR_OK;
}

static enum err_code
board_check_size(int fd, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(e, ERR_SYS, "board: fstat: %s", strerror(errno));
	if (st.st_size != (off_t)sizeof(struct board_map))
		return err_set(e, ERR_SYS, "board: %lld bytes, this worker expects %zu",
			(long long)st.st_size, sizeof(struct board_map));
	return ERR_OK;
}

static enum err_code
board_map_own(struct board *b, int fd_rw, unsigned slot, enum board_access access, struct err *e)
{
	void *p;

	if (board_mmap(&p, fd_rw,
		    offsetof(struct board_map, workers) + slot * sizeof(struct worker_row),
		    sizeof(struct worker_row), PROT_READ | PROT_WRITE, e) != ERR_OK)
		return ERR_SYS;
	b->own = p;
	if (access != BOARD_SLOT_AND_PROFILES)
		return ERR_OK;
	if (board_mmap(&p, fd_rw, offsetof(struct board_map, profiles),
		    sizeof(struct profile_table), PROT_READ | PROT_WRITE, e) != ERR_OK)
		return ERR_SYS;
	b->profiles = p;
	if (board_mmap(&p, fd_rw, offsetof(struct board_map, faults), sizeof(struct fault_table),
		    PROT_READ | PROT_WRITE, e) != ERR_OK)
		return ERR_SYS;
	b->faults = p;
	return ERR_OK;
}

enum err_code
board_attach(struct board **out, int fd_ro, int fd_rw, unsigned slot, enum board_access access,
	struct err *e)
{
	AUTO(board_close) struct board *b = NULL;
	enum err_code code;
	void *p;

	if (slot >= SLOTS_MAX)
		return err_set(e, ERR_SYS, "board: no slot %u", slot);
	if ((code = board_check_size(fd_ro, e)) != ERR_OK ||
		(code = board_check_size(fd_rw, e)) != ERR_OK)
		return code;
	b = board_alloc();
	if ((code = board_mmap(&p, fd_ro, 0, sizeof(struct board_map), PROT_READ, e)) != ERR_OK)
		return code;
	b->map = p;
	if ((code = board_check_head(b->map->head, e)) != ERR_OK ||
		(code = board_map_own(b, fd_rw, slot, access, e)) != ERR_OK)
		return code;
	*out = b;
	b = NULL;
	return ERR_OK;
}

/* munmap takes any address of ours; the qualifier of the read-only view is all that is dropped. */
static void
board_unmap(const void *p, size_t len)
{
	if (p != NULL)
		CHECK(munmap((void *)(uintptr_t)p, len) == 0);
}

void
board_close(struct board **b_p)
{
	struct board *b = *b_p;

	if (b == NULL)
		return;
	if (b->all == NULL) {
		board_unmap(b->profiles, sizeof(*b->profiles));
		board_unmap(b->faults, sizeof(*b->faults));
	}
	board_unmap(b->own, sizeof(*b->own));
	board_unmap(b->map, sizeof(*b->map));
	if (b->fd_rw >= 0)
		(void)close(b->fd_rw);
	if (b->fd_ro >= 0)
		(void)close(b->fd_ro);
	free(b);
	*b_p = NULL;
}

int
board_fd_rw(const struct board *b)
{
	CHECK(b->all != NULL);
	return b->fd_rw;
}

int
board_fd_ro(const struct board *b)
{
	CHECK(b->all != NULL);
	return b->fd_ro;
}

const struct board_head *
board_head(const struct board *b)
{
	return b->map->head;
}
