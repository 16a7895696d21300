/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.h - collecting what is wrong with a config file; private to config/
 */
#pragma once

#include "config/config.h"

/* Add one fault in line order; after CONFIG_FAULTS_MAX the ones furthest down are only counted. */
void config_fault(struct config_faults *faults, unsigned line, const char *fmt, ...) PRINTF(3, 4);
/* Whether there is a fault already that starts with path. */
bool config_fault_has(const struct config_faults *faults, const char *path);
