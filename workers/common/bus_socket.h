/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus_socket.h - one ZeroMQ socket of the bus: whole messages in and out, never blocking
 *
 * Private to workers/common. A message is a head frame (FlatBuffers) and at most one payload frame.
 * A socket's file descriptor only says that something may have changed, once: whoever sends or
 * receives must ask bus_socket_readable or receive until BUS_RECV_EMPTY before waiting on it again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "schemas/msg.h"

enum {
	BUS_ID_LEN = 7,
	BUS_COPY_MAX = 8 * 1024,	      /* larger payloads are handed over, not copied */
	BUS_PAYLOAD_MAX = 1024 * 1024 * 1024, /* the config's limits are far lower */
	/* Messages waiting per connection. Not of answers: there credit and the number of calls are
	 * the limit, and one dropped while the asker was held up would be an answer lost. */
	BUS_QUEUE_MAX = 4096
};

/* Who is at the other end: a slot and which of its lives. It is also the routing id. */
struct bus_life {
	unsigned slot;
	uint32_t generation;
};

void bus_life_to_id(unsigned char id[BUS_ID_LEN], struct bus_life life);
MUST enum err_code bus_life_from_id(
	struct bus_life *out, const void *id, size_t len, struct err *e);

struct bus_socket;

/* Bind a ROUTER at path; callers reach it under their own life. */
MUST enum err_code bus_socket_listen(
	struct bus_socket **out, void *zmq, const char *path, struct err *e);
/* Connect a DEALER to the life that binds path. Succeeds also where nobody listens yet. */
MUST enum err_code bus_socket_connect(struct bus_socket **out, void *zmq, const char *path,
	struct bus_life self, struct bus_life peer, struct err *e);
/* What is still queued gets linger_ms once the context ends; 0: dropped. */
void bus_socket_close(struct bus_socket **s_p, int linger_ms);

int bus_socket_fd(const struct bus_socket *s);
bool bus_socket_readable(struct bus_socket *s);

/* Of a DEALER: what became of its connection, as far as events tell; another descriptor says that there
 * are new ones. LOST: the peer closed it or died, and all that it had sent can be received. */
enum bus_connection { BUS_NEVER_CONNECTED, BUS_CONNECTED, BUS_LOST };
int bus_socket_events_fd(const struct bus_socket *s);
enum bus_connection bus_socket_connection(struct bus_socket *s);

/* to is used by listening sockets only. ERR_OVERLOADED: queue full; ERR_WORKER_DIED: not connected
 * here. head is copied. */
MUST enum err_code bus_socket_send(struct bus_socket *s, struct bus_life to, const struct buf *head,
	struct bytes *payload, struct err *e);

/* The last bytes of a message's first frame. Both ends are this program on this machine. */
struct bus_tail {
	uint32_t head_len; /* of the message, which the frame starts with */
	uint32_t payload;  /* 1: what lies between is the payload; 0: nothing lies there */
};

struct bus_incoming {
	struct bus_life from; /* by connection, not by what the message claims */
	_Alignas(8) unsigned char head[MSG_LEN_MAX];
	size_t head_len;
	struct bytes *payload; /* NULL: none; the receiver's to unref */
};

enum bus_recv { BUS_RECV_EMPTY, BUS_RECV_MESSAGE, BUS_RECV_GARBAGE };
/* GARBAGE: something came that has not the frames of a message; it is gone. */
enum bus_recv bus_socket_recv(struct bus_socket *s, struct bus_incoming *in);
