/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parse.c - a tree along the key table into structs
 *
 * The depth of the calls is that of the table (sections in sections), never that of the input.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/fault.h"
#include "config/parse.h"
#include "config/value.h"
#include "lib/base/buf.h"

struct parse {
	const struct tree *tree;
	struct config_faults *faults;
	struct buf where; /* path of the section being read: "", "limits", "models[0]", ... */
};

static void parse_fault(struct parse *p, unsigned line, const char *key, const char *fmt, ...)
	PRINTF(4, 5);
static void parse_section(struct parse *p, enum config_section section, void *owner, unsigned map);

void *
config_grow(void **array, size_t *len, size_t size)
{
	char *bigger = reallocarray(*array, *len + 1, size);

	CHECK(bigger != NULL);
	*array = bigger;
	memset(bigger + *len * size, 0, size);
	return bigger + (*len)++ * size;
}

/* config_grow for the list behind a key. */
static void *
list_grow(const struct config_key *key, void *owner, size_t size)
{
	void *array, *element;
	size_t len;

	memcpy(&array, (char *)owner + key->offset, sizeof(array));
	memcpy(&len, (char *)owner + key->len_offset, sizeof(len));
	element = config_grow(&array, &len, size);
	memcpy((char *)owner + key->offset, &array, sizeof(array));
	memcpy((char *)owner + key->len_offset, &len, sizeof(len));
	return element;
}

/* A fault that starts with the key's full name: "limits.body_bytes: ...". */
static void
parse_fault(struct parse *p, unsigned line, const char *key, const char *fmt, ...)
{
	char text[CONFIG_WHY_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	config_fault(p->faults, line, "%s%s%s: %s", buf_str(&p->where), p->where.len > 0 ? "." : "",
		key, text);
}

static void
key_default(const struct config_key *key, void *owner)
{
	char *field = (char *)owner + key->offset;
	char why[CONFIG_WHY_MAX];
	struct config_listen listen;

	if (key->type == CONFIG_TYPE_MAP) {
		config_defaults(key->child, owner);
	} else if (key->def == NULL || key->def[0] == '\0') {
		if (key->type == CONFIG_TYPE_TRI)
			*(enum tri *)(void *)field = TRI_UNKNOWN;
		if (key->type == CONFIG_TYPE_REAL)
			*(double *)(void *)field = -1;
	} else if (key->type == CONFIG_TYPE_LISTEN) {
		CHECK(config_listen_parse(&listen, key->def, why));
		*(struct config_listen *)list_grow(key, owner, sizeof(listen)) = listen;
	} else if (config_key_store(key) == STORE_TEXTS) {
		*(char **)list_grow(key, owner, sizeof(char *)) = config_copy(key->def);
	} else {
		CHECK(config_value_set(field, key, key->def, why));
	}
}

void
config_defaults(enum config_section section, void *owner)
{
	size_t len;
	const struct config_key *keys = config_keys(section, &len);

	for (size_t i = 0; i < len; i++)
		key_default(&keys[i], owner);
}

static const char *
node_what(const struct tree_node *node)
{
	return node->type == TREE_MAP ? "a map" : node->type == TREE_LIST ? "a list" : "one value";
}

/* `key:` with nothing behind it, or null. */
static bool
node_is_null(const struct tree_node *node)
{
	return node->type == TREE_SCALAR && node->plain &&
	       (node->len == 0 || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}

/* Values that change their type when quoted: booleans and bare numbers ("30s" may be quoted). */
static bool
is_unquoted(enum config_store store, const struct tree_node *node)
{
	return store == STORE_BOOL ||
	       (store != STORE_TEXT && store != STORE_ENUM &&
		       node->text[strspn(node->text, "-.0123456789")] == '\0');
}

static void
parse_scalar(struct parse *p, const struct config_key *key, void *owner, unsigned index)
{
	const struct tree_node *node = &p->tree->nodes[index];
	enum config_store store = config_key_store(key);
	char why[CONFIG_WHY_MAX];

	if (node->type != TREE_SCALAR)
		parse_fault(p, node->line, key->name, "must be a %s, not %s",
			config_type_row(key->type)->name, node_what(node));
	else if (!node->plain && is_unquoted(store, node))
		parse_fault(p, node->line, key->name, "must be a %s: write it without quotes",
			config_type_row(key->type)->name);
	else if (!config_value_set((char *)owner + key->offset, key, node->text, why))
		parse_fault(p, node->line, key->name, "%s", why);
}

/* One entry of a list of texts or addresses. */
static void
parse_entry(struct parse *p, const struct config_key *key, void *owner, unsigned index)
{
	const struct tree_node *node = &p->tree->nodes[index];
	struct config_listen listen;
	char why[CONFIG_WHY_MAX];

	if (node->type != TREE_SCALAR || node_is_null(node)) {
		parse_fault(p, node->line, key->name, "every entry must be a text, not %s",
			node_is_null(node) ? "nothing" : node_what(node));
	} else if (key->type == CONFIG_TYPE_LISTEN) {
		if (config_listen_parse(&listen, node->text, why))
			*(struct config_listen *)list_grow(key, owner, sizeof(listen)) = listen;
		else
			parse_fault(p, node->line, key->name, "`%.60s`: %s", node->text, why);
	} else if (config_value_check_text(key->type, node->text, why)) {
		*(char **)list_grow(key, owner, sizeof(char *)) = config_copy(node->text);
	} else {
		parse_fault(
			p, node->line, key->name, "an entry %s%s", why[0] == '`' ? ": " : "", why);
	}
}

static void
parse_row(struct parse *p, const struct config_key *key, void *owner, unsigned index, size_t at)
{
	const struct config_section_row *section = config_section_row(key->child);
	unsigned line = p->tree->nodes[index].line;
	size_t where_len = p->where.len;
	char *row;

	if (p->tree->nodes[index].type != TREE_MAP) {
		parse_fault(p, line, key->name, "every entry must be a map (- name: ...)");
		return;
	}
	row = list_grow(key, owner, section->size);
	CHECK(section->line_offset != SIZE_MAX);
	*(unsigned *)(void *)(row + section->line_offset) = line;
	config_defaults(key->child, row);
	buf_addf(&p->where, "%s%s[%zu]", where_len > 0 ? "." : "", key->name, at);
	parse_section(p, key->child, row, index);
	p->where.len = where_len;
	p->where.data[where_len] = '\0';
}

static void
parse_list(struct parse *p, const struct config_key *key, void *owner, unsigned index)
{
	const struct tree_node *nodes = p->tree->nodes;
	size_t at = 0;

	if (nodes[index].type != TREE_LIST) {
		parse_fault(p, nodes[index].line, key->name, "must be a list, not %s",
			node_what(&nodes[index]));
		return;
	}
	config_key_fini(key, owner);
	for (unsigned i = nodes[index].first; i != 0; i = nodes[i].next, at++) {
		if (at >= (size_t)key->max) {
			parse_fault(p, nodes[i].line, key->name, "at most %zu entries",
				(size_t)key->max);
			return;
		}
		if (key->type == CONFIG_TYPE_ROWS)
			parse_row(p, key, owner, i, at);
		else
			parse_entry(p, key, owner, i);
	}
	if (at == 0)
		parse_fault(p, nodes[index].line, key->name,
			"the list is empty; leave the key out for its default");
}

static void
parse_map(struct parse *p, const struct config_key *key, void *owner, unsigned index)
{
	size_t where_len = p->where.len;

	if (p->tree->nodes[index].type != TREE_MAP) {
		parse_fault(p, p->tree->nodes[index].line, key->name, "must be a map, not %s",
			node_what(&p->tree->nodes[index]));
		return;
	}
	buf_addf(&p->where, "%s%s", where_len > 0 ? "." : "", key->name);
	parse_section(p, key->child, owner, index);
	p->where.len = where_len;
	p->where.data[where_len] = '\0';
}

static void
parse_unknown(struct parse *p, enum config_section section, const struct tree_node *key)
{
	const char *where = p->where.len > 0 ? buf_str(&p->where) : "the top level";
	const char *near = config_key_near(section, key->text);

	if (near != NULL)
		config_fault(p->faults, key->line, "unknown key `%.64s` in %s; did you mean `%s`?",
			key->text, where, near);
	else
		config_fault(p->faults, key->line, "unknown key `%.64s` in %s", key->text, where);
}

/* One member of a map. seen[i] is the line on which key i of the section stood; 0: not yet. */
static void
parse_member(
	struct parse *p, enum config_section section, void *owner, unsigned index, unsigned *seen)
{
	const struct tree_node *node = &p->tree->nodes[index];
	const struct tree_node *name = &p->tree->nodes[node->key];
	const struct config_key *key = config_key_find(section, name->text, name->len);
	size_t keys_len, at;

	if (key == NULL) {
		parse_unknown(p, section, name);
		return;
	}
	at = (size_t)(key - config_keys(section, &keys_len));
	if (seen[at] != 0) {
		parse_fault(p, name->line, key->name, "duplicate key, first on line %u", seen[at]);
		return;
	}
	seen[at] = name->line;
	if (node_is_null(node))
		parse_fault(p, name->line, key->name,
			"has no value; leave the key out for its default");
	else if (key->type == CONFIG_TYPE_MAP)
		parse_map(p, key, owner, index);
	else if (key->len_offset != SIZE_MAX)
		parse_list(p, key, owner, index);
	else
		parse_scalar(p, key, owner, index);
}

static void
parse_section(struct parse *p, enum config_section section, void *owner, unsigned map)
{
	unsigned seen[CONFIG_KEYS_MAX] = {0};
	size_t keys_len;
	const struct config_key *keys = config_keys(section, &keys_len);

	for (unsigned i = p->tree->nodes[map].first; i != 0; i = p->tree->nodes[i].next)
		parse_member(p, section, owner, i, seen);
	for (size_t k = 0; k < keys_len; k++)
		if (keys[k].def == NULL && seen[k] == 0)
			parse_fault(p, p->tree->nodes[map].line, keys[k].name, "is required");
}

void
config_read(struct config *c, const struct tree *t, struct config_faults *faults)
{
	struct parse p = {.tree = t, .faults = faults, .where = BUF_INIT};

	config_defaults(SECTION_TOP, c);
	if (t->root == 0)
		return;
	if (t->nodes[t->root].type != TREE_MAP)
		config_fault(faults, t->nodes[t->root].line,
			"the file must be a map (key: value), not %s",
			node_what(&t->nodes[t->root]));
	else
		parse_section(&p, SECTION_TOP, c, t->root);
	buf_fini(&p.where);
}
