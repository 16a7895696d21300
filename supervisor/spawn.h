/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.h - fork and exec one worker with exactly the descriptors of workers/common/worker.h
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/base.h"
#include "lib/base/err.h"

/* What the new process is given; everything else is closed in it. */
struct spawn_order {
	const char *folder; /* of the binaries */
	const char *role;   /* its binary is shunt-<role> */
	unsigned slot;
	uint32_t generation;
	int null_fd, board_ro, board_rw;
	const int *more_fds; /* what the role inherits besides: listening sockets, or that to the keeper */
	size_t more_len;
	char *last_words; /* [last_words_size], shared with the child: why exec failed */
	size_t last_words_size;
};

struct spawn_result {
	pid_t pid;
	int pidfd;
	int ready_fd; /* non-blocking read end of the readiness pipe */
	int wake_fd;  /* the worker's eventfd */
};

MUST enum err_code spawn_worker(struct spawn_result *out, const struct spawn_order *o,
	struct err *e);

/* The folder of the worker binaries: $SHUNT_LIBEXEC, else that of shuntd itself, else
 * ../libexec/shunt beside it. ERR_SYS where shunt-<probe> is in none of them. */
MUST enum err_code spawn_find_folder(char out[256], const char *probe, struct err *e);
