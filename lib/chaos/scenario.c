/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenario.c - a scenario's text to a struct chaos_scenario
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/near.h"
#include "lib/base/json.h"
#include "lib/chaos/scenario_fields.h"

enum err_code
scenario_wrong(const struct scenario_reader *r, unsigned node, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return err_set(r->e, ERR_CONFIG, "%s:%u: %s", r->path,
		node == 0 ? 1 : r->tree->nodes[node].line, text);
}

unsigned
scenario_member(const struct tree *t, unsigned map, const char *key)
{
	if (map == 0 || t->nodes[map].type != TREE_MAP)
		return 0;
	for (unsigned n = t->nodes[map].first; n != 0; n = t->nodes[n].next)
		if (strcmp(t->nodes[t->nodes[n].key].text, key) == 0)
			return n;
	return 0;
}

/* ---- scalars ---- */

bool
scenario_number(double *out, const char *text, enum scenario_type type)
{
	static const struct {
		const char *suffix;
		double times;
		enum scenario_type type;
	} suffixes[] = {{"", 1, SCENARIO_ELSE}, {"ms", 1, SCENARIO_TIME},
		{"s", 1000, SCENARIO_TIME}, {"m", 60000, SCENARIO_TIME},
		{"%", 0.01, SCENARIO_SHARE}};
	char *end;
	double v;

	if (text[0] < '0' || text[0] > '9')
		return false;
	v = strtod(text, &end);
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
		if (strcmp(end, suffixes[i].suffix) == 0 && isfinite(v) &&
			(suffixes[i].type == type || *end == '\0')) {
			*out = v * suffixes[i].times;
			return type != SCENARIO_SHARE || *out <= 1;
		}
	return false;
}

static enum err_code
scenario_set_text(char *out, size_t size, const struct scenario_reader *r, unsigned node)
{
	const struct tree_node *n = &r->tree->nodes[node];

	if (n->type != TREE_SCALAR || n->len == 0)
		return scenario_wrong(r, node, "is no text");
	if (n->len >= size || memchr(n->text, '\n', n->len) != NULL)
		return scenario_wrong(r, node, "is longer than a line of %zu bytes", size - 1);
	memcpy(out, n->text, n->len + 1);
	return ERR_OK;
}

MUST enum err_code
scenario_names(struct chaos_names *out, const struct scenario_reader *r, unsigned node)
{
	const struct tree_node *list = &r->tree->nodes[node];
	enum err_code code = ERR_OK;

	if (list->type != TREE_LIST)
		return scenario_wrong(r, node, "must be a list of names");
	for (unsigned n = list->first; n != 0 && code == ERR_OK; n = r->tree->nodes[n].next) {
		if (out->len == CHAOS_NAMES_MAX)
			return scenario_wrong(r, n, "more than %d names", CHAOS_NAMES_MAX);
		code = scenario_set_text(out->rows[out->len++], CHAOS_NAME_MAX, r, n);
	}
	return code;
}

static enum err_code
scenario_set(void *field, enum scenario_type type, const struct scenario_reader *r, unsigned node)
{
	static const char *const wanted[] = {[SCENARIO_COUNT] = "number",
		[SCENARIO_SEED] = "number",
		[SCENARIO_REAL] = "number",
		[SCENARIO_SHARE] = "share (0.05, 5%)",
		[SCENARIO_TIME] = "time (500ms, 2s)"};
	double v;

	if (type == SCENARIO_ELSE)
		return ERR_OK;
	if (type == SCENARIO_TEXT || type == SCENARIO_NAME)
		return scenario_set_text(
			field, type == SCENARIO_TEXT ? CHAOS_TEXT_MAX : CHAOS_NAME_MAX, r, node);
	if (type == SCENARIO_NAMES)
		return scenario_names(field, r, node);
	if (r->tree->nodes[node].type != TREE_SCALAR ||
		!scenario_number(&v, r->tree->nodes[node].text, type) || v > 9007199254740992.0 ||
		(type == SCENARIO_COUNT && (v > UINT32_MAX || v != floor(v))))
		return scenario_wrong(r, node, "%s is no %s",
			r->tree->nodes[r->tree->nodes[node].key].text, wanted[type]);
	if (type == SCENARIO_COUNT)
		*(uint32_t *)field = (uint32_t)v;
	else if (type == SCENARIO_SEED || type == SCENARIO_TIME)
		*(uint64_t *)field = (uint64_t)v;
	else
		*(double *)field = v;
	return ERR_OK;
}

MUST enum err_code
scenario_fill(void *row, const struct scenario_reader *r, unsigned map,
	const struct scenario_field *fields, size_t len)
{
	const struct tree *t = r->tree;
	const char *names[64];
	enum err_code code = ERR_OK;

	CHECK(len <= ARRAY_LEN(names));
	if (t->nodes[map].type != TREE_MAP)
		return scenario_wrong(r, map, "must be a map");
	for (size_t i = 0; i < len; i++)
		names[i] = fields[i].key;
	for (unsigned n = t->nodes[map].first; n != 0 && code == ERR_OK; n = t->nodes[n].next) {
		const char *key = t->nodes[t->nodes[n].key].text, *near;
		size_t i = 0;

		while (i < len && strcmp(fields[i].key, key) != 0)
			i++;
		if (i == len) {
			near = near_name(key, names, len);
			return scenario_wrong(r, n,
				near != NULL ? "unknown key `%s`; did you mean `%s`?"
					     : "unknown key `%s`%s",
				key, near != NULL ? near : "");
		}
		code = scenario_set((char *)row + fields[i].offset, fields[i].type, r, n);
	}
	return code;
}

/* ---- the daemon's config: the same values as a YAML of one line per top-level key ---- */

static bool
scenario_is_bare(const struct tree_node *n)
{
	static const char safe[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%/-";

	return n->plain && n->len > 0 && strspn(n->text, safe) == n->len;
}

/* Depth is bounded by TREE_DEPTH_MAX. */
static void
scenario_put_value(struct buf *out, const struct tree *t, unsigned node)
{
	const struct tree_node *n = &t->nodes[node];
	bool is_map = n->type == TREE_MAP;

	if (n->type == TREE_SCALAR) {
		if (scenario_is_bare(n))
			buf_add(out, n->text, n->len);
		else
			json_put_string(out, n->text, n->len);
		return;
	}
	buf_add_char(out, is_map ? '{' : '[');
	for (unsigned c = n->first; c != 0; c = t->nodes[c].next) {
		if (is_map)
			buf_addf(out, "%s: ", t->nodes[t->nodes[c].key].text);
		scenario_put_value(out, t, c);
		if (t->nodes[c].next != 0)
			buf_add_str(out, ", ");
	}
	buf_add_char(out, is_map ? '}' : ']');
}

static enum err_code
scenario_read_config(struct chaos_scenario *s, const struct scenario_reader *r, unsigned map)
{
	static const char *const ours[] = {"listen", "run_dir", "state_dir", "auth"};
	struct config_faults *faults;
	enum err_code code;
	struct err e;

	if (map == 0 || r->tree->nodes[map].type != TREE_MAP)
		return scenario_wrong(r, map, "`config` must be the map of a daemon's config");
	for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
		unsigned n = scenario_member(r->tree, map, ours[i]);

		if (n != 0)
			return scenario_wrong(r, n, "`%s` is the runner's to set", ours[i]);
	}
	for (unsigned n = r->tree->nodes[map].first; n != 0; n = r->tree->nodes[n].next) {
		buf_addf(&s->config, "%s: ", r->tree->nodes[r->tree->nodes[n].key].text);
		scenario_put_value(&s->config, r->tree, n);
		buf_add_char(&s->config, '\n');
	}
	faults = calloc(1, sizeof(*faults));
	CHECK(faults != NULL);
	code = config_parse(
		&s->parsed, "/scenario", buf_str(&s->config), s->config.len, faults, &e);
	if (code != ERR_OK)
		code = scenario_wrong(
			r, map, "config: %s", faults->len > 0 ? faults->rows[0].text : e.text);
	free(faults);
	return code;
}

/* ---- the whole ---- */

static enum err_code
scenario_read_tree(struct chaos_scenario *s, const struct scenario_reader *r)
{
	static const struct scenario_field fields[] = {
		{"name", SCENARIO_NAME, offsetof(struct chaos_scenario, name)},
		{"about", SCENARIO_TEXT, offsetof(struct chaos_scenario, about)},
		{"seed", SCENARIO_SEED, offsetof(struct chaos_scenario, seed)},
		{"limit", SCENARIO_TIME, offsetof(struct chaos_scenario, limit_ms)},
		{"config", SCENARIO_ELSE, 0}, {"load", SCENARIO_ELSE, 0},
		{"faults", SCENARIO_ELSE, 0}, {"invariants", SCENARIO_ELSE, 0}};
	unsigned root = r->tree->root;
	enum err_code code;

	if (root == 0)
		return scenario_wrong(r, 0, "holds no scenario");
	code = scenario_fill(s, r, root, fields, ARRAY_LEN(fields));
	if (code == ERR_OK && s->name[0] == '\0')
		code = scenario_wrong(r, root, "`name` is missing");
	if (code == ERR_OK && (s->limit_ms == 0 || s->limit_ms > CHAOS_LIMIT_MAX_MS))
		code = scenario_wrong(r, root, "`limit` must be between 1ms and 10m");
	if (code == ERR_OK)
		code = scenario_read_config(s, r, scenario_member(r->tree, root, "config"));
	if (code == ERR_OK)
		code = scenario_load_read(s, r, scenario_member(r->tree, root, "load"));
	if (code == ERR_OK)
		code = scenario_steps_read(s, r, scenario_member(r->tree, root, "faults"));
	if (code == ERR_OK)
		code = scenario_invariants_read(s, r, scenario_member(r->tree, root, "invariants"));
	return code;
}

static uint64_t
scenario_hash(const char *text, size_t len)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
	return h;
}

MUST enum err_code
scenario_read(
	struct chaos_scenario **out, const char *path, const char *text, size_t len, struct err *e)
{
	struct chaos_scenario *s = calloc(1, sizeof(*s));
	struct config_faults *faults = calloc(1, sizeof(*faults));
	struct tree tree = {0};
	const struct scenario_reader r = {&tree, path, e};
	enum err_code code;

	CHECK(s != NULL && faults != NULL);
	s->seed = 1;
	s->limit_ms = CHAOS_LIMIT_MS;
	s->hash = scenario_hash(text, len);
	for (unsigned i = 0; i < CHAOS_ASKED; i++)
		s->limits[i] = chaos_invariant_at(i)->standard;
	if (!tree_read(&tree, text, len, faults))
		code = err_set(e, ERR_CONFIG, "%s:%u: %s", path, faults->rows[0].line,
			faults->rows[0].text);
	else
		code = scenario_read_tree(s, &r);
	tree_fini(&tree);
	free(faults);
	if (code == ERR_OK) {
		*out = s;
		s = NULL;
	}
	scenario_free(&s);
	return code;
}

void
scenario_free(struct chaos_scenario **s_p)
{
	struct chaos_scenario *s = *s_p;

	*s_p = NULL;
	if (s == NULL)
		return;
	buf_fini(&s->config);
	config_free(&s->parsed);
	free(s);
}
