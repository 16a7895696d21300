/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_v1.c - the endpoints of OpenAI's API, and POST /v1/route
 */
#include <stdio.h>
#include <string.h>

#include "workers/gateway/gateway.h"

static const char type_json[] = "application/json";

void
api_chat(struct gateway *g, struct http_conn *c)
{
	request_begin(g, c, ROUTE_CHAT, REQUEST_ANSWER);
}

void
api_completions(struct gateway *g, struct http_conn *c)
{
	request_begin(g, c, ROUTE_COMPLETIONS, REQUEST_ANSWER);
}

void
api_embeddings(struct gateway *g, struct http_conn *c)
{
	request_begin(g, c, ROUTE_EMBEDDINGS, REQUEST_ANSWER);
}

static void
api_put_model(struct buf *out, const struct gateway *g, const char *id, const char *owner)
{
	json_put_begin(out, '{');
	json_put_member_str(out, "id", id);
	json_put_member_str(out, "object", "model");
	json_put_member_u64(out, "created", board_head(g->board)->started_wall_s);
	json_put_member_str(out, "owned_by", owner);
	json_put_end(out, '}');
}

/* Every name that a client may put in "model", in order and once: routes, then models. */
struct api_names {
	const struct gateway *g;
	const struct catalog *catalog;
	size_t at;
};

static bool
api_names_has_model(const struct api_names *n, size_t rows, const char *name)
{
	for (size_t i = 0; i < rows; i++)
		if (strcmp(n->catalog->deployments[i].model, name) == 0)
			return true;
	return false;
}

static bool
api_names_next(struct api_names *n, const char **name, const char **owner)
{
	const struct config *c = n->g->config;

	while (n->at < c->routes_len + n->catalog->route.len) {
		size_t i = n->at++;

		if (i < c->routes_len) {
			*name = c->routes[i].name;
			*owner = "shunt";
			return true;
		}
		i -= c->routes_len;
		*name = n->catalog->deployments[i].model;
		*owner = n->catalog->deployments[i].backend;
		if (!api_names_has_model(n, i, *name) && config_route(c, *name) == NULL)
			return true;
	}
	return false;
}

void
api_models(struct gateway *g, struct http_conn *c)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct api_names names = {.g = g, .catalog = gateway_catalog(g)};
	const char *name, *owner;

	json_put_begin(&out, '{');
	json_put_member_str(&out, "object", "list");
	json_put_key(&out, "data");
	json_put_begin(&out, '[');
	while (api_names_next(&names, &name, &owner))
		api_put_model(&out, g, name, owner);
	json_put_end(&out, ']');
	json_put_end(&out, '}');
	http_reply(c, 200, type_json, NULL, out.data, out.len);
}

static int
api_hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undo percent-encoding; false where it is broken, too long or holds a NUL. */
static bool
api_decode(char *out, size_t size, struct http_str s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++) {
		int v = (unsigned char)s.p[i];

		if (v == '%') {
			int high, low;

			if (s.len - i < 3)
				return false;
			high = api_hex(s.p[i + 1]);
			low = api_hex(s.p[i + 2]);
			if (high < 0 || low < 0)
				return false;
			v = high * 16 + low;
			i += 2;
		}
		if (v == 0 || n + 1 >= size)
			return false;
		out[n++] = (char)v;
	}
	out[n] = '\0';
	return n > 0;
}

void
api_model(struct gateway *g, struct http_conn *c)
{
	static const size_t prefix = sizeof("/v1/models/") - 1;
	AUTO(buf_fini) struct buf out = BUF_INIT;
	struct api_names names = {.g = g, .catalog = gateway_catalog(g)};
	char wanted[MODEL_MAX_LEN];
	const char *name, *owner;
	struct err e;
	bool good = api_decode(wanted, sizeof(wanted),
		(struct http_str){c->head.path.p + prefix, c->head.path.len - prefix});

	while (good && api_names_next(&names, &name, &owner)) {
		if (strcmp(name, wanted) != 0)
			continue;
		api_put_model(&out, g, name, owner);
		http_reply(c, 200, type_json, NULL, out.data, out.len);
		return;
	}
	(void)err_set(&e, ERR_MODEL, "no route or model is called \"%s\"; GET /v1/models lists all",
		good ? wanted : "?");
	http_reply_error(c, &e, "model", NULL);
}

void
api_route(struct gateway *g, struct http_conn *c)
{
	request_begin(g, c, ROUTE_CHAT, REQUEST_QUESTION);
}
