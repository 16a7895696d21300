/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ledger_write.c - the one writer of a ledger's folder
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/ledger/ledger.h"

struct ledger {
	char *folder;
	struct ledger_options options;
	int lock_fd, fd;
	uint32_t number; /* of the file being written; 0: none yet */
	uint64_t size; /* of that file */
	uint64_t torn;
	struct buf batch;
	/* sources of the previous writer's last lines, sorted */
	char (*recalled)[LEDGER_SOURCE_MAX];
	size_t recalled_len;
};

void
ledger_close(struct ledger **l_p)
{
	struct ledger *l = *l_p;

	*l_p = NULL;
	if (l == NULL)
		return;
	if (l->fd >= 0)
		(void)close(l->fd);
	if (l->lock_fd >= 0)
		(void)close(l->lock_fd);
	buf_fini(&l->batch);
	free(l->recalled);
	free(l->folder);
	free(l);
}

static int
compare_sources(const void *a, const void *b)
{
	return strcmp(a, b);
}

bool
ledger_has(const struct ledger *l, const char *source)
{
	return l->recalled_len > 0 && bsearch(source, l->recalled, l->recalled_len,
					      sizeof(*l->recalled), compare_sources) != NULL;
}

uint64_t
ledger_torn(const struct ledger *l)
{
	return l->torn;
}

void
ledger_set_options(struct ledger *l, const struct ledger_options *options)
{
	l->options = *options;
}

static MUST enum err_code
ledger_fail(struct ledger *l, const char *what, struct err *e)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	int saved = errno;

	ledger_file_path(&path, l->folder, l->number);
	return err_set(e, ERR_SYS, "%s: %s: %s", buf_str(&path), what, strerror(saved));
}

/* Open file `number` for appending. */
static MUST enum err_code
ledger_open_file(struct ledger *l, uint32_t number, int flags, struct err *e)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	struct stat st;
	int fd;

	ledger_file_path(&path, l->folder, number);
	fd = open(buf_str(&path), O_RDWR | O_CLOEXEC | flags, 0600);
	if (fd < 0)
		return err_set(e, ERR_SYS, "%s: %s", buf_str(&path), strerror(errno));
	if (fstat(fd, &st) != 0) {
		(void)err_set(e, ERR_SYS, "%s: %s", buf_str(&path), strerror(errno));
		(void)close(fd);
		return ERR_SYS;
	}
	if (l->fd >= 0)
		(void)close(l->fd);
	l->fd = fd;
	l->number = number;
	l->size = (uint64_t)st.st_size;
	return ERR_OK;
}

/* Look through the end of the file: remember sources, cut off what is no whole line at its end. */
static MUST enum err_code
ledger_recall(struct ledger *l, struct err *e)
{
	const uint64_t from = l->size > LEDGER_RECALL_BYTES ? l->size - LEDGER_RECALL_BYTES : 0;
	AUTO(buf_fini) struct buf text = BUF_INIT;
	char source[LEDGER_SOURCE_MAX];
	size_t whole = 0, at = 0;
	ssize_t n;

	buf_reserve(&text, l->size - from);
	n = pread(l->fd, text.data, l->size - from, (off_t)from);
	if (n < 0)
		return ledger_fail(l, "read", e);
	text.len = (size_t)n;
	while (at < text.len) {
		const char *line = text.data + at, *end = memchr(line, '\n', text.len - at);

		if (end == NULL)
			break;
		at = (size_t)(end + 1 - text.data);
		if (ledger_line_check(line, (size_t)(end - line), source)) {
			l->recalled = reallocarray(
				l->recalled, l->recalled_len + 1, sizeof(*l->recalled));
			CHECK(l->recalled != NULL);
			memcpy(l->recalled[l->recalled_len++], source, sizeof(source));
		}
		whole = at; /* a damaged line in the middle stays: it is never ours to change */
	}
	l->torn = text.len - whole;
	if (l->torn > 0 && ftruncate(l->fd, (off_t)(from + whole)) != 0)
		return ledger_fail(l, "cut off a torn line", e);
	l->size = from + whole;
	if (l->recalled_len > 0)
		qsort(l->recalled, l->recalled_len, sizeof(*l->recalled), compare_sources);
	return ERR_OK;
}

static MUST enum err_code
ledger_lock(struct ledger *l, struct err *e)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;

	if (mkdir(l->folder, 0700) != 0 && errno != EEXIST)
		return err_set(e, ERR_SYS, "%s: %s", l->folder, strerror(errno));
	buf_addf(&path, "%s/lock", l->folder);
	l->lock_fd = open(buf_str(&path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (l->lock_fd < 0)
		return err_set(e, ERR_SYS, "%s: %s", buf_str(&path), strerror(errno));
	if (flock(l->lock_fd, LOCK_EX | LOCK_NB) != 0)
		return err_set(e, ERR_SYS, "%s: %s", buf_str(&path),
			errno == EWOULDBLOCK ? "another daemon writes this journal"
					     : strerror(errno));
	return ERR_OK;
}

MUST enum err_code
ledger_open(struct ledger **out, const char *folder, const struct ledger_options *options,
	struct err *e)
{
	AUTO(ledger_close) struct ledger *l = calloc(1, sizeof(*l));
	uint32_t *numbers = NULL;
	enum err_code code;
	size_t len = 0;

	CHECK(l != NULL);
	l->fd = l->lock_fd = -1;
	l->options = *options;
	l->folder = strdup(folder);
	CHECK(l->folder != NULL);
	if (ledger_lock(l, e) != ERR_OK)
		return e->code;
	if (ledger_files(&numbers, &len, folder, e) != ERR_OK)
		return e->code;
	code = len == 0 ? ledger_open_file(l, 1, O_CREAT, e)
			: ledger_open_file(l, numbers[len - 1], 0, e);
	free(numbers);
	if (code != ERR_OK || ledger_recall(l, e) != ERR_OK)
		return e->code;
	*out = l;
	l = NULL;
	return ERR_OK;
}

void
ledger_add(struct ledger *l, const char *source, const char *record, size_t len)
{
	ledger_line_put(&l->batch, source, record, len);
}

bool
ledger_is_full(const struct ledger *l)
{
	return l->batch.len + LEDGER_LINE_MAX > LEDGER_BATCH_MAX;
}

/* Delete files beyond the number to be kept, oldest first. */
static MUST enum err_code
ledger_prune(const struct ledger *l, struct err *e)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	uint32_t *numbers;
	size_t len;

	if (l->options.files == 0)
		return ERR_OK;
	if (ledger_files(&numbers, &len, l->folder, e) != ERR_OK)
		return e->code;
	for (size_t i = 0; i + l->options.files < len; i++) {
		buf_clear(&path);
		ledger_file_path(&path, l->folder, numbers[i]);
		if (unlink(buf_str(&path)) != 0 && errno != ENOENT) {
			(void)err_set(e, ERR_SYS, "%s: %s", buf_str(&path), strerror(errno));
			free(numbers);
			return ERR_SYS;
		}
	}
	free(numbers);
	return ERR_OK;
}

/* Somebody else may have removed or renamed the file since the last batch, or cut it short: what
 * would go there nobody would find, or would be the rest of half a line. An emptied one will do. */
static MUST enum err_code
ledger_look(struct ledger *l, struct err *e)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	struct stat here, there;

	ledger_file_path(&path, l->folder, l->number);
	if (fstat(l->fd, &here) != 0)
		return ledger_fail(l, "fstat", e);
	if (stat(buf_str(&path), &there) != 0 || there.st_ino != here.st_ino ||
		there.st_dev != here.st_dev ||
		(here.st_size > 0 && (uint64_t)here.st_size < l->size))
		return ledger_open_file(l, l->number + 1, O_CREAT | O_EXCL, e);
	l->size = MIN(l->size, (uint64_t)here.st_size);
	return ERR_OK;
}

static MUST enum err_code
ledger_rotate(struct ledger *l, struct err *e)
{
	if (ledger_look(l, e) != ERR_OK)
		return e->code;
	if (l->size < l->options.file_bytes)
		return ERR_OK;
	if (ledger_sync(l, e) != ERR_OK)
		return e->code;
	if (ledger_open_file(l, l->number + 1, O_CREAT | O_EXCL, e) != ERR_OK)
		return e->code;
	return ledger_prune(l, e);
}

MUST enum err_code
ledger_write(struct ledger *l, struct err *e)
{
	enum err_code code = ledger_rotate(l, e);
	size_t at = 0;

	while (code == ERR_OK && at < l->batch.len) {
		ssize_t n =
			pwrite(l->fd, l->batch.data + at, l->batch.len - at, (off_t)(l->size + at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			code = ledger_fail(l, "write", e);
		else
			at += (size_t)n;
	}
	buf_clear(&l->batch);
	if (code == ERR_OK) {
		l->size += at;
		return ERR_OK;
	}
	/* half a batch would be there twice: take it back. Where that fails, the next batch is
	 * written over it, for it starts at l->size. */
	if (at > 0 && ftruncate(l->fd, (off_t)l->size) != 0)
		return err_wrap(e, "half a batch stays");
	return code;
}

MUST enum err_code
ledger_sync(struct ledger *l, struct err *e)
{
	if (fdatasync(l->fd) != 0)
		return ledger_fail(l, "sync", e);
	return ERR_OK;
}
