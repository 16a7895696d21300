/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker_list.h - the one table of process types
 *
 * Deliberately without include guard: define WORKER and include it. The names are also the values
 * of enum Role in schemas/shunt.fbs, in this order (tests/lint compares them).
 *
 * WORKER(symbol, name, calls, fds, stop_order)
 *   symbol      ROLE_<symbol>
 *   name        of the role, its folder workers/<name>/ and its binary shunt-<name>
 *   calls       roles it may open a conversation with (bit mask); they answer on the same path
 *   fds         what it inherits and may write, how many there are: flags of workers/role.h
 *   stop_order  lower stops first; a role is only told to stop when all lower ones have gone
 */
WORKER(GATEWAY, gateway,
	ROLE_BIT(ROLE_BACKEND) | ROLE_BIT(ROLE_PROFILER) | ROLE_BIT(ROLE_CLASSIFIER) |
		ROLE_BIT(ROLE_RECORDER),
	FD_LISTEN, 1)
WORKER(PROFILER, profiler, ROLE_BIT(ROLE_BACKEND), ROLE_PROFILES, 2)
WORKER(BACKEND, backend, ROLE_BIT(ROLE_CLASSIFIER), ROLE_EACH_BACKEND, 3)
WORKER(CLASSIFIER, classifier, 0, FD_WEIGHTS, 4)
WORKER(RECORDER, recorder, 0, ROLE_STATE, 5)
