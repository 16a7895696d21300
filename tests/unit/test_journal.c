/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_journal.c - rings: whole records in order, spilling, killed writers and readers, damage
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "shm/journal_ring.h"

enum { SPILL = 1024 * 1024 };

static char folder[64], path[80];

static void
make_folder(void)
{
	(void)snprintf(folder, sizeof(folder), "/tmp/shunt-journal-XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/a" JOURNAL_RING_SUFFIX, folder);
}

static void
remove_folder(void)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf %s", folder);
	cr_assert_eq(system(command), 0);
}

TestSuite(journal, .init = make_folder, .fini = remove_folder, .timeout = 120);

static struct journal *
writer(uint64_t spill_bytes)
{
	struct journal *j = NULL;
	struct err e;

	cr_assert_eq(
		journal_create(&j, path, JOURNAL_RING_MIN, spill_bytes, &e), ERR_OK, "%s", e.text);
	return j;
}

static struct journal *
reader(void)
{
	struct journal *j = NULL;
	struct err e;

	cr_assert_eq(journal_open(&j, path, &e), ERR_OK, "%s", e.text);
	return j;
}

/* Record number n: its number and a length that varies, filled with what the number says. */
static size_t
record_make(unsigned char out[JOURNAL_RECORD_MAX], uint32_t n, size_t most)
{
	const size_t len = 8 + (n * 2654435761U) % most;

	memset(out, (int)(n % 251), len);
	memcpy(out, &n, sizeof(n));
	return len;
}

static enum journal_put
put(struct journal *j, uint32_t n, size_t most)
{
	unsigned char record[JOURNAL_RECORD_MAX];

	return journal_put(j, record, record_make(record, n, most));
}

static uint32_t
check_record(const void *record, size_t len, size_t most)
{
	unsigned char want[JOURNAL_RECORD_MAX];
	uint32_t n;

	cr_assert_geq(len, sizeof(n));
	memcpy(&n, record, sizeof(n));
	cr_assert_eq(len, record_make(want, n, most));
	cr_assert_arr_eq(record, want, len);
	return n;
}

/* Read all that is there; numbers must follow *next without a gap. */
static void
drain(struct journal *j, uint32_t *next, size_t most)
{
	struct journal_place place;
	const void *record;
	struct err e;
	size_t len;

	while (journal_next(j, &record, &len, &place, &e))
		cr_assert_eq(check_record(record, len, most), (*next)++);
	cr_assert_eq(e.code, ERR_OK, "%s", e.text);
	journal_done(j);
}

Test(journal, records_come_whole_and_in_order_round_the_ring)
{
	struct journal *w = writer(SPILL), *r = reader();
	uint32_t next = 0;

	for (uint32_t n = 0; n < 20000; n++) {
		cr_assert_eq(put(w, n, 900), JOURNAL_PUT);
		if (n % 37 == 0)
			drain(r, &next, 900);
	}
	drain(r, &next, 900);
	cr_assert_eq(next, 20000);
	cr_assert_eq(journal_waiting(w), 0);
	journal_close(&w);
	journal_close(&r);
}

Test(journal, the_longest_and_the_shortest_record_fit)
{
	struct journal *w = writer(SPILL), *r = reader();
	unsigned char big[JOURNAL_RECORD_MAX];
	struct journal_place place;
	const void *record;
	struct err e;
	size_t len;

	memset(big, 'x', sizeof(big));
	for (int i = 0; i < 100; i++) {
		cr_assert_eq(journal_put(w, big, sizeof(big)), JOURNAL_PUT);
		cr_assert_eq(journal_put(w, "y", 1), JOURNAL_PUT);
		cr_assert(journal_next(r, &record, &len, &place, &e));
		cr_assert_eq(len, sizeof(big));
		cr_assert(journal_next(r, &record, &len, &place, &e));
		cr_assert_eq(len, 1);
		journal_done(r);
	}
	journal_close(&w);
	journal_close(&r);
}

Test(journal, a_full_ring_spills_and_keeps_the_order)
{
	struct journal *w = writer(SPILL), *r = reader();
	uint32_t next = 0, n = 0, spilled = 0;

	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 400; i++) {
			enum journal_put how = put(w, n++, 900);

			cr_assert_neq(how, JOURNAL_LOST);
			spilled += how == JOURNAL_SPILLED;
		}
		drain(r, &next, 900);
		cr_assert_eq(next, n);
		cr_assert_eq(put(w, n++, 900), JOURNAL_PUT, "drained, it is a ring again");
	}
	cr_assert_gt(spilled, 500);
	cr_assert_eq(journal_lost(w), 0);
	journal_close(&w);
	journal_close(&r);
}

Test(journal, what_fits_nowhere_is_said_to_be_lost_and_counted)
{
	struct journal *w = writer(4096), *r = reader();
	uint32_t next = 0, kept = 0, lost = 0;

	for (uint32_t n = 0; lost < 10; n++) {
		if (put(w, n, 900) == JOURNAL_LOST)
			lost++;
		else if (lost == 0)
			kept++;
	}
	cr_assert_not(journal_has_room(w));
	cr_assert_eq(journal_lost(r), lost);
	for (struct {
		     const void *p;
		     size_t len;
		     struct journal_place at;
		     struct err e;
	     } x;
		next < kept; next++) {
		cr_assert(journal_next(r, &x.p, &x.len, &x.at, &x.e));
		cr_assert_eq(check_record(x.p, x.len, 900), next);
	}
	journal_close(&w);
	journal_close(&r);
}

Test(journal, what_was_read_and_not_done_is_read_again)
{
	struct journal *w = writer(SPILL), *r = reader();
	struct journal_place first, again;
	const void *record;
	struct err e;
	size_t len;

	for (uint32_t n = 0; n < 500; n++) /* some of them in the spill file */
		cr_assert_neq(put(w, n, 900), JOURNAL_LOST);
	cr_assert(journal_next(r, &record, &len, &first, &e));
	journal_close(&r);
	r = reader();
	cr_assert(journal_next(r, &record, &len, &again, &e));
	cr_assert_eq(first.ring, again.ring);
	cr_assert_eq(first.at, again.at);
	cr_assert_eq(first.part, again.part);
	while (journal_next(r, &record, &len, &again, &e))
		;
	cr_assert_eq(again.part, 's');
	journal_rewind(r);
	cr_assert(journal_next(r, &record, &len, &again, &e));
	cr_assert_eq(check_record(record, len, 900), 0);
	journal_close(&w);
	journal_close(&r);
}

Test(journal, a_second_writer_is_refused_until_the_first_is_gone)
{
	struct journal *w = writer(SPILL), *second = NULL;
	uint64_t id = journal_id(w);
	struct err e;

	cr_assert_eq(journal_create(&second, path, JOURNAL_RING_MIN, SPILL, &e), ERR_BUSY);
	cr_assert_not_null(strstr(e.text, "another process"));
	cr_assert_eq(put(w, 0, 100), JOURNAL_PUT);
	journal_close(&w);
	w = writer(SPILL);
	cr_assert_eq(journal_id(w), id, "the same ring goes on");
	cr_assert_neq(journal_waiting(w), 0);
	journal_close(&w);
}

Test(journal, it_goes_when_it_is_empty_and_nobody_writes)
{
	struct journal *w = writer(SPILL), *r = reader();
	uint32_t next = 0;

	cr_assert_eq(put(w, 0, 100), JOURNAL_PUT);
	cr_assert_not(journal_remove(r), "its writer lives");
	journal_close(&w);
	cr_assert_not(journal_remove(r), "something is in it");
	drain(r, &next, 100);
	cr_assert(journal_remove(r));
	cr_assert_eq(rmdir(folder), 0, "files are left");
	cr_assert_eq(mkdir(folder, 0700), 0);
	journal_close(&r);
}

Test(journal, a_sleeping_reader_is_woken_once)
{
	struct journal *w = writer(SPILL), *r = reader();
	uint32_t next = 0;

	cr_assert(journal_sleep(r));
	cr_assert_eq(put(w, 0, 100), JOURNAL_PUT);
	cr_assert(journal_take_wake(w));
	cr_assert_eq(put(w, 1, 100), JOURNAL_PUT);
	cr_assert_not(journal_take_wake(w));
	cr_assert_not(journal_sleep(r), "there is something to read");
	drain(r, &next, 100);
	cr_assert_eq(next, 2);
	journal_close(&w);
	journal_close(&r);
}

/* A writer that dies at any instruction leaves whole records, and its successor goes on. */
Test(journal, writers_killed_at_any_moment_leave_whole_records)
{
	struct said {
		_Atomic uint32_t begun, put;
	} *said = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct journal *r = NULL;
	uint32_t next = 0;

	cr_assert_neq(said, MAP_FAILED);
	for (unsigned life = 0; life < 60; life++) {
		pid_t child = fork();

		cr_assert_geq(child, 0);
		if (child == 0) {
			struct journal *w = writer(4 * SPILL);

			/* the successor can't know whether the last one was put: it looks */
			for (uint32_t n = said->put;; n++) {
				said->begun = n + 1;
				if (put(w, n, 900) == JOURNAL_LOST)
					_exit(1);
				said->put = n + 1;
			}
		}
		while (said->begun < next + 50 + life) /* it is writing */
			(void)usleep(100);
		cr_assert_eq(kill(child, SIGKILL), 0);
		cr_assert_eq(waitpid(child, NULL, 0), child);
		if (r == NULL)
			r = reader();
		drain(r, &next, 900);
		/* all that was said to be put is there; the one under way may be */
		cr_assert_geq(next, said->put);
		cr_assert_leq(next, said->begun);
		said->put = said->begun = next;
	}
	journal_close(&r);
	(void)munmap(said, 4096);
}

/* Damage in every place of the file: a clear error or fewer records, never more than that. */
Test(journal, damage_is_found_and_skipped)
{
	struct stat st;
	int fd;

	for (unsigned at = 0; at < JOURNAL_PAGE + 4096; at += 7) {
		struct journal *w = writer(SPILL), *r = NULL;
		struct journal_place place;
		const void *record;
		unsigned char byte;
		struct err e = {0};
		size_t len;
		unsigned read = 0;

		for (uint32_t n = 0; n < 100; n++)
			cr_assert_neq(put(w, n, 900), JOURNAL_LOST);
		journal_close(&w);
		fd = open(path, O_RDWR);
		cr_assert_eq(pread(fd, &byte, 1, (off_t)at), 1);
		byte = (unsigned char)(byte ^ (1U << (at % 8)));
		cr_assert_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
		cr_assert_eq(fstat(fd, &st), 0);
		(void)close(fd);
		if (journal_open(&r, path, &e) == ERR_OK) {
			while (journal_next(r, &record, &len, &place, &e) && read < 1000)
				read++;
			cr_assert_leq(read, 100);
		}
		journal_close(&r);
		cr_assert_eq(unlink(path), 0);
	}
}

Test(journal, a_file_that_is_no_ring_is_put_aside)
{
	char bad[96];
	FILE *f = fopen(path, "w");
	struct journal *w;

	cr_assert_not_null(f);
	(void)fputs("this is a shopping list", f);
	(void)fclose(f);
	w = writer(SPILL);
	cr_assert_eq(put(w, 0, 100), JOURNAL_PUT);
	journal_close(&w);
	(void)snprintf(bad, sizeof(bad), "%s.bad", path);
	cr_assert_eq(access(bad, F_OK), 0);
}
