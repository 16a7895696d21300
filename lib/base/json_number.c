/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_number.c - numbers between JSON text and C, whatever the locale says
 */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/json.h"

enum { EXPONENT_MAX = 100000, DOUBLE_TEXT_MAX = 64 };

/* A number taken apart: its digits are those in [first, last], its value digits * 10^scale. */
struct decimal {
	bool negative;
	const char *first;
	const char *last; /* last digit that is not zero; NULL: the number is zero */
	long scale;
};

static bool
number_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Value of the exponent behind p ("e+12"), clamped to a range nothing real reaches. */
static long
number_exponent(const char *p, const char *end)
{
	bool negative = false;
	long v = 0;

	p++;
	if (p < end && (*p == '+' || *p == '-'))
		negative = *p++ == '-';
	for (; p < end && number_is_digit(*p); p++) {
		if (v < EXPONENT_MAX)
			v = v * 10 + (*p - '0');
	}
	return negative ? -v : v;
}

static void
number_split(struct decimal *d, struct json v)
{
	const char *p = v.p, *end = v.p + v.len, *point = NULL;

	*d = (struct decimal){.negative = *p == '-'};
	if (d->negative)
		p++;
	d->first = p;
	for (; p < end && (number_is_digit(*p) || *p == '.'); p++) {
		if (*p == '.')
			point = p;
		else if (*p != '0')
			d->last = p;
	}
	if (d->last == NULL)
		return;
	if (point == NULL)
		point = p;
	d->scale = d->last < point ? point - d->last - 1 : point - d->last;
	if (p < end)
		d->scale += number_exponent(p, end);
}

static bool
number_push_digit(uint64_t *v, unsigned digit)
{
	return !__builtin_mul_overflow(*v, 10, v) && !__builtin_add_overflow(*v, digit, v);
}

/* The absolute value where it is an integer that fits. */
static bool
number_magnitude(uint64_t *out, const struct decimal *d)
{
	const char *p;
	uint64_t v = 0;
	long i;

	*out = 0;
	if (d->last == NULL)
		return true;
	if (d->scale < 0 || d->scale > 19)
		return false;
	for (p = d->first; p <= d->last; p++) {
		if (*p != '.' && !number_push_digit(&v, (unsigned)(*p - '0')))
			return false;
	}
	for (i = 0; i < d->scale; i++) {
		if (!number_push_digit(&v, 0))
			return false;
	}
	*out = v;
	return true;
}

bool
json_u64(uint64_t *out, struct json v)
{
	struct decimal d;
	uint64_t magnitude;

	if (v.type != JSON_NUMBER || v.len == 0)
		return false;
	number_split(&d, v);
	if (!number_magnitude(&magnitude, &d) || (d.negative && magnitude > 0))
		return false;
	*out = magnitude;
	return true;
}

bool
json_i64(int64_t *out, struct json v)
{
	struct decimal d;
	uint64_t magnitude;

	if (v.type != JSON_NUMBER || v.len == 0)
		return false;
	number_split(&d, v);
	if (!number_magnitude(&magnitude, &d) || magnitude > (uint64_t)INT64_MAX + d.negative)
		return false;
	*out = d.negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
	return true;
}

/* glibc keeps one immortal "C" locale: this neither allocates nor has to be freed. */
static locale_t
number_locale(void)
{
	locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);

	CHECK(c != (locale_t)0);
	return c;
}

bool
json_double(double *out, struct json v)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	double value;

	if (v.type != JSON_NUMBER || v.len == 0)
		return false;
	buf_add(&text, v.p, v.len); /* strtod wants a NUL */
	value = strtod_l(text.data, NULL, number_locale());
	if (!isfinite(value))
		return false;
	*out = value;
	return true;
}

/* The fewest digits that read back equal. 15 always print back what was written with up to 15, so
 * the search starts there; only numbers near zero have fewer significant bits than that. */
static void
number_format(char text[DOUBLE_TEXT_MAX], double v)
{
	locale_t c = number_locale(), before = uselocale(c);
	int digits;

	for (digits = fabs(v) < 1e-290 ? 1 : 15; digits <= 17; digits++) {
		(void)snprintf(text, DOUBLE_TEXT_MAX, "%.*g", digits, v);
		if (strtod_l(text, NULL, c) == v)
			break;
	}
	(void)uselocale(before);
}

void
json_put_double(struct buf *b, double v)
{
	char text[DOUBLE_TEXT_MAX];

	if (!isfinite(v)) {
		json_put_null(b);
		return;
	}
	number_format(text, v);
	json_put_raw(b, (struct json){JSON_NUMBER, text, strlen(text)});
}
