/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_normal.c - the normalizers, one after another over a segment of text
 */
#include <string.h>
#include <utf8proc.h>

#include "lib/base/utf8.h"
#include "lib/encoder/tokenizer_parts.h"

enum { ROOM = 512 };

/* The text a step reads, and where what it makes goes. */
struct pass {
	const struct tokenizer *t;
	const struct tokenizer_step *step;
	struct tokenizer_scratch *s;
	struct tokenizer_text in;
	struct buf *out;
	bool *first;
	struct err *e;
};

static bool
out_has_room(struct buf *out)
{
	if (out->cap - out->len > ROOM)
		return true;
	buf_reserve(out, MAX(out->len / 2, 4096) + ROOM);
	return out->len < TOKENIZER_STAGE_MAX;
}

static enum err_code
too_large(struct err *e)
{
	return err_set(e, ERR_INPUT, "the text becomes larger than %d bytes when normalized",
		TOKENIZER_STAGE_MAX);
}

/* Characters of a run in the order of their combining class; equal ones stay in order. */
static void
run_sort(uint32_t *points, size_t len, uint32_t *spare)
{
	size_t starts[257] = {0};

	for (size_t i = 0; i < len; i++)
		starts[tokenizer_unicode_order(points[i]) + 1]++;
	for (size_t i = 1; i < 257; i++)
		starts[i] += starts[i - 1];
	for (size_t i = 0; i < len; i++)
		spare[starts[tokenizer_unicode_order(points[i])]++] = points[i];
	memcpy(points, spare, len * sizeof(*points));
}

static void
points_order(uint32_t *points, size_t len, uint32_t *spare)
{
	size_t begin = 0;

	for (size_t i = 0; i <= len; i++) {
		if (i < len && tokenizer_unicode_order(points[i]) != 0)
			continue;
		if (i - begin > 1)
			run_sort(points + begin, i - begin, spare);
		begin = i + 1;
	}
}

/* Put out's text from at on in canonical order, and compose it where the step says so. */
static void
order_and_compose(const struct pass *p, size_t at)
{
	struct buf *store = &p->s->points;
	size_t n = 0, len = p->out->len - at;
	uint32_t *points;
	utf8proc_ssize_t composed;

	buf_clear(store);
	buf_reserve(store, 2 * (len + 1) * sizeof(*points));
	points = (uint32_t *)(void *)store->data;
	for (size_t i = at; i < p->out->len; n++)
		i += tokenizer_unicode_decode(&points[n], p->out->data + i);
	points_order(points, n, points + n);
	if ((p->step->flags & STEP_COMPOSE) != 0) {
		composed = utf8proc_normalize_utf32((utf8proc_int32_t *)(void *)points,
			(utf8proc_ssize_t)n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
		CHECK(composed >= 0);
		n = (size_t)composed;
	}
	p->out->len = at;
	for (size_t i = 0; i < n; i++)
		utf8_add(p->out, points[i]);
}

static enum err_code
run_map(const struct pass *p)
{
	const uint16_t *index = p->t->map_index + (size_t)p->step->extra * TOKENIZER_BLOCKS;
	const uint32_t *ascii = p->t->map + (size_t)index[0] * 256;
	const char *in = p->in.text, *end = in + p->in.len;
	struct buf *out = p->out;
	size_t at = out->len;
	uint32_t c, entry, marks = 0, all = 0;

	while (in < end) {
		size_t n = 1;

		if (!out_has_room(out))
			return too_large(p->e);
		if ((unsigned char)*in < 0x80) {
			entry = ascii[(unsigned char)*in];
		} else {
			n = tokenizer_unicode_decode(&c, in);
			entry = p->t->map[(size_t)index[c >> 8] * 256 + (c & 255)];
			all |= c;
		}
		if ((entry & MAP_TEXT) != 0) {
			memcpy(out->data + out->len, p->t->text + MAP_AT(entry), MAP_LEN(entry));
			out->len += MAP_LEN(entry);
			if (MAP_LEN(entry) == 0 && in == p->in.text)
				*p->first = false;
		} else {
			memcpy(out->data + out->len, in, n);
			out->len += n;
		}
		marks |= entry & MAP_MARK;
		in += n;
	}
	if ((marks != 0 && (p->step->flags & STEP_ORDER) != 0) ||
		(all != 0 && (p->step->flags & STEP_COMPOSE) != 0))
		order_and_compose(p, at);
	return ERR_OK;
}

/* Length of the user-perceived character that text begins with. */
static size_t
grapheme_length(const char *text, size_t len)
{
	utf8proc_int32_t state = 0;
	uint32_t a, b;
	size_t at = tokenizer_unicode_decode(&a, text), n;

	for (; at < len; at += n, a = b) {
		n = tokenizer_unicode_decode(&b, text + at);
		if (a < 0x80 && b < 0x80 && a != '\r')
			break;
		if (utf8proc_grapheme_break_stateful(
			    (utf8proc_int32_t)a, (utf8proc_int32_t)b, &state))
			break;
	}
	return at;
}

/* What replaces all of a short grapheme: of the first key that it begins with. */
static bool
replace_grapheme(const struct pass *p, const char *text, size_t len)
{
	uint32_t at;

	if (len >= 6 ||
		!tokenizer_charsmap_find(
			&at, p->t->charsmap, SECTION_COUNT(p->t, SECTION_CHARSMAP), text, len) ||
		at >= p->step->a.len)
		return false;
	text = p->t->text + p->step->a.at + at;
	buf_add(p->out, text, strnlen(text, p->step->a.len - at));
	return true;
}

static void
map_characters(const struct pass *p, const char *text, size_t len)
{
	uint32_t c, entry;

	for (size_t i = 0, n; i < len; i += n) {
		n = tokenizer_unicode_decode(&c, text + i);
		entry = tokenizer_map_entry(p->t, p->step->extra, c);
		if ((entry & MAP_TEXT) != 0)
			buf_add(p->out, p->t->text + MAP_AT(entry), MAP_LEN(entry));
		else
			buf_add(p->out, text + i, n);
	}
}

/* SentencePiece's map, applied as the reference does: by graphemes of fewer than six bytes first.
 */
static enum err_code
run_charsmap(const struct pass *p)
{
	const uint32_t *ascii =
		p->t->map +
		(size_t)p->t->map_index[(size_t)p->step->extra * TOKENIZER_BLOCKS] * 256;
	const char *in = p->in.text;
	size_t i = 0, n, begin = p->out->len;

	while (i < p->in.len) {
		if (!out_has_room(p->out))
			return too_large(p->e);
		if ((unsigned char)in[i] < 0x80 && ascii[(unsigned char)in[i]] == MAP_SAME &&
			(i + 1 == p->in.len || (unsigned char)in[i + 1] < 0x80)) {
			p->out->data[p->out->len++] = in[i++];
			continue;
		}
		n = grapheme_length(in + i, p->in.len - i);
		if (!replace_grapheme(p, in + i, n))
			map_characters(p, in + i, n);
		if (i == 0 && p->out->len == begin)
			*p->first = false;
		i += n;
	}
	return ERR_OK;
}

static enum err_code
run_strip(const struct pass *p)
{
	const char *begin = p->in.text, *end = begin + p->in.len, *last;
	uint32_t c;

	while ((p->step->flags & STEP_LEFT) != 0 && begin < end) {
		size_t n = tokenizer_unicode_decode(&c, begin);

		if ((tokenizer_class(p->t, c) & CLASS_SPACE) == 0)
			break;
		*p->first = false;
		begin += n;
	}
	while ((p->step->flags & STEP_RIGHT) != 0 && begin < end) {
		for (last = end - 1; ((unsigned char)*last & 0xc0) == 0x80; last--)
			;
		(void)tokenizer_unicode_decode(&c, last);
		if ((tokenizer_class(p->t, c) & CLASS_SPACE) == 0)
			break;
		end = last;
	}
	buf_add(p->out, begin, (size_t)(end - begin));
	return ERR_OK;
}

static enum err_code
run_replace(const struct pass *p)
{
	size_t at = 0, from = 0, begin, end;
	const pcre2_code *code = p->t->normal_code[p->step - p->t->normal];
	enum tokenizer_found found;

	for (;;) {
		found = tokenizer_pattern_find(
			&begin, &end, p->t, p->step, code, p->s, p->in, from);
		if (found != FOUND_YES)
			break;
		buf_add(p->out, p->in.text + at, begin - at);
		buf_add(p->out, p->t->text + p->step->b.at, p->step->b.len);
		if (p->out->len > TOKENIZER_STAGE_MAX)
			return too_large(p->e);
		if (begin == 0 && end > 0 && p->step->b.len == 0)
			*p->first = false;
		at = end;
		from = end > begin ? end : end + 1;
	}
	if (found == FOUND_TOO_COSTLY)
		return err_set(p->e, ERR_INPUT, "the text costs pattern %.*s too many steps",
			(int)MIN(p->step->a.len, 80), p->t->text + p->step->a.at);
	buf_add(p->out, p->in.text + at, p->in.len - at);
	return ERR_OK;
}

static enum err_code
run_step(const struct pass *p)
{
	switch (p->step->kind) {
	case STEP_MAP:
		return run_map(p);
	case STEP_CHARSMAP:
		return run_charsmap(p);
	case STEP_STRIP:
		return run_strip(p);
	case STEP_REPLACE:
		return run_replace(p);
	case STEP_PREPEND:
		if (p->in.len > 0)
			buf_add(p->out, p->t->text + p->step->a.at, p->step->a.len);
		buf_add(p->out, p->in.text, p->in.len);
		return ERR_OK;
	default:
		tokenizer_bytes_add(p->out, p->in.text, p->in.len);
		return ERR_OK;
	}
}

enum err_code
tokenizer_normalize(struct buf *out, bool *first, const struct tokenizer *t,
	struct tokenizer_scratch *s, struct tokenizer_text segment, struct err *e)
{
	size_t steps = SECTION_COUNT(t, SECTION_NORMAL);
	struct pass p = {.t = t, .s = s, .in = segment, .first = first, .e = e};

	for (size_t i = 0; i < steps; i++) {
		p.step = &t->normal[i];
		p.out = i + 1 == steps ? out : &s->normal[i % 2];
		if (i + 1 < steps)
			buf_clear(p.out);
		if (run_step(&p) != ERR_OK)
			return e->code;
		if (p.out->len > TOKENIZER_STAGE_MAX)
			return too_large(e);
		p.in = (struct tokenizer_text){buf_str(p.out), p.out->len};
	}
	if (steps == 0)
		buf_add(out, segment.text, segment.len);
	return ERR_OK;
}
