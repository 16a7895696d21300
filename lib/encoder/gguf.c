/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gguf.c - read the keys of a GGUF file, and where its tensors lie
 */
#include <stdlib.h>
#include <string.h>

#include "lib/encoder/gguf.h"

enum {
	GGUF_KEYS_MAX = 256 * 1024 * 1024, /* bytes of all keys and values as JSON */
	GGUF_NAME_MAX = 64, /* bytes of a tensor's name: the format's own limit */
	GGUF_KEY_MAX = 65535,
	GGUF_RANK_MAX = 4,
	GGUF_ALIGN = 32, /* where general.alignment is not there */
	GGUF_ALIGN_MAX = 1 << 16,
};

enum type { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64, TYPES };

/* Bytes of a value; 0: it says so itself. */
static const size_t sizes[TYPES] = {[U8] = 1,
	[I8] = 1,
	[U16] = 2,
	[I16] = 2,
	[U32] = 4,
	[I32] = 4,
	[F32] = 4,
	[BOOL] = 1,
	[U64] = 8,
	[I64] = 8,
	[F64] = 8};

/* Types of tensors, by the format's numbers; those without one here are named for messages only. */
static const struct {
	const char *name;
	bool read;
	enum tensor_dtype dtype;
} tensor_types[] = {
	[0] = {"F32", true, TENSOR_F32},
	[1] = {"F16", true, TENSOR_F16},
	[2] = {.name = "Q4_0"},
	[3] = {.name = "Q4_1"},
	[6] = {.name = "Q5_0"},
	[7] = {.name = "Q5_1"},
	[8] = {"Q8_0", true, TENSOR_Q8_0},
	[9] = {.name = "Q8_1"},
	[10] = {.name = "Q2_K"},
	[11] = {.name = "Q3_K"},
	[12] = {.name = "Q4_K"},
	[13] = {.name = "Q5_K"},
	[14] = {.name = "Q6_K"},
	[15] = {.name = "Q8_K"},
	[28] = {"F64", true, TENSOR_F64},
	[30] = {"BF16", true, TENSOR_BF16},
};

/* Where reading has come to; errors say at which byte, and the caller in which file. */
struct cursor {
	const char *data;
	size_t len, at;
	struct err *e;
};

/* A string in the file. */
struct view {
	const char *at;
	uint64_t len;
};

/* What lies behind all that the cursor reads, once that is known. */
struct area {
	const char *data;
	size_t len, align;
};

void
gguf_fini(struct gguf *g)
{
	tensor_set_free(&g->tensors);
	buf_fini(&g->text);
}

static enum err_code
bad(const struct cursor *c, const char *text)
{
	return err_set(c->e, ERR_CONFIG, "byte %zu: %s", c->at, text);
}

/* The next n bytes. */
static enum err_code
take(const char **out, struct cursor *c, uint64_t n)
{
	if (n > c->len - c->at)
		return bad(c, "the file ends before what is said to stand here");
	*out = c->data + c->at;
	c->at += (size_t)n;
	return ERR_OK;
}

/* The next bytes into a variable of as many. */
static enum err_code
take_into(void *out, struct cursor *c, size_t n)
{
	const char *p = NULL;
	enum err_code code = take(&p, c, n);

	if (code == ERR_OK)
		memcpy(out, p, n);
	return code;
}

static enum err_code
take_string(struct view *out, struct cursor *c)
{
	enum err_code code = take_into(&out->len, c, sizeof(out->len));

	return code != ERR_OK ? code : take(&out->at, c, out->len);
}

/* A name of 1 to max bytes, none of them NUL. */
static enum err_code
take_name(struct view *out, struct cursor *c, size_t max)
{
	const struct cursor start = *c;
	enum err_code code = take_string(out, c);

	if (code == ERR_OK && (out->len == 0 || out->len > max ||
				      memchr(out->at, '\0', (size_t)out->len) != NULL))
		return bad(&start, "a name that is empty, too long or holds a NUL");
	return code;
}

static void
put_number(struct buf *out, enum type type, const void *value)
{
	const unsigned unused = 64 - 8 * (unsigned)sizes[type];
	uint64_t n = 0;
	float f;
	double d;

	memcpy(&n, value, sizes[type]);
	memcpy(&f, &n, sizeof(f));
	memcpy(&d, &n, sizeof(d));
	if (type == BOOL)
		json_put_bool(out, n != 0);
	else if (type == F32 || type == F64)
		json_put_double(out, type == F32 ? (double)f : d);
	else if (type == I8 || type == I16 || type == I32 || type == I64)
		json_put_i64(out, (int64_t)(n << unused) >> unused);
	else
		json_put_u64(out, n);
}

/* Anything but an array. */
static enum err_code
take_item(struct buf *out, uint32_t type, struct cursor *c)
{
	struct view string = {"", 0};
	const char *p = NULL;
	enum err_code code;

	if (type >= TYPES || type == ARRAY)
		return bad(c, "a value of no known type");
	code = type == STRING ? take_string(&string, c) : take(&p, c, sizes[type]);
	if (code == ERR_OK && out->len > GGUF_KEYS_MAX)
		code = bad(c, "the keys are too large");
	if (code != ERR_OK)
		return code;
	if (type == STRING)
		json_put_string(out, string.at, (size_t)string.len);
	else
		put_number(out, (enum type)type, p);
	return ERR_OK;
}

static enum err_code
take_value(struct buf *out, struct cursor *c)
{
	uint32_t type = 0;
	uint64_t count = 0;
	enum err_code code = take_into(&type, c, sizeof(type));

	if (code != ERR_OK || type != ARRAY)
		return code != ERR_OK ? code : take_item(out, type, c);
	code = take_into(&type, c, sizeof(type));
	if (code == ERR_OK)
		code = take_into(&count, c, sizeof(count));
	json_put_begin(out, '[');
	for (uint64_t i = 0; code == ERR_OK && i < count; i++)
		code = take_item(out, type, c);
	json_put_end(out, ']');
	return code;
}

static int
by_text(const void *a, const void *b)
{
	const struct view *x = a, *y = b;
	int order = memcmp(x->at, y->at, (size_t)MIN(x->len, y->len));

	return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

static enum err_code
refuse_twice(const struct buf *names, struct err *e)
{
	struct view *v = (struct view *)(void *)names->data;
	size_t len = names->len / sizeof(*v);

	if (len > 0)
		qsort(v, len, sizeof(*v), by_text);
	for (size_t i = 1; i < len; i++)
		if (by_text(&v[i - 1], &v[i]) == 0)
			return err_set(e, ERR_CONFIG, "key %.*s is there twice",
				(int)MIN(v[i].len, 120), v[i].at);
	return ERR_OK;
}

/* All keys with their values, as the members of an object. */
static enum err_code
take_keys(struct buf *out, struct cursor *c, uint64_t count)
{
	AUTO(buf_fini) struct buf names = BUF_INIT;
	struct view name;

	json_put_begin(out, '{');
	for (uint64_t i = 0; i < count; i++) {
		if (take_name(&name, c, GGUF_KEY_MAX) != ERR_OK)
			return c->e->code;
		json_put_string(out, name.at, (size_t)name.len);
		buf_add_char(out, ':');
		if (take_value(out, c) != ERR_OK)
			return err_wrap(c->e, "key %.*s", (int)MIN(name.len, 120), name.at);
		buf_add(&names, &name, sizeof(name));
	}
	json_put_end(out, '}');
	return refuse_twice(&names, c->e);
}

static enum err_code
take_sizes(struct tensor *t, struct cursor *c)
{
	enum err_code code = take_into(&t->rank, c, sizeof(t->rank));

	if (code == ERR_OK && t->rank > GGUF_RANK_MAX)
		return bad(c, "a tensor of more than 4 dimensions");
	t->elements = 1;
	for (size_t i = 0; i < TENSOR_RANK_MAX; i++)
		t->shape[i] = 1;
	for (uint32_t i = 0; code == ERR_OK && i < t->rank; i++) {
		uint64_t *size = &t->shape[t->rank - 1 - i];

		code = take_into(size, c, sizeof(*size));
		if (code == ERR_OK && __builtin_mul_overflow(t->elements, *size, &t->elements))
			code = bad(c, "a tensor that is too large");
	}
	return code;
}

static enum err_code
take_dtype(struct tensor *t, struct cursor *c)
{
	uint32_t type = 0;
	enum err_code code = take_into(&type, c, sizeof(type));
	const char *name = type < ARRAY_LEN(tensor_types) ? tensor_types[type].name : NULL;

	if (code != ERR_OK)
		return code;
	if (name == NULL || !tensor_types[type].read)
		return err_set(c->e, ERR_CONFIG,
			"its type %u%s%s is not supported; supported: F32, F16, BF16, F64, Q8_0",
			type, name != NULL ? ", " : "", name != NULL ? name : "");
	t->dtype = tensor_types[type].dtype;
	return ERR_OK;
}

/* Offset and bytes of the data, from what has been read of the tensor. */
static enum err_code
take_place(struct tensor *t, struct cursor *c, const struct area *area)
{
	uint64_t offset = 0, bytes;
	enum err_code code = take_into(&offset, c, sizeof(offset));

	if (code != ERR_OK)
		return code;
	if (!tensor_size(&bytes, t->dtype, t->shape[MAX(t->rank, 1) - 1]) ||
		!tensor_size(&bytes, t->dtype, t->elements))
		return bad(c, "its rows are no whole blocks of its type, or it is too large");
	if (area == NULL)
		return ERR_OK;
	if (offset > area->len || bytes > area->len - offset || offset % area->align != 0)
		return err_set(c->e, ERR_CONFIG,
			"%llu bytes at offset %llu are outside of the %zu bytes of data, or not "
			"aligned to %zu",
			(unsigned long long)bytes, (unsigned long long)offset, area->len,
			area->align);
	t->data = area->data + offset;
	t->bytes = (size_t)bytes;
	return ERR_OK;
}

/* Without area only look: where the data begin is known when all tensors have been read. */
static enum err_code
take_tensor(struct tensor_set *s, const char *file, struct cursor *c, const struct area *area)
{
	char name[GGUF_NAME_MAX + 1] = "";
	struct tensor t = {.name = name, .file = file};
	struct view view;
	enum err_code code = take_name(&view, c, GGUF_NAME_MAX);

	if (code != ERR_OK)
		return code;
	memcpy(name, view.at, (size_t)view.len);
	code = take_sizes(&t, c);
	if (code == ERR_OK)
		code = take_dtype(&t, c);
	if (code == ERR_OK)
		code = take_place(&t, c, area);
	if (code != ERR_OK)
		return err_wrap(c->e, "tensor %s", name);
	if (area != NULL)
		tensor_set_add(s, &t);
	return ERR_OK;
}

static enum err_code
take_tensors(struct gguf *g, struct cursor *c, uint64_t count, uint32_t align)
{
	const struct cursor start = *c;
	const char *file = tensor_set_file(g->tensors, g->what), *skipped = NULL;
	struct area area;
	enum err_code code = ERR_OK;

	for (uint64_t i = 0; code == ERR_OK && i < count; i++)
		code = take_tensor(NULL, file, c, NULL);
	if (code == ERR_OK && count > 0)
		code = take(&skipped, c, (0 - c->at) & (align - 1));
	if (code != ERR_OK)
		return code;
	area = (struct area){c->data + c->at, c->len - c->at, align};
	*c = start;
	for (uint64_t i = 0; code == ERR_OK && i < count; i++)
		code = take_tensor(g->tensors, file, c, &area);
	return code != ERR_OK ? code
			      : tensor_set_cover(g->tensors, 0, area.data, area.len, align, c->e);
}

static enum err_code
take_align(uint32_t *out, const struct gguf *g, struct err *e)
{
	static const char key[] = "general.alignment";
	struct json v = json_get(g->keys, key);
	uint64_t n = GGUF_ALIGN;

	if (v.type != JSON_NONE &&
		(!json_u64(&n, v) || n < 1 || n > GGUF_ALIGN_MAX || (n & (n - 1)) != 0))
		return err_set(e, ERR_CONFIG, "key %s: must be a power of 2 up to %d", key,
			GGUF_ALIGN_MAX);
	*out = (uint32_t)n;
	return ERR_OK;
}

static enum err_code
take_file(struct gguf *g, struct cursor *c)
{
	const char *magic;
	uint32_t version = 0, align = 0;
	uint64_t tensors = 0, keys = 0;

	if (c->len < 4 || memcmp(c->data, "GGUF", 4) != 0)
		return err_set(c->e, ERR_CONFIG, "not a GGUF file");
	if (take(&magic, c, 4) != ERR_OK || take_into(&version, c, sizeof(version)) != ERR_OK)
		return c->e->code;
	if (version < 2 || version > 3)
		return err_set(c->e, ERR_CONFIG,
			"GGUF version %u%s is not supported; supported: 2 and 3, little-endian",
			version, version % 65536 == 0 ? " (big-endian)" : "");
	if (take_into(&tensors, c, sizeof(tensors)) != ERR_OK ||
		take_into(&keys, c, sizeof(keys)) != ERR_OK ||
		take_keys(&g->text, c, keys) != ERR_OK ||
		json_check(&g->keys, g->text.data, g->text.len, c->e) != ERR_OK ||
		take_align(&align, g, c->e) != ERR_OK)
		return c->e->code;
	return take_tensors(g, c, tensors, align);
}

enum err_code
gguf_parse(struct gguf *out, const char *what, const void *data, size_t len, struct err *e)
{
	struct cursor c = {.data = data, .len = len, .e = e};

	*out = (struct gguf){.what = what, .tensors = tensor_set_new()};
	if (take_file(out, &c) != ERR_OK)
		return err_wrap(e, "%s", what);
	return tensor_set_close(out->tensors, e);
}
