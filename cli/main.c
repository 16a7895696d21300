/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - shunt, the command line
 */
#include <stdio.h>

#include "cli/command.h"

int
main(int argc, char **argv)
{
	return cli_main(argc, argv, stdout, stderr);
}
