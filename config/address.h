/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address.h - where a checked URL points to; private to config/
 */
#pragma once

#include <stdbool.h>

#include "config/config.h"

/* Both URLs reach the same server, as far as their text says. NULL: no. */
bool config_same_server(const char *url_a, const char *url_b);
/* The URL points back to this listening socket. */
bool config_is_own_address(const struct config_listen *l, const char *url);
