/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.c - the weights segments: kept here, so that they outlive the classifiers that use them
 *
 * Looks at notes of fixed form and at a segment's seals and size, never into a model. Whoever of a
 * model's classifiers asks first is told to load, the others wait; a loader that dies is replaced
 * by another; after repeated failure everybody hears why, and the next try comes after a delay.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "supervisor/supervisor.h"

enum {
	KEEPER_BATCH = 16, /* notes of one classifier before others get their turn */
	KEEPER_DEATHS_MAX = 3, /* loaders that may die in a row before the next try is delayed */
	KEEPER_DELAY_MS = 1000, /* doubles with each failure in a row up to */
	KEEPER_DELAY_MAX_MS = 60000,
	KEEPER_NOBODY = SLOTS_MAX
};

enum keeper_cause { KEEPER_SAID_BROKEN, KEEPER_LOADER_DIED };

static void
keeper_clear(struct segment *g)
{
	*g = (struct segment){.fd = -1, .loader = KEEPER_NOBODY};
}

void
keeper_init(struct supervisor *s)
{
	for (size_t i = 0; i < WEIGHTS_MAX; i++)
		keeper_clear(&s->segments[i]);
}

static void
keeper_drop(struct segment *g)
{
	if (g->fd >= 0)
		(void)close(g->fd);
	g->fd = -1;
	g->generation = 0;
	g->bytes = 0;
}

void
keeper_close(struct supervisor *s)
{
	for (size_t i = 0; i < WEIGHTS_MAX; i++)
		keeper_drop(&s->segments[i]);
}

static struct segment *
keeper_find(struct supervisor *s, uint64_t plan)
{
	for (size_t i = 0; i < WEIGHTS_MAX; i++)
		if (plan != 0 && s->segments[i].plan == plan)
			return &s->segments[i];
	return NULL;
}

static struct seat *
keeper_seat(struct supervisor *s, const struct segment *g, unsigned slot)
{
	return s->seats[slot].plan == g->plan && s->seats[slot].state != CHILD_EMPTY
		       ? &s->seats[slot]
		       : NULL;
}

/* ---- what others see ---- */

static enum weights_state
keeper_state(const struct segment *g)
{
	if (g->plan == 0)
		return WEIGHTS_NONE;
	if (g->fd >= 0)
		return g->loader != KEEPER_NOBODY ? WEIGHTS_RENEWING : WEIGHTS_LOADED;
	if (g->loader != KEEPER_NOBODY)
		return WEIGHTS_LOADING;
	return g->why[0] != '\0' ? WEIGHTS_FAILED : WEIGHTS_ABSENT;
}

static void
keeper_publish(struct supervisor *s, struct segment *g)
{
	struct weights_info info = {.state = keeper_state(g),
		.generation = g->generation,
		.loads = g->loads,
		.failures = g->failures,
		.bytes = g->bytes};

	if (info.state != g->shown_state)
		g->since_ns = clock_ns();
	g->shown_state = info.state;
	info.since_ns = g->since_ns;
	(void)snprintf(info.name, sizeof(info.name), "%s", g->name);
	(void)snprintf(info.folder, sizeof(info.folder), "%s", g->folder);
	(void)snprintf(info.why, sizeof(info.why), "%s", g->why);
	memcpy(info.dtype, g->dtype, sizeof(info.dtype));
	memcpy(info.isa, g->isa, sizeof(info.isa));
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		if (g->plan != 0 && keeper_seat(s, g, i) != NULL)
			info.maps[i] = s->seats[i].weights_maps;
	board_set_weights(s->board, (unsigned)(g - s->segments), &info);
}

/* ---- notes to classifiers ---- */

/* One that does not read its notes will be found hung, or is dead: it asks again when it is back.
 */
static bool
keeper_tell(struct seat *seat, const struct weights_note *n, int fd)
{
	struct err e;

	if (weights_send(seat->weights_fd, n, fd, &e) == ERR_OK)
		return true;
	log_warn("weights_untold", "name=%s slot=%u pid=%d text=\"%s\"", seat->name, seat->slot,
		seat->pid, e.text);
	return false;
}

static void
keeper_give(const struct segment *g, struct seat *seat)
{
	const struct weights_note n = {
		.kind = WEIGHTS_NOTE_GIVE, .generation = g->generation, .identity = g->identity};

	seat->weights_waits = false;
	seat->weights_given = keeper_tell(seat, &n, g->fd);
}

static void
keeper_refuse(struct supervisor *s, const struct segment *g)
{
	uint64_t now = clock_ns();
	struct weights_note n = {.kind = WEIGHTS_NOTE_REFUSE,
		.retry_ms =
			g->retry_ns > now ? (uint32_t)((g->retry_ns - now) / NS_PER_MS) + 1 : 1};

	memcpy(n.text, g->why, sizeof(n.text));
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		struct seat *seat = keeper_seat(s, g, i);

		if (seat == NULL || !seat->weights_waits)
			continue;
		seat->weights_waits = false;
		(void)keeper_tell(seat, &n, -1);
	}
}

/* ---- one loader at a time ---- */

/* May it be told to load? A successor first: its sandbox admits the folder that is there now. */
static bool
keeper_may_load(const struct seat *seat)
{
	return seat != NULL && seat->wanted && seat->weights_up && seat->weights_fd >= 0 &&
	       (seat->state == CHILD_READY || seat->state == CHILD_STARTING);
}

static struct seat *
keeper_choose(struct supervisor *s, const struct segment *g)
{
	struct seat *found = NULL;

	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		struct seat *seat = keeper_seat(s, g, i);

		if (keeper_may_load(seat) &&
			(found == NULL || (seat->weights_waits && !found->weights_waits)))
			found = seat;
	}
	return found;
}

static bool
keeper_is_waited_for(struct supervisor *s, const struct segment *g)
{
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		if (keeper_seat(s, g, i) != NULL && s->seats[i].weights_waits)
			return true;
	return false;
}

/* Have somebody load, where that is wanted, nobody does yet and the delay is over. */
static void
keeper_elect(struct supervisor *s, struct segment *g)
{
	struct weights_note n = {.kind = WEIGHTS_NOTE_LOAD};
	struct seat *seat;

	if (g->loader != KEEPER_NOBODY ||
		(!g->renew && (g->fd >= 0 || !keeper_is_waited_for(s, g))))
		return;
	seat = s->phase == PHASE_RUNNING && clock_ns() >= g->retry_ns ? keeper_choose(s, g) : NULL;
	if (seat == NULL) {
		/* who waits is too early, or goes for good; the next one that says hello may be
		 * asked */
		keeper_refuse(s, g);
		return;
	}
	n.generation = g->last_generation + 1;
	n.identity = weights_identity(g->folder);
	if (!keeper_tell(seat, &n, -1))
		return;
	g->last_generation++;
	g->renew_after = false;
	g->loader = seat->slot;
	g->loader_identity = n.identity;
	log_info("weights_loading", "model=%s generation=%u loader=%s pid=%d", g->name,
		n.generation, seat->name, seat->pid);
}

/* The load under way came to nothing. */
static void
keeper_failed(struct supervisor *s, struct segment *g, enum keeper_cause cause, const char *why)
{
	uint32_t shift;

	g->loader = KEEPER_NOBODY;
	g->failures++;
	g->failures_in_row++;
	(void)snprintf(g->why, sizeof(g->why), "%s", why);
	log_error("weights_failed", "model=%s folder=%s failures=%u text=\"%s\"", g->name,
		g->folder, g->failures_in_row, why);
	if ((cause == KEEPER_LOADER_DIED && g->failures_in_row < KEEPER_DEATHS_MAX) ||
		g->renew_after) {
		g->retry_ns = 0;
	} else {
		shift = MIN(g->failures_in_row - 1, 6U);
		g->retry_ns = clock_ns() + clock_ms_to_ns(MIN((uint32_t)KEEPER_DELAY_MS << shift,
						   (uint32_t)KEEPER_DELAY_MAX_MS));
	}
	keeper_elect(s, g); /* another loader now, or the reason to all that wait */
}

static void
keeper_accept(struct supervisor *s, struct segment *g, const struct weights_note *n, int fd,
	uint64_t bytes)
{
	unsigned loader = g->loader;

	keeper_drop(g); /* classifiers that still map the old one keep it alive until they switch */
	g->fd = fd;
	g->generation = n->generation;
	g->bytes = bytes;
	g->identity = g->loader_identity;
	g->loader = KEEPER_NOBODY;
	g->renew = g->renew_after;
	g->failures_in_row = 0;
	g->retry_ns = 0;
	g->loads++;
	g->why[0] = '\0';
	memcpy(g->dtype, n->dtype, sizeof(g->dtype));
	memcpy(g->isa, n->isa, sizeof(g->isa));
	log_info("weights_loaded",
		"model=%s generation=%u bytes=%" PRIu64 " dtype=%s isa=%s loader=%s", g->name,
		g->generation, g->bytes, g->dtype, g->isa, s->seats[loader].name);
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		struct seat *seat = keeper_seat(s, g, i);

		if (seat != NULL && seat->weights_up && seat->weights_fd >= 0 &&
			(seat->weights_waits || seat->weights_given || seat->weights_maps != 0 ||
				i == loader))
			keeper_give(g, seat);
	}
	keeper_elect(s, g); /* where the files have changed meanwhile */
}

/* When nobody has it mapped any more, the memory goes. Not when a classifier merely died. */
static void
keeper_drop_unused(struct supervisor *s, struct segment *g)
{
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		if (keeper_seat(s, g, i) != NULL &&
			(s->seats[i].weights_maps != 0 || s->seats[i].weights_waits ||
				s->seats[i].weights_given))
			return;
	if (g->fd < 0 || g->loader != KEEPER_NOBODY)
		return;
	log_info("weights_unloaded", "model=%s generation=%u bytes=%" PRIu64 " text=\"idle\"",
		g->name, g->generation, g->bytes);
	keeper_drop(g);
	g->renew = false; /* whoever wants it next gets what is there then */
}

/* ---- notes from classifiers; fd is the handler's ---- */

static void
on_hello(struct supervisor *s, struct segment *g, struct seat *seat, const struct weights_note *n,
	int fd)
{
	(void)n;
	(void)fd;
	seat->weights_up = true;
	if (g->fd >= 0)
		keeper_give(g, seat);
	keeper_elect(s, g);
}

static void
on_want(struct supervisor *s, struct segment *g, struct seat *seat, const struct weights_note *n,
	int fd)
{
	(void)n;
	(void)fd;
	seat->weights_waits = true;
	if (g->fd >= 0)
		keeper_give(g, seat);
	keeper_elect(s, g);
}

static void
on_built(struct supervisor *s, struct segment *g, struct seat *seat, const struct weights_note *n,
	int fd)
{
	struct err e = {.code = ERR_OK};
	uint64_t bytes;

	if (g->loader != seat->slot || n->generation != g->last_generation) {
		(void)close(fd);
		return; /* it was given up */
	}
	if (weights_check(fd, &bytes, &e) == ERR_OK) {
		keeper_accept(s, g, n, fd, bytes);
		return;
	}
	(void)close(fd);
	keeper_failed(s, g, KEEPER_SAID_BROKEN, e.text);
}

static void
on_broken(struct supervisor *s, struct segment *g, struct seat *seat, const struct weights_note *n,
	int fd)
{
	(void)fd;
	if (g->loader != seat->slot || n->generation != g->last_generation)
		return;
	s->load_failed = true;
	keeper_failed(s, g, KEEPER_SAID_BROKEN, n->text);
	keeper_drop_unused(s, g); /* they may have become idle meanwhile */
}

static void
on_maps(struct supervisor *s, struct segment *g, struct seat *seat, const struct weights_note *n,
	int fd)
{
	(void)s;
	(void)g;
	(void)fd;
	seat->weights_given = false;
	seat->weights_maps = n->generation;
}

static void
on_idle(struct supervisor *s, struct segment *g, struct seat *seat, const struct weights_note *n,
	int fd)
{
	(void)n;
	(void)fd;
	seat->weights_maps = 0;
	keeper_drop_unused(s, g);
}

static void
keeper_dispatch(struct supervisor *s, struct seat *seat, const struct weights_note *n, int fd)
{
	static void (*const handlers[WEIGHTS_NOTES])(struct supervisor *, struct segment *,
		struct seat *, const struct weights_note *, int) = {
		[WEIGHTS_NOTE_HELLO] = on_hello,
		[WEIGHTS_NOTE_WANT] = on_want,
		[WEIGHTS_NOTE_BUILT] = on_built,
		[WEIGHTS_NOTE_BROKEN] = on_broken,
		[WEIGHTS_NOTE_MAPS] = on_maps,
		[WEIGHTS_NOTE_IDLE] = on_idle,
	};
	struct segment *g = keeper_find(s, seat->plan);

	if (g == NULL || handlers[n->kind] == NULL) {
		log_warn("weights_note_dropped", "name=%s slot=%u kind=%u", seat->name, seat->slot,
			n->kind);
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	handlers[n->kind](s, g, seat, n, fd);
	keeper_publish(s, g);
}

void
keeper_read(struct supervisor *s, struct seat *seat)
{
	struct weights_note n;
	enum weights_recv got;
	int fd;

	for (int i = 0; i < KEEPER_BATCH && seat->weights_fd >= 0; i++) {
		got = weights_recv(seat->weights_fd, &n, &fd);
		if (got == WEIGHTS_RECV_EMPTY)
			return;
		if (got == WEIGHTS_RECV_NOTE) {
			keeper_dispatch(s, seat, &n, fd);
		} else if (got == WEIGHTS_RECV_BAD) {
			log_warn("weights_note_dropped", "name=%s slot=%u text=\"malformed\"",
				seat->name, seat->slot);
		} else {
			(void)close(seat->weights_fd);
			seat->weights_fd = -1;
		}
	}
}

/* ---- seats come and go ---- */

enum err_code
keeper_open(struct seat *seat, int *theirs, struct err *e)
{
	int pair[2];

	CHECK(seat->weights_fd < 0);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(e, ERR_SYS, "socketpair: %s", strerror(errno));
	seat->weights_fd = pair[0];
	*theirs = pair[1];
	return ERR_OK;
}

void
keeper_assign(struct supervisor *s, struct seat *seat, const struct config_encoder *c)
{
	struct segment *g;

	seat->plan = c == NULL ? 0 : config_hash_weights(c);
	seat->weights_up = seat->weights_waits = seat->weights_given = false;
	seat->weights_maps = 0;
	if (c == NULL || keeper_find(s, seat->plan) != NULL)
		return;
	for (g = s->segments; g < s->segments + WEIGHTS_MAX && g->plan != 0; g++)
		;
	if (g == s->segments + WEIGHTS_MAX) {
		log_error("weights_unplaced", "model=%s text=\"more than %d segments\"", c->name,
			(int)WEIGHTS_MAX);
		return;
	}
	g->plan = seat->plan;
	(void)snprintf(g->name, sizeof(g->name), "%s", c->name);
	(void)snprintf(g->folder, sizeof(g->folder), "%s", c->folder);
	keeper_publish(s, g);
}

void
keeper_seat_gone(struct supervisor *s, struct seat *seat)
{
	struct segment *g = keeper_find(s, seat->plan);

	seat->weights_up = seat->weights_waits = seat->weights_given = false;
	seat->weights_maps = 0;
	if (g == NULL)
		return;
	if (g->loader == seat->slot && seat->wanted && s->phase == PHASE_RUNNING) {
		keeper_failed(s, g, KEEPER_LOADER_DIED, "the classifier that loaded it died");
	} else if (g->loader == seat->slot) { /* it was told to go: nobody's failure */
		g->loader = KEEPER_NOBODY;
		keeper_elect(s, g);
	}
	keeper_publish(s, g);
}

void
keeper_forget(struct supervisor *s, struct seat *seat)
{
	struct segment *g = keeper_find(s, seat->plan);

	seat->plan = 0;
	if (g == NULL)
		return;
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		if (keeper_seat(s, g, i) != NULL)
			return;
	keeper_drop(g);
	keeper_clear(g);
	keeper_publish(s, g);
}

void
keeper_renew(struct supervisor *s)
{
	for (struct segment *g = s->segments; g < s->segments + WEIGHTS_MAX; g++) {
		uint64_t now = g->plan == 0 ? 0 : weights_identity(g->folder);

		if (now == 0)
			continue;
		/* Whatever failed before may be mended now. */
		g->failures_in_row = 0;
		g->retry_ns = 0;
		g->renew_after = g->loader != KEEPER_NOBODY && now != g->loader_identity;
		g->renew = g->fd >= 0 && now != g->identity;
		if (g->renew || g->renew_after)
			log_info("weights_changed", "model=%s folder=%s", g->name, g->folder);
		keeper_elect(s, g);
		keeper_publish(s, g);
	}
}

void
keeper_act(struct supervisor *s)
{
	for (struct segment *g = s->segments; g < s->segments + WEIGHTS_MAX; g++) {
		if (!g->renew || g->retry_ns == 0 || clock_ns() < g->retry_ns)
			continue;
		g->retry_ns = 0;
		keeper_elect(s, g);
		keeper_publish(s, g);
	}
}

uint64_t
keeper_next(const struct supervisor *s, uint64_t next)
{
	for (const struct segment *g = s->segments; g < s->segments + WEIGHTS_MAX; g++)
		if (g->renew && g->retry_ns != 0 && g->loader == KEEPER_NOBODY &&
			(next == 0 || g->retry_ns < next))
			next = g->retry_ns;
	return next;
}
