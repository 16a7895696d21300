/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - which workers the config wants, and getting from those that run to those
 *
 * A worker is the same as before when role, name, the hash of its part of the config and the files
 * that its sandbox admits are. A changed one gets a successor in another slot and is drained when
 * that one serves.
 */
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/buf.h"
#include "lib/base/log.h"
#include "supervisor/supervisor.h"

struct table_want {
	enum role role;
	char name[NAME_MAX_LEN];
	unsigned index;
	uint64_t hash;
	uint64_t files; /* which files its config's names stand for now; 0: not all are there */
};

struct table_wants {
	struct table_want rows[SLOTS_MAX];
	size_t len;
};

_Static_assert((int)CONFIG_FILE_MAX == (int)CONFIG_TEXT_MAX, "an accepted file fits the board");
_Static_assert((int)CONFIG_WORKERS_MAX == (int)SLOTS_MAX, "an accepted config's workers fit");
_Static_assert((int)CONFIG_NAME_MAX < (int)NAME_MAX_LEN, "a backend's name fits its slot row");

const struct table_role *
table_role(enum role role)
{
	static const struct table_role roles[ROLES] = {
#define WORKER(symbol, name, calls, fds, stop_order) [ROLE_##symbol] = {#name, fds, stop_order},
#include "workers/worker_list.h"
#undef WORKER
	};

	CHECK(role > ROLE_NONE && role < ROLES);
	return &roles[role];
}

/* Another file under the same name? A sandbox admits files, not names. */
static uint64_t
table_file(uint64_t files, const char *path, bool count_time)
{
	const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
	struct stat st;

	if (path == NULL || files == 0)
		return files;
	if (stat(path, &st) != 0)
		return 0;
	files = (files ^ (uint64_t)st.st_dev) * odd;
	files = (files ^ (uint64_t)st.st_ino) * odd;
	if (count_time)
		files = (files ^ (uint64_t)st.st_mtim.tv_sec) * odd ^ (uint64_t)st.st_mtim.tv_nsec;
	return files | 1;
}

/* The worker itself reads a key again that was written into the same file; its TLS library keeps
 * the certificates of its first look. */
static uint64_t
table_backend_files(const struct config_backend *b)
{
	return table_file(table_file(1, b->key_file, false), b->ca_file, true);
}

/* A gateway reads its keys again, but its sandbox admits the folders in which they lay at its
 * start. */
static uint64_t
table_key_folder(uint64_t files, const char *file)
{
	char target[PATH_MAX];

	if (file == NULL)
		return files;
	return realpath(file, target) == NULL ? 0 : table_file(files, dirname(target), false);
}

/* Likewise scorer files, of which some may be missing. A sum, because the order of routes means
 * nothing. */
static uint64_t
table_scorer_folders(const struct config *c)
{
	AUTO(buf_fini) struct buf targets = BUF_INIT;
	size_t n = config_scorer_targets(&targets, c), at = 0;
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		sum += table_file(1, targets.data + at, false);
		at += strlen(targets.data + at) + 1;
	}
	return sum;
}

static uint64_t
table_gateway_files(const struct config *c)
{
	uint64_t keys =
		table_key_folder(table_key_folder(1, c->auth.keys_file), c->auth.admin_keys_file);

	return keys == 0 ? 0 : (keys + table_scorer_folders(c)) | 1;
}

static void
table_want(
	struct table_wants *wants, enum role role, const char *name, uint64_t hash, uint64_t files)
{
	struct table_want *row;

	if (wants->len == SLOTS_MAX) {
		log_error("worker_unplaced", "role=%s name=%s text=\"more workers than %d slots\"",
			table_role(role)->name, name, SLOTS_MAX);
		return;
	}
	row = &wants->rows[wants->len++];
	row->role = role;
	(void)snprintf(row->name, sizeof(row->name), "%s", name);
	row->hash = hash;
	row->files = files;
	row->index = 0;
	for (size_t i = 0; i + 1 < wants->len; i++)
		row->index += wants->rows[i].role == role;
}

/* A sum, because the order of links means nothing. */
static void
table_on_link(void *arg, const char *target, const struct stat *st)
{
	const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
	uint64_t *sum = arg;

	(void)target;
	*sum += (((uint64_t)st->st_dev ^ odd) * odd ^ (uint64_t)st->st_ino) * odd;
}

/* The worker may look at other files in the same folder; where that is another one, or links in it
 * lead elsewhere, its sandbox does not admit them. */
static uint64_t
table_encoder_files(const struct config_encoder *c)
{
	uint64_t files = table_file(1, c->folder, false), links = 0;

	weights_links(c->folder, table_on_link, &links);
	return files == 0 ? 0 : (files + links) | 1;
}

static void
table_want_encoder(struct table_wants *wants, enum role role, const struct config_encoder *c)
{
	uint64_t files = table_encoder_files(c);
	char name[NAME_MAX_LEN];

	_Static_assert(
		CONFIG_ENCODER_NAME_MAX + sizeof("-15") <= NAME_MAX_LEN, "fits a slot's row");
	for (uint32_t i = 0; i < c->processes; i++) {
		(void)snprintf(name, sizeof(name), "%.*s-%hhu", (int)CONFIG_ENCODER_NAME_MAX,
			c->name, (unsigned char)i);
		table_want(wants, role, name, config_hash_encoder(c), files);
	}
}

static void
table_want_role(struct table_wants *wants, const struct config *c, enum role role)
{
	const struct table_role *r = table_role(role);
	uint32_t count = (r->fds & FD_LISTEN) != 0 ? c->gateways : 1;
	uint64_t hash = (r->fds & FD_LISTEN) != 0 ? config_hash_gateway(c) : 0;
	uint64_t files = (r->fds & FD_LISTEN) != 0 ? table_gateway_files(c) : 0;
	char name[NAME_MAX_LEN];

	if ((r->fds & ROLE_EACH_BACKEND) != 0) {
		for (size_t i = 0; i < c->backends_len; i++)
			table_want(wants, role, c->backends[i].name,
				config_hash_backend(&c->backends[i]),
				table_backend_files(&c->backends[i]));
		return;
	}
	if ((r->fds & FD_WEIGHTS) != 0) {
		for (size_t i = 0; i < c->encoders_len; i++)
			table_want_encoder(wants, role, &c->encoders[i]);
		return;
	}
	if ((r->fds & ROLE_STATE) != 0) {
		count = c->journal.enabled ? 1 : 0;
		hash = config_hash_recorder(c);
	}
	for (uint32_t i = 0; i < count; i++) {
		if ((r->fds & FD_LISTEN) != 0)
			(void)snprintf(name, sizeof(name), "%s-%u", r->name, i);
		else
			(void)snprintf(name, sizeof(name), "%s", r->name);
		table_want(wants, role, name, hash, files);
	}
}

/* A seat that already holds what is wanted and is not yet kept for another row; one that serves
 * goes before one that does not. */
static struct seat *
table_find_same(struct supervisor *s, const struct table_want *want)
{
	struct seat *found = NULL;

	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		struct seat *seat = &s->seats[i];

		if (!child_stays(seat->state) || seat->wanted || seat->role != want->role ||
			seat->hash != want->hash || strcmp(seat->name, want->name) != 0)
			continue;
		if (want->files != 0 && seat->files != want->files)
			continue;
		if (found == NULL || seat->state == CHILD_READY)
			found = seat;
	}
	return found;
}

static struct seat *
table_find_empty(struct supervisor *s)
{
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		if (s->seats[i].state == CHILD_EMPTY && !s->seats[i].wanted)
			return &s->seats[i];
	return NULL;
}

/* Give it a seat; NULL: there is none. */
static struct seat *
table_place(struct supervisor *s, const struct table_want *want)
{
	struct seat *seat = table_find_empty(s);

	if (seat == NULL) {
		log_warn("worker_unplaced",
			"role=%s name=%s text=\"no slot is free; tried again when one is\"",
			table_role(want->role)->name, want->name);
		s->unplaced = true;
		return NULL;
	}
	seat_assign(seat, want->role, want->name, want->index, want->hash);
	seat->files = want->files;
	keeper_assign(s, seat,
		(table_role(want->role)->fds & FD_WEIGHTS) == 0
			? NULL
			: config_encoder_of(s->config, want->name));
	return seat;
}

/* Does a successor of this seat stand ready to come but does not serve yet? */
static bool
table_waits(const struct supervisor *s, const struct seat *old)
{
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		const struct seat *seat = &s->seats[i];

		if (seat != old && seat->wanted && child_stays(seat->state) &&
			seat->role == old->role && strcmp(seat->name, old->name) == 0)
			return seat->state != CHILD_READY;
	}
	return false;
}

void
table_retire_replaced(struct supervisor *s)
{
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		struct seat *seat = &s->seats[i];

		if (!child_stays(seat->state) || seat->wanted)
			continue;
		/* One that does not serve helps nobody while it waits. */
		if (seat->state != CHILD_READY || !table_waits(s, seat))
			seat_event(s, seat, CHILD_EVENT_RETIRE);
	}
}

void
table_reconcile(struct supervisor *s)
{
	struct table_wants wants = {.len = 0};
	struct seat *placed[SLOTS_MAX] = {NULL};
	bool kept[SLOTS_MAX] = {false};

	for (enum role role = ROLE_NONE + 1; role < ROLES; role++)
		table_want_role(&wants, s->config, role);
	s->unplaced = false;
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		s->seats[i].wanted = false;
	for (size_t i = 0; i < wants.len; i++) {
		struct seat *seat = table_find_same(s, &wants.rows[i]);

		kept[i] = seat != NULL;
		if (seat != NULL)
			seat->wanted = true;
	}
	for (size_t i = 0; i < wants.len; i++)
		if (!kept[i])
			placed[i] = table_place(s, &wants.rows[i]);
	/* Those that stop last start first: a gateway that serves finds every backend on the board.
	 */
	for (size_t i = wants.len; i-- > 0;)
		if (placed[i] != NULL)
			seat_event(s, placed[i], CHILD_EVENT_START);
	table_retire_replaced(s);
}

/* Does the model of a classifier lie elsewhere than when that started? Its sandbox does not admit it. */
static bool
table_model_moved(const struct supervisor *s)
{
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		const struct seat *seat = &s->seats[i];
		const struct config_encoder *c = seat->wanted && seat->plan != 0
							 ? config_encoder_of(s->config, seat->name)
							 : NULL;
		uint64_t files = c == NULL ? 0 : table_encoder_files(c);

		if (files != 0 && files != seat->files)
			return true;
	}
	return false;
}

void
table_place_rest(struct supervisor *s)
{
	bool moved = s->load_failed && s->phase == PHASE_RUNNING && table_model_moved(s);

	s->load_failed = false;
	if ((s->unplaced || moved) && s->phase == PHASE_RUNNING && table_find_empty(s) != NULL)
		table_reconcile(s);
}
