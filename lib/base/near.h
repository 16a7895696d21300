/* SPDX-License-Identifier: Apache-2.0 */
/*
 * near.h - which known name did somebody mean who wrote an unknown one
 */
#pragma once

#include <stddef.h>

/*
 * Edits (insert, delete, replace, swap of neighbours; case is free) between two names. Names longer
 * than 64 bytes are compared by their first 64.
 */
unsigned near_distance(const char *a, const char *b);

/* The nearest of names[0..len), or NULL where none is near enough to be what was meant. */
const char *near_name(const char *wrong, const char *const *names, size_t len);
