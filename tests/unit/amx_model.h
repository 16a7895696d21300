/* SPDX-License-Identifier: Apache-2.0 */
/*
 * amx_model.h - a machine without AMX runs code with tile instructions
 *
 * Each is decoded from its bytes in the handler of the SIGILL that it causes, and does what the
 * architecture's manual says (tile configuration, TILELOADD, TILESTORED, TDPBF16PS, TDPBUSD), faults
 * included: a fault is a failed CHECK. Each thread has its own tiles.
 */
#pragma once

/* From now on, in this process. */
void amx_model_install(void);
