/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_admin.c - the endpoints for people and machines that look after shunt
 */
#include <stdio.h>
#include <string.h>

#include "workers/gateway/gateway.h"

static const char hello[] =
	"shunt routes each prompt to a model that fits it and is up. It speaks OpenAI's API.\n"
	"\n"
	"  curl http://HOST:PORT/v1/chat/completions -H 'Content-Type: application/json' \\\n"
	"    -d '{\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n"
	"\n"
	"  POST /v1/chat/completions  /v1/completions  /v1/embeddings\n"
	"  POST /v1/route             where a prompt would go, and why\n"
	"  GET  /v1/models            names for \"model\"\n"
	"  GET  /health  /ready       alive; can serve\n"
	"  GET  /metrics              Prometheus text\n"
	"  GET  /admin/status         workers, backends, models (admin)\n"
	"  GET  /admin/faults         faults on purpose; POST, DELETE change them (admin)\n";

void
api_hello(struct gateway *g, struct http_conn *c)
{
	(void)g;
	http_reply(c, 200, "text/plain; charset=utf-8", NULL, hello, sizeof(hello) - 1);
}

void
api_health(struct gateway *g, struct http_conn *c)
{
	static const char alive[] = "{\"status\":\"ok\"}";

	(void)g;
	http_reply(c, 200, "application/json", NULL, alive, sizeof(alive) - 1);
}

/* Why nothing can serve, as far as it fits one line. */
static void
api_why_not(char *out, size_t size, const struct catalog *k)
{
	size_t at = (size_t)snprintf(out, size, "no model can serve now");

	for (size_t i = 0; i < k->route.len && at < size; i++)
		at += (size_t)snprintf(out + at, size - at, "%s%s/%s: %s", i == 0 ? ": " : "; ",
			k->rows[i].backend, k->rows[i].upstream,
			k->rows[i].why[0] == '\0' ? "starting" : k->rows[i].why);
	if (k->route.len == 0 && at < size)
		(void)snprintf(out + at, size - at, ": none is configured or was found");
}

void
api_ready(struct gateway *g, struct http_conn *c)
{
	static const char ready[] = "{\"status\":\"ready\"}";
	const struct catalog *k = gateway_catalog(g);
	char why[ERR_TEXT_MAX - 64];
	struct err e;

	if (k->serves) {
		http_reply(c, 200, "application/json", NULL, ready, sizeof(ready) - 1);
		return;
	}
	api_why_not(why, sizeof(why), k);
	(void)err_set(&e, ERR_UNAVAILABLE, "%s", why);
	http_reply_error(c, &e, NULL, NULL);
}

void
api_metrics(struct gateway *g, struct http_conn *c)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;

	metrics_put(&out, g->board);
	http_reply(c, 200, "text/plain; version=0.0.4; charset=utf-8", NULL, out.data, out.len);
}

void
api_status(struct gateway *g, struct http_conn *c)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;

	status_put(&out, g->board, g->config, gateway_catalog(g));
	http_reply(c, 200, "application/json", NULL, out.data, out.len);
}
