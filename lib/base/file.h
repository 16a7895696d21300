/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.h - read a whole file, find one that shunt ships, tell files by name
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

/*
 * Replace the content of *out by that of a regular file of at most max bytes. ERR_CONFIG where it
 * can't be opened, is no regular file or is too large; ERR_SYS where reading fails. The text names
 * the path.
 */
MUST enum err_code file_read(struct buf *out, const char *path, size_t max, struct err *e);

/*
 * The path of a file that comes with shunt, for example "scorer/default.linear": looked for from
 * the folder of the running program, in the build folder, the source tree and the installed data
 * folder. False where there is none.
 */
bool file_shipped(struct buf *out, const char *name);

/* The name is longer than end, such as ".gguf", and ends in it. */
bool file_ends(const char *name, const char *end);
