/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - what `shuntd --check` leaves to this program, for it parses neither scorers nor models
 */
#include <stdio.h>

#include "lib/base/file.h"
#include "lib/routing/scorers.h"
#include "workers/classifier/classifier.h"

static void
check_tell(void *arg, unsigned line, const char *text)
{
	const char *const *path = arg;

	(void)printf("%s:%u: %s\n", *path, line, text);
}

int
check_config(const char *path)
{
	AUTO(config_free) struct config *c = NULL;
	AUTO(buf_fini) struct buf text = BUF_INIT;
	const struct scorers_check how = {.found = file_shipped,
		.read = file_read,
		.look = encoder_look,
		.tell = check_tell,
		.arg = &path};
	struct err e;

	if (config_load(&c, &text, path, NULL, &e) != ERR_OK) {
		(void)printf("%s\n", e.text);
		return 1;
	}
	return scorers_check(c, &how) > 0 ? 1 : 0;
}
