/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.c - what the translations of a request share
 */
#include <string.h>

#include "workers/backend/backend.h"

void
upstream_request_fini(struct upstream_request *r)
{
	buf_fini(&r->own);
	buf_fini(&r->dropped);
}

void
upstream_request_own(struct upstream_request *r)
{
	r->parts[0] = (struct slice){buf_str(&r->own), r->own.len};
	r->parts_len = 1;
	r->len = r->own.len;
}

void
upstream_request_drop(struct upstream_request *r, const char *name)
{
	if (r->dropped.len > 0)
		buf_add_char(&r->dropped, ',');
	buf_add_str(&r->dropped, name);
}

enum err_code
request_unsupported(struct err *e, const char *upstream, const char *what)
{
	return err_set(e, ERR_UNSUPPORTED, "%s can't be given to %s", what, upstream);
}

void
request_content_text(struct buf *out, struct json content)
{
	struct json_iter it;
	struct json part;

	if (content.type == JSON_STRING)
		json_text(out, content);
	if (content.type != JSON_ARRAY)
		return;
	it = json_iter(content);
	while (json_next_item(&it, &part))
		if (json_equals(json_get(part, "type"), "text"))
			json_text(out, json_get(part, "text"));
}

bool
request_data_url(struct slice *media, struct slice *data, const struct buf *url)
{
	const char *p = buf_str(url), *comma, *mark;

	if (url->len < 5 || strncasecmp(p, "data:", 5) != 0)
		return false;
	p += 5;
	comma = memchr(p, ',', url->len - 5);
	if (comma == NULL || comma - p < 7 || strncasecmp(comma - 7, ";base64", 7) != 0)
		return false;
	mark = memchr(p, ';', (size_t)(comma - p)); /* there is one: that of ;base64 */
	*media = (struct slice){p, (size_t)(mark - p)};
	*data = (struct slice){comma + 1, (size_t)(url->data + url->len - (comma + 1))};
	return true;
}

MUST enum err_code
request_arguments(struct buf *out, struct json arguments, struct err *e)
{
	struct json v;
	struct err detail;

	if (arguments.type == JSON_OBJECT) {
		buf_add(out, arguments.p, arguments.len);
		return ERR_OK;
	}
	json_text(out, arguments);
	if (out->len == 0)
		buf_add_str(out, "{}");
	if (json_check(&v, out->data, out->len, &detail) != ERR_OK || v.type != JSON_OBJECT)
		return err_set(e, ERR_UNSUPPORTED,
			"a tool call in the history has arguments that are no JSON object");
	return ERR_OK;
}

uint64_t
request_max_tokens(struct json body)
{
	uint64_t n = 0;

	if (!json_u64(&n, json_get(body, "max_completion_tokens")) &&
		!json_u64(&n, json_get(body, "max_tokens")))
		return 0;
	return n;
}

bool
request_says(struct json v)
{
	return v.type != JSON_NONE && v.type != JSON_NULL;
}

MUST enum err_code
request_common(struct upstream_request *r, const char *upstream, struct json body, struct err *e)
{
	static const char *const dropped[] = {"logit_bias", "store", "service_tier", "prediction",
		"verbosity", "prompt_cache_key", "safety_identifier"};
	static const char *const refused[] = {
		"audio", "functions", "function_call", "web_search_options"};
	uint64_t n;

	if (json_u64(&n, json_get(body, "n")) && n > 1)
		return request_unsupported(e, upstream, "n > 1 (several choices)");
	if (json_u64(&n, json_get(body, "best_of")) && n > 1)
		return request_unsupported(e, upstream, "best_of > 1");
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		if (request_says(json_get(body, refused[i])))
			return request_unsupported(e, upstream, refused[i]);
	for (size_t i = 0; i < ARRAY_LEN(dropped); i++)
		if (request_says(json_get(body, dropped[i])))
			upstream_request_drop(r, dropped[i]);
	r->want_usage = json_is_true(json_path(body, "stream_options.include_usage"));
	return ERR_OK;
}
