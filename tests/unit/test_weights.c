/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_weights.c - weights segments and the notes that carry them
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/weights.h"

enum { IMAGE = 3 * 1024 * 1024, PLAN = 77 };

static struct err e;

/* A sealed segment, its image full of `fill`. */
static int
make_segment(char fill)
{
	const struct weights_head head = {.magic = WEIGHTS_MAGIC,
		.generation = 5,
		.identity = 9,
		.plan = PLAN,
		.image_bytes = IMAGE};
	struct weights_draft d = WEIGHTS_DRAFT_INIT;

	cr_assert_eq(weights_draft_open(&d, IMAGE, &e), ERR_OK, "%s", e.text);
	memset(d.image, fill, IMAGE);
	cr_assert_eq(weights_draft_seal(&d, &head, &e), ERR_OK, "%s", e.text);
	return d.fd;
}

Test(weights, what_was_packed_is_seen_where_it_is_mapped)
{
	int fd = make_segment('x');
	struct weights_view v = {0};

	cr_assert_eq(weights_view_open(&v, fd, PLAN, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(v.head.generation, 5);
	cr_assert_eq(v.head.image_bytes, IMAGE);
	cr_assert_eq((uintptr_t)v.image % WEIGHTS_ALIGN, 0, "huge pages need that");
	cr_assert_eq(((const char *)v.image)[0], 'x');
	cr_assert_eq(((const char *)v.image)[IMAGE - 1], 'x');
	weights_view_close(&v);
	(void)close(fd);
}

Test(weights, nobody_can_change_a_sealed_segment)
{
	int fd = make_segment('x');
	char byte = 'y';

	cr_assert_eq(pwrite(fd, &byte, 1, WEIGHTS_ALIGN), -1);
	cr_assert_eq(ftruncate(fd, 4096), -1);
	cr_assert_eq(ftruncate(fd, (off_t)1 << 30), -1);
	cr_assert_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	(void)close(fd);
}

Test(weights, the_image_takes_its_own_memory_only)
{
	int fd = make_segment('x');
	struct stat st;

	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_leq((size_t)st.st_blocks * 512, (size_t)IMAGE + 4096 + 64 * 1024);
	(void)close(fd);
}

Test(weights, huge_pages_change_nothing_and_stop_when_told)
{
	static const atomic_bool go = false, stop = true;
	int fd = make_segment('x');
	struct weights_view v = {0};

	cr_assert_eq(weights_view_open(&v, fd, PLAN, &e), ERR_OK, "%s", e.text);
	cr_assert_not(weights_view_collapse(&v, &stop));
	(void)weights_view_collapse(&v, &go); /* whether the kernel can is the kernel's affair */
	cr_assert_eq(((const char *)v.image)[0], 'x');
	cr_assert_eq(((const char *)v.image)[IMAGE - 1], 'x');
	weights_view_close(&v);
	(void)close(fd);
}

Test(weights, the_supervisor_refuses_what_can_still_change)
{
	struct weights_draft d = WEIGHTS_DRAFT_INIT;
	uint64_t bytes = 0;
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), fd = make_segment('x');

	cr_assert_eq(weights_check(fd, &bytes, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(bytes % WEIGHTS_ALIGN, 0);
	cr_assert_eq(weights_draft_open(&d, IMAGE, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(weights_check(d.fd, &bytes, &e), ERR_MALFORMED);
	cr_assert_not_null(strstr(e.text, "not sealed"), "%s", e.text);
	cr_assert_eq(weights_check(file, &bytes, &e), ERR_MALFORMED);
	cr_assert_not_null(strstr(e.text, "not a memfd"), "%s", e.text);
	weights_draft_close(&d);
	(void)close(fd);
	(void)close(file);
}

Test(weights, sealing_fails_while_somebody_could_still_write)
{
	const struct weights_head head = {
		.magic = WEIGHTS_MAGIC, .plan = PLAN, .image_bytes = IMAGE};
	struct weights_draft d = WEIGHTS_DRAFT_INIT;
	void *p;

	cr_assert_eq(weights_draft_open(&d, IMAGE, &e), ERR_OK, "%s", e.text);
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, d.fd, 0);
	cr_assert_neq(p, MAP_FAILED);
	cr_assert_eq(weights_draft_seal(&d, &head, &e), ERR_SYS);
	cr_assert_eq(munmap(p, 4096), 0);
	weights_draft_close(&d);
}

Test(weights, a_segment_of_another_plan_is_not_taken)
{
	struct weights_view v = {0};
	int fd = make_segment('x');

	cr_assert_eq(weights_view_open(&v, fd, PLAN + 1, &e), ERR_MALFORMED);
	cr_assert_null(v.base);
	(void)close(fd);
}

/* ---- identity ---- */

static void
write_file(const char *folder, const char *name, const char *text)
{
	char path[200];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	cr_assert_not_null(f);
	(void)fputs(text, f);
	(void)fclose(f);
}

Test(weights, identity_changes_with_the_files_that_count)
{
	char folder[] = "/tmp/shunt-weights-XXXXXX", path[200], other[200];
	uint64_t first, second;

	cr_assert_eq(weights_identity("/nonexistent/folder"), 0);
	cr_assert_not_null(mkdtemp(folder));
	write_file(folder, "config.json", "{}");
	write_file(folder, "model.safetensors", "abc");
	first = weights_identity(folder);
	cr_assert_neq(first, 0);
	cr_assert_eq(weights_identity(folder), first);
	write_file(folder, "README.md", "words");
	cr_assert_eq(weights_identity(folder), first, "nobody loads a README");
	write_file(folder, "model.safetensors", "abcd");
	second = weights_identity(folder);
	cr_assert_neq(second, first, "another size");
	(void)snprintf(path, sizeof(path), "%s/model.safetensors", folder);
	(void)snprintf(other, sizeof(other), "%s/new", folder);
	write_file(folder, "new", "abcd");
	cr_assert_eq(rename(other, path), 0);
	cr_assert_neq(weights_identity(folder), second, "another file under the same name");
	first = weights_identity(path);
	cr_assert_neq(first, 0, "a file may be the whole model");
	write_file(folder, "model.safetensors", "abc");
	cr_assert_neq(weights_identity(path), first);
	second = weights_identity(folder);
	(void)snprintf(path, sizeof(path), "%s/0_Transformer", folder);
	cr_assert_eq(mkdir(path, 0700), 0);
	write_file(path, "model.safetensors", "abc");
	first = weights_identity(folder);
	cr_assert_neq(first, second, "a module has a folder of its own");
	write_file(path, "model.safetensors", "abcd");
	cr_assert_neq(weights_identity(folder), first, "and may have the weights in it");
	for (size_t i = 0; i < 4; i++) {
		static const char *const names[] = {"config.json", "model.safetensors", "README.md",
			"0_Transformer/model.safetensors"};

		(void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		cr_assert_eq(unlink(path), 0);
	}
	(void)snprintf(path, sizeof(path), "%s/0_Transformer", folder);
	cr_assert_eq(rmdir(path), 0);
	cr_assert_eq(rmdir(folder), 0);
}

static void
add_target(void *arg, const char *target, const struct stat *st)
{
	cr_assert(S_ISREG(st->st_mode));
	(void)snprintf((char *)arg + strlen(arg), 200, "%s ", strrchr(target, '/') + 1);
}

Test(weights, links_out_of_the_folder_are_told)
{
	char folder[] = "/tmp/shunt-weights-XXXXXX", path[200], told[400] = "";
	static const char *const names[] = {"blob", "m/1/config.json", "m/config.json", "m/a.json",
		"m/nowhere.json", "m/own.json"};

	cr_assert_not_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/m", folder);
	cr_assert_eq(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/m/1", folder);
	cr_assert_eq(mkdir(path, 0700), 0);
	write_file(folder, "blob", "{}");
	write_file(folder, "m/own.json", "{}");
	cr_assert_eq(chdir(folder), 0);
	cr_assert_eq(symlink("../../blob", "m/1/config.json"), 0);
	cr_assert_eq(symlink("../blob", "m/config.json"), 0);
	cr_assert_eq(symlink("own.json", "m/a.json"), 0);
	cr_assert_eq(symlink("gone.json", "m/nowhere.json"), 0);
	weights_links("m", add_target, told);
	cr_assert_str_eq(told, "blob blob ");
	weights_links("gone", add_target, told);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		cr_assert_eq(unlink(names[i]), 0, "%s", names[i]);
	cr_assert_eq(rmdir("m/1") + rmdir("m") + chdir("/") + rmdir(folder), 0);
}

/* ---- notes ---- */

static int pair[2];

static void
open_pair(void)
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void
close_pair(void)
{
	(void)close(pair[0]);
	(void)close(pair[1]);
}

TestSuite(weights_note, .init = open_pair, .fini = close_pair);

Test(weights_note, a_segment_travels_with_its_note)
{
	struct weights_note n = {.kind = WEIGHTS_NOTE_GIVE, .generation = 5}, got;
	struct weights_view v = {0};
	int fd = make_segment('z'), taken;

	cr_assert_eq(weights_send(pair[0], &n, fd, &e), ERR_OK, "%s", e.text);
	(void)close(fd);
	cr_assert_eq(weights_recv(pair[1], &got, &taken), WEIGHTS_RECV_NOTE);
	cr_assert_eq(got.generation, 5);
	cr_assert_eq(weights_view_open(&v, taken, PLAN, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(((const char *)v.image)[7], 'z');
	cr_assert_neq(fcntl(taken, F_GETFD) & FD_CLOEXEC, 0);
	weights_view_close(&v);
	(void)close(taken);
	cr_assert_eq(weights_recv(pair[1], &got, &taken), WEIGHTS_RECV_EMPTY);
}

Test(weights_note, texts_come_as_one_printable_line)
{
	struct weights_note n = {.kind = WEIGHTS_NOTE_BROKEN}, got;
	int fd;

	memset(n.text, 'a', sizeof(n.text)); /* not terminated */
	memcpy(n.text, "two\nlines \"x\"", 13);
	cr_assert_eq(weights_send(pair[0], &n, -1, &e), ERR_OK, "%s", e.text);
	cr_assert_eq(weights_recv(pair[1], &got, &fd), WEIGHTS_RECV_NOTE);
	cr_assert_eq(strncmp(got.text, "two lines 'x'aaa", 16), 0);
	cr_assert_eq(strlen(got.text), sizeof(got.text) - 1);
}

/* Send bytes and a descriptor as no note of ours would. */
static void
send_raw(const void *data, size_t len, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};
	char copy[sizeof(struct weights_note)];
	struct iovec part = {copy, len};
	struct msghdr m = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	memcpy(copy, data, len);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	cr_assert_eq(sendmsg(pair[0], &m, 0), (ssize_t)len);
}

/* The lowest free number: a descriptor that is left open takes it. */
static int
lowest_fd(void)
{
	int fd = dup(pair[0]);

	(void)close(fd);
	return fd;
}

Test(weights_note, what_is_no_note_is_dropped_with_its_descriptors)
{
	struct weights_note n = {.kind = WEIGHTS_NOTES + 3, .magic = WEIGHTS_MAGIC}, got;
	int fd, before = lowest_fd();

	cr_assert_eq(send(pair[0], "hello", 5, 0), 5);
	cr_assert_eq(weights_recv(pair[1], &got, &fd), WEIGHTS_RECV_BAD);
	send_raw("hello", 5, pair[0]);
	cr_assert_eq(weights_recv(pair[1], &got, &fd), WEIGHTS_RECV_BAD);
	send_raw(&n, sizeof(n), pair[0]);
	cr_assert_eq(weights_recv(pair[1], &got, &fd), WEIGHTS_RECV_BAD);
	n.kind = WEIGHTS_NOTE_HELLO; /* carries none */
	send_raw(&n, sizeof(n), pair[0]);
	cr_assert_eq(weights_recv(pair[1], &got, &fd), WEIGHTS_RECV_BAD);
	n.kind = WEIGHTS_NOTE_BUILT; /* its segment is missing */
	cr_assert_eq(send(pair[0], &n, sizeof(n), 0), (ssize_t)sizeof(n));
	cr_assert_eq(weights_recv(pair[1], &got, &fd), WEIGHTS_RECV_BAD);
	cr_assert_eq(fd, -1);
	cr_assert_eq(lowest_fd(), before, "no descriptor was left open");
}

Test(weights_note, the_end_of_the_other_side_is_told)
{
	struct weights_note got;
	int fd;

	(void)close(pair[0]);
	cr_assert_eq(weights_recv(pair[1], &got, &fd), WEIGHTS_RECV_END);
	pair[0] = -1;
}

Test(weights_note, a_reader_that_does_not_read_holds_nobody_up)
{
	const struct weights_note n = {.kind = WEIGHTS_NOTE_HELLO};
	enum err_code code = ERR_OK;
	int sent = 0;

	for (; code == ERR_OK && sent < 100000; sent++)
		code = weights_send(pair[0], &n, -1, &e);
	cr_assert_eq(code, ERR_OVERLOADED, "%s", e.text);
}
