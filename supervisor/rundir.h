/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rundir.h - the runtime folder: ours alone, one daemon at a time, empty again at the end
 *
 * Holds shuntd.pid (also the lock), bus/ with one socket per worker life, and the sockets of the
 * config that lie in it.
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

/* Remove the bus socket of a life that ended. */
void rundir_forget(struct rundir *r, unsigned slot, uint32_t generation);
