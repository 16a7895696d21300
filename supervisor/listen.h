/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.h - the listening sockets: opened here, inherited by every gateway
 *
 * They stay open in the supervisor, so that no connection is refused while a gateway is away.
 */
#pragma once

#include <stddef.h>

#include "lib/base/base.h"
#include "lib/base/err.h"

struct config;
struct config_listen;

enum { LISTEN_MAX = 32 };

struct listen_set; /* in the order of config->listen */

/* Descriptors that a service manager passed (LISTEN_FDS); takes them out of the environment.
 * They count as old sockets for listen_open. */
struct listen_set *listen_inherit(void);

/*
 * Open what c asks for: sockets of *old with the same address are used again, the others are
 * opened. On success *out holds all and *old is NULL, its other sockets closed. On failure nothing
 * has changed.
 */
MUST enum err_code listen_open(struct listen_set **out, struct listen_set **old,
	const struct config *c, struct err *e);
/* Close all; remove the unix sockets that we made and that are still ours. */
void listen_close(struct listen_set **s_p);

size_t listen_count(const struct listen_set *s);
const int *listen_fds(const struct listen_set *s);
/* One log line for each socket, with the port that the kernel chose. */
void listen_log(const struct listen_set *s);
