/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notify.h - tell the service manager how we are (the sd_notify protocol, without its library)
 */
#pragma once

#include <stdint.h>

#include "lib/base/base.h"

struct notify;

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and takes them out of the environment, so
 * that workers can't speak for us. Never NULL: without a service manager all calls do nothing. */
struct notify *notify_new(void);
void notify_free(struct notify **n_p);

void notify_ready(struct notify *n);
void notify_reloading(struct notify *n);
void notify_stopping(struct notify *n);
/* The stop may take so much longer, from now on: the manager kills whatever is left only then. */
void notify_extend(struct notify *n, uint64_t ms);
void notify_status(struct notify *n, const char *fmt, ...) PRINTF(2, 3); /* sent when it changed */
/* Sends WATCHDOG=1 when due; returns when it is due next (clock_ns; 0: never). */
uint64_t notify_watchdog(struct notify *n, uint64_t now_ns);
