/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder_folder.c - what a config alone can't tell: do the folders of its encoders hold a model?
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "config/encoder_folder.h"
#include "config/fault.h"
#include "lib/base/buf.h"
#include "lib/base/file.h"

static bool
encoder_folder_has(const char *folder, const char *name)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	struct stat st;

	buf_addf(&path, "%s/%s", folder, name);
	return stat(buf_str(&path), &st) == 0;
}

/* NULL: there is a model, as far as names tell. Sentence encoders may keep each module, the
 * transformer too, in a folder of its own that modules.json names. */
static const char *
encoder_folder_lacks(const char *folder)
{
	struct stat st;

	if (stat(folder, &st) != 0)
		return strerror(errno);
	if (S_ISREG(st.st_mode) && file_ends(folder, ".gguf"))
		return NULL;
	if (!S_ISDIR(st.st_mode))
		return "is neither a folder nor a .gguf file";
	return encoder_folder_has(folder, "config.json") ||
			       encoder_folder_has(folder, "modules.json")
		       ? NULL
		       : "no config.json there";
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
