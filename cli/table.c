/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - aligned tables for a person: as wide as the terminal, whole and plain anywhere else
 */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/table.h"

enum {
	COLUMN_LEAST = 6,
	COLUMN_GAP = 2,
	COLUMNS_UNKNOWN = 80 /* of a terminal that does not say */
};

struct cell {
	char *text;
	enum table_colour colour;
};

struct table {
	const char *titles[TABLE_COLUMNS_MAX];
	enum table_align aligns[TABLE_COLUMNS_MAX];
	size_t columns;
	struct cell *cells;
	size_t len, cap;
};

void
table_new(struct table **out)
{
	*out = calloc(1, sizeof(**out));
	CHECK(*out != NULL);
}

void
table_free(struct table **t_p)
{
	if (*t_p == NULL)
		return;
	for (size_t i = 0; i < (*t_p)->len; i++)
		free((*t_p)->cells[i].text);
	free((*t_p)->cells);
	free(*t_p);
	*t_p = NULL;
}

void
table_column(struct table *t, const char *title, enum table_align align)
{
	CHECK(t->columns < TABLE_COLUMNS_MAX && t->len == 0);
	t->titles[t->columns] = title;
	t->aligns[t->columns++] = align;
}

/* What another process said must not steer the terminal (C1 controls included: C2 80..9F). */
static void
text_tame(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c < 0x20 || c == 0x7f ||
			(c == 0xc2 && i + 1 < len && (unsigned char)text[i + 1] < 0xa0))
			text[i] = '?';
		if (c == 0xc2 && text[i] == '?')
			text[++i] = '?';
	}
}

void
table_add_text(struct buf *out, struct json v)
{
	size_t before = out->len;

	json_text(out, v);
	if (out->len > before)
		text_tame(out->data + before, out->len - before);
}

void
table_cell(struct table *t, const char *text, enum table_colour colour)
{
	char *copy = strdup(text[0] == '\0' ? "-" : text);

	CHECK(copy != NULL && t->columns > 0);
	text_tame(copy, strlen(copy));
	if (t->len == t->cap) {
		t->cap = t->cap == 0 ? 64 : t->cap * 2;
		t->cells = reallocarray(t->cells, t->cap, sizeof(t->cells[0]));
		CHECK(t->cells != NULL);
	}
	t->cells[t->len++] = (struct cell){copy, colour};
}

void
table_cell_json(struct table *t, struct json text)
{
	AUTO(buf_fini) struct buf b = BUF_INIT;

	json_text(&b, text);
	table_cell(t, buf_str(&b), TABLE_PLAIN);
}

void
table_cell_u64(struct table *t, struct json number)
{
	AUTO(buf_fini) struct buf b = BUF_INIT;
	uint64_t v;

	if (json_u64(&v, number))
		buf_add_u64(&b, v);
	table_cell(t, buf_str(&b), TABLE_PLAIN);
}

/* Columns on the terminal: one per code point. */
static size_t
text_width(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

/* Bytes of the first `width` code points. */
static size_t
text_cut(const char *text, size_t width)
{
	size_t i = 0;

	for (; text[i] != '\0'; i++)
		if (((unsigned char)text[i] & 0xc0) != 0x80 && width-- == 0)
			break;
	return i;
}

/* Columns that a line may have: those of the terminal; a file or a pipe takes all. */
static size_t
table_room(FILE *to)
{
	struct winsize terminal = {0};
	int fd = fileno(to);

	if (fd < 0 || isatty(fd) != 1)
		return SIZE_MAX;
	if (ioctl(fd, TIOCGWINSZ, &terminal) != 0 || terminal.ws_col == 0)
		return COLUMNS_UNKNOWN;
	return terminal.ws_col;
}

static void
table_widths(const struct table *t, size_t *widths, size_t room)
{
	size_t total, widest;

	CHECK(t->columns > 0);
	for (size_t c = 0; c < t->columns; c++)
		widths[c] = text_width(t->titles[c]);
	for (size_t i = 0; i < t->len; i++)
		widths[i % t->columns] = MAX(widths[i % t->columns], text_width(t->cells[i].text));
	for (;;) {
		total = COLUMN_GAP * (t->columns - 1);
		widest = 0;
		for (size_t c = 0; c < t->columns; c++) {
			total += widths[c];
			if (widths[c] > widths[widest])
				widest = c;
		}
		if (total <= room || widths[widest] <= COLUMN_LEAST)
			return;
		widths[widest]--;
	}
}

static const char *
colour_code(enum table_colour colour)
{
	static const char *const codes[] = {[TABLE_PLAIN] = "",
		[TABLE_GOOD] = "\033[32m",
		[TABLE_WARN] = "\033[33m",
		[TABLE_BAD] = "\033[31m",
		[TABLE_DIM] = "\033[2m"};

	return codes[colour];
}

/* last: nothing stands to the right, so no padding there. */
static void
print_cell(FILE *to, const char *text, size_t width, enum table_align align, const char *colour,
	size_t gap)
{
	size_t have = text_width(text), pad;
	size_t bytes = have > width ? text_cut(text, width - 1) : strlen(text);

	pad = have > width ? 0 : width - have;
	if (align == TABLE_RIGHT)
		(void)fprintf(to, "%*s", (int)pad, "");
	(void)fprintf(to, "%s%.*s%s%s", colour, (int)bytes, text, have > width ? "~" : "",
		colour[0] != '\0' ? "\033[0m" : "");
	if (gap > 0)
		(void)fprintf(to, "%*s", (int)(gap + (align == TABLE_LEFT ? pad : 0)), "");
}

void
table_print(const struct table *t, const char *title, FILE *to)
{
	size_t widths[TABLE_COLUMNS_MAX];
	bool coloured = isatty(fileno(to)) == 1 && getenv("NO_COLOR") == NULL;

	(void)fprintf(to, "%s%s\n", title, t->len == 0 ? ": none" : "");
	if (t->len == 0)
		return;
	CHECK(t->columns > 0);
	table_widths(t, widths, table_room(to));
	for (size_t c = 0; c < t->columns; c++)
		print_cell(to, t->titles[c], widths[c], t->aligns[c],
			coloured ? colour_code(TABLE_DIM) : "",
			c + 1 < t->columns ? COLUMN_GAP : 0);
	(void)fputc('\n', to);
	for (size_t i = 0; i < t->len; i++) {
		size_t c = i % t->columns;

		print_cell(to, t->cells[i].text, widths[c], t->aligns[c],
			coloured ? colour_code(t->cells[i].colour) : "",
			c + 1 < t->columns ? COLUMN_GAP : 0);
		if (c + 1 == t->columns)
			(void)fputc('\n', to);
	}
}
