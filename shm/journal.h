/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal.h - the ring between a gateway, which writes records, and the recorder, which drains them
 *
 * A ring is a file in RUN_DIR/journal, mapped by both: what was put stays there whoever is killed,
 * the supervisor included. One writer (it holds a lock on the file), one reader. A record is any
 * bytes; it is there whole once the 64-bit head has moved past it, and not at all before. Nothing
 * is ever overwritten unread: a ring that is full spills to a second file beside it, not mapped and
 * bounded too; only when that is full as well a record is lost, and the caller is told.
 * Positions grow for ever and never repeat in the life of a ring: (ring id, part, position) names a
 * record, so a reader that died between storing a record and saying so finds it again.
 * Both sides check every length: the other may have been killed, or be out of its mind.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

enum {
	JOURNAL_RECORD_MAX = 16 * 1024, /* bytes of one record */
	JOURNAL_RING_MIN = 64 * 1024,
};

#define JOURNAL_RING_SUFFIX ".ring"
#define JOURNAL_SPILL_SUFFIX ".spill"

struct journal; /* one side's mapping of a ring */

/* ---- the writer ---- */

/*
 * Make or take over path (its name ends in .ring; the spill file lies beside it). ring_bytes is the
 * data area's size, rounded up to a power of two; an existing ring keeps its own. ERR_SYS; also where
 * another process writes it. A damaged file is put aside as path.bad and begun anew.
 */
MUST enum err_code journal_create(struct journal **out, const char *path, size_t ring_bytes,
	uint64_t spill_bytes, struct err *e);

enum journal_put { JOURNAL_PUT, JOURNAL_SPILLED, JOURNAL_LOST };

/* len is 1..JOURNAL_RECORD_MAX. LOST: ring and spill file are full, or the disk is. */
enum journal_put journal_put(struct journal *j, const void *record, size_t len);
/* Could the next record be put? */
bool journal_has_room(const struct journal *j);
/* True once after the reader said that it sleeps: wake it. */
bool journal_take_wake(struct journal *j);

/* ---- the reader ---- */

/* Map an existing ring. ERR_INPUT: it is no ring, or damaged. */
MUST enum err_code journal_open(struct journal **out, const char *path, struct err *e);

/* Where a record stands. */
struct journal_place {
	uint64_t ring; /* id of the ring: random */
	char part; /* 'r': in the ring, 's': in the spill file */
	uint64_t at;
};

/*
 * The next record behind the ones already read: view it (until the next call) and its place. False
 * where there is none. ERR_INPUT in *e (else ERR_OK): bytes that are no record were skipped, up to
 * where records go on.
 */
bool journal_next(struct journal *j, const void **record, size_t *len, struct journal_place *place,
	struct err *e);
/* All records that journal_next gave are safe elsewhere: their room is free again. */
void journal_done(struct journal *j);
/* Forget what journal_next gave since journal_done: they are read again. */
void journal_rewind(struct journal *j);
/* Ask for a wake-up at the next record; false where one is there already. */
bool journal_sleep(struct journal *j);
/* Nothing is in it and nobody writes it: remove its files. True where they are gone. */
bool journal_remove(struct journal *j);
/* journal_open found it damaged: where nobody writes it, rename it to path.bad. True: it was. */
bool journal_put_aside(const char *path);

uint64_t journal_id(const struct journal *j);
uint64_t journal_lost(const struct journal *j); /* records lost in the ring's life */
uint64_t journal_waiting(const struct journal *j); /* bytes not yet done */
void journal_close(struct journal **j_p);
