/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ledger.h - an append-only, checksummed, rotated log of JSON records
 *
 * A folder of files journal-00000001.jsonl, -00000002, ...; only the newest is written. A line is
 *   {"crc":"XXXXXXXX","src":"RING:PART:AT",...members of the record...}
 * crc is the CRC-32 of everything behind its own comma up to the newline; src names the ring
 * position that the record came from (shm/journal.h), by which a writer that was killed between
 * storing a record and saying so finds it again. Lines are never changed; a file's last line may be
 * torn by a kill or a full disk and is cut off when the next writer opens it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

/* ---- lines ---- */

enum { LEDGER_LINE_MAX = 32 * 1024, LEDGER_SOURCE_MAX = 64 };

/* Append the line for a record, which must be a JSON object with at least one member. */
void ledger_line_put(struct buf *out, const char *source, const char *record, size_t len);
/* Is this (without its newline) a whole line? Fills source, "" where it is not. */
bool ledger_line_check(const char *line, size_t len, char source[LEDGER_SOURCE_MAX]);

/* ---- files ---- */

/* Numbers of the files in folder, ascending; free the array. None: *len is 0. */
MUST enum err_code ledger_files(uint32_t **numbers, size_t *len, const char *folder, struct err *e);
void ledger_file_path(struct buf *out, const char *folder, uint32_t number);

/* ---- the writer ---- */

struct ledger;

struct ledger_options {
	uint64_t file_bytes; /* a file that is as long is followed by the next */
	uint32_t files; /* so many are kept; 0: all */
};

/*
 * Make the folder (0700) where it is missing, lock it against a second writer, cut off a torn last
 * line, remember the sources of the last LEDGER_RECALL_BYTES. ERR_SYS names the path.
 */
enum { LEDGER_RECALL_BYTES = 2 * 1024 * 1024, LEDGER_BATCH_MAX = 512 * 1024 };
MUST enum err_code ledger_open(struct ledger **out, const char *folder,
	const struct ledger_options *options, struct err *e);
void ledger_close(struct ledger **l_p);

/* Did the previous writer store the record from this source, as one of its last? */
bool ledger_has(const struct ledger *l, const char *source);

/* Add a record to the batch. */
void ledger_add(struct ledger *l, const char *source, const char *record, size_t len);
/* Is it time to write the batch? */
bool ledger_is_full(const struct ledger *l);
/* Write the batch, all of it or (ERR_SYS: disk full, I/O error) nothing; the batch is empty after. */
MUST enum err_code ledger_write(struct ledger *l, struct err *e);
/* Make what was written survive a power cut. */
MUST enum err_code ledger_sync(struct ledger *l, struct err *e);
/* What ledger_open cut off: bytes of a torn line; 0: none. */
uint64_t ledger_torn(const struct ledger *l);
/* New numbers take effect with the next write. */
void ledger_set_options(struct ledger *l, const struct ledger_options *options);
