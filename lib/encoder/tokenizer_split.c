/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_split.c - the pre-tokenizers, one after another over the pieces of a text
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/utf8.h"
#include "lib/encoder/tokenizer_parts.h"

/* Turns a row of matches and what lies between them into pieces, as the behavior says. */
struct cutter {
	struct tokenizer_stage *out;
	struct tokenizer_piece whole;
	uint32_t behavior;
	bool holds, held_match, was_match;
	size_t begin, end; /* of what it holds back */
};

/* One step over all pieces. */
struct pass {
	const struct tokenizer *t;
	const struct tokenizer_step *step;
	struct tokenizer_scratch *s;
	struct tokenizer_stage *in, *out;
	struct err *e;
};

void
tokenizer_stage_add(struct tokenizer_stage *stage, struct tokenizer_piece p)
{
	if (stage->len == stage->cap) {
		stage->cap = stage->cap == 0 ? 256 : stage->cap * 2;
		stage->pieces = reallocarray(stage->pieces, stage->cap, sizeof(*stage->pieces));
		CHECK(stage->pieces != NULL);
	}
	stage->pieces[stage->len++] = p;
}

void
tokenizer_bytes_add(struct buf *out, const char *text, size_t len)
{
	buf_reserve(out, 2 * len);
	for (size_t i = 0; i < len; i++) {
		uint32_t c = tokenizer_unicode_byte((unsigned char)text[i]);

		if (c < 0x80) {
			out->data[out->len++] = (char)c;
		} else {
			out->data[out->len++] = (char)(0xc0 | c >> 6);
			out->data[out->len++] = (char)(0x80 | (c & 0x3f));
		}
	}
}

static void
emit(struct cutter *k, size_t begin, size_t end)
{
	if (begin < end)
		tokenizer_stage_add(
			k->out, (struct tokenizer_piece){.at = k->whole.at + (uint32_t)begin,
					.len = (uint32_t)(end - begin),
					.id = TOKENIZER_NONE,
					.first = k->whole.first != 0 && begin == 0});
}

static void
cutter_end(struct cutter *k)
{
	if (k->holds)
		emit(k, k->begin, k->end);
	k->holds = false;
}

static void
cutter_hold(struct cutter *k, size_t begin, size_t end, bool is_match)
{
	cutter_end(k);
	k->begin = begin;
	k->end = end;
	k->held_match = is_match;
	k->holds = true;
}

static void
cutter_feed(struct cutter *k, size_t begin, size_t end, bool is_match)
{
	bool joins = false;

	switch (k->behavior) {
	case BEHAVIOR_REMOVED:
		if (!is_match)
			emit(k, begin, end);
		return;
	case BEHAVIOR_ISOLATED:
		emit(k, begin, end);
		return;
	case BEHAVIOR_CONTIGUOUS:
		joins = k->holds && is_match == k->was_match;
		break;
	case BEHAVIOR_PREVIOUS:
		joins = k->holds && is_match && !k->was_match;
		break;
	default: /* with what follows: a match waits for the next one that is none */
		joins = k->holds && k->held_match && !is_match;
		break;
	}
	k->was_match = is_match;
	if (!joins) {
		cutter_hold(k, begin, end, is_match);
		return;
	}
	k->end = end;
	k->held_match = false;
}

static void
run_class(const struct pass *p, struct tokenizer_piece piece)
{
	struct cutter k = {.out = p->out, .whole = piece, .behavior = p->step->behavior};
	const uint16_t *ascii = p->t->classes + (size_t)p->t->class_index[0] * 256;
	const char *text = p->in->text.data + piece.at;
	size_t done = 0, n;
	uint32_t c, classes;

	for (size_t i = 0; i < piece.len; i += n) {
		n = 1;
		if ((unsigned char)text[i] < 0x80) {
			classes = ascii[(unsigned char)text[i]];
		} else {
			n = tokenizer_unicode_decode(&c, text + i);
			classes = tokenizer_class(p->t, c);
		}
		if ((classes & p->step->extra) == 0)
			continue;
		if (done < i)
			cutter_feed(&k, done, i, false);
		cutter_feed(&k, i, i + n, true);
		done = i + n;
	}
	if (done < piece.len)
		cutter_feed(&k, done, piece.len, false);
	cutter_end(&k);
}

/* Runs of \w, and runs of what is neither \w nor space. */
static void
run_words(const struct pass *p, struct tokenizer_piece piece)
{
	struct cutter k = {.out = p->out, .whole = piece};
	const char *text = p->in->text.data + piece.at;
	size_t done = 0, n;
	uint32_t c, kind, last = CLASS_SPACE;

	for (size_t i = 0; i < piece.len; i += n) {
		n = tokenizer_unicode_decode(&c, text + i);
		kind = tokenizer_class(p->t, c) & (CLASS_WORD | CLASS_SPACE);
		kind = (kind & CLASS_WORD) != 0 ? CLASS_WORD : kind;
		if (kind == last)
			continue;
		if (last != CLASS_SPACE)
			emit(&k, done, i);
		done = i;
		last = kind;
	}
	if (last != CLASS_SPACE)
		emit(&k, done, piece.len);
}

static enum err_code
run_pattern(const struct pass *p, struct tokenizer_piece piece)
{
	struct cutter k = {.out = p->out, .whole = piece, .behavior = p->step->behavior};
	const pcre2_code *code = p->t->split_code[p->step - p->t->split];
	struct tokenizer_text text = {p->in->text.data + piece.at, piece.len};
	bool match = (p->step->flags & STEP_INVERT) == 0;
	size_t done = 0, from = 0, begin, end;
	enum tokenizer_found found;

	while ((found = tokenizer_pattern_find(
			&begin, &end, p->t, p->step, code, p->s, text, from)) == FOUND_YES) {
		from = end > begin ? end : end + 1;
		if (end == begin && begin == done && done > 0)
			continue; /* an empty match right behind another is none */
		if (done < begin)
			cutter_feed(&k, done, begin, !match);
		cutter_feed(&k, begin, end, match);
		done = end;
	}
	if (found == FOUND_TOO_COSTLY)
		return err_set(p->e, ERR_INPUT, "the text costs pattern %.*s too many steps",
			(int)MIN(p->step->a.len, 80), p->t->text + p->step->a.at);
	if (done < text.len)
		cutter_feed(&k, done, text.len, !match);
	cutter_end(&k);
	return ERR_OK;
}

static void
run_byte_level(const struct pass *p, struct tokenizer_piece piece)
{
	struct tokenizer_text text = {p->in->text.data + piece.at, piece.len};
	struct tokenizer_piece made = {.id = TOKENIZER_NONE, .first = piece.first};
	size_t n;

	if ((p->step->flags & STEP_SPACE) != 0 && text.text[0] != ' ') {
		buf_clear(&p->s->lead);
		buf_add_char(&p->s->lead, ' ');
		buf_add(&p->s->lead, text.text, text.len);
		text = (struct tokenizer_text){p->s->lead.data, p->s->lead.len};
	}
	while (text.len > 0) {
		n = (p->step->flags & STEP_REGEX) != 0 ? tokenizer_gpt2_next(p->t, text) : text.len;
		made.at = (uint32_t)p->out->text.len;
		tokenizer_bytes_add(&p->out->text, text.text, n);
		made.len = (uint32_t)p->out->text.len - made.at;
		tokenizer_stage_add(p->out, made);
		made.first = 0;
		text = (struct tokenizer_text){text.text + n, text.len - n};
	}
}

/* Blanks become the replacement; one is put in front as the scheme says; a piece begins at each. */
static void
run_metaspace(const struct pass *p, struct tokenizer_piece piece)
{
	const char *text = p->in->text.data + piece.at, *mark = p->t->text + p->step->a.at;
	size_t mark_len = p->step->a.len;
	struct buf *out = &p->out->text;
	struct tokenizer_piece made = {
		.at = (uint32_t)out->len, .id = TOKENIZER_NONE, .first = piece.first};
	bool starts =
		text[0] == ' ' || (piece.len >= mark_len && memcmp(text, mark, mark_len) == 0);

	if (!starts && (p->step->extra == SCHEME_ALWAYS ||
			       (p->step->extra == SCHEME_FIRST && piece.first != 0)))
		buf_add(out, mark, mark_len);
	for (size_t i = 0; i < piece.len;) {
		bool is_mark = text[i] == ' ' || (text[i] == mark[0] && piece.len - i >= mark_len &&
							 memcmp(text + i, mark, mark_len) == 0);

		if (!is_mark) {
			buf_add_char(out, text[i++]);
			continue;
		}
		made.len = (uint32_t)out->len - made.at;
		if ((p->step->flags & STEP_SPLIT) != 0 && made.len > 0) {
			tokenizer_stage_add(p->out, made);
			made.at = (uint32_t)out->len;
			made.first = 0;
		}
		buf_add(out, mark, mark_len);
		i += text[i] == ' ' ? 1 : mark_len;
	}
	made.len = (uint32_t)out->len - made.at;
	if (made.len > 0)
		tokenizer_stage_add(p->out, made);
}

static bool
rewrites(const struct tokenizer_step *step)
{
	return step->kind == STEP_METASPACE || step->kind == STEP_BYTE_LEVEL;
}

static enum err_code
run_piece(const struct pass *p, struct tokenizer_piece piece)
{
	switch (p->step->kind) {
	case STEP_CLASS:
		run_class(p, piece);
		return ERR_OK;
	case STEP_WORDS:
		run_words(p, piece);
		return ERR_OK;
	case STEP_BYTE_LEVEL:
		run_byte_level(p, piece);
		break;
	case STEP_METASPACE:
		run_metaspace(p, piece);
		break;
	default:
		return run_pattern(p, piece);
	}
	if (p->out->text.len > TOKENIZER_STAGE_MAX)
		return err_set(p->e, ERR_INPUT, "the text becomes larger than %d bytes when split",
			TOKENIZER_STAGE_MAX);
	return ERR_OK;
}

enum err_code
tokenizer_split(const struct tokenizer *t, struct tokenizer_scratch *s, unsigned *at, struct err *e)
{
	struct pass p = {.t = t, .s = s, .e = e};

	for (size_t i = 0; i < SECTION_COUNT(t, SECTION_SPLIT); i++) {
		p.step = &t->split[i];
		p.in = &s->stages[*at];
		p.out = &s->stages[1 - *at];
		p.out->len = 0;
		buf_clear(&p.out->text);
		for (size_t j = 0; j < p.in->len; j++) {
			if (p.in->pieces[j].id != TOKENIZER_NONE)
				tokenizer_stage_add(p.out, p.in->pieces[j]);
			else if (run_piece(&p, p.in->pieces[j]) != ERR_OK)
				return e->code;
		}
		if (!rewrites(p.step)) {
			struct buf text = p.in->text;

			p.in->text = p.out->text;
			p.out->text = text;
		}
		*at = 1 - *at;
	}
	return ERR_OK;
}
