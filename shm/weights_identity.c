/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weights_identity.c - which files a model's folder holds, or which file it is, and where they lie,
 * without reading them
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "shm/weights.h"

enum { IDENTITY_ENTRIES_MAX = 4096 };

/* Told of a file by its path below the model's folder. */
typedef void identity_file_fn(void *arg, const char *name, const struct stat *st);

static uint64_t
identity_mix(uint64_t hash, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/* What an encoder may read; a changed README is no new model. */
static bool
identity_counts(const char *name)
{
	static const char *const ends[] = {".json", ".safetensors", ".gguf", ".txt"};

	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (file_ends(name, ends[i]))
			return true;
	return false;
}

/* Tell of the files that count in folder/below (with a slash at its end), or in the folder ("")
 * and, as sentence encoders keep each module in a folder of its own, in those in it. false: it
 * can't be read. */
static bool
identity_files(const char *folder, const char *below, identity_file_fn *fn, void *arg)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	const struct dirent *entry;
	struct stat st;
	DIR *dir;

	buf_addf(&path, "%s/%s", folder, below);
	dir = opendir(buf_str(&path));
	if (dir == NULL)
		return false;
	for (int i = 0; i < IDENTITY_ENTRIES_MAX && (entry = readdir(dir)) != NULL; i++) {
		if (fstatat(dirfd(dir), entry->d_name, &st, 0) != 0)
			continue;
		buf_clear(&path);
		buf_addf(&path, "%s%s", below, entry->d_name);
		if (S_ISREG(st.st_mode) && identity_counts(entry->d_name)) {
			fn(arg, buf_str(&path), &st);
		} else if (S_ISDIR(st.st_mode) && below[0] == '\0' && entry->d_name[0] != '.') {
			buf_add_char(&path, '/');
			(void)identity_files(folder, buf_str(&path), fn, arg);
		}
	}
	(void)closedir(dir);
	return true;
}

/* A sum, because the order of entries means nothing. */
static void
identity_add(void *arg, const char *name, const struct stat *st)
{
	const uint64_t parts[] = {(uint64_t)st->st_dev, (uint64_t)st->st_ino, (uint64_t)st->st_size,
		(uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec};
	uint64_t hash = UINT64_C(0xcbf29ce484222325), *sum = arg;

	hash = identity_mix(hash, name, strlen(name));
	*sum += identity_mix(hash, parts, sizeof(parts));
}

uint64_t
weights_identity(const char *folder)
{
	uint64_t sum = 0;
	struct stat st;

	if (stat(folder, &st) == 0 && S_ISREG(st.st_mode))
		identity_add(&sum, "", &st);
	else if (!identity_files(folder, "", identity_add, &sum))
		return 0;
	return sum | 1;
}

/* ---- files that lie elsewhere ---- */

struct identity_links {
	const char *folder;
	char own[PATH_MAX]; /* the folder without links */
	weights_link_fn *fn;
	void *arg;
};

static void
identity_link(void *arg, const char *name, const struct stat *st)
{
	const struct identity_links *l = arg;
	AUTO(buf_fini) struct buf path = BUF_INIT;
	size_t len = strlen(l->own);
	char target[PATH_MAX];

	buf_addf(&path, "%s/%s", l->folder, name);
	if (realpath(buf_str(&path), target) == NULL ||
		(strncmp(target, l->own, len) == 0 && target[len] == '/'))
		return;
	l->fn(l->arg, target, st);
}

void
weights_links(const char *folder, weights_link_fn *fn, void *arg)
{
	struct identity_links l = {.folder = folder, .fn = fn, .arg = arg};

	if (realpath(folder, l.own) != NULL)
		(void)identity_files(folder, "", identity_link, &l);
}
