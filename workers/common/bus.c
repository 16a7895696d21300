/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus.c - messages between workers: FlatBuffers over ZeroMQ ipc
 *
 * Roles that somebody may call (column `calls` of worker_list.h) listen; a caller has one link per
 * callee life. Every message is checked against its connection, the handler row and the board
 * before a handler sees it; what fails a check is counted and dropped.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "workers/common/bus_fault.h"
#include "lib/base/clock.h"
#include "workers/common/bus_socket.h"
#include "workers/common/faults.h"
#include "workers/common/worker.h"

enum {
	BUS_BATCH = 128, /* messages of one link before others get their turn */
	BUS_HEAR_MS = 250, /* for the last words of a life that ended; they are there in far less */
	BUS_LINGER_MS = 200, /* for what is queued at an orderly end */
	BUS_PATH_MAX = 400
};

#define WORKER(symbol, name, calls, fds, stop_order)                                               \
	_Static_assert((int)ROLE_##symbol == (int)MSG_ROLE_##symbol, "schema and worker_list.h");
#include "workers/worker_list.h"
#undef WORKER

/* A socket in the loop: the listening one, or the one to a callee's life. */
struct bus_link {
	struct bus *bus;
	struct bus_socket *socket;
	struct loop_fd fd;
	struct bus_life peer; /* of a link to a callee */
	struct loop_fd events_fd; /* of its connection */
	struct loop_timer hear; /* its life ended: until then we listen */
	struct bus_link *next_ended; /* in bus->ended */
	bool touched; /* in bus->touched, to be looked at when the turn ends */
	bool unseen; /* used since it was last found empty: its descriptor's edge may be lost */
	bool ready; /* has messages for the next turn */
	bool closed; /* freed at the end of the turn */
	struct bus_link *next; /* in bus->touched, or in bus->closed */
};

struct bus {
	struct worker *w;
	void *zmq;
	struct bus_link *listen; /* NULL: nobody calls this role */
	struct bus_link *peers[SLOTS_MAX]; /* by callee's slot */
	struct bus_link *ended; /* links to lives that ended and may still be heard */
	struct bus_link *touched;
	struct bus_link *closed;
	bus_heard_fn *heard_fn;
	void *heard_arg;
	struct loop_timer again; /* the next turn comes at once: a link is ready */
	const struct handler *by_type[MSG_TYPES];
	unsigned calls; /* roles this one calls */
	struct buf head;
	struct bus_late *late; /* held back by faults on purpose */
	struct bus_incoming in;
};

static unsigned
role_calls(enum role role)
{
	static const unsigned rows[ROLES] = {
#define WORKER(symbol, name, calls, fds, stop_order) [ROLE_##symbol] = (calls),
#include "workers/worker_list.h"
#undef WORKER
	};

	return role < ROLES ? rows[role] : 0;
}

static bool
role_is_called(enum role role)
{
	unsigned called = 0;

	for (unsigned r = 0; r < ROLES; r++)
		called |= role_calls((enum role)r);
	return (called & ROLE_BIT(role)) != 0;
}

static void
bus_path(char out[BUS_PATH_MAX], const struct bus *b, struct bus_life life)
{
	int n = snprintf(out, BUS_PATH_MAX, "%.255s/bus/%u.%u", board_head(b->w->board)->run_dir,
		life.slot, life.generation);

	CHECK(n > 0 && n < BUS_PATH_MAX);
}

static struct bus_life
bus_self(const struct bus *b)
{
	return (struct bus_life){b->w->slot, b->w->generation};
}

/* The slot's row if this life of it may still be talking or listening. */
static bool
bus_life_goes_on(const struct bus *b, struct bus_life life, struct slot_info *info)
{
	if (life.slot >= SLOTS_MAX)
		return false;
	board_slot(b->w->board, life.slot, info);
	return info->generation == life.generation && info->state != SLOT_EMPTY &&
	       info->state != SLOT_BACKOFF && info->state < SLOT_STATES;
}

/* ---- what comes in ---- */

/* Which counter a message goes to; COUNTERS: none, it is for the handler. */
static enum counter
bus_judge(const struct bus *b, const struct msg *m)
{
	const struct handler *h = b->by_type[m->type];
	const struct bus_life from = b->in.from;
	struct slot_info info;

	if (b->in.payload != NULL && !msg_may_carry_payload(m->type))
		return COUNTER_MSG_MALFORMED;
	if (h == NULL)
		return COUNTER_MSG_UNKNOWN;
	if (m->head.sender_slot != from.slot || from.slot >= SLOTS_MAX)
		return COUNTER_MSG_WRONG_SENDER;
	if (m->head.sender_generation != from.generation)
		return COUNTER_MSG_WRONG_SENDER;
	board_slot(b->w->board, from.slot, &info);
	if (info.role != m->head.sender_role || info.role >= ROLES ||
		(h->senders & ROLE_BIT(info.role)) == 0)
		return COUNTER_MSG_WRONG_SENDER;
	if (info.generation != from.generation && !bus_hears(b, from.slot, from.generation))
		return COUNTER_MSG_STALE;
	if (m->head.target_generation != b->w->generation)
		return COUNTER_MSG_STALE;
	return COUNTERS;
}

static void
bus_dispatch(struct bus *b)
{
	enum counter drop = COUNTER_MSG_MALFORMED;
	struct msg m;
	struct err e;

	if (msg_decode(&m, b->in.head, b->in.head_len, &e) == ERR_OK)
		drop = bus_judge(b, &m);
	if (drop != COUNTERS) {
		board_count(b->w->board, drop, 1);
		return;
	}
	board_count(b->w->board, COUNTER_MSG_RECEIVED, 1);
	b->by_type[m.type]->fn(b->w, &m, b->in.payload);
}

/* Look at this link again at the end of the turn. */
static void
bus_link_touch(struct bus_link *l)
{
	l->unseen = true;
	if (l->touched || l->closed)
		return;
	l->touched = true;
	l->next = l->bus->touched;
	l->bus->touched = l;
}

/* Receive until nothing waits (which also re-arms the descriptor's edge) or it is others' turn. */
static void
bus_link_drain(struct bus_link *l)
{
	struct bus *b = l->bus;

	for (unsigned i = 0; i < BUS_BATCH; i++) {
		enum bus_recv got = bus_socket_recv(l->socket, &b->in);

		if (got == BUS_RECV_EMPTY) {
			l->unseen = false;
			return;
		}
		if (got == BUS_RECV_GARBAGE)
			board_count(b->w->board, COUNTER_MSG_MALFORMED, 1);
		else
			bus_dispatch(b);
		bytes_unref(&b->in.payload);
		if (l->closed)
			return;
	}
	bus_link_touch(l);
}

static void
bus_on_fd(void *arg, uint32_t events)
{
	(void)events;
	bus_link_drain(arg);
}

/* ---- links ---- */

static MUST enum err_code
bus_link_add(struct bus_link **out, struct bus *b, struct bus_socket **socket_p, struct err *e)
{
	struct bus_link *l = calloc(1, sizeof(*l));

	CHECK(l != NULL);
	l->bus = b;
	l->fd = (struct loop_fd){.fn = bus_on_fd,
		.arg = l,
		.fd = bus_socket_fd(*socket_p),
		.events = EPOLLIN | EPOLLET};
	if (loop_add(b->w->loop, &l->fd, e) != ERR_OK) {
		free(l);
		return e->code;
	}
	l->socket = *socket_p;
	*socket_p = NULL;
	bus_link_touch(l); /* what came before the descriptor was watched */
	*out = l;
	return ERR_OK;
}

/* Close the socket now, free the link at the end of the turn: its callback may be running. */
static void
bus_link_close(struct bus_link **l_p, int linger_ms)
{
	struct bus_link *l = *l_p, **at;

	*l_p = NULL;
	if (l == NULL)
		return;
	for (at = &l->bus->touched; l->touched && *at != NULL; at = &(*at)->next) {
		if (*at != l)
			continue;
		*at = l->next;
		break;
	}
	loop_remove(l->bus->w->loop, &l->fd);
	loop_remove(l->bus->w->loop, &l->events_fd);
	loop_timer_clear(l->bus->w->loop, &l->hear);
	bus_socket_close(&l->socket, linger_ms);
	l->touched = false;
	l->closed = true;
	l->next = l->bus->closed;
	l->bus->closed = l;
}

static void
bus_free_closed(struct bus *b)
{
	while (b->closed != NULL) {
		struct bus_link *l = b->closed;

		b->closed = l->next;
		free(l);
	}
}

/* An ended life was heard to its end. */
static void
bus_link_heard(struct bus_link *l)
{
	struct bus *b = l->bus;
	struct bus_link **at = &b->ended;

	while (*at != NULL && *at != l)
		at = &(*at)->next_ended;
	CHECK(*at == l);
	*at = l->next_ended;
	bus_link_close(&l, 0);
	if (b->heard_fn != NULL)
		b->heard_fn(b->heard_arg);
}

static bool
bus_is_ended(const struct bus *b, const struct bus_link *l)
{
	const struct bus_link *at = b->ended;

	while (at != NULL && at != l)
		at = at->next_ended;
	return at != NULL;
}

/* Receive all that came by a link whose connection is over, then let it go. */
static void
bus_link_hear_out(struct bus_link *l)
{
	do
		bus_link_drain(l);
	while (!l->closed && l->unseen);
	if (!l->closed)
		bus_link_heard(l);
}

static void
bus_on_hear_end(void *arg)
{
	bus_link_hear_out(arg);
}

/* The connection began, or is over. */
static void
bus_on_events(void *arg, uint32_t events)
{
	struct bus_link *l = arg;

	(void)events;
	if (bus_socket_connection(l->socket) == BUS_LOST && bus_is_ended(l->bus, l))
		bus_link_hear_out(l);
}

/* The life at the other end is over: listen for what it said before. Not where nothing can come. */
static void
bus_link_end(struct bus_link **l_p)
{
	struct bus_link *l = *l_p;
	struct bus *b = l->bus;
	enum bus_connection connection = bus_socket_connection(l->socket);

	if (connection == BUS_NEVER_CONNECTED) {
		bus_link_close(l_p, 0);
		return;
	}
	*l_p = NULL;
	l->next_ended = b->ended;
	b->ended = l;
	l->hear = (struct loop_timer){.fn = bus_on_hear_end, .arg = l};
	/* where the end of the connection is known, its last words come in the next turn */
	loop_timer_set(b->w->loop, &l->hear,
		connection == BUS_LOST ? 0 : clock_ns() + clock_ms_to_ns(BUS_HEAR_MS));
	bus_link_touch(l);
}

bool
bus_hears(const struct bus *b, unsigned slot, uint32_t generation)
{
	for (const struct bus_link *l = b->ended; l != NULL; l = l->next_ended)
		if (l->peer.slot == slot && l->peer.generation == generation)
			return true;
	return false;
}

void
bus_on_heard(struct bus *b, bus_heard_fn *fn, void *arg)
{
	b->heard_fn = fn;
	b->heard_arg = arg;
}

/* Watch the events of a link's connection. */
static MUST enum err_code
bus_link_watch(struct bus_link *l, struct err *e)
{
	l->events_fd = (struct loop_fd){.fn = bus_on_events,
		.arg = l,
		.fd = bus_socket_events_fd(l->socket),
		.events = EPOLLIN | EPOLLET};
	return loop_add(l->bus->w->loop, &l->events_fd, e);
}

/* The link to a callee's life, made on first use. */
static MUST enum err_code
bus_peer(struct bus_link **out, struct bus *b, struct bus_life life, struct err *e)
{
	struct bus_link **l_p = &b->peers[life.slot];
	struct bus_socket *socket = NULL;
	char path[BUS_PATH_MAX];

	if (*l_p != NULL && (*l_p)->peer.generation != life.generation)
		bus_link_end(l_p);
	if (*l_p == NULL) {
		bus_path(path, b, life);
		if (bus_socket_connect(&socket, b->zmq, path, bus_self(b), life, e) != ERR_OK)
			return e->code;
		if (bus_link_add(l_p, b, &socket, e) != ERR_OK) {
			bus_socket_close(&socket, 0);
			return e->code;
		}
		(*l_p)->peer = life;
		if (bus_link_watch(*l_p, e) != ERR_OK) {
			bus_link_close(l_p, 0);
			return e->code;
		}
		/* what happened before it was watched */
		(void)bus_socket_connection((*l_p)->socket);
	}
	*out = *l_p;
	return ERR_OK;
}

/* End of a turn: whoever sent or stopped early may have messages without a new edge. */
static void
bus_on_turn(void *arg)
{
	struct bus *b = arg;
	struct bus_link **at = &b->touched;

	bus_free_closed(b);
	while (*at != NULL) {
		struct bus_link *l = *at;

		l->ready = l->unseen && bus_socket_readable(l->socket);
		if (l->ready) {
			at = &l->next;
			continue;
		}
		l->touched = false;
		*at = l->next;
	}
	if (b->touched != NULL)
		loop_timer_set(b->w->loop, &b->again, 0);
}

static void
bus_on_again(void *arg)
{
	struct bus *b = arg;

	/* A drained link leaves the list, or stays on it for the end of this turn; a handler may
	 * close any link, so the walk starts over after each. */
	for (struct bus_link *l = b->touched; l != NULL;) {
		if (!l->ready) {
			l = l->next;
			continue;
		}
		l->ready = false;
		bus_link_drain(l);
		l = b->touched;
	}
}

/* ---- outside ---- */

static MUST enum err_code
bus_listen(struct bus *b, struct err *e)
{
	AUTO(buf_fini) struct buf folder = BUF_INIT;
	struct bus_socket *socket = NULL;
	char path[BUS_PATH_MAX];

	buf_addf(&folder, "%.255s/bus", board_head(b->w->board)->run_dir);
	if (mkdir(buf_str(&folder), 0700) != 0 && errno != EEXIST)
		return err_set(e, ERR_SYS, "mkdir %s: %s", buf_str(&folder), strerror(errno));
	bus_path(path, b, bus_self(b));
	if (bus_socket_listen(&socket, b->zmq, path, e) != ERR_OK)
		return e->code;
	if (bus_link_add(&b->listen, b, &socket, e) != ERR_OK) {
		bus_socket_close(&socket, 0);
		return e->code;
	}
	return ERR_OK;
}

MUST enum err_code
bus_new(struct bus **out, struct worker *w, const struct handler *handlers, size_t handlers_len,
	struct err *e)
{
	AUTO(bus_free) struct bus *b = calloc(1, sizeof(*b));

	CHECK(b != NULL);
	b->w = w;
	b->calls = role_calls(w->role);
	for (size_t i = 0; i < handlers_len; i++) {
		CHECK(handlers[i].type > MSG_NONE && handlers[i].type < MSG_TYPES);
		CHECK(b->by_type[handlers[i].type] == NULL && handlers[i].fn != NULL);
		b->by_type[handlers[i].type] = &handlers[i];
	}
	b->zmq = zmq_ctx_new();
	if (b->zmq == NULL)
		return err_set(e, ERR_SYS, "zmq_ctx_new: %s", zmq_strerror(errno));
	if (zmq_ctx_set(b->zmq, ZMQ_IO_THREADS, 1) != 0 ||
		zmq_ctx_set(b->zmq, ZMQ_MAX_SOCKETS, 6 * SLOTS_MAX + 1) != 0 ||
		zmq_ctx_set(b->zmq, ZMQ_BLOCKY, 0) != 0)
		return err_set(e, ERR_SYS, "zmq_ctx_set: %s", zmq_strerror(errno));
	if (role_is_called(w->role) && bus_listen(b, e) != ERR_OK)
		return e->code;
	b->again = (struct loop_timer){.fn = bus_on_again, .arg = b};
	loop_timer_set(w->loop, &b->again, 0); /* start() may send before the first turn */
	loop_on_turn(w->loop, bus_on_turn, b);
	*out = b;
	b = NULL;
	return ERR_OK;
}

void
bus_free(struct bus **b_p)
{
	struct bus *b = *b_p;
	char path[BUS_PATH_MAX];

	*b_p = NULL;
	if (b == NULL)
		return;
	bus_fault_free(&b->late);
	bus_board_changed(b);
	if (b->listen != NULL) {
		bus_path(path, b, bus_self(b));
		(void)unlink(path);
	}
	bus_link_close(&b->listen, BUS_LINGER_MS);
	for (unsigned slot = 0; slot < SLOTS_MAX; slot++)
		bus_link_close(&b->peers[slot], BUS_LINGER_MS);
	b->heard_fn = NULL;
	while (b->ended != NULL)
		bus_link_heard(b->ended);
	bus_free_closed(b);
	loop_timer_clear(b->w->loop, &b->again);
	if (b->zmq != NULL)
		(void)zmq_ctx_term(b->zmq); /* waits for the linger time at most */
	buf_fini(&b->head);
	free(b);
}

/* Find the way to a life that goes on: a link of ours, or the one it opened to us. */
static MUST enum err_code
bus_way(struct bus_link **out, struct bus *b, struct bus_life to, struct err *e)
{
	struct slot_info info;

	if (!bus_life_goes_on(b, to, &info))
		return err_set(e, ERR_WORKER_DIED, "worker %u.%u is gone", to.slot, to.generation);
	if (info.role < ROLES && (b->calls & ROLE_BIT(info.role)) != 0)
		return bus_peer(out, b, to, e);
	if (b->listen == NULL)
		return err_set(e, ERR_SYS, "role %u has no way to role %u", (unsigned)b->w->role,
			info.role);
	*out = b->listen;
	return ERR_OK;
}

MUST enum err_code
bus_put(struct bus *b, unsigned slot, uint32_t generation, struct msg *m, struct bytes *payload,
	uint64_t corrupt, struct err *e)
{
	const struct bus_life to = {slot, generation};
	struct bus_link *l = NULL;
	enum err_code code = bus_way(&l, b, to, e);

	CHECK(payload == NULL || msg_may_carry_payload(m->type));
	m->head.sender_slot = (uint16_t)b->w->slot;
	m->head.sender_role = (uint8_t)b->w->role;
	m->head.sender_generation = b->w->generation;
	m->head.target_generation = generation;
	if (code == ERR_OK) {
		buf_clear(&b->head);
		msg_encode(&b->head, m);
		if (corrupt != 0)
			bus_fault_corrupt(&b->head, corrupt);
		code = bus_socket_send(l->socket, to, &b->head, payload, e);
		bus_link_touch(l);
	}
	board_count(b->w->board, code == ERR_OK ? COUNTER_MSG_SENT : COUNTER_MSG_UNSENT, 1);
	return code;
}

static MUST enum err_code
bus_send_faulty(
	struct bus *b, struct bus_life to, struct msg *m, struct bytes *payload, struct err *e)
{
	uint64_t corrupt = 0;
	enum bus_fault_deed deed = bus_fault_send(&b->late, b->w, to, m, payload, &corrupt);
	enum err_code code;

	if (deed == BUS_FAULT_TAKEN)
		return ERR_OK;
	code = bus_put(b, to.slot, to.generation, m, payload, corrupt, e);
	if (deed == BUS_FAULT_TWICE && code == ERR_OK)
		code = bus_put(b, to.slot, to.generation, m, payload, 0, e);
	return code;
}

MUST enum err_code
bus_send(struct bus *b, unsigned slot, uint32_t generation, struct msg *m, struct bytes *payload,
	struct err *e)
{
	struct err ignored;

	if (e == NULL)
		e = &ignored;
	if (faults_on(b->w, FAULT_LEVEL_BUS))
		return bus_send_faulty(b, (struct bus_life){slot, generation}, m, payload, e);
	return bus_put(b, slot, generation, m, payload, 0, e);
}

void
bus_board_changed(struct bus *b)
{
	struct slot_info info;

	for (unsigned slot = 0; slot < SLOTS_MAX; slot++)
		if (b->peers[slot] != NULL && !bus_life_goes_on(b, b->peers[slot]->peer, &info))
			bus_link_end(&b->peers[slot]);
}
