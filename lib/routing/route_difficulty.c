/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route_difficulty.c - how hard is a prompt, from what can be seen without understanding it
 *
 * One turn: 0.05 and, up to 1 in all,
 *   length     0.05 per doubling of its words above 16, at most 0.25
 *   code       0.20 for a fenced block, else 0.10 for lines that look like code
 *   list       0.03 per listed line, at most 0.12
 *   math       0.15 for formulas
 *   questions  0.05 for each after the first, at most 0.10
 *   demands    0.04 per word that sets a condition ("must", "exactly"), at most 0.16
 *   task       the weights of the task words below, each word once, at most 0.70
 *
 * A conversation: its latest turn, or an earlier one times its decay, whichever is more. After hard
 * work "commit it" or "now the same for B" is hard, so a turn that leans on what was said before
 * inherits nearly all; one that stands alone only a little; a thank-you nothing.
 */
#include <math.h>
#include <string.h>

#include "lib/routing/parts.h"

enum { TEXT_MAX = 16 * 1024, SHORT_WORDS = 3, LEANING_WORDS = 14 };

static const double leaning_decay[] = {1, 0.90, 0.75, 0.60};
static const double standing_decay[] = {1, 0.35, 0.25, 0.15};

enum word_kind { WORD_TASK, WORD_DEMAND, WORD_BACK, WORD_COURTESY };

struct word_row {
	const char *stem; /* with a star: any word that begins so */
	enum word_kind kind;
	unsigned percent; /* of WORD_TASK */
};

/* Sorted by stem; no starred stem begins another row. */
static const struct word_row word_rows[] = {
	{"again", WORD_BACK, 0},
	{"algorithm*", WORD_TASK, 18},
	{"also", WORD_BACK, 0},
	{"always", WORD_DEMAND, 0},
	{"analys*", WORD_TASK, 18},
	{"analyz*", WORD_TASK, 18},
	{"architect*", WORD_TASK, 22},
	{"assum*", WORD_DEMAND, 0},
	{"asymptotic*", WORD_TASK, 20},
	{"at-least", WORD_DEMAND, 0},
	{"benchmark*", WORD_TASK, 12},
	{"bug", WORD_TASK, 15},
	{"bugs", WORD_TASK, 15},
	{"bye", WORD_COURTESY, 0},
	{"c++", WORD_TASK, 8},
	{"calculus", WORD_TASK, 18},
	{"compare", WORD_TASK, 10},
	{"compil*", WORD_TASK, 15},
	{"complexity", WORD_TASK, 15},
	{"concurren*", WORD_TASK, 22},
	{"consider*", WORD_DEMAND, 0},
	{"consisten*", WORD_TASK, 8},
	{"constraint*", WORD_DEMAND, 0},
	{"contract", WORD_TASK, 8},
	{"cryptograph*", WORD_TASK, 20},
	{"deadlock*", WORD_TASK, 25},
	{"debug*", WORD_TASK, 20},
	{"derivation", WORD_TASK, 25},
	{"derive", WORD_TASK, 25},
	{"design", WORD_TASK, 15},
	{"diagnos*", WORD_TASK, 18},
	{"differential", WORD_TASK, 18},
	{"distributed", WORD_TASK, 22},
	{"edge-case*", WORD_DEMAND, 0},
	{"eigenvalue*", WORD_TASK, 20},
	{"ensure", WORD_DEMAND, 0},
	{"essay", WORD_TASK, 10},
	{"evaluate", WORD_TASK, 12},
	{"exactly", WORD_DEMAND, 0},
	{"except", WORD_DEMAND, 0},
	{"goodbye", WORD_COURTESY, 0},
	{"hello", WORD_COURTESY, 0},
	{"hey", WORD_COURTESY, 0},
	{"hi", WORD_COURTESY, 0},
	{"implement*", WORD_TASK, 20},
	{"induction", WORD_TASK, 22},
	{"instead", WORD_BACK, 0},
	{"integral*", WORD_TASK, 18},
	{"invariant*", WORD_TASK, 20},
	{"it", WORD_BACK, 0},
	{"its", WORD_BACK, 0},
	{"justify", WORD_TASK, 15},
	{"kernel*", WORD_TASK, 12},
	{"lemma*", WORD_TASK, 30},
	{"lock-free", WORD_TASK, 30},
	{"matrix", WORD_TASK, 12},
	{"maximum", WORD_DEMAND, 0},
	{"migrat*", WORD_TASK, 15},
	{"minimum", WORD_DEMAND, 0},
	{"multi-step", WORD_TASK, 15},
	{"multithread*", WORD_TASK, 22},
	{"must", WORD_DEMAND, 0},
	{"mutex*", WORD_TASK, 20},
	{"never", WORD_DEMAND, 0},
	{"now", WORD_BACK, 0},
	{"np-hard", WORD_TASK, 30},
	{"only", WORD_DEMAND, 0},
	{"optimal*", WORD_TASK, 18},
	{"optimi*", WORD_TASK, 18},
	{"paper", WORD_TASK, 6},
	{"parser", WORD_TASK, 15},
	{"plan", WORD_TASK, 8},
	{"probabilit*", WORD_TASK, 15},
	{"proof*", WORD_TASK, 35},
	{"prove", WORD_TASK, 40},
	{"proving", WORD_TASK, 35},
	{"race-condition*", WORD_TASK, 25},
	{"reason", WORD_TASK, 10},
	{"recursi*", WORD_TASK, 12},
	{"refactor*", WORD_TASK, 22},
	{"regression*", WORD_TASK, 15},
	{"requirement*", WORD_DEMAND, 0},
	{"rewrite", WORD_TASK, 12},
	{"same", WORD_BACK, 0},
	{"scalab*", WORD_TASK, 18},
	{"scheduler*", WORD_TASK, 15},
	{"segfault*", WORD_TASK, 20},
	{"should", WORD_DEMAND, 0},
	{"simulat*", WORD_TASK, 15},
	{"step-by-step", WORD_TASK, 15},
	{"strateg*", WORD_TASK, 10},
	{"synthesi*", WORD_TASK, 15},
	{"thank*", WORD_COURTESY, 0},
	{"that", WORD_BACK, 0},
	{"them", WORD_BACK, 0},
	{"theorem*", WORD_TASK, 30},
	{"these", WORD_BACK, 0},
	{"this", WORD_BACK, 0},
	{"those", WORD_BACK, 0},
	{"thread-safe", WORD_TASK, 22},
	{"threads", WORD_TASK, 12},
	{"trade-off*", WORD_TASK, 18},
	{"tradeoff*", WORD_TASK, 18},
	{"unless", WORD_DEMAND, 0},
	{"vulnerabilit*", WORD_TASK, 20},
	{"without", WORD_DEMAND, 0},
};

/* What was counted in one turn. */
struct turn {
	size_t words;
	size_t lists, code_lines, questions, demands;
	bool fence, math, leans, courtesy_only;
	unsigned task_percent;
	uint64_t seen[(ARRAY_LEN(word_rows) + 63) / 64]; /* task words that have been counted */
};

static int
difficulty_compare(const char *word, const char *stem)
{
	size_t len = strlen(stem);

	return stem[len - 1] == '*' ? strncmp(word, stem, len - 1) : strcmp(word, stem);
}

static const struct word_row *
difficulty_row(const char *word)
{
	size_t low = 0, high = ARRAY_LEN(word_rows), mid;
	int order;

	while (low < high) {
		mid = (low + high) / 2;
		order = difficulty_compare(word, word_rows[mid].stem);
		if (order == 0)
			return &word_rows[mid];
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

static void
difficulty_task(struct turn *t, const struct word_row *row)
{
	size_t i = (size_t)(row - word_rows);
	uint64_t bit = UINT64_C(1) << (i % 64);

	if ((t->seen[i / 64] & bit) == 0)
		t->task_percent += row->percent;
	t->seen[i / 64] |= bit;
}

static void
difficulty_words(struct turn *t, const char *text, size_t len)
{
	struct words words = words_of(text, len);
	const struct word_row *row;
	struct word w;

	t->courtesy_only = true;
	while (words_next(&words, &w)) {
		t->words++;
		row = difficulty_row(w.text);
		if (row == NULL || row->kind != WORD_COURTESY)
			t->courtesy_only = t->courtesy_only && strcmp(w.text, "you") == 0;
		if (row == NULL)
			continue;
		if (row->kind == WORD_TASK)
			difficulty_task(t, row);
		t->demands += row->kind == WORD_DEMAND;
		t->leans = t->leans || row->kind == WORD_BACK;
	}
}

/* Formulas: any of the signs, each looked for only where its first byte stands. */
static bool
difficulty_math(const char *p, const char *end)
{
	static const char *const signs[] = {"$$", "\\frac", "\\sum", "\\int", "\\(", "\\[", "^2",
		"^n", "\xe2\x88\x91", "\xe2\x88\xab", "\xe2\x88\x9a", "\xe2\x89\xa4",
		"\xe2\x88\x80"};
	size_t i, len;

	for (; p < end; p++) {
		if (*p != '$' && *p != '\\' && *p != '^' && *p != '\xe2')
			continue;
		for (i = 0; i < ARRAY_LEN(signs); i++) {
			len = strlen(signs[i]);
			if ((size_t)(end - p) >= len && memcmp(p, signs[i], len) == 0)
				return true;
		}
	}
	return false;
}

/* One line, without its newline. */
static void
difficulty_line(struct turn *t, const char *p, const char *end)
{
	const char *digit;

	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	if (end - p >= 3 && (memcmp(p, "```", 3) == 0 || memcmp(p, "~~~", 3) == 0))
		t->fence = true;
	if (end - p >= 2 && (*p == '-' || *p == '*') && p[1] == ' ')
		t->lists++;
	for (digit = p; digit < end && *digit >= '0' && *digit <= '9'; digit++)
		;
	if (digit > p && end - digit >= 2 && (*digit == '.' || *digit == ')') && digit[1] == ' ')
		t->lists++;
	while (end > p && (end[-1] == ' ' || end[-1] == '\r' || end[-1] == '\t'))
		end--;
	if (end > p && (end[-1] == ';' || end[-1] == '{' || end[-1] == '}'))
		t->code_lines++;
}

static void
difficulty_shape(struct turn *t, const char *text, size_t len)
{
	const char *p = text, *end = text + len, *stop;

	while (p < end) {
		stop = memchr(p, '\n', (size_t)(end - p));
		if (stop == NULL)
			stop = end;
		difficulty_line(t, p, stop);
		p = stop < end ? stop + 1 : end;
	}
	for (p = text; (p = memchr(p, '?', (size_t)(end - p))) != NULL; p++)
		t->questions++;
	t->math = t->math || difficulty_math(text, end);
}

static double
difficulty_turn(struct turn *t, const char *text, size_t len)
{
	size_t read = MIN(len, TEXT_MAX);
	double words, d = 0.05;

	*t = (struct turn){0};
	difficulty_words(t, text, read);
	difficulty_shape(t, text, read);
	words = (double)t->words * (double)len / (double)MAX(read, 1);
	if (words > 16)
		d += MIN(0.25, 0.05 * log2(words / 16));
	d += t->fence ? 0.20 : t->code_lines > 0 ? 0.10 : 0;
	d += MIN(0.12, 0.03 * (double)t->lists);
	d += t->math ? 0.15 : 0;
	d += t->questions > 1 ? MIN(0.10, 0.05 * (double)(t->questions - 1)) : 0;
	d += MIN(0.16, 0.04 * (double)t->demands);
	d += MIN(0.70, t->task_percent / 100.0);
	return MIN(d, 1.0);
}

double
route_difficulty(const struct route_request *r)
{
	size_t count = MIN(r->turns_count, ARRAY_LEN(r->turns)), i;
	const double *decay = standing_decay;
	struct turn latest, earlier;
	double d, most;

	if (count == 0)
		return -1;
	most = difficulty_turn(&latest, r->turns[0], r->turns_len[0]);
	if (latest.courtesy_only && latest.words > 0)
		return most;
	if (latest.words <= SHORT_WORDS || (latest.leans && latest.words <= LEANING_WORDS))
		decay = leaning_decay;
	for (i = 1; i < count; i++) {
		d = decay[i] * difficulty_turn(&earlier, r->turns[i], r->turns_len[i]);
		most = MAX(most, d);
	}
	return most;
}
