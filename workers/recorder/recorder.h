/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recorder.h - what the files of the recorder know of each other
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/ledger/ledger.h"
#include "shm/board.h"
#include "shm/journal.h"

/* ---- rings.c: all rings of RUN_DIR/journal, drained into the ledger ---- */

enum { RINGS_MAX = 2 * SLOTS_MAX }; /* those of this daemon and of one before it */

struct ring {
	char *path; /* NULL: free */
	struct journal *journal;
};

struct rings {
	char *folder;
	int lock_fd; /* of the folder: a ring has one reader; -1: another recorder still is it */
	struct ring ring[RINGS_MAX];
};

void rings_init(struct rings *r, const char *run_dir);
void rings_fini(struct rings *r);
/* Open what is new in the folder. Nothing while another recorder, which is to go, reads there. */
void rings_look(struct rings *r);

enum rings_drained { RINGS_EMPTY, RINGS_MORE, RINGS_FAILED };

struct rings_count {
	uint64_t written, again, damaged; /* records; those stored before; damaged stretches */
};

/* Move one batch of records to the ledger. FAILED: *e says why, nothing was lost. */
enum rings_drained rings_drain(struct rings *r, struct ledger *l, struct rings_count *count,
	struct err *e);
/* Every ring shall wake us; false where one has records already. */
bool rings_sleep(struct rings *r);
/* Bytes that wait in all of them. */
uint64_t rings_waiting(const struct rings *r);
/* Remove the files of empty rings that nobody writes. */
void rings_tidy(struct rings *r);
