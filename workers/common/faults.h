/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faults.h - the faults in force, as one worker sees them
 *
 * They stand on the board; a worker looks whether they changed when it is about to use them, which
 * costs one load as long as nobody ever set one. Main thread of the worker only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/fault/fault.h"

struct worker;
struct worker_faults; /* a copy of the board's rules; NULL until there was one */

/* Is a rule of this level in force? Also brings w->faults up to date. */
bool faults_on(struct worker *w, enum fault_level level);
/* The first rule of the level that meets s, is in its window and comes; counted and logged, with
 * about ("request=..", "" for nothing) at the end of the line. NULL: none. Until the next call. */
const struct fault_rule *faults_draw(struct worker *w, enum fault_level level,
	const struct fault_subject *s, const char *about, uint64_t *draw);
/* As faults_draw does it for its own: one line, one count. */
void faults_tell(struct worker *w, const struct fault_rule *r, uint64_t draw, const char *about);
/* Once a heartbeat: what a worker does to itself (clock_jump). */
void faults_on_beat(struct worker *w);
void faults_free(struct worker *w);
