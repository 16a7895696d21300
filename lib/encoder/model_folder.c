/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_folder.c - the files of a model, mapped from disk or given in memory
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/encoder/model_folder.h"

enum { JSON_FILE_MAX = 4 * 1024 * 1024 };

static const char memory_gguf[] = "model.gguf";

/* One name that was asked for; the list is short, a model has a dozen files. */
struct entry {
	struct entry *next;
	char *path; /* for messages */
	void *map; /* NULL: nothing mapped */
	size_t len;
};

struct model_folder {
	char *path; /* for messages, and to open on disk */
	char *gguf; /* the one file of it that is the model; NULL: all of it is */
	struct buf base; /* folder below it: "" or "name/" */
	const struct model_memory_file *files; /* NULL: on disk */
	size_t files_len;
	struct entry *entries;
};

static void
fd_close(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static struct model_folder *
folder_new(const char *path)
{
	struct model_folder *f = calloc(1, sizeof(*f));

	CHECK(f != NULL);
	f->path = strdup(path);
	CHECK(f->path != NULL);
	return f;
}

static void
folder_of_file(struct model_folder **out, const char *path)
{
	const char *slash = strrchr(path, '/');
	AUTO(buf_fini) struct buf folder = BUF_INIT;

	buf_add(&folder, path, slash != NULL ? (size_t)(slash - path) : 0);
	*out = folder_new(slash != NULL ? buf_str(&folder) : ".");
	(*out)->gguf = strdup(slash != NULL ? slash + 1 : path);
	CHECK((*out)->gguf != NULL);
}

enum err_code
model_folder_open(struct model_folder **out, const char *path, struct err *e)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return err_set(e, ERR_CONFIG, "%s: %s", path, strerror(errno));
	if (S_ISREG(st.st_mode) && file_ends(path, ".gguf")) {
		folder_of_file(out, path);
		return ERR_OK;
	}
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_CONFIG, "%s: neither a folder nor a .gguf file", path);
	*out = folder_new(path);
	return ERR_OK;
}

void
model_folder_memory(struct model_folder **out, const struct model_memory_file *files, size_t count)
{
	*out = folder_new("memory");
	(*out)->files = files;
	(*out)->files_len = count;
	for (size_t i = 0; i < count; i++)
		if (strcmp(files[i].name, memory_gguf) == 0 && (*out)->gguf == NULL)
			(*out)->gguf = strdup(memory_gguf);
}

void
model_folder_close(struct model_folder **f_p)
{
	struct model_folder *f = *f_p;

	if (f == NULL)
		return;
	while (f->entries != NULL) {
		struct entry *entry = f->entries;

		f->entries = entry->next;
		if (entry->map != NULL)
			(void)munmap(entry->map, entry->len);
		free(entry->path);
		free(entry);
	}
	buf_fini(&f->base);
	free(f->gguf);
	free(f->path);
	free(f);
	*f_p = NULL;
}

void
model_folder_descend(struct model_folder *f, const char *below)
{
	buf_addf(&f->base, "%s/", below);
}

static struct entry *
folder_entry(struct model_folder *f, const char *name)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	struct entry *entry;

	buf_addf(&path, "%s/%s%s", f->path, buf_str(&f->base), name);
	for (entry = f->entries; entry != NULL; entry = entry->next)
		if (strcmp(entry->path, buf_str(&path)) == 0)
			return entry;
	entry = calloc(1, sizeof(*entry));
	CHECK(entry != NULL);
	entry->path = strdup(buf_str(&path));
	CHECK(entry->path != NULL);
	entry->next = f->entries;
	f->entries = entry;
	return entry;
}

const char *
model_folder_gguf(const struct model_folder *f)
{
	return f->gguf;
}

const char *
model_folder_name(struct model_folder *f, const char *name)
{
	return folder_entry(f, name)->path;
}

static struct model_file
memory_get(const struct model_folder *f, const char *name)
{
	const char *base = buf_str(&f->base);

	for (size_t i = 0; i < f->files_len; i++)
		if (strncmp(f->files[i].name, base, f->base.len) == 0 &&
			strcmp(f->files[i].name + f->base.len, name) == 0)
			return (struct model_file){f->files[i].data, f->files[i].len};
	return (struct model_file){NULL, 0};
}

/* Map the file of an entry; a missing one stays unmapped. */
static enum err_code
entry_map(struct entry *entry, struct err *e)
{
	AUTO(fd_close) int fd = open(entry->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	void *map;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return ERR_OK;
	if (fd < 0 || fstat(fd, &st) != 0)
		return err_set(e, ERR_CONFIG, "%s: %s", entry->path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_CONFIG, "%s: not a file", entry->path);
	if (st.st_size == 0)
		return err_set(e, ERR_CONFIG, "%s: the file is empty", entry->path);
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return err_set(e, ERR_CONFIG, "%s: %s", entry->path, strerror(errno));
	entry->map = map;
	entry->len = (size_t)st.st_size;
	return ERR_OK;
}

enum err_code
model_folder_get(
	struct model_file *out, struct model_folder *f, const char *name, size_t max, struct err *e)
{
	struct model_file file;
	struct entry *entry;
	enum err_code code;

	if (f->files != NULL) {
		file = memory_get(f, name);
	} else {
		entry = folder_entry(f, name);
		code = entry->map == NULL ? entry_map(entry, e) : ERR_OK;
		if (code != ERR_OK)
			return code;
		file = (struct model_file){entry->map, entry->len};
	}
	if (file.len > max)
		return err_set(e, ERR_CONFIG, "%s: %zu bytes are more than the %zu allowed",
			model_folder_name(f, name), file.len, max);
	*out = file;
	return ERR_OK;
}

/* Eight bytes at a time: finds another file, resists no attacker. */
static uint64_t
identity_add(uint64_t hash, const char *data, size_t len)
{
	uint64_t word;

	hash ^= len;
	for (; len >= sizeof(word); data += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, data, sizeof(word));
		hash = (hash ^ word) * UINT64_C(0xbf58476d1ce4e5b9);
		hash ^= hash >> 29;
	}
	word = 0;
	memcpy(&word, data, len);
	hash = (hash ^ word) * UINT64_C(0x94d049bb133111eb);
	return hash ^ hash >> 31;
}

static uint64_t
identity_of(const char *name, const char *data, size_t len)
{
	uint64_t hash = identity_add(UINT64_C(0x9e3779b97f4a7c15), name, strlen(name));

	return identity_add(hash, data, len);
}

uint64_t
model_folder_identity(const struct model_folder *f)
{
	size_t path_len = strlen(f->path) + 1;
	uint64_t sum = 0;

	/* a sum: whichever was asked for first */
	for (const struct entry *entry = f->entries; entry != NULL; entry = entry->next)
		if (entry->map != NULL)
			sum += identity_of(f->gguf != NULL ? memory_gguf : entry->path + path_len,
				entry->map, entry->len);
	for (size_t i = 0; i < f->files_len; i++)
		sum += identity_of(f->files[i].name, f->files[i].data, f->files[i].len);
	return sum != 0 ? sum : 1;
}

enum err_code
model_json_check(struct json *out, const char *what, struct model_file file, struct err *e)
{
	struct err why;

	if (json_check(out, file.data, file.len, &why) == ERR_OK)
		return ERR_OK;
	return err_set(e, ERR_CONFIG, "%s: %s", what, why.text);
}

enum err_code
model_folder_json(struct json *out, struct model_folder *f, const char *name, struct err *e)
{
	struct model_file file;
	enum err_code code;

	*out = (struct json){.type = JSON_NONE};
	code = model_folder_get(&file, f, name, JSON_FILE_MAX, e);
	if (code != ERR_OK || file.data == NULL)
		return code;
	return model_json_check(out, model_folder_name(f, name), file, e);
}
