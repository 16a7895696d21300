/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault_text.c - a fault as one line of text: read, check, print
 */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/near.h"
#include "lib/fault/fault.h"

enum { ONCE = 1, CRASHES_DEFAULT = 5, RESOURCE_FOR_MS = 30000 };

enum text_use { USE_MATCH, USE_WHEN, USE_HOW };
enum text_type { TYPE_TEXT, TYPE_COUNT, TYPE_TIME, TYPE_SHIFT, TYPE_SHARE };

static const struct text_param {
	const char *name;
	enum text_use use;
	enum text_type type;
	size_t offset, size;
	double min, max;
	const char *help;
} params[FAULT_PARAMS] = {
#define FAULT_PARAM(symbol, name, use, type, field, min, max, help)                                \
	{#name, USE_##use, TYPE_##type, offsetof(struct fault_rule, field),                        \
		sizeof(((struct fault_rule *)0)->field), min, max, help},
#include "lib/fault/param_list.h"
#undef FAULT_PARAM
};

const char *
fault_param_name(enum fault_param p)
{
	CHECK(p < FAULT_PARAMS);
	return params[p].name;
}

const char *
fault_param_help(enum fault_param p)
{
	CHECK(p < FAULT_PARAMS);
	return params[p].help;
}

/* ---- one value ---- */

static const struct text_unit {
	const char *name;
	double ms;
} units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};

static enum err_code
text_number(double *out, const struct text_param *p, const char *value, struct err *e)
{
	bool is_time = p->type == TYPE_TIME || p->type == TYPE_SHIFT;
	char *end;
	double v;

	errno = 0;
	v = strtod(value, &end);
	if (end == value || errno != 0 || !isfinite(v) || strpbrk(value, " xX") != NULL)
		return err_set(e, ERR_INPUT, "%s: `%.40s` is no %s", p->name, value,
			is_time ? "time such as 500ms, 2s or 1m" : "number");
	for (size_t i = 0; is_time && i < ARRAY_LEN(units); i++)
		if (strcmp(end, units[i].name) == 0) {
			v *= units[i].ms;
			end += strlen(end);
			break;
		}
	if (*end != '\0')
		return err_set(e, ERR_INPUT, "%s: `%.40s` is no %s", p->name, value,
			is_time ? "time such as 500ms, 2s or 1m" : "number");
	if (p->type != TYPE_SHARE && v != floor(v))
		return err_set(e, ERR_INPUT, "%s: `%.40s` must be a whole number%s", p->name, value,
			is_time ? " of milliseconds" : "");
	if (v < p->min || v > p->max)
		return err_set(e, ERR_INPUT, "%s: `%.40s` is not between %.16g and %.16g%s",
			p->name, value, p->min, p->max, is_time ? " ms" : "");
	*out = v;
	return ERR_OK;
}

static enum err_code
text_set(struct fault_rule *r, const struct text_param *p, const char *value, struct err *e)
{
	char *field = (char *)r + p->offset;
	size_t len = strlen(value);
	uint64_t count;
	int64_t shift;
	double v = 0;

	if (p->type == TYPE_TEXT) {
		if (len == 0 || len >= p->size)
			return err_set(
				e, ERR_INPUT, "%s: must have 1 to %zu bytes", p->name, p->size - 1);
		memcpy(field, value, len + 1);
		return ERR_OK;
	}
	if (text_number(&v, p, value, e) != ERR_OK)
		return e->code;
	if (p->type == TYPE_SHARE) {
		memcpy(field, &v, sizeof(v));
	} else if (p->type == TYPE_SHIFT) {
		shift = (int64_t)v;
		memcpy(field, &shift, sizeof(shift));
	} else {
		count = (uint64_t)v;
		memcpy(field, &count, sizeof(count));
	}
	return ERR_OK;
}

/* ---- one line ---- */

/* Cut the next word off *line, quotes and backslashes resolved. False: none is left. */
static enum err_code
text_word(struct buf *word, const char **line, struct err *e)
{
	const char *p = *line;
	bool quoted = false;

	buf_clear(word);
	while (*p == ' ' || *p == '\t')
		p++;
	for (; *p != '\0' && (quoted || (*p != ' ' && *p != '\t')); p++) {
		if (*p == '"') {
			quoted = !quoted;
		} else if (quoted && *p == '\\' && (p[1] == '"' || p[1] == '\\')) {
			buf_add_char(word, *++p);
		} else if ((unsigned char)*p < ' ' || *p == 0x7f) {
			return err_set(e, ERR_INPUT, "kind: a fault has no control characters");
		} else {
			buf_add_char(word, *p);
		}
	}
	*line = p;
	return quoted ? err_set(e, ERR_INPUT, "kind: a quote is not closed") : ERR_OK;
}

static enum err_code
text_kind(struct fault_rule *r, const char *name, struct err *e)
{
	const char *names[FAULT_KINDS], *near;

	for (enum fault_kind k = 0; k < FAULT_KINDS; k++) {
		names[k] = fault_kind_row(k)->name;
		if (strcmp(names[k], name) == 0) {
			r->kind = k;
			return ERR_OK;
		}
	}
	near = near_name(name, names, FAULT_KINDS);
	if (name[0] == '\0')
		return err_set(e, ERR_INPUT, "kind: is missing, such as `status` or `kill`");
	if (near != NULL)
		return err_set(e, ERR_INPUT, "kind: no fault is named `%.40s`; did you mean `%s`?",
			name, near);
	return err_set(e, ERR_INPUT, "kind: no fault is named `%.40s`", name);
}

static enum err_code
text_unknown(const char *name, struct err *e)
{
	const char *names[FAULT_PARAMS], *near;

	for (size_t i = 0; i < FAULT_PARAMS; i++)
		names[i] = params[i].name;
	near = near_name(name, names, FAULT_PARAMS);
	if (near != NULL)
		return err_set(e, ERR_INPUT,
			"%.40s: a fault has no such parameter; did you mean `%s`?", name, near);
	return err_set(e, ERR_INPUT, "%.40s: a fault has no such parameter", name);
}

/* NAME=VALUE */
static enum err_code
text_param(struct fault_rule *r, char *word, struct err *e)
{
	char *equals = strchr(word, '=');

	if (equals == NULL)
		return err_set(e, ERR_INPUT, "%.40s: must be NAME=VALUE", word);
	*equals = '\0';
	for (size_t i = 0; i < FAULT_PARAMS; i++) {
		if (strcmp(params[i].name, word) != 0)
			continue;
		if ((r->said & UINT64_C(1) << i) != 0)
			return err_set(e, ERR_INPUT, "%s: is said twice", word);
		r->said |= UINT64_C(1) << i;
		return text_set(r, &params[i], equals + 1, e);
	}
	return text_unknown(word, e);
}

/* What this level can be asked for beside its kinds' own parameters. */
static uint64_t
text_allowed(const struct fault_kind_row *kind)
{
	const uint64_t common = FAULT_SAYS(EVERY) | FAULT_SAYS(PROBABILITY) | FAULT_SAYS(SEED) |
				FAULT_SAYS(AFTER) | FAULT_SAYS(FOR) | FAULT_SAYS(COUNT);
	static const uint64_t level[FAULT_LEVELS] = {
		[FAULT_LEVEL_HTTP] = FAULT_SAYS(BACKEND) | FAULT_SAYS(MODEL) | FAULT_SAYS(ROUTE) |
				     FAULT_SAYS(USER),
		[FAULT_LEVEL_BUS] = FAULT_SAYS(WORKER) | FAULT_SAYS(MESSAGE),
		[FAULT_LEVEL_PROCESS] = FAULT_SAYS(WORKER) | FAULT_SAYS(PERIOD),
		[FAULT_LEVEL_RESOURCE] = FAULT_SAYS(WORKER),
	};

	return common | level[kind->level] | kind->may;
}

/* Does everything that was said fit the kind, and is everything there? */
static enum err_code
text_check(const struct fault_rule *r, struct err *e)
{
	const struct fault_kind_row *kind = fault_kind_row(r->kind);
	uint64_t needs = kind->needs, wrong = r->said & ~text_allowed(kind);

	if (kind->level == FAULT_LEVEL_PROCESS || kind->level == FAULT_LEVEL_RESOURCE)
		needs |= FAULT_SAYS(WORKER);
	for (size_t i = 0; i < FAULT_PARAMS; i++) {
		if ((wrong & UINT64_C(1) << i) != 0)
			return err_set(e, ERR_INPUT, "%s: is nothing that a %s fault could use",
				params[i].name, kind->name);
		if ((needs & ~r->said & UINT64_C(1) << i) != 0)
			return err_set(e, ERR_INPUT, "%s: is required for a %s fault",
				params[i].name, kind->name);
	}
	if ((r->said & FAULT_SAYS(TOKENS)) != 0 && (r->said & FAULT_SAYS(BYTES)) != 0)
		return err_set(e, ERR_INPUT, "bytes: either tokens or bytes, not both");
	return ERR_OK;
}

/* Nothing that meets processes may go on for ever unless somebody said so. */
static void
text_defaults(struct fault_rule *r)
{
	enum fault_level level = fault_kind_row(r->kind)->level;

	if ((r->said & FAULT_SAYS(SEED)) == 0)
		r->seed = 1;
	if (level == FAULT_LEVEL_RESOURCE && r->for_ms == 0)
		r->for_ms = RESOURCE_FOR_MS;
	if (level == FAULT_LEVEL_PROCESS && r->count == 0 && r->for_ms == 0)
		r->count = r->kind == FAULT_CRASH_LOOP ? CRASHES_DEFAULT : ONCE;
}

enum err_code
fault_parse(struct fault_rule *out, const char *line, struct err *e)
{
	AUTO(buf_fini) struct buf word = BUF_INIT;
	struct fault_rule r = {0};
	struct err own = {0};

	e = e == NULL ? &own : e;
	if (strlen(line) > FAULT_LINE_MAX)
		return err_set(
			e, ERR_INPUT, "kind: the fault is longer than %d bytes", FAULT_LINE_MAX);
	if (text_word(&word, &line, e) != ERR_OK || text_kind(&r, buf_str(&word), e) != ERR_OK)
		return e->code;
	for (;;) {
		if (text_word(&word, &line, e) != ERR_OK)
			return e->code;
		if (word.len == 0 && *line == '\0')
			break;
		if (text_param(&r, word.data, e) != ERR_OK)
			return e->code;
	}
	if (text_check(&r, e) != ERR_OK)
		return e->code;
	text_defaults(&r);
	*out = r;
	return ERR_OK;
}

/* ---- and back ---- */

void
fault_put_param(struct buf *line, const char *name, const char *value)
{
	bool plain = value[0] != '\0' && strpbrk(value, " \t\"\\") == NULL;

	buf_addf(line, "%s%s=%s", line->len > 0 ? " " : "", name, plain ? value : "\"");
	if (plain)
		return;
	for (; *value != '\0'; value++) {
		if (*value == '"' || *value == '\\')
			buf_add_char(line, '\\');
		buf_add_char(line, *value);
	}
	buf_add_char(line, '"');
}

static void
text_put(struct buf *out, const struct text_param *p, const struct fault_rule *r)
{
	AUTO(buf_fini) struct buf value = BUF_INIT;
	const char *field = (const char *)r + p->offset;
	uint64_t count;
	int64_t shift;
	double share;

	memcpy(&count, field, sizeof(count));
	memcpy(&shift, field, sizeof(shift));
	memcpy(&share, field, sizeof(share));
	if (p->type == TYPE_TEXT)
		buf_add_str(&value, field);
	else if (p->type == TYPE_SHARE)
		buf_addf(&value, "%.17g", share);
	else if (p->type == TYPE_SHIFT)
		buf_addf(&value, "%lldms", (long long)shift);
	else
		buf_addf(&value, p->type == TYPE_TIME ? "%llums" : "%llu",
			(unsigned long long)count);
	fault_put_param(out, p->name, buf_str(&value));
}

void
fault_print(struct buf *out, const struct fault_rule *r)
{
	AUTO(buf_fini) struct buf line = BUF_INIT;

	buf_add_str(&line, fault_kind_row(r->kind)->name);
	for (size_t i = 0; i < FAULT_PARAMS; i++)
		if ((r->said & UINT64_C(1) << i) != 0)
			text_put(&line, &params[i], r);
	buf_add(out, line.data, line.len);
}

/* One field of a rule that came from elsewhere. */
static bool
text_is_sound(const struct text_param *p, const struct fault_rule *r, bool said)
{
	const char *field = (const char *)r + p->offset;
	uint64_t count;
	int64_t shift;
	double v;

	if (p->type == TYPE_TEXT)
		return memchr(field, '\0', p->size) != NULL;
	memcpy(&count, field, sizeof(count));
	memcpy(&shift, field, sizeof(shift));
	memcpy(&v, field, sizeof(v));
	if (p->type != TYPE_SHARE)
		v = p->type == TYPE_SHIFT ? (double)shift : (double)count;
	return isfinite(v) && v <= p->max && (!said || v >= p->min);
}

bool
fault_is_sound(const struct fault_rule *r)
{
	if (r->kind >= FAULT_KINDS || r->origin >= FAULT_ORIGINS ||
		r->said >= UINT64_C(1) << FAULT_PARAMS || text_check(r, NULL) != ERR_OK)
		return false;
	for (size_t i = 0; i < FAULT_PARAMS; i++)
		if (!text_is_sound(&params[i], r, (r->said & UINT64_C(1) << i) != 0))
			return false;
	return true;
}
