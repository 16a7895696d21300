/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference.c - the reference of all keys, from the key table
 */
#include <string.h>

#include "config/value.h"
#include "lib/base/buf.h"

/* How one form writes the pieces that the reference is made of. */
struct form {
	void (*section)(struct buf *out, const char *title, const char *help);
	void (*key)(struct buf *out, const struct config_key *key);
	void (*words)(struct buf *out, const char *title);
	void (*word)(struct buf *out, const char *name, const char *help);
};

/* "default X", "required" or "": what stands when the key is left out. */
static void
put_default(struct buf *out, const struct config_key *key)
{
	if (key->def == NULL)
		buf_add_str(out, "required");
	else if (key->def[0] != '\0')
		buf_add_str(out, key->def);
	else if (key->type == CONFIG_TYPE_TRI)
		buf_add_str(out, "unknown");
}

/* "1 to 16", "at most 64 entries" or "". */
static void
put_range(struct buf *out, const struct config_key *key)
{
	if (key->len_offset != SIZE_MAX) {
		buf_addf(out, "at most %.0f entries", key->max);
		return;
	}
	if (key->max <= key->min)
		return;
	config_value_print(out, key->type, key->min);
	buf_add_str(out, " to ");
	config_value_print(out, key->type, key->max);
	if (key->unit[0] != '\0')
		buf_addf(out, " %s", key->unit);
}

static void
markdown_section(struct buf *out, const char *title, const char *help)
{
	buf_addf(out, "\n## %s\n\n", title);
	if (help[0] != '\0')
		buf_addf(out, "%s\n\n", help);
	buf_add_str(out, "| Key | Type | Default | Range | What |\n|---|---|---|---|---|\n");
}

static void
markdown_key(struct buf *out, const struct config_key *key)
{
	AUTO(buf_fini) struct buf def = BUF_INIT;

	put_default(&def, key);
	buf_addf(out, "| `%s` | %s | ", key->name, config_type_row(key->type)->name);
	if (key->def == NULL)
		buf_add_str(out, "required");
	else if (def.len > 0)
		buf_addf(out, "`%s`", buf_str(&def));
	buf_add_str(out, " | ");
	put_range(out, key);
	buf_addf(out, " | %s |\n", key->help);
}

static void
markdown_words(struct buf *out, const char *title)
{
	buf_addf(out, "\n## %s\n\n| Name | What |\n|---|---|\n", title);
}

static void
markdown_word(struct buf *out, const char *name, const char *help)
{
	buf_addf(out, "| `%s` | %s |\n", name, help);
}

/* Text with roff's own characters made harmless. */
static void
roff_text(struct buf *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		buf_add_str(out, "\\&");
	for (; *text != '\0'; text++) {
		if (*text == '\\')
			buf_add_str(out, "\\e");
		else if (*text == '-')
			buf_add_str(out, "\\-");
		else if (*text == '`')
			buf_add_str(out, "\\(aq"); /* code marks become plain quotes */
		else
			buf_add_char(out, *text);
	}
}

static void
roff_section(struct buf *out, const char *title, const char *help)
{
	buf_add_str(out, ".SS ");
	roff_text(out, title);
	buf_add_char(out, '\n');
	if (help[0] == '\0')
		return;
	roff_text(out, help);
	buf_add_char(out, '\n');
}

static void
roff_key(struct buf *out, const struct config_key *key)
{
	AUTO(buf_fini) struct buf def = BUF_INIT;
	AUTO(buf_fini) struct buf range = BUF_INIT;

	put_default(&def, key);
	put_range(&range, key);
	buf_add_str(out, ".TP\n.B ");
	roff_text(out, key->name);
	buf_addf(out, "\n.RI ( ");
	roff_text(out, config_type_row(key->type)->name);
	buf_add_str(out, " )\n");
	roff_text(out, key->help);
	buf_add_str(out, ".\n");
	if (def.len > 0) {
		buf_add_str(out, key->def == NULL ? "" : "Default: ");
		roff_text(out, key->def == NULL ? "Required" : buf_str(&def));
		buf_add_str(out, ".\n");
	}
	if (range.len > 0) {
		buf_add_str(out, "Range: ");
		roff_text(out, buf_str(&range));
		buf_add_str(out, ".\n");
	}
}

static void
roff_words(struct buf *out, const char *title)
{
	buf_add_str(out, ".SS ");
	roff_text(out, title);
	buf_add_char(out, '\n');
}

static void
roff_word(struct buf *out, const char *name, const char *help)
{
	buf_add_str(out, ".TP\n.B ");
	roff_text(out, name);
	buf_add_char(out, '\n');
	roff_text(out, help);
	buf_add_str(out, ".\n");
}

static const struct form forms[] = {
	[CONFIG_DOC_MARKDOWN] = {markdown_section, markdown_key, markdown_words, markdown_word},
	[CONFIG_DOC_ROFF] = {roff_section, roff_key, roff_words, roff_word},
};

static void
put_choices(struct buf *out, const struct form *form, const char *title, enum config_type type)
{
	form->words(out, title);
	for (const struct config_choice *c = config_choices(type); c->name != NULL; c++)
		if (c->help != NULL)
			form->word(out, c->name, c->help);
}

static void
put_types(struct buf *out, const struct form *form)
{
	form->words(out, "Types");
	for (enum config_type type = 0; type < CONFIG_TYPES; type++) {
		const struct config_type_row *row = config_type_row(type);

		/* Types that differ only in their field share one line. */
		if (type == 0 || strcmp(row->name, config_type_row(type - 1)->name) != 0)
			form->word(out, row->name, row->help);
	}
}

void
config_reference(struct buf *out, enum config_doc doc)
{
	const struct form *form = &forms[doc];

	if (doc == CONFIG_DOC_MARKDOWN)
		buf_add_str(out,
			"# Config reference\n\n"
			"Generated from `config/key_list.h`; do not edit. To update it: "
			"`build/config/config-reference markdown > docs/config.md`.\n\n"
			"The file is YAML without anchors, aliases and tags, of at most 512 KiB. "
			"`shuntd --check -c FILE` or `shunt check FILE` says what is wrong with "
			"it, "
			"line by line. Nothing is required but one backend, or `discover_local: "
			"yes`.\n");
	for (enum config_section s = 0; s < SECTION_NONE; s++) {
		size_t len;
		const struct config_key *keys = config_keys(s, &len);

		form->section(out, config_section_row(s)->path, config_section_row(s)->help);
		for (size_t i = 0; i < len; i++)
			form->key(out, &keys[i]);
	}
	put_choices(out, form, "Backend kinds", CONFIG_TYPE_KIND);
	put_choices(out, form, "Strategies", CONFIG_TYPE_STRATEGY);
	form->words(out, "Scorers");
#define SCORER(symbol, name, kind, help)                                                           \
	if (config_scorer_kind(#name, sizeof(#name) - 1) != CONFIG_SCORER_UNKNOWN)                 \
		form->word(out, #name, help);
#include "config/scorer_list.h"
#undef SCORER
	put_choices(out, form, "Text policies", CONFIG_TYPE_TEXT_POLICY);
	put_choices(out, form, "Mid-stream policies", CONFIG_TYPE_MID_STREAM);
	put_choices(out, form, "Priorities", CONFIG_TYPE_PRIORITY);
	put_choices(out, form, "Forms of prefill", CONFIG_TYPE_PREFILL);
	put_types(out, form);
}
