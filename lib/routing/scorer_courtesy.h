/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_courtesy.h - how much of a text's beginning is mere courtesy; for scorer_text.c only
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Units (folded code points, single spaces) at the start that a scorer does not look at; the unit
 * there is a space. 0 where nothing would be left. */
size_t courtesy_units(const uint32_t *u, size_t n);
