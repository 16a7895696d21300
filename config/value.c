/* SPDX-License-Identifier: Apache-2.0 */
/*
 * value.c - one scalar's text to a typed, range-checked field
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/value.h"
#include "lib/base/buf.h"
#include "lib/base/near.h"

struct unit {
	const char *name;
	double factor;
};

/* Largest first, as config_value_print wants them; decimal ones are only read. */
static const struct unit size_units[] = {{"GiB", 1073741824}, {"MiB", 1048576}, {"KiB", 1024},
	{"B", 1}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {NULL, 0}};
static const struct unit time_units[] = {
	{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0}};
static const struct unit no_units[] = {{NULL, 0}};

static const struct unit *
units_of(enum config_type type)
{
	if (type == CONFIG_TYPE_SIZE)
		return size_units;
	return type == CONFIG_TYPE_TIME ? time_units : no_units;
}

char *
config_copy(const char *text)
{
	char *copy = strdup(text);

	CHECK(copy != NULL);
	return copy;
}

void
config_value_print(struct buf *out, enum config_type type, double v)
{
	for (const struct unit *u = units_of(type); u->name != NULL; u++) {
		double n = v / u->factor;

		if (n >= 1 && n == floor(n)) {
			buf_addf(out, "%.15g%s", n, u->name);
			return;
		}
	}
	buf_addf(out, "%.16g", v);
}

/* Sign, digits, fraction; nothing that only strtod would take (hex, inf, exponents). */
static size_t
number_len(const char *text)
{
	size_t i = text[0] == '-' ? 1 : 0, digits;

	digits = strspn(text + i, "0123456789");
	if (digits == 0)
		return 0;
	i += digits;
	if (text[i] == '.' && isdigit((unsigned char)text[i + 1]))
		i += 1 + strspn(text + i + 1, "0123456789");
	return i;
}

static bool
number_parse(double *out, enum config_type type, const char *text)
{
	size_t len = number_len(text);
	const char *rest = text + len;

	if (len == 0)
		return false;
	*out = strtod(text, NULL);
	if (*rest == '\0')
		return true;
	while (*rest == ' ')
		rest++;
	for (const struct unit *u = units_of(type); u->name != NULL; u++) {
		if (strcmp(u->name, rest) == 0) {
			*out *= u->factor;
			return true;
		}
	}
	return false;
}

static void
number_out_of_range(char why[CONFIG_WHY_MAX], const struct config_key *key, const char *text)
{
	AUTO(buf_fini) struct buf min = BUF_INIT;
	AUTO(buf_fini) struct buf max = BUF_INIT;

	config_value_print(&min, key->type, key->min);
	config_value_print(&max, key->type, key->max);
	(void)snprintf(why, CONFIG_WHY_MAX, "%.40s is out of range: allowed is %s to %s", text,
		buf_str(&min), buf_str(&max));
}

static bool
number_set(void *field, const struct config_key *key, const char *text, char why[CONFIG_WHY_MAX])
{
	enum config_store store = config_key_store(key);
	double v;

	if (!number_parse(&v, key->type, text) || (store != STORE_DOUBLE && v != floor(v))) {
		(void)snprintf(why, CONFIG_WHY_MAX, "`%.40s` is not a %s (%s)", text,
			config_type_row(key->type)->name, config_type_row(key->type)->help);
		return false;
	}
	if (!(v >= key->min && v <= key->max)) {
		number_out_of_range(why, key, text);
		return false;
	}
	if (store == STORE_U32)
		*(uint32_t *)field = (uint32_t)v;
	else if (store == STORE_U64)
		*(uint64_t *)field = (uint64_t)v;
	else if (store == STORE_I32)
		*(int32_t *)field = (int32_t)v;
	else
		*(double *)field = v;
	return true;
}

static bool
choice_set(void *field, const struct config_key *key, const char *text, char why[CONFIG_WHY_MAX])
{
	const struct config_choice *choices = config_choices(key->type);
	const char *names[16], *near;
	size_t len = 0;
	int n;

	for (const struct config_choice *c = choices; c->name != NULL; c++) {
		CHECK(len < ARRAY_LEN(names));
		names[len++] = c->name;
		if (strcmp(c->name, text) != 0)
			continue;
		if (config_key_store(key) == STORE_BOOL)
			*(bool *)field = c->value != 0;
		else
			memcpy(field, &c->value, sizeof(c->value));
		return true;
	}
	n = snprintf(why, CONFIG_WHY_MAX, "`%.40s` is none of", text);
	for (const struct config_choice *c = choices; c->name != NULL; c++)
		if (c->help != NULL && n < CONFIG_WHY_MAX)
			n += snprintf(why + n, CONFIG_WHY_MAX - (size_t)n, "%s %s",
				c == choices ? "" : ",", c->name);
	near = near_name(text, names, len);
	if (near != NULL && n < CONFIG_WHY_MAX)
		(void)snprintf(why + n, CONFIG_WHY_MAX - (size_t)n, "; did you mean `%s`?", near);
	return false;
}

bool
config_value_set(
	void *field, const struct config_key *key, const char *text, char why[CONFIG_WHY_MAX])
{
	char *copy;

	switch (config_key_store(key)) {
	case STORE_BOOL:
	case STORE_ENUM:
		return choice_set(field, key, text, why);
	case STORE_TEXT:
		if (!config_value_check_text(key->type, text, why))
			return false;
		memcpy(&copy, field, sizeof(copy));
		free(copy);
		copy = config_copy(text);
		memcpy(field, &copy, sizeof(copy));
		return true;
	default:
		return number_set(field, key, text, why);
	}
}
