/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus_fault.h - messages that are lost, late, doubled or changed on purpose; private to bus*.c
 */
#pragma once

#include <stdint.h>

#include "workers/common/bus_socket.h"

struct bus;
struct bus_late; /* messages that wait for their time */
struct worker;

enum bus_fault_deed {
	BUS_FAULT_NONE, /* send it; changed where *corrupt is not 0 */
	BUS_FAULT_TWICE,
	BUS_FAULT_TAKEN /* it is lost, or held back in *list */
};

/* What happens to this message while bus faults are in force. */
enum bus_fault_deed bus_fault_send(struct bus_late **list, struct worker *w, struct bus_life to,
	struct msg *m, struct bytes *payload, uint64_t *corrupt);
/* Change one byte of an encoded message. */
void bus_fault_corrupt(struct buf *message, uint64_t random);
void bus_fault_free(struct bus_late **list);

/* bus.c: bus_send without any fault but this one. */
MUST enum err_code bus_put(struct bus *b, unsigned slot, uint32_t generation, struct msg *m,
	struct bytes *payload, uint64_t corrupt, struct err *e);
