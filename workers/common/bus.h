/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus.h - messages between workers: FlatBuffers over ZeroMQ ipc
 *
 * Each life of a worker that others may call binds one ROUTER socket at
 * RUN_DIR/bus/<slot>.<generation>; a caller opens one DEALER per life of a callee, lazily, and drops
 * it with the life. So nothing meant for a dead worker ever reaches its successor, and an answer
 * goes back on the path its question came. Nothing here blocks: a full queue is an error.
 * All functions: main thread of the worker only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "schemas/msg.h"

struct bus;
struct worker;
struct handler;

/* One event of an upstream's stream at most: so far may a backend go beyond its credit, twice as far
 * where translation escapes every byte. */
enum { BUS_EVENT_MAX = 16 * 1024 * 1024 };

/* Bind, connect to nothing yet. Dispatches incoming messages to the handler rows. */
MUST enum err_code bus_new(struct bus **out, struct worker *w, const struct handler *handlers,
	size_t handlers_len, struct err *e);
void bus_free(struct bus **b_p);

/*
 * Send m to the worker that now lives in slot (m->head: set type, request_id and deadline_ns; the
 * bus fills in the rest). payload may be NULL; the bus takes its own reference, the caller keeps
 * its. Large payloads are not copied. ERR_WORKER_DIED: no such life any more; ERR_OVERLOADED: its
 * queue is full; ERR_SYS: no way to it can be made, for example without descriptors. In any case
 * nothing was sent and the counter MSG_UNSENT grew. e may be NULL.
 */
MUST enum err_code bus_send(struct bus *b, unsigned slot, uint32_t generation, struct msg *m,
	struct bytes *payload, struct err *e);

/*
 * The board changed: drop connections to lives that ended. worker.c calls it before on_board. What
 * such a life had sent before its end is delivered first; bus_hears tells that there may be more of
 * it, and on_heard is called when a connection to an ended life is at its end.
 */
void bus_board_changed(struct bus *b);
bool bus_hears(const struct bus *b, unsigned slot, uint32_t generation);
typedef void bus_heard_fn(void *arg);
void bus_on_heard(struct bus *b, bus_heard_fn *fn, void *arg);
