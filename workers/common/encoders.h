/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoders.h - which classifier to ask, and what one may read
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/base.h"

struct buf;
struct config_encoder;
struct worker;

/* The slot of the ready process of that encoder that has least to do, and its generation; -1: none is
 * ready, or those that are have been silent too long. */
int encoders_find(const struct worker *w, const char *encoder, uint32_t *generation);

/* Is there a process of that encoder, ready or on its way? */
bool encoders_expected(const struct worker *w, const char *encoder);

/*
 * Fill paths[0..most) with what a classifier of c (NULL: none) may read: the folder, and files
 * elsewhere that links in it lead to, as a hub's cache has them; or the file that is the model.
 * Returns how many; store holds the texts. Reads the folder, no file.
 */
size_t encoders_paths(struct buf *store, const char **paths, size_t most,
	const struct config_encoder *c);
