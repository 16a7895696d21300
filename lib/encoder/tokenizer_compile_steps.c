/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_compile_steps.c - the normalizers and pre-tokenizers of a tokenizer.json, as steps
 */
#include <string.h>
#include <utf8proc.h>

#include "lib/base/utf8.h"
#include "lib/encoder/tokenizer_parts.h"

/* A component by its `type`; fn adds its steps. */
struct row {
	const char *type;
	enum err_code (*fn)(struct tokenizer_draft *d, struct json v, struct err *e);
};

static void
step_add(struct tokenizer_draft *d, enum tokenizer_section section, struct tokenizer_step step)
{
	buf_add(&d->sections[section], &step, sizeof(step));
}

static void
normal_add(struct tokenizer_draft *d, struct tokenizer_step step)
{
	step_add(d, SECTION_NORMAL, step);
}

static void
split_add(struct tokenizer_draft *d, struct tokenizer_step step)
{
	step_add(d, SECTION_SPLIT, step);
}

/* A bool member; absent or null: other. */
static bool
flag(struct json v, const char *name, bool other)
{
	struct json member = json_get(v, name);

	return member.type == JSON_BOOL ? json_is_true(member) : other;
}

static int
decompose(uint32_t *out, uint32_t c, bool compat)
{
	utf8proc_int32_t points[64];
	utf8proc_ssize_t n;
	int boundary = 0, options = UTF8PROC_DECOMPOSE | UTF8PROC_STABLE;

	if (!tokenizer_unicode_decomposes(c, compat))
		return -1;
	n = utf8proc_decompose_char((utf8proc_int32_t)c, points, ARRAY_LEN(points),
		(utf8proc_option_t)(compat ? options | UTF8PROC_COMPAT : options), &boundary);
	if (n <= 0 || n > (utf8proc_ssize_t)ARRAY_LEN(points))
		return -1;
	for (utf8proc_ssize_t i = 0; i < n; i++)
		out[i] = (uint32_t)points[i];
	return (int)n;
}

/* BertNormalizer, all four of its switches. */
struct bert {
	const uint16_t *classes;
	bool clean, chinese, strip, lower;
};

static bool
is_chinese(uint32_t c)
{
	return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
	       (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
	       (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
	       (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static int
map_bert(uint32_t *out, uint32_t c, const void *arg)
{
	const struct bert *b = arg;
	bool blank = c == '\t' || c == '\n' || c == '\r', pad = b->chinese && is_chinese(c);
	uint32_t parts[64] = {c};
	int n = 1, len = 0;

	if (b->clean && !blank &&
		(c == 0 || c == UTF8_REPLACEMENT || (b->classes[c] & CLASS_CONTROL) != 0))
		return 0;
	if (b->clean && (blank || (b->classes[c] & CLASS_SPACE) != 0))
		parts[0] = ' ';
	if (b->strip && parts[0] == c)
		n = MAX(decompose(parts, c, false), 1);
	if (pad)
		out[len++] = ' ';
	for (int i = 0; i < n; i++) {
		if (b->strip && (b->classes[parts[i]] & CLASS_NONSPACING) != 0)
			continue;
		if (b->lower)
			len += (int)tokenizer_unicode_lower(out + len, parts[i]);
		else
			out[len++] = parts[i];
	}
	if (pad)
		out[len++] = ' ';
	return len;
}

static enum err_code
normal_bert(struct tokenizer_draft *d, struct json v, struct err *e)
{
	struct tokenizer_step step = {.kind = STEP_MAP};
	struct bert b = {.classes = tokenizer_draft_classes(d),
		.clean = flag(v, "clean_text", true),
		.chinese = flag(v, "handle_chinese_chars", true),
		.lower = flag(v, "lowercase", true)};

	(void)e;
	b.strip = flag(v, "strip_accents", b.lower);
	step.flags = b.strip ? STEP_ORDER : 0;
	tokenizer_map_build(d, &step.extra, map_bert, &b);
	normal_add(d, step);
	return ERR_OK;
}

static int
map_lower(uint32_t *out, uint32_t c, const void *arg)
{
	(void)arg;
	return (int)tokenizer_unicode_lower(out, c);
}

static enum err_code
normal_lower(struct tokenizer_draft *d, struct json v, struct err *e)
{
	struct tokenizer_step step = {.kind = STEP_MAP};

	(void)v, (void)e;
	tokenizer_map_build(d, &step.extra, map_lower, NULL);
	normal_add(d, step);
	return ERR_OK;
}

static int
map_accents(uint32_t *out, uint32_t c, const void *arg)
{
	const uint16_t *classes = arg;

	out[0] = c;
	return (classes[c] & CLASS_MARK) != 0 ? 0 : 1;
}

static enum err_code
normal_accents(struct tokenizer_draft *d, struct json v, struct err *e)
{
	struct tokenizer_step step = {.kind = STEP_MAP};

	(void)v, (void)e;
	tokenizer_map_build(d, &step.extra, map_accents, tokenizer_draft_classes(d));
	normal_add(d, step);
	return ERR_OK;
}

static int
map_nmt(uint32_t *out, uint32_t c, const void *arg)
{
	(void)arg;
	if ((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f ||
		c == 0x9f)
		return 0;
	out[0] = c;
	if (c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == 0x1680 ||
		(c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
		c == 0xfeff || c == UTF8_REPLACEMENT)
		out[0] = ' ';
	return 1;
}

static enum err_code
normal_nmt(struct tokenizer_draft *d, struct json v, struct err *e)
{
	struct tokenizer_step step = {.kind = STEP_MAP};

	(void)v, (void)e;
	tokenizer_map_build(d, &step.extra, map_nmt, NULL);
	normal_add(d, step);
	return ERR_OK;
}

static int
map_form(uint32_t *out, uint32_t c, const void *arg)
{
	return decompose(out, c, *(const bool *)arg);
}

/* NFC, NFD, NFKC, NFKD: the third letter and the last one tell them apart. */
static enum err_code
normal_form(struct tokenizer_draft *d, struct json v, struct err *e)
{
	bool compat = json_equals(json_get(v, "type"), "NFKC") ||
		      json_equals(json_get(v, "type"), "NFKD");
	bool compose =
		json_equals(json_get(v, "type"), "NFC") || json_equals(json_get(v, "type"), "NFKC");
	struct tokenizer_step step = {
		.kind = STEP_MAP, .flags = STEP_ORDER | (compose ? STEP_COMPOSE : 0u)};

	(void)e;
	tokenizer_map_build(d, &step.extra, map_form, &compat);
	normal_add(d, step);
	return ERR_OK;
}

static enum err_code
normal_strip(struct tokenizer_draft *d, struct json v, struct err *e)
{
	(void)e;
	normal_add(d, (struct tokenizer_step){.kind = STEP_STRIP,
			      .flags = (flag(v, "strip_left", true) ? STEP_LEFT : 0u) |
				       (flag(v, "strip_right", true) ? STEP_RIGHT : 0u)});
	return ERR_OK;
}

/* {"String": s} or {"Regex": s} */
static enum err_code
pattern_read(struct tokenizer_step *step, struct tokenizer_draft *d, struct json v, struct err *e)
{
	struct json text = json_get(json_get(v, "pattern"), "String");
	pcre2_code *code = NULL;

	if (text.type != JSON_STRING) {
		text = json_get(json_get(v, "pattern"), "Regex");
		step->flags |= STEP_REGEX;
	}
	if (text.type != JSON_STRING || text.len <= 2)
		return tokenizer_bad(d, "pattern", "{\"String\": ...} or {\"Regex\": ...}", e);
	step->a = tokenizer_draft_json(d, text);
	if ((step->flags & STEP_REGEX) == 0)
		return ERR_OK;
	if (tokenizer_pattern_compile(
		    &code, d->sections[SECTION_TEXT].data + step->a.at, step->a.len, e) != ERR_OK)
		return err_wrap(e, "%s", d->what);
	pcre2_code_free(code);
	return ERR_OK;
}

static enum err_code
normal_replace(struct tokenizer_draft *d, struct json v, struct err *e)
{
	struct tokenizer_step step = {.kind = STEP_REPLACE};

	if (pattern_read(&step, d, v, e) != ERR_OK)
		return e->code;
	step.b = tokenizer_draft_json(d, json_get(v, "content"));
	normal_add(d, step);
	return ERR_OK;
}

static enum err_code
normal_prepend(struct tokenizer_draft *d, struct json v, struct err *e)
{
	(void)e;
	normal_add(d, (struct tokenizer_step){.kind = STEP_PREPEND,
			      .a = tokenizer_draft_json(d, json_get(v, "prepend"))});
	return ERR_OK;
}

static enum err_code
normal_bytes(struct tokenizer_draft *d, struct json v, struct err *e)
{
	(void)v, (void)e;
	normal_add(d, (struct tokenizer_step){.kind = STEP_BYTES});
	return ERR_OK;
}

static int
base64_digit(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c != '\0' ? strchr(digits, c) : NULL;

	return at != NULL ? (int)(at - digits) : -1;
}

static bool
base64_read(struct buf *out, const char *text, size_t len)
{
	uint32_t bits = 0;
	unsigned have = 0;

	while (len > 0 && text[len - 1] == '=')
		len--;
	for (size_t i = 0; i < len; i++) {
		int digit = base64_digit(text[i]);

		if (digit < 0)
			return false;
		bits = (bits << 6 | (uint32_t)digit) & 0xffffff;
		have += 6;
		if (have >= 8) {
			have -= 8;
			buf_add_char(out, (char)(bits >> have & 0xff));
		}
	}
	return true;
}

/* The charsmap: size of the double array, the array, the replacements. */
static enum err_code
normal_charsmap(struct tokenizer_draft *d, struct json v, struct err *e)
{
	struct tokenizer_step step = {.kind = STEP_CHARSMAP};
	struct json map = json_get(v, "precompiled_charsmap");
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(buf_fini) struct buf data = BUF_INIT;
	uint32_t units;

	if (map.type == JSON_NULL)
		return ERR_OK;
	if (d->sections[SECTION_CHARSMAP].len > 0)
		return tokenizer_bad(d, "normalizer", "at most one Precompiled", e);
	json_text(&text, map);
	if (!base64_read(&data, buf_str(&text), text.len) || data.len < sizeof(units))
		return tokenizer_bad(d, "precompiled_charsmap", "base64 of a charsmap", e);
	memcpy(&units, data.data, sizeof(units));
	if (units % 4 != 0 || units > data.len - 4)
		return tokenizer_bad(d, "precompiled_charsmap", "a whole double array", e);
	buf_add(&d->sections[SECTION_CHARSMAP], data.data + 4, units);
	step.a = tokenizer_draft_text(d, data.data + 4 + units, data.len - 4 - units);
	tokenizer_map_charsmap(d, &step.extra, step.a);
	normal_add(d, step);
	return ERR_OK;
}

static enum err_code
behavior_read(uint32_t *out, struct tokenizer_draft *d, struct json v, struct err *e)
{
	static const char *const names[BEHAVIORS] = {
		[BEHAVIOR_REMOVED] = "Removed",
		[BEHAVIOR_ISOLATED] = "Isolated",
		[BEHAVIOR_CONTIGUOUS] = "Contiguous",
		[BEHAVIOR_PREVIOUS] = "MergedWithPrevious",
		[BEHAVIOR_NEXT] = "MergedWithNext",
	};
	struct json behavior = json_get(v, "behavior");

	*out = BEHAVIOR_ISOLATED;
	if (behavior.type == JSON_NONE)
		return ERR_OK;
	for (*out = 0; *out < BEHAVIORS; ++*out)
		if (json_equals(behavior, names[*out]))
			return ERR_OK;
	return tokenizer_bad(d, "behavior",
		"Removed, Isolated, Contiguous, MergedWithPrevious or MergedWithNext", e);
}

static void
class_add(struct tokenizer_draft *d, uint32_t classes, uint32_t behavior)
{
	split_add(d, (struct tokenizer_step){
			     .kind = STEP_CLASS, .extra = classes, .behavior = behavior});
}

static enum err_code
split_bert(struct tokenizer_draft *d, struct json v, struct err *e)
{
	(void)v, (void)e;
	class_add(d, CLASS_SPACE, BEHAVIOR_REMOVED);
	class_add(d, CLASS_PUNCTUATION, BEHAVIOR_ISOLATED);
	return ERR_OK;
}

static enum err_code
split_spaces(struct tokenizer_draft *d, struct json v, struct err *e)
{
	(void)v, (void)e;
	class_add(d, CLASS_SPACE, BEHAVIOR_REMOVED);
	return ERR_OK;
}

static enum err_code
split_words(struct tokenizer_draft *d, struct json v, struct err *e)
{
	(void)v, (void)e;
	split_add(d, (struct tokenizer_step){.kind = STEP_WORDS});
	return ERR_OK;
}

static enum err_code
split_punctuation(struct tokenizer_draft *d, struct json v, struct err *e)
{
	uint32_t behavior;

	if (behavior_read(&behavior, d, v, e) != ERR_OK)
		return e->code;
	class_add(d, CLASS_PUNCTUATION, behavior);
	return ERR_OK;
}

static enum err_code
split_digits(struct tokenizer_draft *d, struct json v, struct err *e)
{
	(void)e;
	class_add(d, CLASS_NUMERIC,
		flag(v, "individual_digits", false) ? BEHAVIOR_ISOLATED : BEHAVIOR_CONTIGUOUS);
	return ERR_OK;
}

static enum err_code
split_byte_level(struct tokenizer_draft *d, struct json v, struct err *e)
{
	(void)e;
	split_add(d, (struct tokenizer_step){.kind = STEP_BYTE_LEVEL,
			     .flags = (flag(v, "add_prefix_space", true) ? STEP_SPACE : 0u) |
				      (flag(v, "use_regex", true) ? STEP_REGEX : 0u)});
	return ERR_OK;
}

static enum err_code
split_metaspace(struct tokenizer_draft *d, struct json v, struct err *e)
{
	static const char *const names[SCHEMES] = {"always", "first", "never"};
	struct tokenizer_step step = {
		.kind = STEP_METASPACE, .flags = flag(v, "split", true) ? STEP_SPLIT : 0u};
	struct json scheme = json_get(v, "prepend_scheme"), mark = json_get(v, "replacement");

	step.a = tokenizer_draft_json(d, mark);
	if (step.a.len == 0 || step.a.len > 4)
		return tokenizer_bad(d, "replacement", "one character", e);
	if (scheme.type == JSON_STRING)
		while (step.extra < SCHEMES && !json_equals(scheme, names[step.extra]))
			step.extra++;
	if (step.extra == SCHEMES)
		return tokenizer_bad(d, "prepend_scheme", "always, first or never", e);
	if (!flag(v, "add_prefix_space", true)) /* how older files say never */
		step.extra = SCHEME_NEVER;
	split_add(d, step);
	return ERR_OK;
}

static enum err_code
split_pattern(struct tokenizer_draft *d, struct json v, struct err *e)
{
	struct tokenizer_step step = {
		.kind = STEP_PATTERN, .flags = flag(v, "invert", false) ? STEP_INVERT : 0u};

	if (pattern_read(&step, d, v, e) != ERR_OK ||
		behavior_read(&step.behavior, d, v, e) != ERR_OK)
		return e->code;
	split_add(d, step);
	return ERR_OK;
}

static enum err_code
split_delimiter(struct tokenizer_draft *d, struct json v, struct err *e)
{
	struct tokenizer_step step = {.kind = STEP_PATTERN, .behavior = BEHAVIOR_REMOVED};

	step.a = tokenizer_draft_json(d, json_get(v, "delimiter"));
	if (step.a.len == 0)
		return tokenizer_bad(d, "delimiter", "one character", e);
	split_add(d, step);
	return ERR_OK;
}

static const struct row normalizers[] = {
	{"BertNormalizer", normal_bert},
	{"ByteLevel", normal_bytes},
	{"Lowercase", normal_lower},
	{"NFC", normal_form},
	{"NFD", normal_form},
	{"NFKC", normal_form},
	{"NFKD", normal_form},
	{"Nmt", normal_nmt},
	{"Precompiled", normal_charsmap},
	{"Prepend", normal_prepend},
	{"Replace", normal_replace},
	{"Strip", normal_strip},
	{"StripAccents", normal_accents},
};

static const struct row splitters[] = {
	{"BertPreTokenizer", split_bert},
	{"ByteLevel", split_byte_level},
	{"CharDelimiterSplit", split_delimiter},
	{"Digits", split_digits},
	{"Metaspace", split_metaspace},
	{"Punctuation", split_punctuation},
	{"Split", split_pattern},
	{"Whitespace", split_words},
	{"WhitespaceSplit", split_spaces},
};

/* A kind of component: where it stands in the file, what a Sequence calls its list. */
struct family {
	const char *key, *list;
	const struct row *rows;
	size_t len;
	enum tokenizer_section section;
};

static enum err_code
unknown_type(const struct tokenizer_draft *d, const struct family *f, struct json v, struct err *e)
{
	AUTO(buf_fini) struct buf names = BUF_INIT;
	char name[48];

	for (size_t i = 0; i < f->len; i++)
		buf_addf(&names, "%s, ", f->rows[i].type);
	if (!json_copy_text(name, sizeof(name), json_get(v, "type")))
		return err_set(e, ERR_CONFIG, "%s: %s: has no type", d->what, f->key);
	return err_set(e, ERR_CONFIG, "%s: %s `%s` is not supported; supported are %sSequence",
		d->what, f->key, name, buf_str(&names));
}

static enum err_code
one_compile(struct tokenizer_draft *d, const struct family *f, struct json v, struct err *e)
{
	for (size_t i = 0; i < f->len; i++) {
		if (!json_equals(json_get(v, "type"), f->rows[i].type))
			continue;
		if (d->sections[f->section].len / sizeof(struct tokenizer_step) + 2 >
			TOKENIZER_STEPS_MAX)
			return err_set(e, ERR_CONFIG, "%s: %s: more than %d components", d->what,
				f->key, TOKENIZER_STEPS_MAX - 2);
		if (d->head.maps >= TOKENIZER_MAPS_MAX)
			return err_set(e, ERR_CONFIG,
				"%s: %s: more than %d components that map characters", d->what,
				f->key, TOKENIZER_MAPS_MAX - 1);
		return f->rows[i].fn(d, v, e);
	}
	return unknown_type(d, f, v, e);
}

/* A component, or a Sequence of them (of Sequences): the file's depth has a limit. */
static enum err_code
family_compile(struct tokenizer_draft *d, const struct family *f, struct json v, struct err *e)
{
	struct json_iter stack[JSON_DEPTH_MAX];
	size_t depth = 0;

	if (v.type == JSON_NULL || v.type == JSON_NONE)
		return ERR_OK;
	for (;;) {
		if (json_equals(json_get(v, "type"), "Sequence")) {
			CHECK(depth < JSON_DEPTH_MAX);
			stack[depth++] = json_iter(json_get(v, f->list));
		} else if (one_compile(d, f, v, e) != ERR_OK) {
			return e->code;
		}
		while (depth > 0 && !json_next_item(&stack[depth - 1], &v))
			depth--;
		if (depth == 0)
			return ERR_OK;
	}
}

enum err_code
tokenizer_compile_normalizer(struct tokenizer_draft *d, struct json v, struct err *e)
{
	static const struct family f = {
		"normalizer", "normalizers", normalizers, ARRAY_LEN(normalizers), SECTION_NORMAL};

	return family_compile(d, &f, v, e);
}

enum err_code
tokenizer_compile_splitter(struct tokenizer_draft *d, struct json v, struct err *e)
{
	static const struct family f = {
		"pre_tokenizer", "pretokenizers", splitters, ARRAY_LEN(splitters), SECTION_SPLIT};

	return family_compile(d, &f, v, e);
}
