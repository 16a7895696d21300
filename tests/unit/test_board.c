/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_board.c - the shared board: who may write where, whole rows, refused attachments
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "shm/board.h"
#include "shm/board_map.h"
#include "shm/twin.h"

static struct board *
new_board(void)
{
	struct board *b = NULL;
	struct err e;

	cr_assert_eq(board_create(&b, "/run/shunt", &e), ERR_OK, "%s", e.text);
	return b;
}

static struct board *
attached(const struct board *b, unsigned slot, enum board_access access)
{
	struct board *w = NULL;
	struct err e;

	cr_assert_eq(board_attach(&w, board_fd_ro(b), board_fd_rw(b), slot, access, &e), ERR_OK,
		"%s", e.text);
	return w;
}

/* Run fn in a child that may die; returns its wait status. */
static int
in_child(void (*fn)(struct board *b), struct board *b)
{
	int status = 0;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		/* The test runner catches SIGSEGV; the point here is to die of it. */
		(void)signal(SIGSEGV, SIG_DFL);
		(void)signal(SIGABRT, SIG_DFL);
		(void)close(STDERR_FILENO);
		fn(b);
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static void
assert_killed_by(int status, int sig)
{
	cr_assert(WIFSIGNALED(status), "status %x", (unsigned)status);
	cr_assert_eq(WTERMSIG(status), sig);
}

Test(board, head_says_who_made_it)
{
	AUTO(board_close) struct board *b = new_board();
	AUTO(board_close) struct board *w = attached(b, 3, BOARD_SLOT_ONLY);

	cr_assert_eq(board_head(w)->magic, BOARD_MAGIC);
	cr_assert_eq(board_head(w)->supervisor_pid, (uint32_t)getpid());
	cr_assert_str_eq(board_head(w)->run_dir, "/run/shunt");
}

Test(board, every_row_list_starts_on_a_page)
{
#define SHM_ROW(field, type, count, writer)                                                        \
	cr_assert_eq(offsetof(struct board_map, field) % (size_t)getpagesize(), 0, #field);
#include "shm/shm_list.h"
#undef SHM_ROW
	cr_assert_eq(sizeof(struct worker_row) % (size_t)getpagesize(), 0);
}

static void
write_own_row(struct board *b)
{
	struct board *w = attached(b, 3, BOARD_SLOT_ONLY);

	board_own_row(w)->last_words[0] = 'x';
	_exit(board_worker(b, 3)->last_words[0] == 'x' ? 0 : 1);
}

static void
write_other_slot(struct board *b)
{
	struct board *w = attached(b, 3, BOARD_SLOT_ONLY);
	/* The row after the own one, as a wild write would reach it. */
	volatile struct worker_row *other = board_own_row(w) + 1;

	other->last_words[0] = 'x';
}

static void
write_read_only_view(struct board *b)
{
	struct board *w = attached(b, 3, BOARD_SLOT_ONLY);
	volatile char *other = (char *)(uintptr_t)board_worker(w, 4)->last_words;

	*other = 'x';
}

static void
write_profile_without_right(struct board *b)
{
	struct board *w = attached(b, 3, BOARD_SLOT_ONLY);
	struct profile_info p = {.used = 1};

	board_set_profile(w, 0, &p);
}

static void
write_slot_row_as_worker(struct board *b)
{
	struct board *w = attached(b, 3, BOARD_SLOT_ONLY);
	struct slot_info info = {.state = SLOT_READY};

	board_set_slot(w, 3, &info);
}

Test(board, a_worker_writes_its_own_row)
{
	AUTO(board_close) struct board *b = new_board();

	cr_assert_eq(in_child(write_own_row, b), 0);
}

/* A wild pointer just past the own row either hits another mapping's guard or nothing. */
Test(board, writing_past_the_own_row_never_reaches_another_slot)
{
	AUTO(board_close) struct board *b = new_board();
	int status = in_child(write_other_slot, b);

	cr_assert_eq(board_worker(b, 4)->last_words[0], '\0', "status %x", (unsigned)status);
}

Test(board, writing_another_slots_row_is_a_segfault)
{
	AUTO(board_close) struct board *b = new_board();

	assert_killed_by(in_child(write_read_only_view, b), SIGSEGV);
	cr_assert_eq(board_worker(b, 4)->last_words[0], '\0');
}

Test(board, writing_without_the_right_is_a_failed_check)
{
	AUTO(board_close) struct board *b = new_board();

	assert_killed_by(in_child(write_profile_without_right, b), SIGABRT);
	assert_killed_by(in_child(write_slot_row_as_worker, b), SIGABRT);
}

Test(board, read_only_view_cannot_be_made_writable)
{
	AUTO(board_close) struct board *b = new_board();
	AUTO(board_close) struct board *w = attached(b, 0, BOARD_SLOT_ONLY);

	cr_assert_eq(mprotect((void *)(uintptr_t)board_head(w), 4096, PROT_READ | PROT_WRITE), -1);
}

Test(board, cannot_be_cut_short_or_grown)
{
	AUTO(board_close) struct board *b = new_board();

	cr_assert_eq(ftruncate(board_fd_rw(b), 4096), -1);
	cr_assert_eq(ftruncate(board_fd_rw(b), 1 << 30), -1);
}

Test(board, another_size_is_refused)
{
	struct board *w = NULL;
	struct err e;
	int fd = memfd_create("test", MFD_CLOEXEC);

	cr_assert_eq(ftruncate(fd, 8192), 0);
	cr_assert_eq(board_attach(&w, fd, fd, 0, BOARD_SLOT_ONLY, &e), ERR_SYS);
	cr_assert_not_null(strstr(e.text, "8192 bytes"), "%s", e.text);
	cr_assert_null(w);
	(void)close(fd);
}

Test(board, a_foreign_magic_version_or_layout_is_refused)
{
	AUTO(board_close) struct board *b = new_board();
	struct board *w = NULL;
	struct board_head saved = b->all->head[0];
	struct err e;

	b->all->head[0].magic++;
	cr_assert_eq(board_attach(&w, b->fd_ro, b->fd_rw, 0, BOARD_SLOT_ONLY, &e), ERR_SYS);
	cr_assert_not_null(strstr(e.text, "magic"), "%s", e.text);
	b->all->head[0] = saved;
	b->all->head[0].version[0] = '9';
	cr_assert_eq(board_attach(&w, b->fd_ro, b->fd_rw, 0, BOARD_SLOT_ONLY, &e), ERR_SYS);
	cr_assert_not_null(strstr(e.text, "version"), "%s", e.text);
	b->all->head[0] = saved;
	b->all->head[0].layout++;
	cr_assert_eq(board_attach(&w, b->fd_ro, b->fd_rw, 0, BOARD_SLOT_ONLY, &e), ERR_SYS);
	cr_assert_not_null(strstr(e.text, "layout"), "%s", e.text);
	b->all->head[0] = saved;
	cr_assert_eq(board_attach(&w, b->fd_ro, b->fd_rw, SLOTS_MAX, BOARD_SLOT_ONLY, &e), ERR_SYS);
	cr_assert_null(w);
}

/* Every word of the row is the same number: a mix of two numbers is a torn row. */
static bool
torn(const struct profile_info *p)
{
	return p->ok != p->failed || p->ok != p->updated_ns || p->context_tokens != (uint32_t)p->ok;
}

static void
write_profiles_for_ever(struct board *b, uint64_t from)
{
	struct profile_info p = {.used = 1};

	for (uint64_t n = from;; n++) {
		p.ok = p.failed = p.updated_ns = n;
		p.context_tokens = (uint32_t)n;
		memset(p.why, 'a' + (int)(n % 26), sizeof(p.why) - 1);
		board_set_profile(b, 7, &p);
	}
}

Test(twin, killing_the_writer_1000_times_never_leaves_a_torn_row, .timeout = 60)
{
	AUTO(board_close) struct board *b = new_board();
	AUTO(board_close) struct board *r = attached(b, 0, BOARD_SLOT_ONLY);
	struct profile_info p;
	unsigned seen_work = 0;

	for (unsigned life = 1; life <= 1000; life++) {
		uint64_t before = b->all->profiles->rows[7].twin.seq;
		pid_t pid = fork();

		cr_assert_geq(pid, 0);
		if (pid == 0)
			write_profiles_for_ever(b, (uint64_t)life << 20);
		/* Read while it writes, a different number of times in each life. */
		for (unsigned i = 0; i < 20 + life % 50; i++) {
			board_profile(r, 7, &p);
			cr_assert_not(torn(&p), "life %u while written", life);
		}
		while (b->all->profiles->rows[7].twin.seq == before)
			(void)sched_yield();
		cr_assert_eq(kill(pid, SIGKILL), 0);
		cr_assert_eq(waitpid(pid, NULL, 0), pid);
		seen_work += b->all->profiles->rows[7].twin.seq != before;
		board_profile(r, 7, &p);
		cr_assert_not(torn(&p), "life %u after the kill", life);
		cr_assert_eq(p.used, 1);
		for (size_t i = 1; i < sizeof(p.why) - 1; i++)
			cr_assert_eq(p.why[i], p.why[0], "life %u", life);
	}
	cr_assert_eq(seen_work, 1000);
}

/* What a writer that died half way leaves in the spare copy is never seen. */
Test(twin, a_half_written_spare_copy_is_invisible)
{
	AUTO(board_close) struct board *b = new_board();
	struct slot_info info = {.state = SLOT_READY, .name = "one"};
	struct slot_row *row = &b->all->slots[5];

	board_set_slot(b, 5, &info);
	memset(&row->copy[twin_spare(&row->twin)], 0xff, sizeof(row->copy[0]) / 2);
	board_slot(b, 5, &info);
	cr_assert_str_eq(info.name, "one");
	cr_assert_eq(info.state, SLOT_READY);
}

Test(board, text_is_terminated_whatever_was_written)
{
	AUTO(board_close) struct board *b = new_board();
	struct slot_info slot;
	struct profile_info p;
	char words[LAST_WORDS_MAX];

	memset(b->all->slots, 0xff, sizeof(b->all->slots));
	memset(b->all->profiles, 0xff, sizeof(b->all->profiles));
	memset(b->all->workers[1].last_words, 0xff, LAST_WORDS_MAX);
	memcpy(b->all->workers[1].last_words, "a\nb", 3);
	board_slot(b, 1, &slot);
	cr_assert_lt(strlen(slot.name), sizeof(slot.name));
	cr_assert_str_eq(slot_state_name(slot.state), "?");
	cr_assert_eq(board_find_slot(b, UINT32_MAX, slot.name), -1);
	board_profile(b, 1, &p);
	cr_assert_lt(strlen(p.backend), sizeof(p.backend));
	cr_assert_lt(strlen(p.model), sizeof(p.model));
	cr_assert_eq(p.health, HEALTH_UNKNOWN);
	cr_assert_eq(p.vision, 2);
	cr_assert(isfinite(p.ttft_ms) && isfinite(p.failure_rate));
	board_last_words(b, 1, words);
	cr_assert_eq(strlen(words), LAST_WORDS_MAX - 1);
	cr_assert_eq(strncmp(words, "a b", 3), 0);
}

Test(board, config_is_read_back_with_its_generation)
{
	AUTO(board_close) struct board *b = new_board();
	AUTO(buf_fini) struct buf text = BUF_INIT;
	char path[256];
	struct err e;

	cr_assert_eq(board_config(b, &text, path), 0);
	cr_assert_eq(board_set_config(b, "/etc/one.yaml", "a: 1\n", 5, &e), ERR_OK);
	cr_assert_eq(board_set_config(b, "/etc/two.yaml", "b: 22\n", 6, &e), ERR_OK);
	cr_assert_eq(board_config(b, &text, path), 2);
	cr_assert_str_eq(path, "/etc/two.yaml");
	cr_assert_str_eq(buf_str(&text), "b: 22\n");
	cr_assert_eq(board_config_generation(b), 2);
}

Test(board, config_too_large_or_of_garbage_length_is_refused)
{
	AUTO(board_close) struct board *b = new_board();
	AUTO(buf_fini) struct buf text = BUF_INIT;
	char *large = calloc(1, CONFIG_TEXT_MAX + 1);
	char path[256];
	struct err e;

	cr_assert_eq(board_set_config(b, "f", large, CONFIG_TEXT_MAX + 1, &e), ERR_CONFIG);
	cr_assert_eq(board_set_config(b, "f", large, CONFIG_TEXT_MAX, &e), ERR_OK);
	cr_assert_eq(board_config(b, &text, path), 1);
	cr_assert_eq(text.len, CONFIG_TEXT_MAX);
	b->all->config->copy[1].len = UINT32_MAX;
	cr_assert_eq(board_config(b, &text, path), 0);
	cr_assert_eq(text.len, 0);
	free(large);
}

Test(board, find_slot_prefers_the_newest_ready_life)
{
	AUTO(board_close) struct board *b = new_board();
	struct slot_info info = {.role = 3, .name = "gpu1"};

	cr_assert_eq(board_find_slot(b, 3, "gpu1"), -1);
	info.state = SLOT_DRAINING;
	board_set_slot(b, 4, &info);
	cr_assert_eq(board_find_slot(b, 3, "gpu1"), 4);
	info.state = SLOT_READY;
	info.since_ns = 10;
	board_set_slot(b, 9, &info);
	info.since_ns = 5;
	board_set_slot(b, 10, &info);
	cr_assert_eq(board_find_slot(b, 3, "gpu1"), 9);
	info.state = SLOT_BACKOFF;
	board_set_slot(b, 9, &info);
	cr_assert_eq(board_find_slot(b, 3, "gpu1"), 10);
	cr_assert_eq(board_find_slot(b, 2, "gpu1"), -1);
	cr_assert_eq(board_find_slot(b, 3, "gpu2"), -1);
}

Test(board, a_restart_keeps_counters_and_clears_gauges)
{
	AUTO(board_close) struct board *b = new_board();
	AUTO(board_close) struct board *w = attached(b, 2, BOARD_SLOT_ONLY);
	struct slot_info info = {.state = SLOT_READY};

	board_set_slot(b, 2, &info);
	board_count(w, COUNTER_UP_OK, 5);
	board_gauge(w, COUNTER_UP_IN_FLIGHT, 3);
	board_gauge(w, COUNTER_UP_IN_FLIGHT, -1);
	cr_assert_eq(board_worker(b, 2)->counters[COUNTER_UP_IN_FLIGHT], 2);
	board_own_row(w)->stats[0].used = 1;
	board_own_row(w)->stats[0].in_flight = 2;
	board_own_row(w)->stats[0].ok = 9;
	board_bury_slot(b, 2);
	cr_assert_eq(board_worker(b, 2)->counters[COUNTER_UP_OK], 5);
	cr_assert_eq(board_worker(b, 2)->counters[COUNTER_UP_IN_FLIGHT], 0);
	cr_assert_eq(board_worker(b, 2)->stats[0].in_flight, 0);
	board_gauge(w, COUNTER_UP_IN_FLIGHT, 2);
	board_own_row(w)->stats[0].in_flight = 2;
	board_prepare_slot(b, 2, BOARD_LIFE_AGAIN);
	cr_assert_eq(board_worker(b, 2)->counters[COUNTER_UP_OK], 5);
	cr_assert_eq(board_worker(b, 2)->counters[COUNTER_UP_IN_FLIGHT], 0);
	cr_assert_eq(board_worker(b, 2)->stats[0].in_flight, 0);
	cr_assert_eq(board_worker(b, 2)->stats[0].ok, 9);
	board_prepare_slot(b, 2, BOARD_LIFE_FIRST);
	cr_assert_eq(board_worker(b, 2)->counters[COUNTER_UP_OK], 0);
	cr_assert_eq(board_worker(b, 2)->stats[0].ok, 0);
}

Test(board, profiler_writes_profiles_and_others_see_the_change)
{
	AUTO(board_close) struct board *b = new_board();
	AUTO(board_close) struct board *profiler = attached(b, 1, BOARD_SLOT_AND_PROFILES);
	AUTO(board_close) struct board *gateway = attached(b, 0, BOARD_SLOT_ONLY);
	struct profile_info p = {.used = 1, .health = HEALTH_UP, .model = "llama"}, seen;

	board_set_profile(profiler, 4, &p);
	board_profiles_changed(profiler);
	cr_assert_eq(board_profile_changes(gateway), 1);
	board_profile(gateway, 4, &seen);
	cr_assert_str_eq(seen.model, "llama");
	cr_assert_eq(seen.health, HEALTH_UP);
}

Test(counter, every_metric_is_documented_and_unique)
{
	for (enum counter a = 0; a < COUNTERS; a++) {
		cr_assert_gt(strlen(counter_row(a)->help), 5);
		for (enum counter b = a + 1; b < COUNTERS; b++)
			cr_assert_str_neq(counter_row(a)->metric, counter_row(b)->metric);
	}
}
