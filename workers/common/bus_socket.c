/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus_socket.c - one ZeroMQ socket of the bus: whole messages in and out, never blocking
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "workers/common/bus_socket.h"

enum { BUS_RECONNECT_MS = 2, BUS_FRAMES_MAX = 3 };

struct bus_socket {
	void *zmq;
	int type; /* ZMQ_ROUTER or ZMQ_DEALER */
	int fd;
	struct bus_life peer; /* of a DEALER */
	void *events; /* of a DEALER: where its connection's events come */
	int events_fd;
	enum bus_connection connection;
};

void
bus_life_to_id(unsigned char id[BUS_ID_LEN], struct bus_life life)
{
	id[0] = 'S'; /* ids that start with 0 belong to ZeroMQ */
	id[1] = (unsigned char)(life.slot >> 8);
	id[2] = (unsigned char)life.slot;
	for (int i = 0; i < 4; i++)
		id[3 + i] = (unsigned char)(life.generation >> (24 - 8 * i));
}

MUST enum err_code
bus_life_from_id(struct bus_life *out, const void *id, size_t len, struct err *e)
{
	const unsigned char *p = id;

	if (len != BUS_ID_LEN || p[0] != 'S')
		return err_set(e, ERR_MALFORMED, "routing id of %zu bytes is no worker's", len);
	out->slot = (unsigned)p[1] << 8 | p[2];
	out->generation =
		(uint32_t)p[3] << 24 | (uint32_t)p[4] << 16 | (uint32_t)p[5] << 8 | (uint32_t)p[6];
	return ERR_OK;
}

static bool
bus_socket_set_int(struct bus_socket *s, int option, int value)
{
	return zmq_setsockopt(s->zmq, option, &value, sizeof(value)) == 0;
}

static MUST enum err_code
bus_socket_open(struct bus_socket **out, void *zmq, int type, struct err *e)
{
	struct bus_socket *s = calloc(1, sizeof(*s));
	int64_t size_max = BUS_PAYLOAD_MAX;
	size_t len = sizeof(s->fd);

	CHECK(s != NULL);
	s->type = type;
	s->zmq = zmq_socket(zmq, type);
	if (s->zmq == NULL) {
		free(s);
		return err_set(e, ERR_SYS, "zmq_socket: %s", zmq_strerror(errno));
	}
	if (!bus_socket_set_int(s, ZMQ_LINGER, 0) ||
		!bus_socket_set_int(s, ZMQ_SNDHWM, type == ZMQ_ROUTER ? 0 : BUS_QUEUE_MAX) ||
		!bus_socket_set_int(s, ZMQ_RCVHWM, BUS_QUEUE_MAX) ||
		!bus_socket_set_int(s, ZMQ_RECONNECT_IVL, BUS_RECONNECT_MS) ||
		zmq_setsockopt(s->zmq, ZMQ_MAXMSGSIZE, &size_max, sizeof(size_max)) != 0 ||
		(type == ZMQ_ROUTER && !bus_socket_set_int(s, ZMQ_ROUTER_MANDATORY, 1)) ||
		zmq_getsockopt(s->zmq, ZMQ_FD, &s->fd, &len) != 0) {
		(void)err_set(e, ERR_SYS, "socket options: %s", zmq_strerror(errno));
		bus_socket_close(&s, 0);
		return ERR_SYS;
	}
	*out = s;
	return ERR_OK;
}

/* Let ZeroMQ tell of the connection's beginning and end. */
static MUST enum err_code
bus_socket_watch(struct bus_socket *s, void *zmq, struct err *e)
{
	char address[64];
	size_t len = sizeof(s->events_fd);

	(void)snprintf(address, sizeof(address), "inproc://events-%p", (void *)s);
	if (zmq_socket_monitor(s->zmq, address, ZMQ_EVENT_CONNECTED | ZMQ_EVENT_DISCONNECTED) != 0)
		return err_set(e, ERR_SYS, "zmq_socket_monitor: %s", zmq_strerror(errno));
	s->events = zmq_socket(zmq, ZMQ_PAIR);
	if (s->events == NULL || zmq_connect(s->events, address) != 0 ||
		zmq_getsockopt(s->events, ZMQ_FD, &s->events_fd, &len) != 0)
		return err_set(e, ERR_SYS, "events of a connection: %s", zmq_strerror(errno));
	return ERR_OK;
}

MUST enum err_code
bus_socket_listen(struct bus_socket **out, void *zmq, const char *path, struct err *e)
{
	struct bus_socket *s;
	char address[512];
	int n = snprintf(address, sizeof(address), "ipc://%s", path);

	CHECK(n > 0 && (size_t)n < sizeof(address));
	if (bus_socket_open(&s, zmq, ZMQ_ROUTER, e) != ERR_OK)
		return e->code;
	if (zmq_bind(s->zmq, address) != 0) {
		(void)err_set(e, ERR_SYS, "bind %s: %s", path, zmq_strerror(errno));
		bus_socket_close(&s, 0);
		return ERR_SYS;
	}
	*out = s;
	return ERR_OK;
}

MUST enum err_code
bus_socket_connect(struct bus_socket **out, void *zmq, const char *path, struct bus_life self,
	struct bus_life peer, struct err *e)
{
	unsigned char id[BUS_ID_LEN];
	struct bus_socket *s;
	char address[512];
	int n = snprintf(address, sizeof(address), "ipc://%s", path);

	CHECK(n > 0 && (size_t)n < sizeof(address));
	if (bus_socket_open(&s, zmq, ZMQ_DEALER, e) != ERR_OK)
		return e->code;
	s->peer = peer;
	bus_life_to_id(id, self);
	if (bus_socket_watch(s, zmq, e) != ERR_OK) {
		bus_socket_close(&s, 0);
		return e->code;
	}
	if (zmq_setsockopt(s->zmq, ZMQ_ROUTING_ID, id, sizeof(id)) != 0 ||
		zmq_connect(s->zmq, address) != 0) {
		(void)err_set(e, ERR_SYS, "connect %s: %s", path, zmq_strerror(errno));
		bus_socket_close(&s, 0);
		return ERR_SYS;
	}
	*out = s;
	return ERR_OK;
}

void
bus_socket_close(struct bus_socket **s_p, int linger_ms)
{
	struct bus_socket *s = *s_p;

	*s_p = NULL;
	if (s == NULL)
		return;
	if (s->events != NULL) {
		(void)zmq_socket_monitor(s->zmq, NULL, 0);
		(void)zmq_close(s->events);
	}
	(void)bus_socket_set_int(s, ZMQ_LINGER, linger_ms);
	(void)zmq_close(s->zmq);
	free(s);
}

int
bus_socket_fd(const struct bus_socket *s)
{
	return s->fd;
}

int
bus_socket_events_fd(const struct bus_socket *s)
{
	return s->events_fd;
}

enum bus_connection
bus_socket_connection(struct bus_socket *s)
{
	zmq_msg_t frame;
	uint16_t event;

	CHECK(s->events != NULL);
	CHECK(zmq_msg_init(&frame) == 0);
	for (;;) {
		if (zmq_msg_recv(&frame, s->events, ZMQ_DONTWAIT) < 0) {
			if (errno == EINTR)
				continue;
			break;
		}
		if (!zmq_msg_more(&frame) || zmq_msg_size(&frame) < sizeof(event))
			continue; /* the address behind the event */
		memcpy(&event, zmq_msg_data(&frame), sizeof(event));
		s->connection = event == ZMQ_EVENT_CONNECTED ? BUS_CONNECTED : BUS_LOST;
	}
	(void)zmq_msg_close(&frame);
	return s->connection;
}

bool
bus_socket_readable(struct bus_socket *s)
{
	int events = 0, rc;
	size_t len = sizeof(events);

	do
		rc = zmq_getsockopt(s->zmq, ZMQ_EVENTS, &events, &len);
	while (rc != 0 && errno == EINTR); /* a stopped process that goes on */
	CHECK(rc == 0);
	return (events & ZMQ_POLLIN) != 0;
}

/* zmq_msg_send and zmq_msg_recv, which a stop and continue of the process may interrupt. */
static MUST bool
bus_frame_send(zmq_msg_t *frame, struct bus_socket *s, int flags)
{
	int rc;

	do
		rc = zmq_msg_send(frame, s->zmq, flags | ZMQ_DONTWAIT);
	while (rc < 0 && errno == EINTR);
	return rc >= 0;
}

static MUST bool
bus_frame_recv(zmq_msg_t *frame, struct bus_socket *s)
{
	int rc;

	do
		rc = zmq_msg_recv(frame, s->zmq, ZMQ_DONTWAIT);
	while (rc < 0 && errno == EINTR);
	return rc >= 0;
}

/* Send a frame or, where that fails, close it; errno says why. */
static MUST bool
bus_frame_give(zmq_msg_t *frame, struct bus_socket *s, int flags)
{
	int saved;

	if (bus_frame_send(frame, s, flags))
		return true;
	saved = errno;
	(void)zmq_msg_close(frame);
	errno = saved;
	return false;
}

static void
bus_payload_release(void *data, void *hint)
{
	struct bytes *payload = hint;

	(void)data;
	bytes_unref(&payload);
}

/* In front of what a ROUTER sends: whom it is for. */
static void
bus_frame_init_id(zmq_msg_t *frame, struct bus_life to)
{
	CHECK(zmq_msg_init_size(frame, BUS_ID_LEN) == 0);
	bus_life_to_id(zmq_msg_data(frame), to);
}

/* The first frame: the message, a small payload, and what tells them apart. One frame costs half of
 * what two do. */
static void
bus_frame_init(zmq_msg_t *frame, const struct buf *head, const struct bytes *payload)
{
	const size_t inline_len = payload != NULL ? payload->len : 0;
	const struct bus_tail tail = {(uint32_t)head->len, payload != NULL};
	char *p;

	CHECK(zmq_msg_init_size(frame, head->len + inline_len + sizeof(tail)) == 0);
	p = zmq_msg_data(frame);
	memcpy(p, head->data, head->len);
	if (inline_len > 0)
		memcpy(p + head->len, payload->data, inline_len);
	memcpy(p + head->len + inline_len, &tail, sizeof(tail));
}

/* The second frame, of a large payload: it shares its bytes with the caller. */
static void
bus_frame_init_shared(zmq_msg_t *frame, struct bytes *payload)
{
	/* ZeroMQ only reads what it is given to send; its interface predates const. */
	void *data = (void *)(uintptr_t)payload->data;

	CHECK(zmq_msg_init_data(
		      frame, data, payload->len, bus_payload_release, bytes_ref(payload)) == 0);
}

static MUST enum err_code
bus_send_failed(struct err *e)
{
	if (errno == EAGAIN)
		return err_set(e, ERR_OVERLOADED, "the worker's queue is full");
	if (errno == EHOSTUNREACH)
		return err_set(e, ERR_WORKER_DIED, "the worker is not connected");
	return err_set(e, ERR_SYS, "send: %s", zmq_strerror(errno));
}

MUST enum err_code
bus_socket_send(struct bus_socket *s, struct bus_life to, const struct buf *head,
	struct bytes *payload, struct err *e)
{
	const bool apart = payload != NULL && payload->len > BUS_COPY_MAX;
	zmq_msg_t frame;

	if (payload != NULL && payload->len > BUS_PAYLOAD_MAX)
		return err_set(e, ERR_TOO_LARGE, "payload of %zu bytes", payload->len);
	if (s->type == ZMQ_ROUTER) {
		bus_frame_init_id(&frame, to);
		if (!bus_frame_give(&frame, s, ZMQ_SNDMORE))
			return bus_send_failed(e);
	}
	bus_frame_init(&frame, head, apart ? NULL : payload);
	if (!bus_frame_give(&frame, s, apart ? ZMQ_SNDMORE : 0))
		return bus_send_failed(e);
	if (!apart)
		return ERR_OK;
	bus_frame_init_shared(&frame, payload);
	return bus_frame_give(&frame, s, 0) ? ERR_OK : bus_send_failed(e);
}

static void
bus_frame_free(void *arg)
{
	zmq_msg_t *frame = arg;

	(void)zmq_msg_close(frame);
	free(frame);
}

/* The content of a frame as shared bytes; a large one is not copied but kept. frame is empty
 * afterwards, still to be closed. */
static struct bytes *
bus_frame_take(zmq_msg_t *frame)
{
	zmq_msg_t *kept;

	if (zmq_msg_size(frame) <= BUS_COPY_MAX)
		return bytes_copy(zmq_msg_data(frame), zmq_msg_size(frame));
	kept = malloc(sizeof(*kept));
	CHECK(kept != NULL);
	CHECK(zmq_msg_init(kept) == 0);
	CHECK(zmq_msg_move(kept, frame) == 0);
	return bytes_adopt(zmq_msg_data(kept), zmq_msg_size(kept), bus_frame_free, kept);
}

/* Receive all frames of the next message, keep the first BUS_FRAMES_MAX. Returns how many there
 * were; 0: none waits. */
static size_t
bus_frames_recv(struct bus_socket *s, zmq_msg_t frames[BUS_FRAMES_MAX])
{
	zmq_msg_t extra;
	size_t n = 0;
	bool more;

	CHECK(zmq_msg_init(&extra) == 0);
	do {
		zmq_msg_t *frame = n < BUS_FRAMES_MAX ? &frames[n] : &extra;

		if (!bus_frame_recv(frame, s))
			break;
		n++;
		more = zmq_msg_more(frame) != 0;
	} while (more);
	(void)zmq_msg_close(&extra);
	return n;
}

/* Take apart what bus_frame_init put together; false where it was not so. */
static bool
bus_frame_read(struct bus_incoming *in, zmq_msg_t *frame)
{
	const char *p = zmq_msg_data(frame);
	size_t len = zmq_msg_size(frame);
	struct bus_tail tail;

	if (len < sizeof(tail))
		return false;
	len -= sizeof(tail);
	memcpy(&tail, p + len, sizeof(tail));
	if (tail.head_len > len || tail.head_len > sizeof(in->head))
		return false;
	if (tail.payload == 0 && tail.head_len != len)
		return false;
	in->head_len = tail.head_len;
	memcpy(in->head, p, in->head_len);
	if (tail.payload != 0)
		in->payload = bytes_copy(p + in->head_len, len - in->head_len);
	return true;
}

static bool
bus_frames_read(const struct bus_socket *s, struct bus_incoming *in,
	zmq_msg_t frames[BUS_FRAMES_MAX], size_t n)
{
	size_t at = s->type == ZMQ_ROUTER ? 1 : 0;

	in->from = s->peer;
	if (s->type == ZMQ_ROUTER && bus_life_from_id(&in->from, zmq_msg_data(&frames[0]),
					     zmq_msg_size(&frames[0]), NULL) != ERR_OK)
		return false;
	if (n < at + 1 || n > at + 2 || !bus_frame_read(in, &frames[at]))
		return false;
	if (n == at + 1)
		return true;
	if (in->payload != NULL) /* in both frames */
		return false;
	in->payload = bus_frame_take(&frames[at + 1]);
	return true;
}

enum bus_recv
bus_socket_recv(struct bus_socket *s, struct bus_incoming *in)
{
	zmq_msg_t frames[BUS_FRAMES_MAX];
	enum bus_recv result = BUS_RECV_EMPTY;
	size_t n;

	for (size_t i = 0; i < BUS_FRAMES_MAX; i++)
		CHECK(zmq_msg_init(&frames[i]) == 0);
	in->payload = NULL;
	n = bus_frames_recv(s, frames);
	if (n > 0)
		result = bus_frames_read(s, in, frames, n) ? BUS_RECV_MESSAGE : BUS_RECV_GARBAGE;
	for (size_t i = 0; i < BUS_FRAMES_MAX; i++)
		(void)zmq_msg_close(&frames[i]);
	return result;
}
