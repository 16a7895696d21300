/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen_socket.h - opening one listening socket; private to supervisor/listen*.c
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "lib/base/base.h"
#include "lib/base/err.h"

struct config_listen;

/* Open, bind and listen: non-blocking, close-on-exec. ERR_SYS names the address and the reason. */
MUST enum err_code listen_socket_open(int *out, const struct config_listen *l, struct err *e);
/* Does fd already listen at that address? */
bool listen_socket_is(int fd, const struct config_listen *l);
/* The address that fd really has, as "127.0.0.1:8787", "[::1]:8787" or "unix:PATH". */
void listen_socket_text(char *out, size_t size, int fd);
