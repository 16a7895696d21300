/* SPDX-License-Identifier: Apache-2.0 */
/*
 * role.h - the roles of worker_list.h as an enum
 */
#pragma once

#include <stdint.h>

/* The order is that of worker_list.h and of enum Role in the schema. */
enum role {
	ROLE_NONE = 0,
#define WORKER(symbol, name, calls, fds, stop_order) ROLE_##symbol,
#include "workers/worker_list.h"
#undef WORKER
	ROLES
};

#define ROLE_BIT(role) (1U << (role))

/* The fds column: what a process of this role inherits and may write, and how many there are of it
 * (by default one). */
enum {
	FD_LISTEN = 1,	       /* the listening sockets; as many processes as `gateways` says */
	ROLE_EACH_BACKEND = 2, /* one process for each backend of the config, named after it */
	FD_WEIGHTS = 8, /* a socket to the supervisor for weights segments (shm/weights.h); as many
			 * processes for each encoder of the config as it says, named NAME-INDEX */
	ROLE_STATE = 16,       /* one while a journal is kept; writes in the state folder */
	ROLE_PROFILES = 4,     /* the sole writer of the board's profile table */
};
