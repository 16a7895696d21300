/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_ring.h - how a ring lies in its file; private to journal*.c
 *
 * One page of heads, then the data area. Records start at multiples of 8 and never wrap: where one
 * does not fit before the end, a frame of length JOURNAL_SKIP says "go on at the start".
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "shm/journal.h"

enum { JOURNAL_VERSION = 1, JOURNAL_PAGE = 4096, JOURNAL_ALIGN = 8, JOURNAL_PATH_MAX = 400 };
#define JOURNAL_MAGIC UINT64_C(0x474e4952544e4853) /* "SHNTRING" */
#define JOURNAL_SKIP UINT32_MAX

struct journal_frame {
	uint32_t len;
	uint32_t check; /* CRC-32 over position and record */
};

struct journal_head {
	uint64_t magic;
	uint32_t version;
	uint32_t unused;
	uint64_t id;
	uint64_t size; /* of the data area, a power of two */
	uint64_t spill_size;
	/* written by the writer alone; positions of the next record */
	_Alignas(64) _Atomic uint64_t head;
	_Atomic uint64_t spill_head;
	_Atomic uint64_t lost;
	/* written by the reader alone; what is before them is done */
	_Alignas(64) _Atomic uint64_t tail;
	_Atomic uint64_t spill_tail;
	/* set by the reader, taken by the writer */
	_Alignas(64) _Atomic uint32_t asleep;
};

_Static_assert(sizeof(struct journal_head) <= JOURNAL_PAGE, "the heads are one page");

struct journal {
	struct journal_head *head;
	unsigned char *data;
	uint64_t size;
	uint64_t id;
	int fd, spill_fd;
	char path[JOURNAL_PATH_MAX];
	/* reader: what was given since journal_done */
	uint64_t at, spill_at;
	struct buf chunk; /* of the spill file */
	uint64_t chunk_at; /* its position */
};

uint32_t journal_check(uint64_t at, const void *record, size_t len);
/* Bytes that a record of len takes, frame and padding included. */
uint64_t journal_span(uint64_t len);
/* Map the open file of *j and look whether it can be a ring. ERR_INPUT: it can't. */
MUST enum err_code journal_map(struct journal *j, struct err *e);
struct journal *journal_new(const char *path);
void journal_spill_path(char out[JOURNAL_PATH_MAX + 8], const struct journal *j);
