/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value.h - one scalar's text to a typed, range-checked field; private to config/
 */
#pragma once

#include <stdbool.h>

#include "config/key.h"

enum { CONFIG_WHY_MAX = 160 };

/* Check text against the key's type and range and store it in field; texts are copied to the heap
 * (a text already there is freed). False: why says what is wrong, and field is as it was. */
MUST bool config_value_set(void *field, const struct config_key *key, const char *text,
	char why[CONFIG_WHY_MAX]);
/* Whether text may be one entry of a list of texts of that type. */
MUST bool config_value_check_text(enum config_type type, const char *text,
	char why[CONFIG_WHY_MAX]);
/* One listen entry; on false out is untouched. */
MUST bool config_listen_parse(struct config_listen *out, const char *text,
	char why[CONFIG_WHY_MAX]);
/* A number as the reference and the messages write it: 32MiB, 10s, 0.5. */
void config_value_print(struct buf *out, enum config_type type, double v);
/* strdup that cannot fail. */
char *config_copy(const char *text);
