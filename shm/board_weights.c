/* SPDX-License-Identifier: Apache-2.0 */
/*
 * board_weights.c - what the supervisor knows of each model's weights
 */
#include <string.h>

#include "shm/board.h"
#include "shm/board_map.h"
#include "shm/twin.h"

const char *
weights_state_name(uint32_t state)
{
	static const char *const names[WEIGHTS_STATES] = {
		[WEIGHTS_NONE] = "none",
		[WEIGHTS_ABSENT] = "absent",
		[WEIGHTS_LOADING] = "loading",
		[WEIGHTS_LOADED] = "loaded",
		[WEIGHTS_RENEWING] = "renewing",
		[WEIGHTS_FAILED] = "failed",
	};

	return state < WEIGHTS_STATES ? names[state] : "?";
}

void
board_weights(const struct board *b, unsigned row, struct weights_info *out)
{
	const struct weights_row *r;

	CHECK(row < WEIGHTS_MAX);
	r = &b->map->weights[row];
	/* Never used: most rows are. */
	if (twin_begin(&r->twin) == 0) {
		memset(out, 0, sizeof(*out));
		return;
	}
	(void)twin_read(&r->twin, r->copy, sizeof(r->copy[0]), out);
	out->name[sizeof(out->name) - 1] = '\0';
	out->folder[sizeof(out->folder) - 1] = '\0';
	out->dtype[sizeof(out->dtype) - 1] = '\0';
	out->isa[sizeof(out->isa) - 1] = '\0';
	out->why[sizeof(out->why) - 1] = '\0';
	out->state = out->state < WEIGHTS_STATES ? out->state : WEIGHTS_NONE;
}

void
board_set_weights(struct board *b, unsigned row, const struct weights_info *info)
{
	struct weights_row *r;

	CHECK(b->all != NULL && row < WEIGHTS_MAX);
	CHECK(info->state < WEIGHTS_STATES);
	CHECK(memchr(info->name, '\0', sizeof(info->name)) != NULL);
	r = &b->all->weights[row];
	twin_write(&r->twin, r->copy, sizeof(r->copy[0]), info);
}
