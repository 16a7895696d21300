/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sse_reader.c - cut a server-sent event stream into events, however its bytes arrive
 *
 * Lines end with LF, CRLF or CR. Data lines of one event are joined with LF. Comments, ids and
 * retry times are dropped.
 */
#include <string.h>

#include "workers/backend/backend.h"

static enum err_code
sse_too_large(const struct sse_reader *r, struct err *e)
{
	return err_set(
		e, ERR_MALFORMED, "an event of the stream is larger than %zu bytes", r->max_bytes);
}

static enum err_code
sse_dispatch(struct sse_reader *r, event_fn *fn, void *arg, struct err *e)
{
	enum err_code code = ERR_OK;

	if (r->has_data)
		code = fn(arg, r->name, buf_str(&r->data), r->data.len, e);
	buf_clear(&r->data);
	r->has_data = false;
	r->name[0] = '\0';
	return code;
}

static enum err_code
sse_data(struct sse_reader *r, const char *p, size_t len, struct err *e)
{
	if (r->data.len + len + 1 > r->max_bytes)
		return sse_too_large(r, e);
	if (r->has_data)
		buf_add_char(&r->data, '\n');
	buf_add(&r->data, p, len);
	r->has_data = true;
	return ERR_OK;
}

/* A line of no known field. Event streams may hold such; error pages and bare JSON look so too. */
static void
sse_strange(struct sse_reader *r, const char *p)
{
	if (*p == '{' || *p == '[' || *p == '<')
		r->foreign = true;
}

static enum err_code
sse_line(struct sse_reader *r, const char *p, size_t len, event_fn *fn, void *arg, struct err *e)
{
	const char *colon, *value;
	size_t name_len, value_len;

	if (!r->begun && len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
		p += 3;
		len -= 3;
	}
	r->begun = true;
	if (len == 0)
		return sse_dispatch(r, fn, arg, e);
	if (*p == ':')
		return ERR_OK;
	colon = memchr(p, ':', len);
	name_len = colon == NULL ? len : (size_t)(colon - p);
	value = colon == NULL ? p + len : colon + 1;
	value_len = (size_t)(p + len - value);
	if (value_len > 0 && *value == ' ') {
		value++;
		value_len--;
	}
	if (name_len == 4 && memcmp(p, "data", 4) == 0)
		return sse_data(r, value, value_len, e);
	if (name_len == 5 && memcmp(p, "event", 5) == 0)
		(void)msg_str_copy(
			r->name, sizeof(r->name), (struct msg_str){.p = value, .len = value_len});
	else
		sse_strange(r, p);
	return ERR_OK;
}

/* First LF or CR of p[0..len), NULL: none. */
static const char *
sse_line_end(const char *p, size_t len)
{
	const char *lf = memchr(p, '\n', len);
	const char *cr = memchr(p, '\r', lf == NULL ? len : (size_t)(lf - p));

	return cr != NULL ? cr : lf;
}

MUST enum err_code
sse_feed(struct sse_reader *r, const char *p, size_t len, event_fn *fn, void *arg, struct err *e)
{
	const char *end = p + len, *stop;
	enum err_code code;

	while (p < end) {
		if (r->after_cr) {
			r->after_cr = false;
			if (*p == '\n') {
				p++;
				continue;
			}
		}
		stop = sse_line_end(p, (size_t)(end - p));
		if (stop == NULL || r->line.len > 0) {
			size_t part = (size_t)((stop == NULL ? end : stop) - p);

			if (r->line.len + part > r->max_bytes)
				return sse_too_large(r, e);
			buf_add(&r->line, p, part);
		}
		if (stop == NULL)
			return ERR_OK;
		r->after_cr = *stop == '\r';
		if (r->line.len > 0) {
			code = sse_line(r, r->line.data, r->line.len, fn, arg, e);
			buf_clear(&r->line);
		} else {
			code = sse_line(r, p, (size_t)(stop - p), fn, arg, e);
		}
		if (code != ERR_OK)
			return code;
		p = stop + 1;
	}
	return ERR_OK;
}

MUST enum err_code
sse_end(struct sse_reader *r, event_fn *fn, void *arg, struct err *e)
{
	enum err_code code = ERR_OK;

	if (r->line.len > 0)
		code = sse_line(r, r->line.data, r->line.len, fn, arg, e);
	buf_clear(&r->line);
	if (code != ERR_OK)
		return code;
	return sse_dispatch(r, fn, arg, e);
}

void
sse_fini(struct sse_reader *r)
{
	buf_fini(&r->line);
	buf_fini(&r->data);
}
