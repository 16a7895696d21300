/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tensor_set.c - the tensors of a model's files, by name
 */
#include <stdlib.h>
#include <string.h>

#include "lib/encoder/tensor.h"

struct tensor_set {
	struct tensor *tensors;
	size_t len, cap;
	char *files[TENSOR_FILES_MAX];
	size_t files_len;
};

struct tensor_set *
tensor_set_new(void)
{
	struct tensor_set *s = calloc(1, sizeof(*s));

	CHECK(s != NULL);
	return s;
}

void
tensor_set_free(struct tensor_set **s_p)
{
	struct tensor_set *s = *s_p;

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

const char *
tensor_set_file(struct tensor_set *s, const char *name)
{
	CHECK(s->files_len < TENSOR_FILES_MAX);
	s->files[s->files_len] = strdup(name);
	CHECK(s->files[s->files_len] != NULL);
	return s->files[s->files_len++];
}

size_t
tensor_set_files(const struct tensor_set *s)
{
	return s->files_len;
}

bool
tensor_set_has_file(const struct tensor_set *s, const char *name)
{
	for (size_t i = 0; i < s->files_len; i++)
		if (strcmp(s->files[i], name) == 0)
			return true;
	return false;
}

void
tensor_set_add(struct tensor_set *s, const struct tensor *t)
{
	if (s->len == s->cap) {
		s->cap = s->cap == 0 ? 64 : s->cap * 2;
		s->tensors = realloc(s->tensors, s->cap * sizeof(*s->tensors));
		CHECK(s->tensors != NULL);
	}
	s->tensors[s->len] = *t;
	s->tensors[s->len].name = strdup(t->name);
	CHECK(s->tensors[s->len].name != NULL);
	s->len++;
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

enum err_code
tensor_set_cover(struct tensor_set *s, size_t first, const char *data, size_t len, size_t align,
	struct err *e)
{
	size_t count = s->len - first, at = 0;
	struct tensor *t = count > 0 ? s->tensors + first : NULL;

	if (count > 0)
		qsort(t, count, sizeof(*t), by_data);
	for (size_t i = 0; i < count; i++) {
		size_t here = (size_t)((const char *)t[i].data - data);
		size_t want = at + (align - at % align) % align;

		if (here != want)
			return err_set(e, ERR_CONFIG, "tensor %.120s %s", t[i].name,
				here < want ? "overlaps another one"
					    : "has bytes before it that belong to none");
		at = here + t[i].bytes;
	}
	if (len - at >= align)
		return err_set(e, ERR_CONFIG, "%zu bytes at the end belong to no tensor", len - at);
	return ERR_OK;
}

enum err_code
tensor_set_close(struct tensor_set *s, struct err *e)
{
	if (s->len > 0)
		qsort(s->tensors, s->len, sizeof(*s->tensors), by_name);
	for (size_t i = 1; i < s->len; i++)
		if (strcmp(s->tensors[i - 1].name, s->tensors[i].name) == 0)
			return err_set(e, ERR_CONFIG, "%s: tensor %.120s is there twice",
				s->tensors[i].file, s->tensors[i].name);
	return ERR_OK;
}

const struct tensor *
tensor_set_find(const struct tensor_set *s, const char *name)
{
	const struct tensor key = {.name = name};

	return s->len == 0 ? NULL : bsearch(&key, s->tensors, s->len, sizeof(*s->tensors), by_name);
}

size_t
tensor_set_count(const struct tensor_set *s)
{
	return s->len;
}

const struct tensor *
tensor_set_at(const struct tensor_set *s, size_t i)
{
	CHECK(i < s->len);
	return &s->tensors[i];
}
