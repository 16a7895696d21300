/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rundir.h - the runtime folder: ours alone, one daemon at a time, empty again at the end
 *
 * Holds shuntd.pid (also the lock), bus/ with one socket per worker life, the sockets of the config
 * that lie in it, and journal/ with records on their way to the log: what is still there when the
 * daemon ends waits for the next one.
 */
#pragma once

#include <stdint.h>

#include "lib/base/base.h"
#include "lib/base/err.h"

struct rundir;

/* Make RUN_DIR and RUN_DIR/bus (0700), lock it, write the pid, remove what a killed daemon left. */
MUST enum err_code rundir_open(struct rundir **out, const char *path, struct err *e);
/* Remove all that rundir_open made. */
void rundir_close(struct rundir **r_p);

/* Make the folder of what outlives the daemon, and those above it; only ours may write there. */
MUST enum err_code rundir_make_state(const char *path, struct err *e);

/* Remove the bus socket of a life that ended. */
void rundir_forget(struct rundir *r, unsigned slot, uint32_t generation);
