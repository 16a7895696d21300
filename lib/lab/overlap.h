/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlap.h - which rows a scorer may be trained on that is asked about others
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/lab/dataset.h"

/*
 * The rows that may be trained on, into kept (room for len; may be rows itself); their number is
 * returned. Left out are rows whose prompt is asked about, and rows of another set that frame the
 * same question anew: at least half of their runs of 8 words lie in asked rows. A set is what comes
 * before the slash of `dataset`; within one, prompts may share a frame.
 */
size_t overlap_filter(uint32_t *kept, const struct dataset *d, const uint32_t *rows, size_t len,
	const uint32_t *asked, size_t asked_len);
