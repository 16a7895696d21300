/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_ttl.c - what gateways remember for a while: age, bounds, who has to go
 */
#include <criterion/criterion.h>

#include "workers/gateway/gateway.h"

static void
put(struct ttl *t, uint64_t key, uint64_t now_ns, uint64_t value)
{
	*(uint64_t *)ttl_put(t, key, now_ns) = value;
}

#define TTL(name, values)                                                                          \
	AUTO(ttl_free) struct ttl *name = NULL;                                                    \
	ttl_new(&name, values, sizeof(uint64_t))

Test(ttl, a_value_is_there_until_it_is_too_old)
{
	TTL(t, 64);

	cr_assert_null(ttl_get(t, 7, 100, 50));
	put(t, 7, 100, 42);
	cr_assert_eq(*(uint64_t *)ttl_get(t, 7, 150, 50), 42);
	cr_assert_null(ttl_get(t, 7, 151, 50));
	put(t, 7, 200, 43);
	cr_assert_eq(*(uint64_t *)ttl_get(t, 7, 201, 50), 43, "one value for one key");
	cr_assert_null(ttl_get(t, 0, 201, 50), "no key is no key");
}

Test(ttl, it_never_grows_and_the_oldest_of_a_set_goes)
{
	size_t left = 0;
	TTL(t, 4); /* one set of four */

	for (uint64_t key = 1; key <= 100; key++)
		put(t, key, key, key);
	for (uint64_t key = 1; key <= 100; key++)
		left += ttl_get(t, key, 100, 1000) != NULL;
	cr_assert_eq(left, 4);
	for (uint64_t key = 97; key <= 100; key++)
		cr_assert_eq(*(uint64_t *)ttl_get(t, key, 100, 1000), key);
}

Test(ttl, different_keys_keep_different_values)
{
	size_t right = 0;
	TTL(t, 4096);

	for (uint64_t key = 1; key <= 1000; key++)
		put(t, key * UINT64_C(0x9e3779b97f4a7c15), 1, key);
	for (uint64_t key = 1; key <= 1000; key++) {
		const uint64_t *v = ttl_get(t, key * UINT64_C(0x9e3779b97f4a7c15), 1, 1);

		right += v != NULL && *v == key;
	}
	cr_assert_gt(right, 950, "%zu of 1000 in a table for 4096", right);
}
