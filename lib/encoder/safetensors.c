/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors.c - read the header of a SafeTensors file, or of every shard of an index
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/json.h"
#include "lib/encoder/safetensors.h"

enum { INDEX_MAX = 64 * 1024 * 1024 };

static const struct {
	const char *name;
	size_t bytes;
} dtypes[] = {
#define X(symbol, name, bytes) {name, bytes},
	TENSOR_DTYPE_LIST(X)
#undef X
};

/* Sorted by name once complete. Names and file names are owned. */
struct safetensors {
	struct tensor *tensors;
	size_t len, cap;
	char *files[SAFETENSORS_FILES_MAX];
	size_t files_len;
};

/* The file whose header is being read. */
struct reader {
	struct safetensors *s;
	const char *file;
	const char *data; /* after the header */
	size_t data_len;
};

const char *
tensor_dtype_name(enum tensor_dtype d)
{
	return d < TENSOR_DTYPES ? dtypes[d].name : "?";
}

size_t
tensor_dtype_bytes(enum tensor_dtype d)
{
	CHECK(d < TENSOR_DTYPES);
	return dtypes[d].bytes;
}

void
safetensors_free(struct safetensors **s_p)
{
	struct safetensors *s = *s_p;

	if (s == NULL)
		return;
	for (size_t i = 0; i < s->len; i++) {
		char *name;

		memcpy(&name, &s->tensors[i].name, sizeof(name)); /* ours: const for readers only */
		free(name);
	}
	for (size_t i = 0; i < s->files_len; i++)
		free(s->files[i]);
	free(s->tensors);
	free(s);
	*s_p = NULL;
}

static struct safetensors *
safetensors_new(void)
{
	struct safetensors *s = calloc(1, sizeof(*s));

	CHECK(s != NULL);
	return s;
}

/* Room for one more tensor; it is filled and counted by the caller. */
static struct tensor *
tensor_slot(struct safetensors *s)
{
	if (s->len == s->cap) {
		s->cap = s->cap == 0 ? 64 : s->cap * 2;
		s->tensors = realloc(s->tensors, s->cap * sizeof(*s->tensors));
		CHECK(s->tensors != NULL);
	}
	s->tensors[s->len] = (struct tensor){0};
	return &s->tensors[s->len];
}

static enum err_code
read_dtype(struct tensor *t, struct json v, struct err *e)
{
	char name[16];

	if (json_copy_text(name, sizeof(name), v))
		for (size_t i = 0; i < TENSOR_DTYPES; i++)
			if (strcmp(name, dtypes[i].name) == 0) {
				t->dtype = (enum tensor_dtype)i;
				return ERR_OK;
			}
	return err_set(e, ERR_CONFIG, "dtype is missing or not one that is known");
}

static enum err_code
read_shape(struct tensor *t, struct json v, struct err *e)
{
	struct json_iter it = json_iter(v);
	struct json item;

	if (v.type != JSON_ARRAY)
		return err_set(e, ERR_CONFIG, "shape is missing or no array");
	t->elements = 1;
	for (size_t i = 0; i < SAFETENSORS_RANK_MAX; i++)
		t->shape[i] = 1;
	while (json_next_item(&it, &item)) {
		if (t->rank == SAFETENSORS_RANK_MAX)
			return err_set(e, ERR_CONFIG, "shape has more than %d dimensions",
				SAFETENSORS_RANK_MAX);
		if (!json_u64(&t->shape[t->rank], item))
			return err_set(e, ERR_CONFIG, "shape holds what is no size");
		if (__builtin_mul_overflow(t->elements, t->shape[t->rank], &t->elements))
			return err_set(e, ERR_CONFIG, "shape is too large");
		t->rank++;
	}
	return ERR_OK;
}

static enum err_code
read_offsets(struct tensor *t, const struct reader *r, struct json v, struct err *e)
{
	struct json_iter it = json_iter(v);
	struct json first, last, more;
	uint64_t begin, end, bytes;

	if (v.type != JSON_ARRAY || !json_next_item(&it, &first) || !json_next_item(&it, &last) ||
		json_next_item(&it, &more) || !json_u64(&begin, first) || !json_u64(&end, last))
		return err_set(e, ERR_CONFIG, "data_offsets is not [begin, end]");
	if (begin > end || end > r->data_len)
		return err_set(e, ERR_CONFIG,
			"data_offsets [%llu, %llu] are outside of the %zu bytes of data",
			(unsigned long long)begin, (unsigned long long)end, r->data_len);
	if (__builtin_mul_overflow(t->elements, (uint64_t)dtypes[t->dtype].bytes, &bytes) ||
		bytes != end - begin)
		return err_set(e, ERR_CONFIG, "%llu bytes of data do not fit shape and dtype %s",
			(unsigned long long)(end - begin), dtypes[t->dtype].name);
	t->data = r->data + begin;
	t->bytes = (size_t)bytes;
	return ERR_OK;
}

static enum err_code
read_tensor(const struct reader *r, struct json key, struct json v, struct err *e)
{
	AUTO(buf_fini) struct buf name = BUF_INIT;
	struct tensor *t = tensor_slot(r->s);
	enum err_code code = ERR_OK;

	json_text(&name, key);
	if (name.len == 0 || strlen(buf_str(&name)) != name.len)
		return err_set(
			e, ERR_CONFIG, "%s: a tensor's name is empty or holds a NUL", r->file);
	if (v.type != JSON_OBJECT)
		code = err_set(e, ERR_CONFIG, "not an object");
	else if (json_count(v, "dtype") > 1 || json_count(v, "shape") > 1 ||
		 json_count(v, "data_offsets") > 1)
		code = err_set(e, ERR_CONFIG, "a key stands there twice");
	if (code == ERR_OK)
		code = read_dtype(t, json_get(v, "dtype"), e);
	if (code == ERR_OK)
		code = read_shape(t, json_get(v, "shape"), e);
	if (code == ERR_OK)
		code = read_offsets(t, r, json_get(v, "data_offsets"), e);
	if (code != ERR_OK)
		return err_wrap(e, "%s: tensor %.120s", r->file, buf_str(&name));
	t->file = r->file;
	t->name = strdup(buf_str(&name));
	CHECK(t->name != NULL);
	r->s->len++;
	return ERR_OK;
}

/* In the order of the data; empty tensors before those that start where they stand. */
static int
by_data(const void *a, const void *b)
{
	const struct tensor *x = a, *y = b;

	if (x->data != y->data)
		return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
	return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int
by_name(const void *a, const void *b)
{
	const struct tensor *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* The tensors from index first on are one file's: they cover its data exactly. */
static enum err_code
check_cover(const struct reader *r, size_t first, struct err *e)
{
	const char *at = r->data;
	struct tensor *t = r->s->tensors + first;
	size_t len = r->s->len - first;

	if (len > 0)
		qsort(t, len, sizeof(*t), by_data);
	for (size_t i = 0; i < len; i++) {
		const char *data = t[i].data;

		if (data != at)
			return err_set(e, ERR_CONFIG, "%s: tensor %.120s %s", r->file, t[i].name,
				data < at ? "overlaps another one"
					  : "has bytes before it that belong to none");
		at = data + t[i].bytes;
	}
	if (at != r->data + r->data_len)
		return err_set(e, ERR_CONFIG, "%s: %zu bytes at the end belong to no tensor",
			r->file, (size_t)(r->data + r->data_len - at));
	return ERR_OK;
}

static enum err_code
check_names(struct safetensors *s, struct err *e)
{
	if (s->len > 0)
		qsort(s->tensors, s->len, sizeof(*s->tensors), by_name);
	for (size_t i = 1; i < s->len; i++)
		if (strcmp(s->tensors[i - 1].name, s->tensors[i].name) == 0)
			return err_set(e, ERR_CONFIG, "%s: tensor %.120s is there twice",
				s->tensors[i].file, s->tensors[i].name);
	return ERR_OK;
}

/* Add the tensors of one file. */
static enum err_code
add_file(struct safetensors *s, const char *what, const void *data, size_t len, struct err *e)
{
	struct reader r = {.s = s};
	size_t first = s->len;
	struct json header, key, value;
	struct json_iter it;
	uint64_t header_len = 0;
	unsigned metadata = 0;
	enum err_code code;

	if (len < 8)
		return err_set(e, ERR_CONFIG, "%s: too short for a SafeTensors file", what);
	for (size_t i = 0; i < 8; i++)
		header_len |= (uint64_t)((const uint8_t *)data)[i] << (8 * i);
	if (header_len > SAFETENSORS_HEADER_MAX || header_len > len - 8)
		return err_set(e, ERR_CONFIG,
			"%s: not a SafeTensors file: its header would have %llu of %zu bytes", what,
			(unsigned long long)header_len, len);
	s->files[s->files_len] = strdup(what);
	CHECK(s->files[s->files_len] != NULL);
	r.file = s->files[s->files_len++];
	r.data = (const char *)data + 8 + header_len;
	r.data_len = len - 8 - (size_t)header_len;
	code = model_json_check(
		&header, what, (struct model_file){(const char *)data + 8, (size_t)header_len}, e);
	if (code != ERR_OK)
		return err_wrap(e, "header");
	if (header.type != JSON_OBJECT)
		return err_set(e, ERR_CONFIG, "%s: the header is no object", what);
	it = json_iter(header);
	while (json_next_member(&it, &key, &value)) {
		if (json_equals(key, "__metadata__")) {
			if (++metadata > 1 || value.type != JSON_OBJECT)
				return err_set(e, ERR_CONFIG,
					"%s: __metadata__ is no object, or is there twice", what);
			continue;
		}
		code = read_tensor(&r, key, value, e);
		if (code != ERR_OK)
			return code;
	}
	return check_cover(&r, first, e);
}

enum err_code
safetensors_parse(
	struct safetensors **out, const char *what, const void *data, size_t len, struct err *e)
{
	AUTO(safetensors_free) struct safetensors *s = safetensors_new();
	enum err_code code = add_file(s, what, data, len, e);

	if (code == ERR_OK)
		code = check_names(s, e);
	if (code != ERR_OK)
		return code;
	*out = s;
	s = NULL;
	return ERR_OK;
}

static enum err_code
add_shard(struct safetensors *s, struct model_folder *folder, const char *name, struct err *e)
{
	const char *what = model_folder_name(folder, name);
	struct model_file file;
	enum err_code code;

	for (size_t i = 0; i < s->files_len; i++)
		if (strcmp(s->files[i], what) == 0)
			return ERR_OK;
	if (s->files_len == SAFETENSORS_FILES_MAX)
		return err_set(
			e, ERR_CONFIG, "%s: more than %d files", what, SAFETENSORS_FILES_MAX);
	code = model_folder_get(&file, folder, name, SIZE_MAX, e);
	if (code != ERR_OK)
		return code;
	if (file.data == NULL)
		return err_set(
			e, ERR_CONFIG, "%s: the index names this file, but it is missing", what);
	return add_file(s, what, file.data, file.len, e);
}

/* Every tensor that the index names is in the file that it names. */
static enum err_code
check_index(const struct safetensors *s, struct model_folder *folder, struct json map,
	const char *what, struct err *e)
{
	struct json_iter it = json_iter(map);
	struct json key, value;

	while (json_next_member(&it, &key, &value)) {
		AUTO(buf_fini) struct buf name = BUF_INIT;
		const struct tensor *t;
		char file[256];

		json_text(&name, key);
		t = safetensors_find(s, buf_str(&name));
		if (t == NULL || !json_copy_text(file, sizeof(file), value) ||
			strcmp(t->file, model_folder_name(folder, file)) != 0)
			return err_set(e, ERR_CONFIG, "%s: tensor %.120s is not in the file named",
				what, buf_str(&name));
	}
	return ERR_OK;
}

static enum err_code
add_index(struct safetensors *s, struct model_folder *folder, const char *what,
	struct model_file index, struct err *e)
{
	struct json root, map, key, value;
	struct json_iter it;
	enum err_code code;
	char file[256];

	code = model_json_check(&root, what, index, e);
	if (code != ERR_OK)
		return code;
	map = json_get(root, "weight_map");
	if (map.type != JSON_OBJECT)
		return err_set(e, ERR_CONFIG, "%s: no weight_map", what);
	it = json_iter(map);
	while (json_next_member(&it, &key, &value)) {
		if (!json_copy_text(file, sizeof(file), value) || file[0] == '.' ||
			file[0] == '\0' || strchr(file, '/') != NULL)
			return err_set(e, ERR_CONFIG,
				"%s: weight_map holds what is no plain file name", what);
		code = add_shard(s, folder, file, e);
		if (code != ERR_OK)
			return code;
	}
	code = check_names(s, e);
	return code != ERR_OK ? code : check_index(s, folder, map, what, e);
}

enum err_code
safetensors_open(struct safetensors **out, struct model_folder *folder, struct err *e)
{
	static const char single[] = "model.safetensors", index[] = "model.safetensors.index.json";
	AUTO(safetensors_free) struct safetensors *s = safetensors_new();
	struct model_file file;
	enum err_code code;

	code = model_folder_get(&file, folder, single, SIZE_MAX, e);
	if (code != ERR_OK)
		return code;
	if (file.data != NULL)
		return safetensors_parse(
			out, model_folder_name(folder, single), file.data, file.len, e);
	code = model_folder_get(&file, folder, index, INDEX_MAX, e);
	if (code != ERR_OK)
		return code;
	if (file.data == NULL)
		return err_set(e, ERR_CONFIG, "%s: missing, and there is no %s either",
			model_folder_name(folder, single), index);
	code = add_index(s, folder, model_folder_name(folder, index), file, e);
	if (code != ERR_OK)
		return code;
	*out = s;
	s = NULL;
	return ERR_OK;
}

const struct tensor *
safetensors_find(const struct safetensors *s, const char *name)
{
	struct tensor key = {.name = name};

	if (s->len == 0)
		return NULL;
	return bsearch(&key, s->tensors, s->len, sizeof(*s->tensors), by_name);
}

size_t
safetensors_count(const struct safetensors *s)
{
	return s->len;
}

const struct tensor *
safetensors_at(const struct safetensors *s, size_t i)
{
	CHECK(i < s->len);
	return &s->tensors[i];
}
