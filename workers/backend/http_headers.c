/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_headers.c - the fixed headers of requests, the key among them
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workers/backend/backend.h"

struct http_headers {
	struct curl_slist *list;
	struct buf text; /* the same lines, but those that only tell curl what not to send */
	unsigned refs;
};

void
http_headers_unref(struct http_headers **h_p)
{
	struct http_headers *h = *h_p;

	*h_p = NULL;
	if (h == NULL || --h->refs > 0)
		return;
	for (struct curl_slist *s = h->list; s != NULL; s = s->next)
		explicit_bzero(s->data, strlen(s->data)); /* one of them is the key */
	curl_slist_free_all(h->list);
	explicit_bzero(h->text.data, h->text.len);
	buf_fini(&h->text);
	free(h);
}

static void
headers_add(struct http_headers *h, const char *line)
{
	struct curl_slist *list = curl_slist_append(h->list, line);

	CHECK(list != NULL);
	h->list = list;
}

static void
headers_add_both(struct http_headers *h, const char *line)
{
	headers_add(h, line);
	buf_add_str(&h->text, line);
	buf_add_str(&h->text, "\r\n");
}

struct http_headers *
http_headers_new(const struct http_options *o)
{
	struct http_headers *h = calloc(1, sizeof(*h));
	char *line;
	size_t size;

	CHECK(h != NULL);
	h->refs = 1;
	buf_reserve(
		&h->text, 512 + (o->key == NULL ? 0 : strlen(o->key))); /* never moved: the key */
	headers_add(h, "Expect:"); /* curl shall not ask for leave to send a body */
	headers_add_both(h, "Content-Type: application/json");
	if (o->extra_header != NULL)
		headers_add_both(h, o->extra_header);
	if (o->key == NULL)
		return h;
	size = strlen(o->key) + 64;
	line = malloc(size);
	CHECK(line != NULL);
	(void)snprintf(line, size, "%s%s",
		o->auth == AUTH_BEARER ? "Authorization: Bearer " : "x-api-key: ", o->key);
	headers_add_both(h, line);
	explicit_bzero(line, size);
	free(line);
	return h;
}

struct http_headers *
http_headers_ref(struct http_headers *h)
{
	h->refs++;
	return h;
}

const struct buf *
http_headers_text(const struct http_headers *h)
{
	return &h->text;
}

void *
http_headers_list(const struct http_headers *h)
{
	return h->list;
}
