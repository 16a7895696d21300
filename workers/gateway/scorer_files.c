/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_files.c - read the scorer files of the config, at the start, at a reload, and to check
 *
 * A file that is no good is refused with a word that names it. The scorer that was open stays; where
 * there was none, its routes are decided by the heuristic: a bad file must not close a gateway.
 */
#include <stdio.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "workers/gateway/gateway.h"

void
scorer_files_load(struct scorers **s_p, const struct config *c)
{
	struct scorers *old = *s_p, *s;
	struct err e = {.code = ERR_OK};

	scorers_new(&s, c, file_shipped);
	for (size_t i = 0; i < s->len; i++) {
		struct scorers_row *row = &s->rows[i];
		bool kept = scorers_inherit(row, old);
		uint64_t before = row->hash;

		/* one that nobody names, and that is not there, is not missing */
		if (row->route == NULL && row->path == NULL)
			continue;
		if (scorers_load(row, file_read, &e) != ERR_OK)
			log_error("scorer_refused", "file=%s use=%s text=\"%s\"",
				row->path == NULL ? "-" : row->path, kept ? "old" : "heuristic",
				e.text);
		else if (!kept || row->hash != before)
			log_info("scorer_loaded", "scorer=%s file=%s models=%zu bytes=%zu",
				scorer_name(row->id), row->path, scorer_models(row->scorer),
				row->data.len);
	}
	scorers_free(&old);
	*s_p = s;
}

int
scorer_files_check(const char *config_path)
{
	AUTO(config_free) struct config *c = NULL;
	AUTO(scorers_free) struct scorers *s = NULL;
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct err e = {.code = ERR_OK};
	int status = 0;

	if (config_load(&c, &text, config_path, NULL, &e) != ERR_OK) {
		(void)printf("%s\n", e.text);
		return 1;
	}
	scorers_new(&s, c, file_shipped);
	for (size_t i = 0; i < s->len; i++) {
		if (s->rows[i].route == NULL || scorers_load(&s->rows[i], file_read, &e) == ERR_OK)
			continue;
		(void)printf("%s:%u: %s\n", config_path, s->rows[i].line, e.text);
		status = 1;
	}
	return status;
}
