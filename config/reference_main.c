/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference_main.c - print the reference of all config keys; run by the build, not installed
 */
#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "lib/base/buf.h"

int
main(int argc, char **argv)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;

	if (argc == 2 && strcmp(argv[1], "markdown") == 0)
		config_reference(&out, CONFIG_DOC_MARKDOWN);
	else if (argc == 2 && strcmp(argv[1], "roff") == 0)
		config_reference(&out, CONFIG_DOC_ROFF);
	else {
		(void)fprintf(stderr, "usage: config-reference markdown|roff\n");
		return 2;
	}
	if (fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) != 0)
		return 1;
	return 0;
}
