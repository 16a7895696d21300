/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_gguf.c - the WordPiece tokenizer of a GGUF file, written as a tokenizer.json
 *
 * In GGUF a token that begins a word has U+2581 before it, and one that continues a word nothing,
 * where WordPiece marks the latter with ##. Whether text is put into lower case is said by newer
 * files only; of others the vocabulary tells: a token with a capital letter is never reached from
 * lower case.
 */
#include <string.h>

#include "lib/encoder/model_gguf.h"
#include "lib/encoder/packed.h"
#include "lib/encoder/tokenizer.h"

/* Values of tokenizer.ggml.token_type. */
enum { TOKEN_NORMAL = 1, TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_USER = 4 };

static const char key_tokens[] = "tokenizer.ggml.tokens", key_types[] = "tokenizer.ggml.token_type";
static const char word_start[] = "\xe2\x96\x81", continues[] = "##";

/* One token after the other. */
struct walk {
	struct json_iter tokens, types;
	uint64_t count; /* of tokens seen: the id of this one is less by 1 */
	uint64_t type;
	bool special;
	struct buf text; /* as WordPiece writes it; special ones stand as they are */
};

static void
walk_fini(struct walk *w)
{
	buf_fini(&w->text);
}

static struct walk
walk_of(const struct gguf *g)
{
	return (struct walk){.tokens = json_iter(json_get(g->keys, key_tokens)),
		.types = json_iter(json_get(g->keys, key_types))};
}

static bool
walk_next(struct walk *w)
{
	const size_t mark = sizeof(word_start) - 1, prefix = sizeof(continues) - 1;
	struct json token, type;

	if (!json_next_item(&w->tokens, &token))
		return false;
	w->count++;
	w->type = TOKEN_NORMAL;
	if (json_next_item(&w->types, &type))
		(void)json_u64(&w->type, type);
	w->special = w->type == TOKEN_UNKNOWN || w->type == TOKEN_CONTROL || w->type == TOKEN_USER;
	buf_clear(&w->text);
	buf_add_str(&w->text, continues);
	json_text(&w->text, token);
	/* U+2581 alone continues a word: no token is empty */
	if (w->text.len > prefix + mark && memcmp(w->text.data + prefix, word_start, mark) == 0)
		buf_drop_front(&w->text, prefix + mark);
	else if (w->special)
		buf_drop_front(&w->text, prefix);
	return true;
}

/* Letters of ASCII only, and a capital among them: [CLS] and <S> don't count. */
static bool
has_capital(const char *text)
{
	bool capital = false;

	for (text += strncmp(text, continues, 2) == 0 ? 2 : 0; *text != '\0'; text++) {
		bool upper = *text >= 'A' && *text <= 'Z';

		if (!upper && !(*text >= 'a' && *text <= 'z'))
			return false;
		capital = capital || upper;
	}
	return capital;
}

/* What all tokens together tell, and whether they are what they should be. */
static enum err_code
read_vocab(bool *capitals, const struct gguf *g, struct err *e)
{
	static const char key_model[] = "tokenizer.ggml.model";
	AUTO(walk_fini) struct walk w = walk_of(g);
	struct json more;
	char model[32] = "";

	(void)json_copy_text(model, sizeof(model), json_get(g->keys, key_model));
	if (strcmp(model, "bert") != 0)
		return err_set(e, ERR_CONFIG, "%s: key %s: `%s` is not supported; supported: bert",
			g->what, key_model, model);
	while (walk_next(&w))
		*capitals = *capitals || has_capital(buf_str(&w.text));
	if (w.count == 0)
		return err_set(
			e, ERR_CONFIG, "%s: key %s: must be a list of tokens", g->what, key_tokens);
	if (json_next_item(&w.types, &more))
		return err_set(e, ERR_CONFIG, "%s: key %s: has more items than there are tokens",
			g->what, key_types);
	return ERR_OK;
}

/* The special token whose id the key holds, or else the one called name. */
static enum err_code
find_special(uint64_t *id, struct buf *text, const struct gguf *g, const char *key,
	const char *name, struct err *e)
{
	AUTO(walk_fini) struct walk w = walk_of(g);
	struct json v = json_get(g->keys, key);
	bool said = v.type != JSON_NONE;

	if (said && !json_u64(id, v))
		return err_set(
			e, ERR_CONFIG, "%s: key %s: must be the id of a token", g->what, key);
	while (walk_next(&w))
		if (said ? w.count - 1 == *id : strcmp(buf_str(&w.text), name) == 0) {
			*id = w.count - 1;
			buf_add(text, buf_str(&w.text), w.text.len);
			return ERR_OK;
		}
	return err_set(e, ERR_CONFIG, "%s: key %s: names no token, and there is no %s", g->what,
		key, name);
}

/* [CLS] text [SEP], and of a pair the second text with its [SEP]. */
static enum err_code
put_frame(struct buf *out, const struct gguf *g, struct err *e)
{
	static const struct {
		const char *name, *key, *text;
	} ends[] = {{"cls", "tokenizer.ggml.bos_token_id", "[CLS]"},
		{"sep", "tokenizer.ggml.seperator_token_id", "[SEP]"}}; /* the format's spelling */

	json_put_key(out, "post_processor");
	json_put_begin(out, '{');
	json_put_member_str(out, "type", "BertProcessing");
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		AUTO(buf_fini) struct buf text = BUF_INIT;
		uint64_t id;

		if (find_special(&id, &text, g, ends[i].key, ends[i].text, e) != ERR_OK)
			return e->code;
		json_put_key(out, ends[i].name);
		json_put_begin(out, '[');
		json_put_string(out, buf_str(&text), text.len);
		json_put_u64(out, id);
		json_put_end(out, ']');
	}
	json_put_end(out, '}');
	return ERR_OK;
}

static enum err_code
put_model(struct buf *out, const struct gguf *g, struct err *e)
{
	AUTO(walk_fini) struct walk w = walk_of(g);
	AUTO(buf_fini) struct buf unknown = BUF_INIT;
	uint64_t id;

	if (find_special(&id, &unknown, g, "tokenizer.ggml.unknown_token_id", "[UNK]", e) != ERR_OK)
		return e->code;
	json_put_key(out, "model");
	json_put_begin(out, '{');
	json_put_member_str(out, "type", "WordPiece");
	json_put_member_str(out, "continuing_subword_prefix", continues);
	json_put_key(out, "unk_token");
	json_put_string(out, buf_str(&unknown), unknown.len);
	json_put_key(out, "vocab");
	json_put_begin(out, '{');
	while (walk_next(&w)) {
		json_put_string(out, buf_str(&w.text), w.text.len);
		buf_add_char(out, ':');
		json_put_u64(out, w.count - 1);
	}
	json_put_end(out, '}');
	json_put_end(out, '}');
	return ERR_OK;
}

static void
put_added(struct buf *out, const struct gguf *g)
{
	AUTO(walk_fini) struct walk w = walk_of(g);

	json_put_key(out, "added_tokens");
	json_put_begin(out, '[');
	while (walk_next(&w)) {
		if (!w.special)
			continue;
		json_put_begin(out, '{');
		json_put_key(out, "content");
		json_put_string(out, buf_str(&w.text), w.text.len);
		json_put_member_bool(out, "normalized", w.type == TOKEN_USER);
		json_put_end(out, '}');
	}
	json_put_end(out, ']');
}

static void
put_steps(struct buf *out, const struct gguf *g, bool capitals)
{
	struct json lower = json_get(g->keys, "tokenizer.ggml.normalizer.lowercase");
	struct json strip = json_get(g->keys, "tokenizer.ggml.normalizer.strip_accents");

	json_put_key(out, "normalizer");
	json_put_begin(out, '{');
	json_put_member_str(out, "type", "BertNormalizer");
	json_put_member_bool(
		out, "lowercase", lower.type == JSON_BOOL ? json_is_true(lower) : !capitals);
	if (strip.type == JSON_BOOL)
		json_put_member_bool(out, "strip_accents", json_is_true(strip));
	json_put_end(out, '}');
	json_put_key(out, "pre_tokenizer");
	json_put_begin(out, '{');
	json_put_member_str(out, "type", "BertPreTokenizer");
	json_put_end(out, '}');
}

enum err_code
tokenizer_gguf_compile(struct buf *out, const struct gguf *g, struct err *e)
{
	AUTO(buf_fini) struct buf json = BUF_INIT;
	bool capitals = false;

	if (read_vocab(&capitals, g, e) != ERR_OK)
		return e->code;
	json_put_begin(&json, '{');
	put_steps(&json, g, capitals);
	if (put_frame(&json, g, e) != ERR_OK || put_model(&json, g, e) != ERR_OK)
		return e->code;
	put_added(&json, g);
	json_put_end(&json, '}');
	return tokenizer_compile(out, g->what, buf_str(&json), json.len, e);
}
