/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twin.h - a row that changes as a whole without a lock: two copies and an atomic flip
 *
 * The writer (one process, one thread) fills the copy that nobody reads and then flips to it, so
 * that dying at any instruction leaves the other copy whole. A reader copies out and looks whether
 * the row was flipped meanwhile; it tries again a bounded number of times and never waits.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/base.h"

struct twin;

/* Writer: fill copies[twin_spare()] of a pair, then twin_flip. */
unsigned twin_spare(const struct twin *t);
void twin_flip(struct twin *t);
/* Both at once, for a pair copies[2] of rows of `size` bytes. */
void twin_write(struct twin *t, void *copies, size_t size, const void *value);

/* Reader: copy out of copies[twin_index(seq)], then ask whether that was whole. */
uint64_t twin_begin(const struct twin *t);
unsigned twin_index(uint64_t seq);
bool twin_unchanged(const struct twin *t, uint64_t seq);
/* The loop over these. false, and zeroes in *out, where the writer flips without end (only a writer
 * gone mad does): a row of zeroes is an empty row everywhere. */
bool twin_read(const struct twin *t, const void *copies, size_t size, void *out);

enum { TWIN_TRIES = 1000 }; /* about 50 us for a small row */
