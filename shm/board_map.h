/* SPDX-License-Identifier: Apache-2.0 */
/*
 * board_map.h - what lies where on the board; private to shm/board*.c
 */
#pragma once

#include "shm/board.h"

enum { BOARD_PAGE = 4096 };

/* The memfd's content: the rows of shm_list.h, each list from a page of its own. */
struct board_map {
#define SHM_ROW(field, type, count, writer) _Alignas(BOARD_PAGE) type field[count];
#include "shm/shm_list.h"
#undef SHM_ROW
};

struct board {
	const struct board_map *map; /* all of it; read-only in workers */
	struct board_map *all;	     /* the same, writable: supervisor only, else NULL */
	struct worker_row *own;	     /* workers: the slot's own row; else NULL */
	struct profile_table *profiles; /* writable, or NULL */
	struct fault_table *faults;	/* likewise */
	int fd_rw;			/* supervisor only, else -1 */
	int fd_ro;
};
