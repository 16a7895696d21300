/* SPDX-License-Identifier: Apache-2.0 */
/*
 * invariant_list.h - the one table of what a chaos run promises and checks
 *
 * Without include guard: define CHAOS_INVARIANT and include it. The scenario's key, the report's
 * name, `shunt chaos invariants` and the check come out of a row.
 *
 * CHAOS_INVARIANT(symbol, name, unit, standard, help)
 *   unit      of the limit: SHARE (50%), COUNT, TIME (800ms), SIZE (MiB), FLAG (yes or no)
 *   standard  the limit where the scenario says nothing; negative: not checked then
 */
/* clang-format off */
CHAOS_INVARIANT(ANSWERED, answered, SHARE, 100, "at least so many requests get the whole, right answer")
CHAOS_INVARIANT(LOST, lost, COUNT, 0, "at most so many requests end without an answer and without a clear error")
CHAOS_INVARIANT(EXACTLY_ONCE, exactly_once, FLAG, 1, "no answer ends twice, and no two share a request id")
CHAOS_INVARIANT(TOKENS, tokens, FLAG, 1, "no token is lost or doubled: the text is the simulated model's, a broken one begins like it")
CHAOS_INVARIANT(ORDER, order, FLAG, 1, "tokens come in order")
CHAOS_INVARIANT(PRIVATE, private, FLAG, 1, "nobody gets another request's text")
CHAOS_INVARIANT(IN_TIME, in_time, TIME, 5000, "every request is over after so long")
CHAOS_INVARIANT(RECOVERED, recovered_within, TIME, -1, "every request that begins so long after the last fault is answered")
CHAOS_INVARIANT(FAULTS, faults_hit, FLAG, 1, "every kind of fault that was set came at least once")
CHAOS_INVARIANT(IDLE, idle, FLAG, 1, "no backend works on when the load is over")
CHAOS_INVARIANT(FDS, descriptors, COUNT, -1, "at most so many more file descriptors than before the load, when workers have no connections yet")
CHAOS_INVARIANT(MEMORY, memory, SIZE, -1, "at most so much more memory than before the load")
CHAOS_INVARIANT(JOURNAL, journal, FLAG, 1, "every request id that a client saw has exactly one whole record")
CHAOS_INVARIANT(STOPPED, stopped, FLAG, 1, "the daemon ends cleanly and leaves no process")
/* clang-format on */
