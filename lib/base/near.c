/* SPDX-License-Identifier: Apache-2.0 */
/*
 * near.c - which known name did somebody mean who wrote an unknown one
 */
#include <ctype.h>
#include <string.h>

#include "lib/base/base.h"
#include "lib/base/near.h"

enum { NEAR_LEN_MAX = 64 };

static int
near_lower(char c)
{
	return tolower((unsigned char)c);
}

unsigned
near_distance(const char *a, const char *b)
{
	unsigned rows[3][NEAR_LEN_MAX + 1];
	size_t a_len = strnlen(a, NEAR_LEN_MAX), b_len = strnlen(b, NEAR_LEN_MAX);

	for (size_t j = 0; j <= b_len; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a_len; i++) {
		unsigned *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= b_len; j++) {
			int x = near_lower(a[i - 1]), y = near_lower(b[j - 1]);
			unsigned best = last[j - 1] + (x == y ? 0 : 1);

			best = MIN(best, MIN(last[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && x == near_lower(b[j - 2]) &&
				y == near_lower(a[i - 2]))
				best = MIN(best, before[j - 2] + 1);
			now[j] = best;
		}
	}
	return rows[a_len % 3][b_len];
}

const char *
near_name(const char *wrong, const char *const *names, size_t len)
{
	size_t wrong_len = strlen(wrong);
	unsigned best = wrong_len < 3 ? 2 : 4; /* first distance that is too far */
	const char *found = NULL;

	if (wrong_len >= 3 && wrong_len < 6)
		best = 3;
	for (size_t i = 0; i < len; i++) {
		unsigned d = near_distance(wrong, names[i]);

		/* A name must share more than it differs in. */
		if (d < best && 2 * d < MAX(wrong_len, strlen(names[i]))) {
			best = d;
			found = names[i];
		}
	}
	return found;
}
