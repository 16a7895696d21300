/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ndjson_reader.c - cut a stream of JSON lines into lines, however its bytes arrive
 */
#include <string.h>

#include "workers/backend/backend.h"

static enum err_code
ndjson_line(const char *p, size_t len, event_fn *fn, void *arg, struct err *e)
{
	while (len > 0 && (p[len - 1] == '\r' || p[len - 1] == ' ' || p[len - 1] == '\t'))
		len--;
	return len == 0 ? ERR_OK : fn(arg, "", p, len, e);
}

MUST enum err_code
ndjson_feed(
	struct ndjson_reader *r, const char *p, size_t len, event_fn *fn, void *arg, struct err *e)
{
	const char *end = p + len, *stop;
	enum err_code code;

	while (p < end) {
		stop = memchr(p, '\n', (size_t)(end - p));
		if (stop == NULL || r->line.len > 0) {
			size_t part = (size_t)((stop == NULL ? end : stop) - p);

			if (r->line.len + part > r->max_bytes)
				return err_set(e, ERR_MALFORMED,
					"a line of the stream is larger than %zu bytes",
					r->max_bytes);
			buf_add(&r->line, p, part);
		}
		if (stop == NULL)
			return ERR_OK;
		if (r->line.len > 0) {
			code = ndjson_line(r->line.data, r->line.len, fn, arg, e);
			buf_clear(&r->line);
		} else {
			code = ndjson_line(p, (size_t)(stop - p), fn, arg, e);
		}
		if (code != ERR_OK)
			return code;
		p = stop + 1;
	}
	return ERR_OK;
}

MUST enum err_code
ndjson_end(struct ndjson_reader *r, event_fn *fn, void *arg, struct err *e)
{
	enum err_code code = ERR_OK;

	if (r->line.len > 0)
		code = ndjson_line(r->line.data, r->line.len, fn, arg, e);
	buf_clear(&r->line);
	return code;
}

void
ndjson_fini(struct ndjson_reader *r)
{
	buf_fini(&r->line);
}
