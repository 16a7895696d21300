/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_bus.c - messages between processes: what arrives, what is dropped, what never blocks
 *
 * The test process is one worker (a gateway or a backend) on a real board; its peers are forked
 * processes, or raw ZeroMQ sockets where a peer has to lie.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "lib/base/clock.h"
#include "workers/common/bus_socket.h"
#include "workers/common/worker.h"

enum { SLOT_GATEWAY = 0, SLOT_BACKEND = 1, SLOT_PROFILER = 2, GENERATION = 5 };
enum { BIG = 32 * 1024 * 1024, PINGS = 40000, WINDOW = 300 };

static char run_dir[64];
static struct board *board; /* the supervisor's view */
static uint32_t backend_generation = GENERATION;

static uint32_t
generation_of(unsigned slot)
{
	return slot == SLOT_BACKEND ? backend_generation : GENERATION;
}

static void
set_slot(unsigned slot, enum role role, uint32_t generation, enum slot_state state)
{
	struct slot_info info = {.role = role, .state = state, .pid = 1, .generation = generation};

	(void)snprintf(info.name, sizeof(info.name), "slot-%u", slot);
	board_set_slot(board, slot, &info);
}

static void
rig_init(void)
{
	struct err e;

	(void)snprintf(run_dir, sizeof(run_dir), "/tmp/shunt-test-bus-XXXXXX");
	cr_assert_not_null(mkdtemp(run_dir));
	cr_assert_eq(board_create(&board, run_dir, &e), ERR_OK, "%s", e.text);
	set_slot(SLOT_GATEWAY, ROLE_GATEWAY, GENERATION, SLOT_READY);
	set_slot(SLOT_BACKEND, ROLE_BACKEND, GENERATION, SLOT_READY);
	set_slot(SLOT_PROFILER, ROLE_PROFILER, GENERATION, SLOT_READY);
}

static void
rig_fini(void)
{
	char path[128];

	board_close(&board);
	(void)snprintf(path, sizeof(path), "%s/bus", run_dir);
	/* Every socket file was removed by its owner, or the folder stays and the test fails. */
	if (rmdir(path) != 0 && access(path, F_OK) == 0)
		cr_assert_fail("%s is not empty", path);
	(void)rmdir(run_dir);
}

TestSuite(bus, .init = rig_init, .fini = rig_fini, .timeout = 60);

/* ---- a worker without worker_main ---- */

struct node {
	struct worker w; /* first: handlers find their node by it */
	struct loop_timer guard;
	struct loop_timer start;
	uint64_t wanted, seen; /* stop when seen reaches wanted */
	uint64_t sent;
	struct bytes *payload;
	struct msg last;
};

static void
node_give_up(void *arg)
{
	(void)arg;
	panic_check(__FILE__, __LINE__, "nothing arrived in time");
}

static void
node_init(struct node *n, unsigned slot, enum role role, const struct handler *handlers, size_t len)
{
	struct err e;

	memset(n, 0, sizeof(*n));
	n->w.role = role;
	n->w.slot = slot;
	n->w.generation = generation_of(slot);
	CHECK(board_attach(&n->w.board, board_fd_ro(board), board_fd_rw(board), slot,
		      BOARD_SLOT_ONLY, &e) == ERR_OK);
	CHECK(loop_new(&n->w.loop, &e) == ERR_OK);
	CHECK(bus_new(&n->w.bus, &n->w, handlers, len, &e) == ERR_OK);
	n->guard = (struct loop_timer){.fn = node_give_up};
	loop_timer_set(n->w.loop, &n->guard, clock_ns() + 30 * NS_PER_S);
}

static void
node_fini(struct node *n)
{
	bytes_unref(&n->payload);
	bus_free(&n->w.bus);
	loop_free(&n->w.loop);
	board_close(&n->w.board);
}

static uint64_t
node_count(const struct node *n, enum counter c)
{
	return atomic_load(&board_worker(n->w.board, n->w.slot)->counters[c]);
}

/* Keep what came; stop when it was enough. */
static void
on_keep(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct node *n = (struct node *)w;

	bytes_unref(&n->payload);
	n->payload = bytes_ref(payload);
	n->last = *m;
	if (++n->seen == n->wanted)
		loop_stop(w->loop);
}

static enum err_code
node_send(struct node *n, unsigned slot, enum msg_type type, uint64_t id, struct bytes *payload)
{
	struct msg m;
	struct err e;

	memset(&m, 0, sizeof(m));
	m.type = type;
	m.head.request_id = id;
	return bus_send(n->w.bus, slot, generation_of(slot), &m, payload, &e);
}

/* ---- the peer: a backend that answers every ChatStart with a ChatEnd of the same payload ---- */

static void
on_echo(struct worker *w, const struct msg *m, struct bytes *payload)
{
	enum err_code code = node_send(
		(struct node *)w, m->head.sender_slot, MSG_CHAT_END, m->head.request_id, payload);

	CHECK(code == ERR_OK);
}

static void
on_last_cancel(struct worker *w, const struct msg *m, struct bytes *payload)
{
	(void)m;
	(void)payload;
	loop_stop(w->loop);
}

static pid_t
fork_backend_in(const struct sandbox_spec *spec)
{
	static const struct handler handlers[] = {
		{MSG_CHAT_START, ROLE_BIT(ROLE_GATEWAY), on_echo},
		{MSG_CHAT_CANCEL, ROLE_BIT(ROLE_GATEWAY), on_last_cancel},
	};
	struct node n;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid > 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (spec != NULL)
		CHECK(sandbox_enter_early(spec, run_dir, NULL, NULL, NULL) == ERR_OK);
	node_init(&n, SLOT_BACKEND, ROLE_BACKEND, handlers, ARRAY_LEN(handlers));
	if (spec != NULL)
		CHECK(sandbox_enter_late(spec, NULL) == ERR_OK);
	loop_run(n.w.loop);
	node_fini(&n);
	_exit(0);
}

static pid_t
fork_backend(void)
{
	return fork_backend_in(NULL);
}

static void
end_backend(struct node *n, pid_t pid)
{
	int status = 0;

	cr_assert_eq(node_send(n, SLOT_BACKEND, MSG_CHAT_CANCEL, 0, NULL), ERR_OK);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "wait status %#x", status);
}

static const struct handler gateway_handlers[] = {
	{MSG_CHAT_END, ROLE_BIT(ROLE_BACKEND), on_keep},
};

static void
gateway_init(struct node *n)
{
	node_init(n, SLOT_GATEWAY, ROLE_GATEWAY, gateway_handlers, ARRAY_LEN(gateway_handlers));
}

Test(bus, a_question_is_answered_on_the_same_path)
{
	struct bytes *body = bytes_copy("{\"model\":\"auto\"}", 16);
	pid_t pid = fork_backend();
	struct node n;

	gateway_init(&n);
	n.wanted = 1;
	cr_assert_eq(node_send(&n, SLOT_BACKEND, MSG_CHAT_START, 42, body), ERR_OK);
	loop_run(n.w.loop);
	cr_assert_eq(n.last.head.request_id, 42);
	cr_assert_eq(n.last.head.sender_role, ROLE_BACKEND);
	cr_assert_eq(n.last.head.sender_slot, SLOT_BACKEND);
	cr_assert_eq(n.last.head.target_generation, GENERATION);
	cr_assert_not_null(n.payload);
	cr_assert_eq(n.payload->len, body->len);
	cr_assert_eq(memcmp(n.payload->data, body->data, body->len), 0);
	cr_assert_eq(node_count(&n, COUNTER_MSG_SENT), 1);
	cr_assert_eq(node_count(&n, COUNTER_MSG_RECEIVED), 1);
	end_backend(&n, pid);
	bytes_unref(&body);
	node_fini(&n);
}

/* The narrowest sandbox: no flag at all. ZeroMQ aborts on a system call it did not expect to fail.
 */
Test(bus, a_sandboxed_worker_listens_answers_and_cleans_up)
{
	const struct sandbox_spec spec = {.files_max = 64};
	struct bytes *body = bytes_copy("x", 1);
	pid_t pid = fork_backend_in(&spec);
	struct node n;

	gateway_init(&n);
	n.wanted = 100;
	for (uint64_t i = 0; i < n.wanted; i++)
		cr_assert_eq(node_send(&n, SLOT_BACKEND, MSG_CHAT_START, i, body), ERR_OK);
	loop_run(n.w.loop);
	cr_assert_eq(n.last.head.request_id, n.wanted - 1);
	end_backend(&n, pid);
	bytes_unref(&body);
	node_fini(&n);
}

Test(bus, a_payload_of_the_body_limit_arrives_intact)
{
	struct buf b = BUF_INIT;
	struct bytes *body;
	pid_t pid = fork_backend();
	struct node n;

	buf_reserve(&b, BIG);
	for (uint32_t i = 0; i < BIG / 4; i++) {
		uint32_t v = i * 2654435761U;

		buf_add(&b, &v, sizeof(v));
	}
	body = bytes_from_buf(&b);
	gateway_init(&n);
	n.wanted = 2;
	cr_assert_eq(node_send(&n, SLOT_BACKEND, MSG_CHAT_START, 1, body), ERR_OK);
	cr_assert_eq(node_send(&n, SLOT_BACKEND, MSG_CHAT_START, 2, body), ERR_OK);
	loop_run(n.w.loop);
	cr_assert_eq(n.payload->len, BIG);
	cr_assert_eq(memcmp(n.payload->data, body->data, BIG), 0);
	end_backend(&n, pid);
	node_fini(&n);
	bytes_unref(&body);
}

Test(bus, an_empty_payload_is_a_payload)
{
	struct bytes *body = bytes_copy("", 0);
	pid_t pid = fork_backend();
	struct node n;

	gateway_init(&n);
	n.wanted = 1;
	cr_assert_eq(node_send(&n, SLOT_BACKEND, MSG_CHAT_START, 1, body), ERR_OK);
	loop_run(n.w.loop);
	cr_assert_not_null(n.payload);
	cr_assert_eq(n.payload->len, 0);
	end_backend(&n, pid);
	bytes_unref(&body);
	node_fini(&n);
}

static void
on_pong(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct node *n = (struct node *)w;

	(void)payload;
	CHECK(m->head.request_id == n->seen);
	if (++n->seen == PINGS)
		loop_stop(w->loop);
	else if (n->sent < PINGS)
		CHECK(node_send(n, SLOT_BACKEND, MSG_CHAT_START, n->sent++, NULL) == ERR_OK);
}

/* ZeroMQ's descriptor reports a change once: a missed look at it would stop this for good. */
Test(bus, a_long_exchange_never_stalls_and_keeps_its_order)
{
	static const struct handler handlers[] = {
		{MSG_CHAT_END, ROLE_BIT(ROLE_BACKEND), on_pong},
	};
	pid_t pid = fork_backend();
	struct node n;

	node_init(&n, SLOT_GATEWAY, ROLE_GATEWAY, handlers, ARRAY_LEN(handlers));
	while (n.sent < WINDOW)
		cr_assert_eq(node_send(&n, SLOT_BACKEND, MSG_CHAT_START, n.sent++, NULL), ERR_OK);
	loop_run(n.w.loop);
	cr_assert_eq(n.seen, PINGS);
	end_backend(&n, pid);
	node_fini(&n);
}

/* A process that is stopped and goes on has its system calls interrupted anywhere. */
Test(bus, a_peer_stopped_again_and_again_loses_nothing)
{
	static const struct handler handlers[] = {
		{MSG_CHAT_END, ROLE_BIT(ROLE_BACKEND), on_pong},
	};
	pid_t pid = fork_backend(), nagger;
	struct node n;

	node_init(&n, SLOT_GATEWAY, ROLE_GATEWAY, handlers, ARRAY_LEN(handlers));
	nagger = fork();
	cr_assert_geq(nagger, 0);
	if (nagger == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (kill(pid, SIGSTOP) == 0 && kill(pid, SIGCONT) == 0)
			(void)poll(NULL, 0, 1);
		_exit(0);
	}
	while (n.sent < WINDOW)
		cr_assert_eq(node_send(&n, SLOT_BACKEND, MSG_CHAT_START, n.sent++, NULL), ERR_OK);
	loop_run(n.w.loop);
	cr_assert_eq(kill(nagger, SIGKILL), 0);
	cr_assert_eq(waitpid(nagger, NULL, 0), nagger);
	cr_assert_eq(kill(pid, SIGCONT), 0);
	end_backend(&n, pid);
	node_fini(&n);
}

Test(bus, what_was_queued_is_flushed_at_an_orderly_end)
{
	static const struct handler handlers[] = {
		{MSG_CHAT_START, ROLE_BIT(ROLE_GATEWAY), on_keep},
	};
	struct node n;
	int status;
	pid_t pid;

	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		struct bytes *body = bytes_copy("bye", 3);
		struct node gateway;

		gateway_init(&gateway);
		for (uint64_t i = 0; i < 50; i++)
			CHECK(node_send(&gateway, SLOT_BACKEND, MSG_CHAT_START, i, body) == ERR_OK);
		bytes_unref(&body);
		node_fini(&gateway);
		_exit(0);
	}
	node_init(&n, SLOT_BACKEND, ROLE_BACKEND, handlers, ARRAY_LEN(handlers));
	n.wanted = 50;
	loop_run(n.w.loop);
	cr_assert_eq(n.last.head.request_id, 49);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	node_fini(&n);
}

/* ---- death ---- */

Test(bus, a_killed_peer_is_an_error_as_soon_as_the_board_says_so)
{
	struct bytes *body = bytes_copy("x", 1);
	pid_t pid = fork_backend();
	uint64_t began;
	struct node n;

	gateway_init(&n);
	n.wanted = 1;
	cr_assert_eq(node_send(&n, SLOT_BACKEND, MSG_CHAT_START, 1, body), ERR_OK);
	loop_run(n.w.loop);
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	began = clock_ns();
	(void)node_send(&n, SLOT_BACKEND, MSG_CHAT_START, 2, body); /* nobody knows yet */
	set_slot(SLOT_BACKEND, ROLE_BACKEND, GENERATION, SLOT_BACKOFF);
	bus_board_changed(n.w.bus);
	cr_assert_eq(node_send(&n, SLOT_BACKEND, MSG_CHAT_START, 3, body), ERR_WORKER_DIED);
	set_slot(SLOT_BACKEND, ROLE_BACKEND, GENERATION + 1, SLOT_STARTING);
	cr_assert_eq(node_send(&n, SLOT_BACKEND, MSG_CHAT_START, 4, body), ERR_WORKER_DIED);
	cr_assert_eq(node_count(&n, COUNTER_MSG_UNSENT), 2);
	cr_assert_lt(clock_ns() - began, 100 * NS_PER_MS);
	node_fini(&n);
	cr_assert_lt(clock_ns() - began, NS_PER_S);
	bytes_unref(&body);
	/* The supervisor's part: the dead one's socket file. */
	{
		char path[128];

		(void)snprintf(
			path, sizeof(path), "%s/bus/%d.%d", run_dir, SLOT_BACKEND, GENERATION);
		cr_assert_eq(unlink(path), 0);
	}
}

/* ---- last words ---- */

static void
on_heard(void *arg)
{
	struct node *n = arg;

	n->sent++;
	loop_stop(n->w.loop);
}

/* The peer answered and ended, and the board said so before the answer was looked at. */
Test(bus, the_last_words_of_a_life_that_ended_are_heard)
{
	struct bytes *body = bytes_copy("last words", 10);
	pid_t pid = fork_backend();
	struct node n;

	gateway_init(&n);
	bus_on_heard(n.w.bus, on_heard, &n);
	n.wanted = 1;
	cr_assert_eq(node_send(&n, SLOT_BACKEND, MSG_CHAT_START, 1, body), ERR_OK);
	loop_run(n.w.loop); /* connected */
	n.wanted = 1000;
	for (uint64_t i = 2; i < 102; i++)
		cr_assert_eq(node_send(&n, SLOT_BACKEND, MSG_CHAT_START, i, body), ERR_OK);
	end_backend(&n, pid);
	set_slot(SLOT_BACKEND, ROLE_BACKEND, GENERATION, SLOT_EMPTY);
	bus_board_changed(n.w.bus);
	cr_assert(bus_hears(n.w.bus, SLOT_BACKEND, GENERATION));
	set_slot(SLOT_BACKEND, ROLE_BACKEND, GENERATION + 1, SLOT_STARTING);
	loop_run(n.w.loop);
	cr_assert_eq(n.seen, 101, "heard %llu", (unsigned long long)n.seen);
	cr_assert_eq(n.sent, 1, "told once that it is over");
	cr_assert_not(bus_hears(n.w.bus, SLOT_BACKEND, GENERATION));
	bytes_unref(&body);
	node_fini(&n);
}

static unsigned
open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* A killed life and its successor: what was meant for one never reaches the other, and the links to
 * the dead leave no descriptor behind. */
Test(bus, lives_of_a_peer_come_and_go)
{
	struct bytes *body = bytes_copy("x", 1);
	unsigned before = 0;
	struct node n;
	char path[128];

	gateway_init(&n);
	for (unsigned life = 0; life < 40; life++) {
		pid_t pid;

		backend_generation = GENERATION + life;
		set_slot(SLOT_BACKEND, ROLE_BACKEND, backend_generation, SLOT_READY);
		pid = fork_backend();
		n.wanted = n.seen + 1;
		cr_assert_eq(node_send(&n, SLOT_BACKEND, MSG_CHAT_START, life, body), ERR_OK);
		loop_run(n.w.loop);
		cr_assert_eq(n.last.head.request_id, life);
		cr_assert_eq(n.last.head.sender_generation, backend_generation);
		cr_assert_eq(kill(pid, SIGKILL), 0);
		cr_assert_eq(waitpid(pid, NULL, 0), pid);
		(void)node_send(&n, SLOT_BACKEND, MSG_CHAT_START, 1000, body); /* lost with it */
		set_slot(SLOT_BACKEND, ROLE_BACKEND, backend_generation, SLOT_BACKOFF);
		bus_board_changed(n.w.bus);
		(void)snprintf(path, sizeof(path), "%s/bus/%d.%u", run_dir, SLOT_BACKEND,
			backend_generation);
		cr_assert_eq(unlink(path), 0);
		if (life == 4)
			before = open_fds();
	}
	/* ZeroMQ closes a socket on a thread of its own, a little later. */
	cr_assert_leq(open_fds(), before + 4);
	cr_assert_eq(n.seen, 40);
	node_fini(&n);
	bytes_unref(&body);
}

Test(bus, a_peer_that_takes_nothing_is_an_error_not_a_wait)
{
	uint64_t began = clock_ns();
	enum err_code code = ERR_OK;
	unsigned sent = 0;
	struct node n;

	gateway_init(&n); /* slot 1 is on the board, but no process serves it */
	while (sent < 4 * BUS_QUEUE_MAX && code == ERR_OK) {
		code = node_send(&n, SLOT_BACKEND, MSG_CHAT_START, sent, NULL);
		sent++;
	}
	cr_assert_eq(code, ERR_OVERLOADED);
	cr_assert_geq(sent, BUS_QUEUE_MAX);
	cr_assert_eq(node_count(&n, COUNTER_MSG_UNSENT), 1);
	cr_assert_lt(clock_ns() - began, 2 * NS_PER_S);
	node_fini(&n);
}

static int
lowest_free(void)
{
	int fd = dup(STDIN_FILENO);

	if (fd >= 0)
		(void)close(fd);
	return fd;
}

/* A first message makes a connection, which takes several descriptors: each may be the missing one,
 * and what had been opened before it is closed again. */
Test(bus, without_descriptors_it_is_an_error_and_later_it_goes)
{
	struct msg m = {.type = MSG_CHAT_CREDIT, .head = {.request_id = 1}};
	struct rlimit before, few;
	enum err_code code = ERR_SYS;
	rlim_t more = 0;
	struct node n;
	int next;

	gateway_init(&n);
	/* ZeroMQ's own threads need some, too, and begin with the first connection */
	cr_assert_eq(node_send(&n, SLOT_PROFILER, MSG_SUSPECT, 1, NULL), ERR_OK);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	next = lowest_free();
	for (; code == ERR_SYS && more < 32; more++) {
		few = (struct rlimit){(rlim_t)next + more, before.rlim_max};
		cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
		code = bus_send(n.w.bus, SLOT_BACKEND, GENERATION, &m, NULL, NULL);
		cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
		while (code == ERR_SYS &&
			lowest_free() != next) /* the suite's time limit ends it */
			(void)poll(NULL, 0, 1);
	}
	cr_assert_eq(code, ERR_OK, "%s with %u more", err_name(code), (unsigned)more);
	cr_assert_gt(more, 2);
	cr_assert_eq(node_count(&n, COUNTER_MSG_UNSENT), more - 1);
	node_fini(&n);
}

Test(bus, an_answer_to_somebody_not_connected_is_an_error)
{
	struct node n;

	node_init(&n, SLOT_BACKEND, ROLE_BACKEND, NULL, 0);
	cr_assert_eq(node_send(&n, SLOT_GATEWAY, MSG_CHAT_END, 1, NULL), ERR_WORKER_DIED);
	cr_assert_eq(node_send(&n, SLOTS_MAX, MSG_CHAT_END, 1, NULL), ERR_WORKER_DIED);
	cr_assert_eq(node_count(&n, COUNTER_MSG_UNSENT), 2);
	node_fini(&n);
}

/* ---- liars: raw sockets that send what no worker of ours would ---- */

struct liar {
	void *zmq, *socket;
};

static void
liar_init(struct liar *l, struct bus_life as)
{
	unsigned char id[BUS_ID_LEN];
	char address[128];
	int linger = 0;

	l->zmq = zmq_ctx_new();
	l->socket = zmq_socket(l->zmq, ZMQ_DEALER);
	bus_life_to_id(id, as);
	(void)snprintf(
		address, sizeof(address), "ipc://%s/bus/%d.%d", run_dir, SLOT_BACKEND, GENERATION);
	cr_assert_eq(zmq_setsockopt(l->socket, ZMQ_ROUTING_ID, id, sizeof(id)), 0);
	cr_assert_eq(zmq_setsockopt(l->socket, ZMQ_LINGER, &linger, sizeof(linger)), 0);
	cr_assert_eq(zmq_connect(l->socket, address), 0);
}

static void
liar_fini(struct liar *l)
{
	(void)zmq_close(l->socket);
	(void)zmq_ctx_term(l->zmq);
}

static void
liar_say(struct liar *l, const void *data, size_t len, enum err_code more)
{
	int flags = more == ERR_OK ? 0 : ZMQ_SNDMORE;

	cr_assert_eq(zmq_send(l->socket, data, len, flags), (int)len);
}

/* A message's first frame, as an honest worker makes it. */
static void
liar_encode(struct buf *out, const struct msg *m)
{
	struct bus_tail tail = {0, 0};

	msg_encode(out, m);
	tail.head_len = (uint32_t)out->len;
	buf_add(out, &tail, sizeof(tail));
}

static void
liar_send(struct liar *l, enum msg_type type, struct msg_head head)
{
	AUTO(buf_fini) struct buf b = BUF_INIT;
	struct msg m;

	memset(&m, 0, sizeof(m));
	m.type = type;
	m.head = head;
	liar_encode(&b, &m);
	liar_say(l, b.data, b.len, ERR_OK);
}

static struct msg_head
honest_head(unsigned slot, enum role role)
{
	return (struct msg_head){.sender_slot = (uint16_t)slot,
		.sender_role = (uint8_t)role,
		.sender_generation = GENERATION,
		.target_generation = GENERATION};
}

struct await {
	struct node *n;
	enum counter counter;
	uint64_t value;
};

static void
await_look(void *arg)
{
	struct await *a = arg;

	if (node_count(a->n, a->counter) >= a->value)
		loop_stop(a->n->w.loop);
}

/* Run the node until its counter has this value; no other drop counter may have moved. */
static void
node_await(struct node *n, enum counter c, uint64_t value)
{
	static const enum counter all[] = {COUNTER_MSG_MALFORMED, COUNTER_MSG_UNKNOWN,
		COUNTER_MSG_WRONG_SENDER, COUNTER_MSG_STALE, COUNTER_MSG_RECEIVED};
	static struct await a;

	if (a.n == NULL)
		loop_on_turn(n->w.loop, await_look, &a);
	a = (struct await){n, c, value};
	loop_run(n->w.loop);
	a.value = UINT64_MAX; /* the hook stays */
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		cr_assert_eq(node_count(n, all[i]), all[i] == c ? value : 0, "counter %s is %llu",
			counter_row(all[i])->metric, (unsigned long long)node_count(n, all[i]));
}

/* Every type is welcome from profilers only; a backend that receives them. */
static void
picky_init(struct node *n)
{
	static struct handler handlers[MSG_TYPES - 1];

	for (unsigned type = MSG_NONE + 1; type < MSG_TYPES; type++)
		handlers[type - 1] =
			(struct handler){(enum msg_type)type, ROLE_BIT(ROLE_PROFILER), on_keep};
	node_init(n, SLOT_BACKEND, ROLE_BACKEND, handlers, ARRAY_LEN(handlers));
}

Test(bus, every_type_from_every_wrong_role_is_counted_and_dropped)
{
	struct node n;
	uint64_t drops = 0;

	picky_init(&n);
	for (unsigned role = ROLE_NONE; role < ROLES; role++) {
		const unsigned slot = 10 + role;
		struct liar l;

		if (role == ROLE_PROFILER)
			continue;
		set_slot(slot, (enum role)role, GENERATION, SLOT_READY);
		liar_init(&l, (struct bus_life){slot, GENERATION});
		for (unsigned type = MSG_NONE + 1; type < MSG_TYPES; type++) {
			liar_send(&l, (enum msg_type)type, honest_head(slot, (enum role)role));
			/* and claiming the role that may */
			liar_send(&l, (enum msg_type)type, honest_head(slot, ROLE_PROFILER));
			drops += 2;
		}
		node_await(&n, COUNTER_MSG_WRONG_SENDER, drops);
		liar_fini(&l);
	}
	cr_assert_eq(n.seen, 0);
	node_fini(&n);
}

Test(bus, a_message_in_anothers_name_is_dropped)
{
	struct node n;
	struct liar l;

	picky_init(&n);
	liar_init(&l, (struct bus_life){SLOT_GATEWAY, GENERATION});
	liar_send(&l, MSG_PROBE_START, honest_head(SLOT_PROFILER, ROLE_PROFILER));
	node_await(&n, COUNTER_MSG_WRONG_SENDER, 1);
	liar_fini(&l);
	/* a slot that no board has */
	liar_init(&l, (struct bus_life){SLOTS_MAX + 5, GENERATION});
	liar_send(&l, MSG_PROBE_START, honest_head(SLOTS_MAX + 5, ROLE_PROFILER));
	node_await(&n, COUNTER_MSG_WRONG_SENDER, 2);
	liar_fini(&l);
	cr_assert_eq(n.seen, 0);
	node_fini(&n);
}

Test(bus, another_life_of_the_sender_or_of_the_target_is_stale)
{
	struct msg_head head = honest_head(SLOT_PROFILER, ROLE_PROFILER);
	struct node n;
	struct liar l;

	picky_init(&n);
	liar_init(&l, (struct bus_life){SLOT_PROFILER, GENERATION - 1});
	head.sender_generation = GENERATION - 1;
	liar_send(&l, MSG_PROBE_START, head);
	node_await(&n, COUNTER_MSG_STALE, 1);
	liar_fini(&l);
	liar_init(&l, (struct bus_life){SLOT_PROFILER, GENERATION});
	head.sender_generation = GENERATION;
	head.target_generation = GENERATION - 1;
	liar_send(&l, MSG_PROBE_START, head);
	node_await(&n, COUNTER_MSG_STALE, 2);
	liar_fini(&l);
	cr_assert_eq(n.seen, 0);
	node_fini(&n);
}

Test(bus, a_type_without_a_row_is_unknown)
{
	struct node n;
	struct liar l;

	node_init(&n, SLOT_BACKEND, ROLE_BACKEND, NULL, 0);
	liar_init(&l, (struct bus_life){SLOT_PROFILER, GENERATION});
	liar_send(&l, MSG_PROBE_START, honest_head(SLOT_PROFILER, ROLE_PROFILER));
	node_await(&n, COUNTER_MSG_UNKNOWN, 1);
	liar_fini(&l);
	node_fini(&n);
}

Test(bus, garbage_is_counted_and_dropped_and_the_next_message_arrives)
{
	struct msg_head head = honest_head(SLOT_PROFILER, ROLE_PROFILER);
	unsigned char noise[2048];
	uint64_t drops = 0;
	struct node n;
	struct liar l;

	picky_init(&n);
	liar_init(&l, (struct bus_life){SLOT_PROFILER, GENERATION});
	srand(1);
	for (size_t len = 0; len < sizeof(noise); len = len * 3 / 2 + 1, drops++) {
		for (size_t i = 0; i < len; i++)
			noise[i] = (unsigned char)rand();
		liar_say(&l, noise, len, ERR_OK);
	}
	liar_say(&l, noise, 10, ERR_SYS); /* more frames than a message has */
	liar_say(&l, noise, 10, ERR_SYS);
	liar_say(&l, noise, 10, ERR_SYS);
	liar_say(&l, noise, 10, ERR_OK);
	node_await(&n, COUNTER_MSG_MALFORMED, drops + 1);
	cr_assert_eq(n.seen, 0);
	n.wanted = 1;
	liar_send(&l, MSG_PROBE_START, head);
	loop_run(n.w.loop);
	cr_assert_eq(n.seen, 1);
	cr_assert_eq(n.last.type, MSG_PROBE_START);
	liar_fini(&l);
	node_fini(&n);
}

Test(bus, a_payload_where_the_schema_has_none_is_malformed)
{
	AUTO(buf_fini) struct buf b = BUF_INIT;
	struct msg m;
	struct node n;
	struct liar l;

	picky_init(&n);
	liar_init(&l, (struct bus_life){SLOT_PROFILER, GENERATION});
	memset(&m, 0, sizeof(m));
	m.type = MSG_PROBE_START;
	m.head = honest_head(SLOT_PROFILER, ROLE_PROFILER);
	liar_encode(&b, &m);
	liar_say(&l, b.data, b.len, ERR_SYS);
	liar_say(&l, "payload", 7, ERR_OK);
	node_await(&n, COUNTER_MSG_MALFORMED, 1);
	cr_assert_eq(n.seen, 0);
	liar_fini(&l);
	node_fini(&n);
}

Test(bus, a_tail_that_does_not_fit_its_frame_is_malformed)
{
	static const struct bus_tail tails[] = {
		{UINT32_MAX, 0}, {1, 0}, {0, 0}, {MSG_LEN_MAX + 1, 1}, {5000, 0}};
	AUTO(buf_fini) struct buf b = BUF_INIT;
	struct msg m = {.type = MSG_PROBE_START};
	struct node n;
	struct liar l;

	picky_init(&n);
	liar_init(&l, (struct bus_life){SLOT_PROFILER, GENERATION});
	m.head = honest_head(SLOT_PROFILER, ROLE_PROFILER);
	for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
		buf_clear(&b);
		msg_encode(&b, &m);
		buf_add(&b, &tails[i], sizeof(tails[i]));
		liar_say(&l, b.data, b.len, ERR_OK);
	}
	/* a payload in both frames */
	buf_clear(&b);
	msg_encode(&b, &m);
	buf_add(&b, &(struct bus_tail){(uint32_t)b.len, 1}, sizeof(struct bus_tail));
	liar_say(&l, b.data, b.len, ERR_SYS);
	liar_say(&l, "payload", 7, ERR_OK);
	node_await(&n, COUNTER_MSG_MALFORMED, ARRAY_LEN(tails) + 1);
	cr_assert_eq(n.seen, 0);
	liar_fini(&l);
	node_fini(&n);
}

Test(bus, a_caller_without_a_workers_name_is_malformed)
{
	struct node n;
	struct liar l;

	picky_init(&n);
	l.zmq = zmq_ctx_new();
	l.socket = zmq_socket(l.zmq, ZMQ_DEALER);
	{
		char address[128];
		int linger = 0;

		(void)snprintf(address, sizeof(address), "ipc://%s/bus/%d.%d", run_dir,
			SLOT_BACKEND, GENERATION);
		cr_assert_eq(zmq_setsockopt(l.socket, ZMQ_LINGER, &linger, sizeof(linger)), 0);
		cr_assert_eq(zmq_connect(l.socket, address), 0);
	}
	liar_send(&l, MSG_PROBE_START, honest_head(SLOT_PROFILER, ROLE_PROFILER));
	node_await(&n, COUNTER_MSG_MALFORMED, 1);
	liar_fini(&l);
	node_fini(&n);
}
