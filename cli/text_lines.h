/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text_lines.h - commands that take lines of text on standard input and answer each with one line
 */
#pragma once

#include "cli/command.h"
#include "lib/encoder/tokenizer.h"

/* One line of input; views, valid for the call. */
struct text_line {
	struct tokenizer_text text;
	struct tokenizer_text pair;
	bool has_pair;
	uint32_t max_length; /* 0: the line does not say */
};

/* Handle a line: write the answer to the command's output, or fill *e. */
typedef enum err_code text_line_fn(void *ctx, const struct text_line *line, struct err *e);

/*
 * Call fn for every line of in, to its end or to the first fault, which is told with its line's
 * number. With --jsonl a line is an object {"text", "pair"?, "max_length"?}, else it is the text.
 */
enum cli_exit text_lines_run(const struct cli *cli, FILE *in, text_line_fn *fn, void *ctx);
