/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder_folder.c - what a config alone can't tell: do the folders of its encoders hold a model?
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "config/encoder_folder.h"
#include "config/fault.h"

/* NULL: there is a model, as far as names tell. */
static const char *
encoder_folder_lacks(const char *folder)
{
	char file[512];
	struct stat st;

	if (stat(folder, &st) != 0)
		return strerror(errno);
	if (!S_ISDIR(st.st_mode))
		return "is no folder";
	(void)snprintf(file, sizeof(file), "%s/config.json", folder);
	return stat(file, &st) != 0 ? "no config.json there" : NULL;
}

size_t
config_encoder_folders(struct config_faults *faults, const struct config *c)
{
	size_t found = 0;

	for (size_t i = 0; i < c->encoders_len; i++) {
		const struct config_encoder *n = &c->encoders[i];
		const char *lacks = encoder_folder_lacks(n->folder);

		if (lacks == NULL)
			continue;
		found++;
		config_fault(faults, n->line, "encoders[%zu].folder: %s: %s", i, n->folder, lacks);
	}
	return found;
}
