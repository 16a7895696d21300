/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kind_list.h - the one table of faults that can be set on purpose
 *
 * Without include guard: define FAULT_KIND and include it. A new kind is one row here and its deed
 * where its level is carried out: workers/backend/fault_*.c (http), supervisor/fault.c (process and
 * resource), workers/common/bus_fault.c (bus).
 *
 * FAULT_KIND(symbol, name, level, needs, may, help)
 *   level       HTTP: meets calls of a backend worker; BUS: messages; PROCESS, RESOURCE: workers
 *   needs, may  FAULT_SAYS() of the HOW rows of param_list.h that it must have and may have
 */
/* clang-format off */
FAULT_KIND(STATUS, status, HTTP, 0, FAULT_SAYS(STATUS) | FAULT_SAYS(BODY) | FAULT_SAYS(RETRY_AFTER), "the upstream answers with this HTTP status")
FAULT_KIND(RATE_LIMIT, rate_limit, HTTP, 0, FAULT_SAYS(BODY) | FAULT_SAYS(RETRY_AFTER), "429 with Retry-After")
FAULT_KIND(REFUSE, refuse, HTTP, 0, 0, "the connection is refused")
FAULT_KIND(TLS, tls, HTTP, 0, 0, "the TLS handshake fails")
FAULT_KIND(RESET, reset, HTTP, 0, 0, "the connection is reset before the answer's head")
FAULT_KIND(GARBAGE, garbage, HTTP, 0, 0, "random bytes instead of HTTP")
FAULT_KIND(HANG, hang, HTTP, 0, 0, "the request is taken and never answered")
FAULT_KIND(DELAY, delay, HTTP, FAULT_SAYS(TIME), FAULT_SAYS(SPREAD), "the call waits before it goes to the upstream")
FAULT_KIND(DRIP, drip, HTTP, 0, FAULT_SAYS(BYTES) | FAULT_SAYS(TIME), "the answer trickles: bytes (default: 16) every time (default: 20ms)")
FAULT_KIND(CUT, cut, HTTP, 0, FAULT_SAYS(TOKENS) | FAULT_SAYS(BYTES), "the connection closes within the answer")
FAULT_KIND(RESET_BODY, reset_body, HTTP, 0, FAULT_SAYS(TOKENS) | FAULT_SAYS(BYTES), "the connection is reset within the answer")
FAULT_KIND(STALL, stall, HTTP, 0, FAULT_SAYS(TOKENS) | FAULT_SAYS(BYTES), "the answer stops and nothing more comes")
FAULT_KIND(BAD_JSON, bad_json, HTTP, 0, FAULT_SAYS(TOKENS), "an event, or the whole answer, is no JSON")
FAULT_KIND(BAD_EVENT, bad_event, HTTP, 0, FAULT_SAYS(TOKENS), "what comes is no event stream, or no JSON but HTML")
FAULT_KIND(DUPLICATE_EVENT, duplicate_event, HTTP, 0, FAULT_SAYS(TOKENS), "one event of the stream comes twice")
FAULT_KIND(WRONG_LENGTH, wrong_length, HTTP, 0, FAULT_SAYS(BYTES), "Content-Length says bytes (default: far more than come)")
FAULT_KIND(BUS_DROP, bus_drop, BUS, 0, 0, "a message is lost")
FAULT_KIND(BUS_DELAY, bus_delay, BUS, FAULT_SAYS(TIME), FAULT_SAYS(SPREAD), "a message comes late")
FAULT_KIND(BUS_DUPLICATE, bus_duplicate, BUS, 0, 0, "a message comes twice")
FAULT_KIND(BUS_CORRUPT, bus_corrupt, BUS, 0, 0, "one byte of a message is changed")
FAULT_KIND(KILL, kill, PROCESS, 0, 0, "SIGKILL")
FAULT_KIND(STOP, stop, PROCESS, FAULT_SAYS(TIME), 0, "SIGSTOP for this time")
FAULT_KIND(ABORT, abort, PROCESS, 0, 0, "SIGABRT, as of a failed check")
FAULT_KIND(SEGFAULT, segfault, PROCESS, 0, 0, "SIGSEGV")
FAULT_KIND(EXIT_EARLY, exit_early, PROCESS, 0, 0, "a worker that is being started ends before it is ready")
FAULT_KIND(SLOW_START, slow_start, PROCESS, FAULT_SAYS(TIME), 0, "a worker that is being started stands still for this time")
FAULT_KIND(CRASH_LOOP, crash_loop, PROCESS, 0, 0, "each life of the worker aborts as soon as it is ready (default: 5 times)")
FAULT_KIND(FD_LIMIT, fd_limit, RESOURCE, 0, FAULT_SAYS(FILES), "no more than so many file descriptors")
FAULT_KIND(MEMORY_LIMIT, memory_limit, RESOURCE, FAULT_SAYS(BYTES), 0, "no more than so many bytes of address space")
FAULT_KIND(DISK_FULL, disk_full, RESOURCE, 0, FAULT_SAYS(BYTES), "no file can be written beyond bytes (default: 0): log and state folder")
FAULT_KIND(CLOCK_JUMP, clock_jump, RESOURCE, FAULT_SAYS(BY), 0, "the wall clock jumps")
/* clang-format on */
