/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox.h - what a worker may do to the machine, given up before it says it is ready
 *
 * Two steps: sandbox_enter_early before any thread exists (no_new_privs, rlimits, Landlock where the
 * kernel has it), sandbox_enter_late once sockets and files are open (seccomp for all threads). A
 * kernel without Landlock is logged once and works on.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

/* Groups of system calls; every role has the base group (memory, time, epoll, read, write, futex,
 * threads of its own, Unix sockets for the bus). */
enum {
	SANDBOX_ACCEPT = 1 << 0,  /* accept and answer on inherited sockets */
	SANDBOX_CONNECT = 1 << 1, /* open internet sockets to upstreams, resolve names */
	SANDBOX_FILES = 1 << 2,	  /* open files for reading after start (CA bundles, resolv.conf) */
	SANDBOX_MODEL = 1 << 3,	  /* read files of its model's folder, make sealed memory, hand over
				   * descriptors; no code is loaded */
	SANDBOX_STATE = 1 << 4,	  /* make, write, rename and remove files after start */
};

struct sandbox_spec {
	unsigned allow;
	uint64_t memory_max_bytes; /* RLIMIT_AS; 0: none */
	uint32_t files_max;	   /* RLIMIT_NOFILE */
};

/* run_dir and the folder read_write (may be NULL) stay readable and writable; the paths of read_only
 * (NULL-terminated, may be NULL) readable. */
MUST enum err_code sandbox_enter_early(const struct sandbox_spec *spec, const char *run_dir,
	const char *read_write, const char *const *read_only, struct err *e);
MUST enum err_code sandbox_enter_late(const struct sandbox_spec *spec, struct err *e);
