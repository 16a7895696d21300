/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_files.c - read the scorer files of the config, at the start and at a reload
 *
 * A file that is no good is refused with a word that names it. The scorer that was open stays;
 * where there was none, its routes are decided by the heuristic: a bad file must not close a
 * gateway.
 */
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "workers/gateway/gateway.h"

/* One row, after those that stay have their scorers. */
static void
scorer_files_read(struct scorers_row *row, struct scorers *old, enum scorer_files_use use)
{
	bool kept = row->scorer != NULL;
	uint64_t before = row->hash;
	struct err e = {.code = ERR_OK};

	/* one that nobody names, and that is not there, is not missing */
	if (row->route == NULL && row->path == NULL)
		return;
	if (scorers_load(row, file_read, &e) == ERR_OK) {
		if (!kept || row->hash != before)
			log_info("scorer_loaded", "scorer=%s file=%s models=%zu bytes=%zu",
				scorer_name(row->id), row->path, scorer_models(row->scorer),
				row->data.len);
		return;
	}
	kept = kept || scorers_inherit(row, old, SCORERS_SAME_ROUTE);
	/* a successor that may read another folder is on its way, and will say what is wrong */
	if (use == SCORER_FILES_LAST)
		return;
	log_error("scorer_refused", "file=%s use=%s text=\"%s\"",
		row->path == NULL ? "-" : row->path, kept ? "old" : "heuristic", e.text);
}

void
scorer_files_load(struct scorers **s_p, const struct config *c, enum scorer_files_use use)
{
	struct scorers *old = *s_p, *s;

	scorers_new(&s, c, file_shipped);
	for (size_t i = 0; i < s->len; i++)
		(void)scorers_inherit(&s->rows[i], old, SCORERS_SAME_FILE);
	for (size_t i = 0; i < s->len; i++)
		scorer_files_read(&s->rows[i], old, use);
	scorers_free(&old);
	*s_p = s;
}
