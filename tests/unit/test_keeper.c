/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_keeper.c - who is told to load, who gets the segment, when it goes: classifiers played by
 * hand
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "supervisor/supervisor.h"

enum { SEATS = 3, IMAGE = 4096 };

static struct supervisor *s;
static struct config_encoder encoder;
static char folder[] = "/tmp/shunt-keeper-XXXXXX";
static int theirs[SEATS]; /* the classifiers' ends */
static struct weights_note note; /* the last one read there */
static struct err e;

static void
write_model(const char *text)
{
	char path[100];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/config.json", folder);
	f = fopen(path, "w");
	cr_assert_not_null(f);
	(void)fputs(text, f);
	(void)fclose(f);
}

static void
set_up(void)
{
	static char name[] = "mini";

	log_open("test", LOG_ERROR, LOG_TEXT);
	cr_assert_not_null(mkdtemp(folder));
	write_model("{}");
	encoder.name = name;
	encoder.folder = folder;
	s = calloc(1, sizeof(*s));
	cr_assert_not_null(s);
	cr_assert_eq(board_create(&s->board, folder, &e), ERR_OK, "%s", e.text);
	keeper_init(s);
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		s->seats[i].slot = i;
		s->seats[i].weights_fd = -1;
	}
	for (unsigned i = 0; i < SEATS; i++) {
		struct seat *seat = &s->seats[i];

		seat->state = CHILD_READY;
		seat->wanted = true;
		(void)snprintf(seat->name, sizeof(seat->name), "mini-%c", (char)('0' + i));
		keeper_assign(s, seat, &encoder);
		cr_assert_eq(keeper_open(seat, &theirs[i], &e), ERR_OK, "%s", e.text);
	}
}

static void
tear_down(void)
{
	char path[100];

	keeper_close(s);
	for (unsigned i = 0; i < SEATS; i++) {
		(void)close(theirs[i]);
		if (s->seats[i].weights_fd >= 0)
			(void)close(s->seats[i].weights_fd);
	}
	board_close(&s->board);
	free(s);
	(void)snprintf(path, sizeof(path), "%s/config.json", folder);
	(void)unlink(path);
	(void)rmdir(folder);
}

TestSuite(keeper, .init = set_up, .fini = tear_down);

static void
says(unsigned i, enum weights_note_kind kind, uint32_t generation)
{
	const struct weights_note n = {.kind = kind, .generation = generation, .text = "no good"};

	cr_assert_eq(weights_send(theirs[i], &n, -1, &e), ERR_OK, "%s", e.text);
	keeper_read(s, &s->seats[i]);
}

static void
builds(unsigned i, uint32_t generation)
{
	const struct weights_note n = {
		.kind = WEIGHTS_NOTE_BUILT, .generation = generation, .dtype = "f32"};
	const struct weights_head head = {.magic = WEIGHTS_MAGIC, .image_bytes = IMAGE};
	struct weights_draft d = WEIGHTS_DRAFT_INIT;

	cr_assert_eq(weights_draft_open(&d, IMAGE, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(weights_draft_seal(&d, &head, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(weights_send(theirs[i], &n, d.fd, &e), ERR_OK, "%s", e.text);
	weights_draft_close(&d);
	keeper_read(s, &s->seats[i]);
}

/* The kind of the next note that classifier i was sent; WEIGHTS_NOTES: none. Maps what is given. */
static enum weights_note_kind
hears(unsigned i)
{
	int fd;

	if (weights_recv(theirs[i], &note, &fd) != WEIGHTS_RECV_NOTE)
		return WEIGHTS_NOTES;
	if (fd >= 0)
		(void)close(fd);
	if (note.kind == WEIGHTS_NOTE_GIVE)
		says(i, WEIGHTS_NOTE_MAPS, note.generation);
	return (enum weights_note_kind)note.kind;
}

static void
dies(unsigned i)
{
	(void)close(theirs[i]);
	(void)close(s->seats[i].weights_fd);
	s->seats[i].weights_fd = -1;
	s->seats[i].state = CHILD_BACKOFF;
	keeper_seat_gone(s, &s->seats[i]);
}

static void
comes_back(unsigned i)
{
	s->seats[i].state = CHILD_STARTING;
	cr_assert_eq(keeper_open(&s->seats[i], &theirs[i], &e), ERR_OK, "%s", e.text);
	says(i, WEIGHTS_NOTE_HELLO, 0);
}

static struct weights_info
shown(void)
{
	struct weights_info info;

	board_weights(s->board, 0, &info);
	return info;
}

static void
all_say_hello(void)
{
	for (unsigned i = 0; i < SEATS; i++)
		says(i, WEIGHTS_NOTE_HELLO, 0);
}

/* All want it, the first to ask loads it, all have it. */
static void
load(void)
{
	all_say_hello();
	for (unsigned i = 0; i < SEATS; i++)
		says(i, WEIGHTS_NOTE_WANT, 0);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_LOAD);
	builds(0, note.generation);
	for (unsigned i = 0; i < SEATS; i++)
		cr_assert_eq(hears(i), WEIGHTS_NOTE_GIVE);
}

Test(keeper, nothing_is_loaded_before_somebody_wants_it)
{
	all_say_hello();
	for (unsigned i = 0; i < SEATS; i++)
		cr_assert_eq(hears(i), WEIGHTS_NOTES);
	cr_assert_eq(shown().state, WEIGHTS_ABSENT);
}

Test(keeper, many_that_want_it_cause_one_load_and_all_get_it)
{
	all_say_hello();
	for (int round = 0; round < 5; round++)
		for (unsigned i = 0; i < SEATS; i++)
			says(i, WEIGHTS_NOTE_WANT, 0);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_LOAD);
	cr_assert_eq(note.generation, 1);
	cr_assert_eq(shown().state, WEIGHTS_LOADING);
	for (unsigned i = 0; i < SEATS; i++)
		cr_assert_eq(hears(i), WEIGHTS_NOTES);
	builds(0, 1);
	for (unsigned i = 0; i < SEATS; i++) {
		cr_assert_eq(hears(i), WEIGHTS_NOTE_GIVE);
		cr_assert_eq(note.generation, 1);
	}
	cr_assert_eq(shown().state, WEIGHTS_LOADED);
	cr_assert_eq(shown().loads, 1);
	cr_assert_str_eq(shown().dtype, "f32");
	cr_assert_eq(shown().maps[2], 1);
}

Test(keeper, one_that_comes_back_gets_what_is_kept)
{
	load();
	for (unsigned i = 0; i < SEATS; i++)
		dies(i);
	cr_assert_eq(shown().state, WEIGHTS_LOADED, "kept though nobody has it mapped");
	for (unsigned i = 0; i < SEATS; i++) {
		comes_back(i);
		cr_assert_eq(hears(i), WEIGHTS_NOTE_GIVE);
	}
	cr_assert_eq(shown().loads, 1);
}

Test(keeper, a_loader_that_dies_is_replaced_by_another_that_waits)
{
	all_say_hello();
	for (unsigned i = 0; i < SEATS; i++)
		says(i, WEIGHTS_NOTE_WANT, 0);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_LOAD);
	dies(0);
	cr_assert_eq(hears(1), WEIGHTS_NOTE_LOAD);
	cr_assert_eq(note.generation, 2);
	cr_assert_eq(hears(2), WEIGHTS_NOTES);
	builds(1, 2);
	cr_assert_eq(hears(2), WEIGHTS_NOTE_GIVE);
	cr_assert_eq(shown().failures, 1);
}

Test(keeper, what_a_former_loader_still_brings_is_not_taken)
{
	all_say_hello();
	says(0, WEIGHTS_NOTE_WANT, 0);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_LOAD);
	builds(1, 1); /* was never asked */
	builds(0, 7); /* another generation */
	cr_assert_eq(shown().loads, 0);
	builds(0, 1);
	cr_assert_eq(shown().loads, 1);
}

Test(keeper, loaders_that_keep_dying_make_the_others_hear_why)
{
	all_say_hello();
	for (unsigned i = 0; i < SEATS; i++)
		says(i, WEIGHTS_NOTE_WANT, 0);
	for (unsigned i = 0; i < SEATS; i++) {
		cr_assert_eq(hears(i), WEIGHTS_NOTE_LOAD);
		dies(i);
	}
	comes_back(1);
	says(1, WEIGHTS_NOTE_WANT, 0);
	cr_assert_eq(hears(1), WEIGHTS_NOTE_REFUSE);
	cr_assert_not_null(strstr(note.text, "died"), "%s", note.text);
	cr_assert(note.retry_ms > 0 && note.retry_ms <= 60001, "%u", note.retry_ms);
	cr_assert_eq(shown().state, WEIGHTS_FAILED);
}

Test(keeper, a_model_that_is_no_good_is_refused_to_all_and_tried_again_after_a_reload)
{
	all_say_hello();
	says(0, WEIGHTS_NOTE_WANT, 0);
	says(1, WEIGHTS_NOTE_WANT, 0);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_LOAD);
	says(0, WEIGHTS_NOTE_BROKEN, 1);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(hears(i), WEIGHTS_NOTE_REFUSE);
		cr_assert_str_eq(note.text, "no good");
	}
	cr_assert_eq(hears(2), WEIGHTS_NOTES, "it did not ask");
	says(2, WEIGHTS_NOTE_WANT, 0);
	cr_assert_eq(hears(2), WEIGHTS_NOTE_REFUSE);
	keeper_renew(s);
	says(2, WEIGHTS_NOTE_WANT, 0);
	cr_assert_eq(hears(2), WEIGHTS_NOTE_LOAD);
}

Test(keeper, what_can_still_be_written_to_is_not_kept)
{
	struct weights_note n = {.kind = WEIGHTS_NOTE_BUILT, .generation = 1};
	struct weights_draft d = WEIGHTS_DRAFT_INIT;

	all_say_hello();
	says(0, WEIGHTS_NOTE_WANT, 0);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_LOAD);
	cr_assert_eq(weights_draft_open(&d, IMAGE, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(weights_send(theirs[0], &n, d.fd, &e), ERR_OK, "%s", e.text);
	keeper_read(s, &s->seats[0]);
	weights_draft_close(&d);
	cr_assert_eq(shown().state, WEIGHTS_FAILED);
	cr_assert_not_null(strstr(shown().why, "not sealed"), "%s", shown().why);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_REFUSE);
}

Test(keeper, idle_weights_go_with_the_last_that_had_them)
{
	load();
	says(0, WEIGHTS_NOTE_IDLE, 0);
	says(1, WEIGHTS_NOTE_IDLE, 0);
	cr_assert_eq(shown().state, WEIGHTS_LOADED);
	says(2, WEIGHTS_NOTE_IDLE, 0);
	cr_assert_eq(shown().state, WEIGHTS_ABSENT);
	cr_assert_eq(shown().bytes, 0);
	says(1, WEIGHTS_NOTE_WANT, 0);
	cr_assert_eq(hears(1), WEIGHTS_NOTE_LOAD);
	cr_assert_eq(note.generation, 2);
}

Test(keeper, changed_files_are_built_beside_what_serves)
{
	load();
	keeper_renew(s);
	for (unsigned i = 0; i < SEATS; i++)
		cr_assert_eq(hears(i), WEIGHTS_NOTES, "nothing has changed");
	write_model("{\"another\": 1}");
	keeper_renew(s);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_LOAD);
	cr_assert_eq(note.generation, 2);
	cr_assert_eq(shown().state, WEIGHTS_RENEWING);
	cr_assert_eq(shown().generation, 1);
	builds(0, 2);
	for (unsigned i = 0; i < SEATS; i++) {
		cr_assert_eq(hears(i), WEIGHTS_NOTE_GIVE);
		cr_assert_eq(note.generation, 2);
	}
	cr_assert_eq(shown().generation, 2);
}

Test(keeper, a_successor_that_is_no_good_leaves_the_old_one)
{
	load();
	write_model("{\"another\": 1}");
	keeper_renew(s);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_LOAD);
	says(0, WEIGHTS_NOTE_BROKEN, 2);
	cr_assert_eq(shown().state, WEIGHTS_LOADED);
	cr_assert_eq(shown().generation, 1);
	cr_assert_str_eq(shown().why, "no good");
	dies(2);
	comes_back(2);
	cr_assert_eq(hears(2), WEIGHTS_NOTE_GIVE);
	cr_assert_eq(note.generation, 1);
}

Test(keeper, files_that_change_during_a_load_are_loaded_after_it)
{
	all_say_hello();
	says(0, WEIGHTS_NOTE_WANT, 0);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_LOAD);
	write_model("{\"another\": 1}");
	keeper_renew(s);
	cr_assert_eq(hears(0), WEIGHTS_NOTES, "one load at a time");
	builds(0, 1);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_GIVE);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_LOAD, "what it read was the old model");
	cr_assert_eq(note.generation, 2);
	builds(0, 2);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_GIVE);
	cr_assert_eq(hears(0), WEIGHTS_NOTES, "once is enough");
}

Test(keeper, a_successor_that_failed_is_tried_again_when_its_delay_is_over)
{
	uint64_t at;

	load();
	write_model("{\"another\": 1}");
	keeper_renew(s);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_LOAD);
	says(0, WEIGHTS_NOTE_BROKEN, 2);
	keeper_act(s);
	cr_assert_eq(hears(0), WEIGHTS_NOTES, "not yet");
	at = keeper_next(s, 0);
	cr_assert(at > clock_ns() && at <= clock_ns() + 60 * NS_PER_S);
	s->segments[0].retry_ns = clock_ns();
	keeper_act(s);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_LOAD);
	cr_assert_eq(note.generation, 3);
	cr_assert_eq(keeper_next(s, 7), 7, "nothing is due while it loads");
	builds(0, 3);
	cr_assert_eq(shown().generation, 3);
	cr_assert_str_eq(shown().why, "");
}

Test(keeper, a_retry_that_nobody_can_do_waits_for_the_next_hello)
{
	load();
	write_model("{\"another\": 1}");
	keeper_renew(s);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_LOAD);
	says(0, WEIGHTS_NOTE_BROKEN, 2);
	for (unsigned i = 0; i < SEATS; i++)
		dies(i);
	s->segments[0].retry_ns = clock_ns();
	keeper_act(s);
	cr_assert_eq(keeper_next(s, 0), 0, "the supervisor must not spin");
	comes_back(2);
	cr_assert_eq(hears(2), WEIGHTS_NOTE_GIVE);
	cr_assert_eq(hears(2), WEIGHTS_NOTE_LOAD);
}

Test(keeper, weights_that_are_on_their_way_to_one_do_not_go_with_another)
{
	load();
	dies(1);
	dies(2);
	comes_back(1); /* it was given the segment and has not said yet that it maps it */
	says(0, WEIGHTS_NOTE_IDLE, 0);
	cr_assert_eq(shown().state, WEIGHTS_LOADED);
	cr_assert_eq(hears(1), WEIGHTS_NOTE_GIVE);
	says(1, WEIGHTS_NOTE_IDLE, 0);
	cr_assert_eq(shown().state, WEIGHTS_ABSENT);
}

Test(keeper, weights_that_were_idle_are_not_renewed)
{
	load();
	write_model("{\"another\": 1}");
	keeper_renew(s);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_LOAD);
	says(0, WEIGHTS_NOTE_BROKEN, 2);
	for (unsigned i = 0; i < SEATS; i++)
		says(i, WEIGHTS_NOTE_IDLE, 0);
	cr_assert_eq(shown().state, WEIGHTS_FAILED, "unloaded, and the files are known to be bad");
	s->segments[0].retry_ns = clock_ns();
	keeper_act(s);
	for (unsigned i = 0; i < SEATS; i++)
		cr_assert_eq(hears(i), WEIGHTS_NOTES);
}

Test(keeper, weights_that_became_idle_during_a_load_go_when_it_fails)
{
	load();
	write_model("{\"another\": 1}");
	keeper_renew(s);
	cr_assert_eq(hears(0), WEIGHTS_NOTE_LOAD);
	for (unsigned i = 0; i < SEATS; i++)
		says(i, WEIGHTS_NOTE_IDLE, 0);
	cr_assert_eq(shown().state, WEIGHTS_RENEWING);
	says(0, WEIGHTS_NOTE_BROKEN, 2);
	cr_assert_eq(shown().state, WEIGHTS_FAILED);
	cr_assert_eq(shown().bytes, 0, "nobody has them mapped, nobody will say so again");
}

Test(keeper, the_row_is_free_when_the_last_classifier_has_gone)
{
	load();
	for (unsigned i = 0; i < SEATS; i++) {
		cr_assert_eq(shown().state, WEIGHTS_LOADED);
		dies(i);
		s->seats[i].state = CHILD_EMPTY;
		keeper_forget(s, &s->seats[i]);
	}
	cr_assert_eq(shown().state, WEIGHTS_NONE);
}
