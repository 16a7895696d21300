/* SPDX-License-Identifier: Apache-2.0 */
/*
 * imply.c - what a config leaves out and means: defaults that depend on other keys, local servers,
 * the route `auto`, the command line's socket
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/address.h"
#include "config/parse.h"
#include "config/value.h"
#include "lib/base/buf.h"

struct local_server {
	const char *name;
	enum backend_kind_id kind;
	unsigned port; /* 0: none */
};

/* First the kinds, in the order of their ids, then the rest. */
static const struct local_server local_servers[] = {
#define BACKEND_KIND(symbol, name, wants_url, local_port, tells_probs, help)                       \
	{#name "-local", BACKEND_##symbol, local_port},
#include "config/kind_list.h"
#undef BACKEND_KIND
#define LOCAL_SERVER(name, kind, port) {#name "-local", BACKEND_##kind, port},
#include "config/local_list.h"
#undef LOCAL_SERVER
};

/* The folder that the service manager made for this daemon, or the first of several; "" where it
 * made none. */
static void
imply_service_dir(struct buf *out, const char *variable)
{
	const char *list = getenv(variable);

	buf_clear(out);
	if (list != NULL && list[0] == '/')
		buf_add(out, list, strcspn(list, ":"));
}

void
config_default_run_dir(struct buf *out)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	imply_service_dir(out, "RUNTIME_DIRECTORY");
	if (out->len > 0)
		return;
	if (geteuid() == 0)
		buf_add_str(out, "/run/shunt");
	else if (xdg != NULL && xdg[0] == '/')
		buf_addf(out, "%s/shunt", xdg);
	else
		buf_addf(out, "/tmp/shunt-%lu", (unsigned long)geteuid());
}

void
config_default_state_dir(struct buf *out)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

	imply_service_dir(out, "STATE_DIRECTORY");
	if (out->len > 0)
		return;
	if (geteuid() == 0)
		buf_add_str(out, "/var/lib/shunt");
	else if (xdg != NULL && xdg[0] == '/')
		buf_addf(out, "%s/shunt", xdg);
	else if (home != NULL && home[0] == '/')
		buf_addf(out, "%s/.local/state/shunt", home);
	else
		buf_addf(out, "/tmp/shunt-%lu-state", (unsigned long)geteuid());
}

/* A daemon with a runtime folder of its own has a state folder of its own, but not where a service
 * manager made one: what lies in a service's runtime folder goes with the service. */
static void
imply_folders(struct config *c)
{
	AUTO(buf_fini) struct buf run_dir = BUF_INIT, state_dir = BUF_INIT;

	if (c->state_dir == NULL) {
		imply_service_dir(&state_dir, "STATE_DIRECTORY");
		if (c->run_dir != NULL && state_dir.len == 0)
			buf_addf(&state_dir, "%s/state", c->run_dir);
		else
			config_default_state_dir(&state_dir);
		c->state_dir = config_copy(buf_str(&state_dir));
	}
	if (c->run_dir == NULL) {
		config_default_run_dir(&run_dir);
		c->run_dir = config_copy(buf_str(&run_dir));
	}
}

/* A relative path starts at the config file's folder. */
static void
imply_path(char **path, const char *config_path)
{
	const char *slash = strrchr(config_path, '/');
	AUTO(buf_fini) struct buf full = BUF_INIT;

	if (*path == NULL || (*path)[0] == '/' || slash == NULL)
		return;
	buf_add(&full, config_path, (size_t)(slash - config_path) + 1);
	buf_add_str(&full, *path);
	free(*path);
	*path = config_copy(buf_str(&full));
}

static void
imply_paths_in(enum config_section section, void *owner, const char *config_path)
{
	size_t len;
	const struct config_key *keys = config_keys(section, &len);
	char *path;

	for (size_t i = 0; i < len; i++) {
		char *field = (char *)owner + keys[i].offset;

		if (keys[i].type == CONFIG_TYPE_PATH) {
			memcpy(&path, field, sizeof(path));
			imply_path(&path, config_path);
			memcpy(field, &path, sizeof(path));
		} else if (keys[i].type == CONFIG_TYPE_MAP) {
			imply_paths_in(keys[i].child, owner, config_path);
		}
	}
}

static void
imply_backend(struct config_backend *b)
{
	char url[64];
	size_t len;

	CHECK(local_servers[b->kind].kind == b->kind);
	if (b->url == NULL && local_servers[b->kind].port != 0) {
		(void)snprintf(
			url, sizeof(url), "http://127.0.0.1:%u", local_servers[b->kind].port);
		b->url = config_copy(url);
	}
	for (len = b->url == NULL ? 0 : strlen(b->url); len > 0 && b->url[len - 1] == '/'; len--)
		b->url[len - 1] = '\0';
	if (b->kind == BACKEND_SIM && b->sim.models_len == 0 && b->name != NULL) {
		void *models = b->sim.models;

		*(char **)config_grow(&models, &b->sim.models_len, sizeof(char *)) =
			config_copy(b->name);
		b->sim.models = models;
	}
}

/* "linear:FILE" likewise; an encoder's name is none. */
static void
imply_scorer(char **scorer, const char *config_path)
{
	struct config_scorer s = config_scorer_split(*scorer);
	AUTO(buf_fini) struct buf text = BUF_INIT;
	char *path;

	if (s.rest == NULL || config_scorer_kind(*scorer, s.name_len) != CONFIG_SCORER_FILE)
		return;
	path = config_copy(s.rest);
	imply_path(&path, config_path);
	buf_add(&text, *scorer, s.name_len + 1);
	buf_add_str(&text, path);
	free(path);
	free(*scorer);
	*scorer = config_copy(buf_str(&text));
}

void
config_imply_values(struct config *c, const char *path)
{
	imply_paths_in(SECTION_TOP, c, path);
	for (size_t i = 0; i < c->backends_len; i++) {
		imply_paths_in(SECTION_BACKEND, &c->backends[i], path);
		imply_backend(&c->backends[i]);
	}
	for (size_t i = 0; i < c->encoders_len; i++)
		imply_paths_in(SECTION_ENCODER, &c->encoders[i], path);
	for (size_t i = 0; i < c->routes_len; i++)
		if (c->routes[i].scorer != NULL)
			imply_scorer(&c->routes[i].scorer, path);
	for (size_t i = 0; i < c->models_len; i++)
		for (size_t j = 0; j < c->models[i].deployments_len; j++)
			if (c->models[i].deployments[j].model == NULL && c->models[i].name != NULL)
				c->models[i].deployments[j].model = config_copy(c->models[i].name);
	imply_folders(c);
}

/* Nobody else means this server: no backend with its name or address, and not shunt itself. */
static bool
local_is_free(const struct config *c, const struct local_server *s, const char *url)
{
	for (size_t i = 0; i < c->backends_len; i++) {
		const struct config_backend *b = &c->backends[i];

		if (b->name != NULL && strcmp(b->name, s->name) == 0)
			return false;
		if (config_same_server(b->url, url))
			return false;
	}
	for (size_t i = 0; i < c->listen_len; i++)
		if (config_is_own_address(&c->listen[i], url))
			return false;
	return true;
}

static void
imply_local(struct config *c, const struct local_server *s)
{
	void *backends = c->backends;
	struct config_backend *b;
	char url[64];

	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", s->port);
	if (s->port == 0 || !local_is_free(c, s, url))
		return;
	b = config_grow(&backends, &c->backends_len, sizeof(*b));
	c->backends = backends;
	config_defaults(SECTION_BACKEND, b);
	b->name = config_copy(s->name);
	b->kind = s->kind;
	b->url = config_copy(url);
	b->discover_said = TRI_YES;
}

static void
imply_socket(struct config *c)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	AUTO(buf_fini) struct buf text = BUF_INIT;
	void *listen = c->listen;
	struct config_listen *l;

	buf_addf(&path, "%s/" CONFIG_SOCKET_NAME, c->run_dir);
	buf_addf(&text, "unix:%s", buf_str(&path));
	for (size_t i = 0; i < c->listen_len; i++)
		if (c->listen[i].path != NULL && strcmp(c->listen[i].path, buf_str(&path)) == 0)
			return;
	l = config_grow(&listen, &c->listen_len, sizeof(*l));
	c->listen = listen;
	l->text = config_copy(buf_str(&text));
	l->path = config_copy(buf_str(&path));
	l->mode = 0600;
}

static void
imply_route(struct config *c)
{
	void *routes = c->routes;
	struct config_route *r = config_grow(&routes, &c->routes_len, sizeof(*r));

	c->routes = routes;
	config_defaults(SECTION_ROUTE, r);
	r->name = config_copy("auto");
}

static bool
backend_has_model(const struct config *c, const struct config_backend *b)
{
	for (size_t i = 0; i < c->models_len; i++)
		for (size_t j = 0; j < c->models[i].deployments_len; j++) {
			const char *name = c->models[i].deployments[j].backend;

			if (name != NULL && b->name != NULL && strcmp(name, b->name) == 0)
				return true;
		}
	return false;
}

void
config_imply_rows(struct config *c)
{
	if (c->discover_local)
		for (size_t i = 0; i < ARRAY_LEN(local_servers); i++)
			imply_local(c, &local_servers[i]);
	for (size_t i = 0; i < c->backends_len; i++) {
		struct config_backend *b = &c->backends[i];

		b->discover = b->discover_said == TRI_YES ||
			      (b->discover_said == TRI_UNKNOWN && !backend_has_model(c, b));
	}
	if (c->routes_len == 0)
		imply_route(c);
	imply_socket(c);
}
