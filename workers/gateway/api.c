/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.c - the table of endpoints, and finding the one a request is for
 *
 * Everything that can be refused by the head alone is refused before the body is read: unknown
 * paths, wrong methods, missing keys, encodings.
 */
#include <http_parser.h>
#include <stdio.h>
#include <string.h>

#include "workers/gateway/gateway.h"

enum api_match { API_EXACT, API_PREFIX };

struct api {
	unsigned method; /* enum http_method; HEAD goes wherever GET goes */
	enum api_match match;
	const char *path;
	enum auth_level needs;
	void (*fn)(struct gateway *g, struct http_conn *c);
};

static const struct api apis[] = {
	{HTTP_POST, API_EXACT, "/v1/chat/completions", AUTH_CLIENT, api_chat},
	{HTTP_POST, API_EXACT, "/v1/completions", AUTH_CLIENT, api_completions},
	{HTTP_POST, API_EXACT, "/v1/embeddings", AUTH_CLIENT, api_embeddings},
	{HTTP_GET, API_EXACT, "/v1/models", AUTH_CLIENT, api_models},
	{HTTP_GET, API_PREFIX, "/v1/models/", AUTH_CLIENT, api_model},
	{HTTP_POST, API_EXACT, "/v1/route", AUTH_CLIENT, api_route},
	{HTTP_GET, API_EXACT, "/health", AUTH_OPEN, api_health},
	{HTTP_GET, API_EXACT, "/ready", AUTH_OPEN, api_ready},
	{HTTP_GET, API_EXACT, "/metrics", AUTH_OPEN, api_metrics},
	{HTTP_GET, API_EXACT, "/admin/status", AUTH_ADMIN, api_status},
	{HTTP_GET, API_EXACT, "/admin/faults", AUTH_ADMIN, api_faults},
	{HTTP_POST, API_EXACT, "/admin/faults", AUTH_ADMIN, api_fault_add},
	{HTTP_DELETE, API_EXACT, "/admin/faults", AUTH_ADMIN, api_fault_clear},
	{HTTP_DELETE, API_PREFIX, "/admin/faults/", AUTH_ADMIN, api_fault_clear},
	{HTTP_GET, API_EXACT, "/", AUTH_OPEN, api_hello},
};

static bool
api_matches(const struct api *a, struct http_str path)
{
	size_t len = strlen(a->path);

	if (a->match == API_EXACT)
		return path.len == len && memcmp(path.p, a->path, len) == 0;
	return path.len > len && memcmp(path.p, a->path, len) == 0;
}

static const struct api *
api_find(struct http_str path)
{
	for (size_t i = 0; i < ARRAY_LEN(apis); i++)
		if (api_matches(&apis[i], path))
			return &apis[i];
	return NULL;
}

/* The smallest number of insertions, deletions and replacements that turn a into b. */
static size_t
api_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	enum { PATH_MAX_LEN = 64 };
	size_t row[PATH_MAX_LEN + 1];

	if (a_len > PATH_MAX_LEN || b_len > PATH_MAX_LEN)
		return SIZE_MAX;
	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t replaced = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = MIN(replaced, MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[b_len];
}

/* Is this the path that was meant? A typing error, or a missing or doubled prefix. */
static bool
api_is_near(const struct api *a, struct http_str path)
{
	size_t len = strlen(a->path);

	if (len < 2 || path.len < 2)
		return false;
	if (api_distance(path.p, path.len, a->path, len) <= 3)
		return true;
	if (path.len > len)
		return memcmp(path.p + path.len - len, a->path, len) == 0;
	return memcmp(a->path + len - path.len, path.p, path.len) == 0;
}

static void
api_refuse_path(struct http_conn *c)
{
	struct err e;
	size_t at;
	bool first = true;
	char text[ERR_TEXT_MAX - 8];

	at = (size_t)snprintf(text, sizeof(text), "there is nothing at %.*s",
		(int)MIN(c->head.path.len, (size_t)100), c->head.path.p);
	for (size_t i = 0; i < ARRAY_LEN(apis) && at < sizeof(text) - 1; i++) {
		if (!api_is_near(&apis[i], c->head.path))
			continue;
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s",
			first ? "; near it: " : ", ", apis[i].path);
		first = false;
	}
	if (first)
		(void)snprintf(text + MIN(at, sizeof(text) - 1),
			sizeof(text) - MIN(at, sizeof(text) - 1), "; GET / says what there is");
	(void)err_set(&e, ERR_NOT_FOUND, "%s", text);
	http_reply_error(c, &e, NULL, NULL);
}

/* Methods of every row that matches the path. */
static void
api_put_allow(struct buf *out, struct http_str path)
{
	char allow[128];
	size_t at = (size_t)snprintf(allow, sizeof(allow), "OPTIONS");

	for (size_t i = 0; i < ARRAY_LEN(apis) && at < sizeof(allow); i++)
		if (api_matches(&apis[i], path))
			at += (size_t)snprintf(allow + at, sizeof(allow) - at, ", %s%s",
				http_method_str((enum http_method)apis[i].method),
				apis[i].method == HTTP_GET ? ", HEAD" : "");
	http_put_header(out, "Allow", allow);
}

static void
api_refuse_method(struct http_conn *c)
{
	AUTO(buf_fini) struct buf headers = BUF_INIT;
	struct err e;

	api_put_allow(&headers, c->head.path);
	(void)err_set(&e, ERR_METHOD, "%s is not for %.*s",
		http_method_str((enum http_method)c->head.method),
		(int)MIN(c->head.path.len, (size_t)100), c->head.path.p);
	http_reply_error(c, &e, NULL, &headers);
}

static void
api_options(struct http_conn *c)
{
	AUTO(buf_fini) struct buf headers = BUF_INIT;

	if (http_str_is(c->head.path, "*"))
		http_put_header(&headers, "Allow", "GET, HEAD, POST, OPTIONS");
	else
		api_put_allow(&headers, c->head.path);
	http_reply(c, 204, NULL, &headers, NULL, 0);
}

static bool
api_takes_method(const struct api *a, unsigned method)
{
	return method == a->method || (method == HTTP_HEAD && a->method == HTTP_GET);
}

/* The row for path and method; NULL where there is none, which has then been answered. */
static const struct api *
api_choose(struct http_conn *c)
{
	const struct api *a = api_find(c->head.path);

	if (c->head.method == HTTP_OPTIONS && (a != NULL || http_str_is(c->head.path, "*"))) {
		api_options(c);
		return NULL;
	}
	if (a == NULL) {
		api_refuse_path(c);
		return NULL;
	}
	for (size_t i = 0; i < ARRAY_LEN(apis); i++)
		if (api_matches(&apis[i], c->head.path) &&
			api_takes_method(&apis[i], c->head.method))
			return &apis[i];
	api_refuse_method(c);
	return NULL;
}

void
api_on_head(struct http_conn *c)
{
	const struct gateway *g = c->server->arg;
	const struct http_str *encoding = &c->head.header[HTTP_HEADER_CONTENT_ENCODING];
	const struct api *a = api_choose(c);
	struct err e;

	if (a == NULL)
		return;
	c->endpoint = a;
	if (auth_check(g->auth, a->needs, c->peer, &c->head, &e) != ERR_OK ||
		fault_check_head(g, c, &e) != ERR_OK) {
		http_reply_error(c, &e, NULL, NULL);
		return;
	}
	if (encoding->p != NULL && encoding->len > 0 && !http_str_is(*encoding, "identity")) {
		(void)err_set(
			&e, ERR_INPUT, "Content-Encoding is not taken here: send the body plain");
		http_reply_error(c, &e, NULL, NULL);
	}
}

void
api_on_request(struct http_conn *c)
{
	const struct api *a = c->endpoint;

	CHECK(a != NULL);
	a->fn(c->server->arg, c);
}
