/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weights_identity.c - which files a model's folder holds, without reading them
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/weights.h"

enum { IDENTITY_ENTRIES_MAX = 4096 };

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
	size_t len = strlen(name);

	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (len > strlen(ends[i]) && strcmp(name + len - strlen(ends[i]), ends[i]) == 0)
			return true;
	return false;
}

static uint64_t
identity_of_file(const char *name, const struct stat *st)
{
	const uint64_t parts[] = {(uint64_t)st->st_dev, (uint64_t)st->st_ino, (uint64_t)st->st_size,
		(uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec};
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	hash = identity_mix(hash, name, strlen(name));
	return identity_mix(hash, parts, sizeof(parts));
}

static uint64_t
identity_of_entry(int folder, const char *name)
{
	char inner[300];
	struct stat st;

	if (fstatat(folder, name, &st, 0) != 0)
		return 0;
	if (S_ISREG(st.st_mode))
		return identity_counts(name) ? identity_of_file(name, &st) : 0;
	/* sentence encoders keep the config of each module in a folder of its own */
	if (!S_ISDIR(st.st_mode) || name[0] == '.' ||
		(size_t)snprintf(inner, sizeof(inner), "%s/config.json", name) >= sizeof(inner) ||
		fstatat(folder, inner, &st, 0) != 0)
		return 0;
	return identity_of_file(inner, &st);
}

uint64_t
weights_identity(const char *folder)
{
	DIR *dir = opendir(folder);
	uint64_t sum = 0;
	const struct dirent *entry;

	if (dir == NULL)
		return 0;
	/* A sum, because the order of entries means nothing. */
	for (int i = 0; i < IDENTITY_ENTRIES_MAX && (entry = readdir(dir)) != NULL; i++)
		sum += identity_of_entry(dirfd(dir), entry->d_name);
	(void)closedir(dir);
	return sum | 1;
}
