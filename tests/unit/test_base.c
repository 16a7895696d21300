/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_base.c - errors, buffers, shared bytes
 */
#include <criterion/criterion.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

Test(err, set_returns_its_code_and_fills_the_text)
{
	struct err e;

	cr_assert_eq(err_set(&e, ERR_TIMEOUT, "no byte from %s", "gpu1"), ERR_TIMEOUT);
	cr_assert_str_eq(e.text, "no byte from gpu1");
	cr_assert_eq(err_wrap(&e, "attempt %d", 2), ERR_TIMEOUT);
	cr_assert_str_eq(e.text, "attempt 2: no byte from gpu1");
}

Test(err, a_code_out_of_range_is_a_system_error)
{
	cr_assert_eq(err_code_checked(ERR_CODES), ERR_SYS);
	cr_assert_eq(err_code_checked(UINT32_MAX), ERR_SYS);
	cr_assert_eq(err_code_checked(ERR_TIMEOUT), ERR_TIMEOUT);
}

Test(err, every_name_is_unique)
{
	for (unsigned a = 0; a < ERR_CODES; a++)
		for (unsigned b = a + 1; b < ERR_CODES; b++)
			cr_assert_str_neq(err_name((enum err_code)a), err_name((enum err_code)b));
}

Test(buf, grows_and_stays_terminated)
{
	struct buf b = BUF_INIT;

	cr_assert_str_eq(buf_str(&b), "");
	for (int i = 0; i < 1000; i++)
		buf_addf(&b, "%d,", i);
	cr_assert_eq(strlen(b.data), b.len);
	buf_drop_front(&b, 2);
	cr_assert_eq(strncmp(b.data, "1,2,", 4), 0);
	buf_clear(&b);
	buf_add_u64(&b, 18446744073709551615ULL);
	cr_assert_str_eq(buf_str(&b), "18446744073709551615");
	buf_fini(&b);
}

Test(bytes, live_until_the_last_owner_leaves)
{
	struct buf b = BUF_INIT;
	struct bytes *one, *two;

	buf_add_str(&b, "body");
	one = bytes_from_buf(&b);
	cr_assert_null(b.data);
	two = bytes_ref(one);
	bytes_unref(&one);
	cr_assert_null(one);
	cr_assert_eq(memcmp(two->data, "body", two->len), 0);
	bytes_unref(&two);
	bytes_unref(&two);
}

static void
note_free(void *arg)
{
	++*(int *)arg;
}

Test(bytes, an_adopted_block_goes_back_once_with_its_last_owner)
{
	int freed = 0;
	struct bytes *one = bytes_adopt("abc", 3, note_free, &freed), *two = bytes_ref(one);

	bytes_unref(&one);
	cr_assert_eq(freed, 0);
	cr_assert_eq(two->len, 3);
	bytes_unref(&two);
	cr_assert_eq(freed, 1);
}
