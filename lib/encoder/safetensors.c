/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors.c - read the header of a SafeTensors file, or of every shard of an index
 */
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/json.h"
#include "lib/encoder/safetensors.h"

enum { INDEX_MAX = 64 * 1024 * 1024 };

/* The file whose header is being read. */
struct reader {
	struct tensor_set *s;
	const char *file;
	const char *data; /* after the header */
	size_t data_len;
};

static enum err_code
read_dtype(struct tensor *t, struct json v, struct err *e)
{
	char name[16];

	if (json_copy_text(name, sizeof(name), v))
		for (t->dtype = 0; t->dtype < TENSOR_PLAIN_DTYPES; t->dtype++)
			if (strcmp(name, tensor_dtype_name(t->dtype)) == 0)
				return ERR_OK;
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
	for (size_t i = 0; i < TENSOR_RANK_MAX; i++)
		t->shape[i] = 1;
	while (json_next_item(&it, &item)) {
		if (t->rank == TENSOR_RANK_MAX)
			return err_set(e, ERR_CONFIG, "shape has more than %d dimensions",
				TENSOR_RANK_MAX);
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
	if (!tensor_size(&bytes, t->dtype, t->elements) || bytes != end - begin)
		return err_set(e, ERR_CONFIG, "%llu bytes of data do not fit shape and dtype %s",
			(unsigned long long)(end - begin), tensor_dtype_name(t->dtype));
	t->data = r->data + begin;
	t->bytes = (size_t)bytes;
	return ERR_OK;
}

static enum err_code
read_tensor(const struct reader *r, struct json key, struct json v, struct err *e)
{
	AUTO(buf_fini) struct buf name = BUF_INIT;
	struct tensor t = {.file = r->file};
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
		code = read_dtype(&t, json_get(v, "dtype"), e);
	if (code == ERR_OK)
		code = read_shape(&t, json_get(v, "shape"), e);
	if (code == ERR_OK)
		code = read_offsets(&t, r, json_get(v, "data_offsets"), e);
	if (code != ERR_OK)
		return err_wrap(e, "%s: tensor %.120s", r->file, buf_str(&name));
	t.name = buf_str(&name);
	tensor_set_add(r->s, &t);
	return ERR_OK;
}

/* Add the tensors of one file. */
static enum err_code
add_file(struct tensor_set *s, const char *what, const void *data, size_t len, struct err *e)
{
	struct reader r = {.s = s};
	size_t first = tensor_set_count(s);
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
	r.file = tensor_set_file(s, what);
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
	code = tensor_set_cover(s, first, r.data, r.data_len, 1, e);
	return code != ERR_OK ? err_wrap(e, "%s", what) : ERR_OK;
}

enum err_code
safetensors_parse(
	struct tensor_set **out, const char *what, const void *data, size_t len, struct err *e)
{
	AUTO(tensor_set_free) struct tensor_set *s = tensor_set_new();
	enum err_code code = add_file(s, what, data, len, e);

	if (code == ERR_OK)
		code = tensor_set_close(s, e);
	if (code != ERR_OK)
		return code;
	*out = s;
	s = NULL;
	return ERR_OK;
}

static enum err_code
add_shard(struct tensor_set *s, struct model_folder *folder, const char *name, struct err *e)
{
	const char *what = model_folder_name(folder, name);
	struct model_file file;
	enum err_code code;

	if (tensor_set_has_file(s, what))
		return ERR_OK;
	if (tensor_set_files(s) == TENSOR_FILES_MAX)
		return err_set(e, ERR_CONFIG, "%s: more than %d files", what, TENSOR_FILES_MAX);
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
check_index(const struct tensor_set *s, struct model_folder *folder, struct json map,
	const char *what, struct err *e)
{
	struct json_iter it = json_iter(map);
	struct json key, value;

	while (json_next_member(&it, &key, &value)) {
		AUTO(buf_fini) struct buf name = BUF_INIT;
		const struct tensor *t;
		char file[256];

		json_text(&name, key);
		t = tensor_set_find(s, buf_str(&name));
		if (t == NULL || !json_copy_text(file, sizeof(file), value) ||
			strcmp(t->file, model_folder_name(folder, file)) != 0)
			return err_set(e, ERR_CONFIG, "%s: tensor %.120s is not in the file named",
				what, buf_str(&name));
	}
	return ERR_OK;
}

static enum err_code
add_index(struct tensor_set *s, struct model_folder *folder, const char *what,
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
	code = tensor_set_close(s, e);
	return code != ERR_OK ? code : check_index(s, folder, map, what, e);
}

enum err_code
safetensors_open(struct tensor_set **out, struct model_folder *folder, struct err *e)
{
	static const char single[] = "model.safetensors", index[] = "model.safetensors.index.json";
	AUTO(tensor_set_free) struct tensor_set *s = tensor_set_new();
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
