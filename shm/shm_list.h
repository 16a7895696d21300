/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm_list.h - every struct on the board, in board order, with its sole writer
 *
 * Without include guard: define SHM_ROW(field, type, count, writer) and include it.
 *   WRITER_SUPERVISOR  mapped read-only by every worker
 *   WRITER_SLOT        row i is writable by the worker in slot i only
 *   WRITER_PROFILER    writable by the worker of that role only
 * Each row list starts on a page; the types with writer SLOT are whole pages.
 */
SHM_ROW(head, struct board_head, 1, WRITER_SUPERVISOR)
SHM_ROW(slots, struct slot_row, SLOTS_MAX, WRITER_SUPERVISOR)
SHM_ROW(config, struct config_row, 1, WRITER_SUPERVISOR)
SHM_ROW(weights, struct weights_row, WEIGHTS_MAX, WRITER_SUPERVISOR)
SHM_ROW(workers, struct worker_row, SLOTS_MAX, WRITER_SLOT)
SHM_ROW(profiles, struct profile_table, 1, WRITER_PROFILER)
SHM_ROW(faults, struct fault_table, 1, WRITER_PROFILER)
SHM_ROW(deeds, struct fault_tally, 1, WRITER_SUPERVISOR) /* its own draws of process faults */
