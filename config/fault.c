/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.c - collecting what is wrong with a config file
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config/fault.h"

void
config_fault(struct config_faults *faults, unsigned line, const char *fmt, ...)
{
	size_t at = faults->len;
	va_list ap;

	while (at > 0 && faults->rows[at - 1].line > line)
		at--;
	if (faults->len == CONFIG_FAULTS_MAX)
		faults->more++;
	else
		faults->len++;
	if (at == CONFIG_FAULTS_MAX)
		return;
	memmove(&faults->rows[at + 1], &faults->rows[at],
		(faults->len - at - 1) * sizeof(faults->rows[0]));
	faults->rows[at].line = line;
	va_start(ap, fmt);
	(void)vsnprintf(faults->rows[at].text, sizeof(faults->rows[at].text), fmt, ap);
	va_end(ap);
	/* What the file said may hold control bytes; a fault is one line on a terminal. */
	for (char *p = faults->rows[at].text; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
}

bool
config_fault_has(const struct config_faults *faults, const char *path)
{
	for (size_t i = 0; i < faults->len; i++)
		if (strncmp(faults->rows[i].text, path, strlen(path)) == 0)
			return true;
	return false;
}
