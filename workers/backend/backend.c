/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backend.c - one upstream: its dialect, its key, its calls
 *
 * Runs as:      shunt-backend, one process per row of the config's backends
 * Handles:      ChatStart, ChatCredit, ChatCancel, PlaceWanted from gateways, ProbeStart from the
 *               profiler, Embedded, EmbedFail from classifiers
 * Sends:        ChatDelta, ChatEnd, ChatFail, PlaceFree to the gateway, ProbeModel, ProbeEnd to the
 * profiler, Embed to classifiers Writes:       its own row on the board: counters, figures per
 * deployment If it dies:   its calls end as worker_died at once (the generation changes) and
 * cascade where no byte was sent; the next life starts without memory of them
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "workers/backend/backend.h"
#include "workers/common/worker.h"

static void
on_chat_start(struct worker *w, const struct msg *m, struct bytes *payload)
{
	call_start(w->state, m, payload);
}

static void
on_chat_credit(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct call *c = call_find(w->state, m);

	(void)payload;
	if (m->chat_credit.bytes == 0)
		call_tell(w->state, c, m);
	else if (c != NULL) /* else it crossed with our last message */
		call_credit(c, m->chat_credit.bytes);
}

static void
on_chat_cancel(struct worker *w, const struct msg *m, struct bytes *payload)
{
	struct call *c = call_find(w->state, m);
	char why[MSG_CHAT_CANCEL_REASON_MAX + 1];

	(void)payload;
	if (c != NULL)
		call_cancel(c, msg_str_copy(why, sizeof(why), m->chat_cancel.reason));
}

static void
on_place_wanted(struct worker *w, const struct msg *m, struct bytes *payload)
{
	(void)payload;
	places_wanted(w->state, m);
}

static void
on_probe_start(struct worker *w, const struct msg *m, struct bytes *payload)
{
	(void)payload;
	probe_start(w->state, m);
}

static void
on_embedded(struct worker *w, const struct msg *m, struct bytes *payload)
{
	embedding_on_embedded(w->state, m, payload);
}

static void
on_embed_fail(struct worker *w, const struct msg *m, struct bytes *payload)
{
	(void)payload;
	embedding_on_fail(w->state, m);
}

static const struct handler handlers[] = {
	{MSG_CHAT_START, ROLE_BIT(ROLE_GATEWAY), on_chat_start},
	{MSG_CHAT_CREDIT, ROLE_BIT(ROLE_GATEWAY), on_chat_credit},
	{MSG_CHAT_CANCEL, ROLE_BIT(ROLE_GATEWAY), on_chat_cancel},
	{MSG_PLACE_WANTED, ROLE_BIT(ROLE_GATEWAY), on_place_wanted},
	{MSG_PROBE_START, ROLE_BIT(ROLE_PROFILER), on_probe_start},
	{MSG_EMBEDDED, ROLE_BIT(ROLE_CLASSIFIER), on_embedded},
	{MSG_EMBED_FAIL, ROLE_BIT(ROLE_CLASSIFIER), on_embed_fail},
};

static void
backend_read_limits(struct backend *b)
{
	const struct config_backend *c = b->config;

	b->limits = (struct backend_limits){
		.max_in_flight = c->max_in_flight,
		.connect_ms = c->connect_ms,
		.first_byte_ms = c->first_byte_ms,
		.stall_ms = c->stall_ms,
		.response_bytes = b->w->config->limits.response_bytes,
	};
}

static struct http_options
backend_http_options(const struct backend *b)
{
	return (struct http_options){
		.proxy = b->config->proxy,
		.ca_file = b->config->ca_file,
		.tls_verify = b->config->tls_verify,
		.key = b->key,
		.auth = b->kind->auth,
		.extra_header = b->kind->extra_header,
	};
}

/* The server's root is the URL without "/v1"; the API's base has it where the kind's clients write
 * it into the base URL, and a URL with a path of its own is taken at its word. */
static void
backend_set_urls(struct backend *b)
{
	AUTO(buf_fini) struct buf url = BUF_INIT;
	const char *host;
	size_t len;
	bool has_path;

	buf_add_str(&url, b->config->url);
	len = url.len;
	while (len > 0 && url.data[len - 1] == '/')
		len--;
	host = strstr(url.data, "://");
	has_path =
		host != NULL && memchr(host + 3, '/', len - (size_t)(host + 3 - url.data)) != NULL;
	if (b->kind->base_has_v1) {
		AUTO(buf_fini) struct buf base = BUF_INIT;

		buf_add(&base, url.data, len);
		if (!has_path)
			buf_add_str(&base, "/v1");
		b->api_base = strdup(base.data);
	}
	if (len >= 3 && memcmp(url.data + len - 3, "/v1", 3) == 0)
		len -= 3;
	b->root_base = strndup(url.data, len);
	if (b->api_base == NULL)
		b->api_base = strdup(b->root_base);
	CHECK(b->root_base != NULL && b->api_base != NULL);
}

/* Figures of calls that a former life of this slot left open. */
static void
backend_reset_figures(struct backend *b)
{
	struct worker_row *row = board_own_row(b->w->board);

	for (size_t i = 0; i < STATS_MAX; i++)
		atomic_store(&row->stats[i].in_flight, 0);
}

static void
backend_on_batch(void *arg)
{
	call_flush_all(arg);
}

static enum err_code
backend_open_http(struct backend *b, struct err *e)
{
	struct http_options o;
	enum err_code code;

	if (b->config->url == NULL)
		return err_set(e, ERR_CONFIG, "backend %s has no url", b->w->name);
	if (b->config->key_file != NULL) {
		code = key_read(&b->key, b->config->key_file, e);
		if (code != ERR_OK)
			return err_wrap(e, "backend %s", b->w->name);
	}
	backend_set_urls(b);
	o = backend_http_options(b);
	code = http_new(&b->http, b->w->loop, &o, e);
	if (code == ERR_OK)
		http_on_batch(b->http, backend_on_batch, b);
	return code;
}

static enum err_code
backend_start(struct worker *w, struct err *e)
{
	struct backend *b = calloc(1, sizeof(*b));

	CHECK(b != NULL);
	w->state = b;
	b->w = w;
	b->config = config_backend(w->config, w->name);
	if (b->config == NULL)
		return err_set(e, ERR_CONFIG, "the config has no backend %s", w->name);
	b->config_hash = config_hash_backend(b->config);
	b->kind = backend_kinds[b->config->kind];
	backend_read_limits(b);
	names_learn(b);
	backend_reset_figures(b);
	guard_start(b);
	guard_configure(b);
	return b->kind->transport == &transport_http ? backend_open_http(b, e) : ERR_OK;
}

static void
backend_on_board(struct worker *w)
{
	struct backend *b = w->state;

	call_drop_orphans(b);
	places_drop_orphans(b);
	embedding_board_changed(b);
	probe_drop_orphans(b);
}

/* A key file that can't be read now leaves the old key in use: calls that work must not break. */
static void
backend_reload_key(struct backend *b)
{
	AUTO(key_free) char *key = NULL;
	struct http_options o;
	struct err e;

	if (b->config->key_file != NULL && key_read(&key, b->config->key_file, &e) != ERR_OK) {
		log_warn("key_kept", "text=\"%s\"", e.text);
	} else {
		key_free(&b->key);
		b->key = key;
		key = NULL;
	}
	o = backend_http_options(b);
	http_set_options(b->http, &o);
}

static void
backend_on_config(struct worker *w, const struct config *old)
{
	struct backend *b = w->state;
	const struct config_backend *now = config_backend(w->config, w->name);

	(void)old;
	guard_configure(b);
	b->removed = now == NULL;
	if (now == NULL || config_hash_backend(now) != b->config_hash) {
		/* A successor stands for that one, or nobody does; the supervisor will tell us to
		 * drain. Until then this life stays what it began as: its calls need their config,
		 * and the new one's key is not for the old one's server. */
		b->config = config_backend(w->first, w->name);
		return;
	}
	b->config = now;
	backend_read_limits(b);
	names_learn(b);
	places_serve(b);
	if (b->http != NULL)
		backend_reload_key(b);
}

static void
backend_on_drain(struct worker *w)
{
	asker_work_ended(w->state);
}

static void
backend_stop(struct worker *w)
{
	struct backend *b = w->state;

	w->state = NULL;
	if (b == NULL)
		return;
	places_stop(b);
	call_free_all(b);
	probe_free_all(b);
	sim_free(&b->sim);
	http_free(&b->fault_http);
	http_free(&b->http);
	key_free(&b->key);
	free(b->api_base);
	free(b->root_base);
	names_fini(b);
	free(b);
}

int
main(int argc, char **argv)
{
	static const struct worker_role role = {
		.role = ROLE_BACKEND,
		.handlers = handlers,
		.handlers_len = ARRAY_LEN(handlers),
		.sandbox = {.allow = SANDBOX_CONNECT | SANDBOX_FILES, .files_max = 8192},
		.start = backend_start,
		.on_board = backend_on_board,
		.on_config = backend_on_config,
		.on_drain = backend_on_drain,
		.stop = backend_stop,
	};

	return worker_main(argc, argv, &role);
}
