/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - aligned tables for a person: as wide as the terminal, whole and plain anywhere else
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/base/buf.h"
#include "lib/base/json.h"

enum { TABLE_COLUMNS_MAX = 16 };

enum table_align { TABLE_LEFT, TABLE_RIGHT };
enum table_colour { TABLE_PLAIN, TABLE_GOOD, TABLE_WARN, TABLE_BAD, TABLE_DIM };

struct table;

void table_new(struct table **out);
void table_free(struct table **t_p);
/* Columns first. On a terminal what does not fit is cut short, the widest column first. */
void table_column(struct table *t, const char *title, enum table_align align);
/* Then cells, row by row. Control characters become `?`. "" prints as "-". */
void table_cell(struct table *t, const char *text, enum table_colour colour);
void table_cell_json(struct table *t, struct json text); /* a string; other types: "" */
void table_cell_u64(struct table *t, struct json number);
/* Title, heads and rows; nothing but the title and "none" where there are no rows. */
void table_print(const struct table *t, const char *title, FILE *to);

/* A JSON string's text with control characters made harmless; other types add nothing. */
void table_add_text(struct buf *out, struct json v);
