/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_scan.h - what the JSON files share: byte scanning; private to lib/base/json_*.c
 */
#pragma once

#include <stddef.h>

#include "lib/base/json.h"

/* First byte in [p, end) that can't stand in a JSON string as it is or ends it: quote, backslash,
 * control character, or any byte of a non-ASCII character; end where there is none. */
const char *json_scan_plain(const char *p, const char *end);

/* First quote or backslash in [p, end), or end. */
const char *json_scan_quote(const char *p, const char *end);

/* First byte in [p, end) that is no JSON white space, or end. */
const char *json_scan_space(const char *p, const char *end);

/* Type of the value that starts with this byte; JSON_NONE where none does. */
enum json_type json_type_of(char first);
