/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slot.c - names of slot states
 */
#include "shm/board.h"

const char *
slot_state_name(uint32_t state)
{
	static const char *const names[SLOT_STATES] = {
		[SLOT_EMPTY] = "empty",
		[SLOT_STARTING] = "starting",
		[SLOT_READY] = "ready",
		[SLOT_DRAINING] = "draining",
		[SLOT_STOPPING] = "stopping",
		[SLOT_BACKOFF] = "backoff",
	};

	return state < SLOT_STATES ? names[state] : "?";
}
