/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenize.c - `shunt tokenize`: lines of text in, lines of token ids out
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/text_lines.h"
#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/base/json.h"
#include "lib/encoder/model_gguf.h"

enum { FILE_MAX = 256 << 20 };

/* What lasts from line to line. */
struct session {
	const struct cli *cli;
	struct tokenizer *tokenizer;
	struct tokenizer_scratch *scratch;
	struct tokens tokens;
	struct buf image, answer;
};

static void
session_fini(struct session *s)
{
	tokenizer_free(&s->tokenizer);
	tokenizer_scratch_free(&s->scratch);
	tokens_fini(&s->tokens);
	buf_fini(&s->image);
	buf_fini(&s->answer);
}

/* tokenizer.json of the folder, or the file itself. */
static enum err_code
json_read(struct buf *out, struct buf *path, const char *where, struct err *e)
{
	struct stat st;
	char piece[65536];
	size_t n;
	FILE *f;

	buf_add_str(path, where);
	if (stat(where, &st) == 0 && S_ISDIR(st.st_mode))
		buf_add_str(path, "/tokenizer.json");
	f = fopen(buf_str(path), "re");
	if (f == NULL)
		return err_set(e, ERR_CONFIG, "%s: %s", buf_str(path), strerror(errno));
	e->code = ERR_OK;
	while (out->len <= FILE_MAX && (n = fread(piece, 1, sizeof(piece), f)) > 0)
		buf_add(out, piece, n);
	if (ferror(f))
		(void)err_set(e, ERR_CONFIG, "%s: %s", buf_str(path), strerror(errno));
	else if (out->len > FILE_MAX)
		(void)err_set(
			e, ERR_CONFIG, "%s: larger than %d MiB", buf_str(path), FILE_MAX >> 20);
	(void)fclose(f);
	return e->code;
}

static enum err_code
gguf_compile(struct buf *image, const char *where, struct err *e)
{
	AUTO(model_folder_close) struct model_folder *folder = NULL;
	AUTO(gguf_fini) struct gguf g = {.what = NULL};

	if (model_folder_open(&folder, where, e) != ERR_OK ||
		model_gguf_open(&g, folder, e) != ERR_OK)
		return e->code;
	return tokenizer_gguf_compile(image, &g, e);
}

static enum err_code
json_compile(struct buf *image, const char *where, struct err *e)
{
	AUTO(buf_fini) struct buf json = BUF_INIT;
	AUTO(buf_fini) struct buf path = BUF_INIT;

	if (json_read(&json, &path, where, e) != ERR_OK)
		return e->code;
	return tokenizer_compile(image, buf_str(&path), buf_str(&json), json.len, e);
}

static enum err_code
session_open(struct session *s, const char *where, struct err *e)
{
	enum err_code code = file_ends(where, ".gguf") ? gguf_compile(&s->image, where, e)
						       : json_compile(&s->image, where, e);

	if (code != ERR_OK)
		return code;
	s->scratch = tokenizer_scratch_new();
	return tokenizer_attach(&s->tokenizer, s->image.data, s->image.len, e);
}

/* {"ids":[...]} */
static void
answer_print(struct session *s)
{
	struct buf *b = &s->answer;

	buf_clear(b);
	json_put_begin(b, '{');
	json_put_key(b, "ids");
	json_put_begin(b, '[');
	for (size_t i = 0; i < s->tokens.len; i++)
		json_put_u64(b, s->tokens.ids[i]);
	json_put_end(b, ']');
	json_put_end(b, '}');
	buf_add_char(b, '\n');
	(void)fwrite(b->data, 1, b->len, s->cli->out);
}

static enum err_code
on_line(void *ctx, const struct text_line *line, struct err *e)
{
	struct session *s = ctx;
	const struct tokenizer_options options = {.max_length = line->max_length};

	if (tokenizer_encode(&s->tokens, s->tokenizer, s->scratch, line->text,
		    line->has_pair ? &line->pair : NULL, &options, e) != ERR_OK)
		return e->code;
	answer_print(s);
	return ERR_OK;
}

enum cli_exit
cli_tokenize(const struct cli *cli)
{
	AUTO(session_fini) struct session s = {.cli = cli};
	const char *where = cli->values['T'];
	struct err e;

	if (where == NULL) {
		(void)fputs("shunt tokenize: --tokenizer DIR is missing\n", cli->err);
		return CLI_USAGE;
	}
	if (session_open(&s, where, &e) != ERR_OK) {
		(void)fprintf(cli->err, "shunt tokenize: %s\n", e.text);
		return CLI_BAD_NEWS;
	}
	return text_lines_run(cli, stdin, on_line, &s);
}
