/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.c - one HTTP exchange with the running daemon, wherever it listens
 */
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/daemon.h"
#include "cli/table.h"
#include "config/config.h"

enum { PLACES_MAX = 8, ANSWER_MAX = 16 * 1024 * 1024, CONNECT_MS = 3000, TOTAL_MS = 20000 };

#define DEFAULT_CONFIG "/etc/shunt/shunt.yaml"
#define DEFAULT_URL "http://127.0.0.1:8787"

/* Where a daemon may be: a Unix socket or a base URL, whichever is not empty. */
struct place {
	struct buf socket, url;
	char why[CURL_ERROR_SIZE]; /* why it did not answer */
};

struct places {
	struct place rows[PLACES_MAX];
	size_t len;
};

struct exchange {
	struct buf *body;
	bool too_large;
};

static void
places_fini(struct places *p)
{
	for (size_t i = 0; i < p->len; i++) {
		buf_fini(&p->rows[i].socket);
		buf_fini(&p->rows[i].url);
	}
	p->len = 0;
}

static void
places_add_socket(struct places *p, const char *path)
{
	for (size_t i = 0; i < p->len; i++)
		if (strcmp(buf_str(&p->rows[i].socket), path) == 0)
			return;
	CHECK(p->len < PLACES_MAX);
	buf_add_str(&p->rows[p->len++].socket, path);
}

static void
places_add_url(struct places *p, const char *url)
{
	struct buf *b;

	for (size_t i = 0; i < p->len; i++)
		if (strcmp(buf_str(&p->rows[i].url), url) == 0)
			return;
	CHECK(p->len < PLACES_MAX);
	b = &p->rows[p->len++].url;
	if (strncmp(url, "unix:", 5) != 0 && strstr(url, "://") == NULL)
		buf_add_str(b, "http://");
	buf_add_str(b, url);
	while (b->len > 0 && b->data[b->len - 1] == '/')
		b->data[--b->len] = '\0';
}

static void
places_add_run_dir(struct places *p, const char *run_dir)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;

	buf_addf(&path, "%s/" CONFIG_SOCKET_NAME, run_dir);
	places_add_socket(p, buf_str(&path));
}

/* Socket and first TCP address of a config; an error only where it was asked for by name. */
static enum err_code
places_add_config(struct places *p, const char *file, struct err *e)
{
	AUTO(config_free) struct config *c = NULL;
	AUTO(buf_fini) struct buf text = BUF_INIT;
	AUTO(buf_fini) struct buf url = BUF_INIT;
	enum err_code code = config_load(&c, &text, file, NULL, e);

	if (code != ERR_OK)
		return code;
	places_add_run_dir(p, c->run_dir);
	for (size_t i = 0; i < c->listen_len; i++) {
		const struct config_listen *l = &c->listen[i];
		const char *host = l->host;

		if (host == NULL || l->port == 0)
			continue;
		if (strcmp(host, "0.0.0.0") == 0)
			host = "127.0.0.1";
		else if (strcmp(host, "::") == 0)
			host = "::1";
		buf_addf(&url, strchr(host, ':') != NULL ? "http://[%s]:%u" : "http://%s:%u", host,
			l->port);
		places_add_url(p, buf_str(&url));
		break;
	}
	return ERR_OK;
}

static enum err_code
places_find(struct places *p, const struct cli *cli, struct err *e)
{
	AUTO(buf_fini) struct buf run_dir = BUF_INIT;
	const char *url = cli->url != NULL ? cli->url : getenv("SHUNT_URL");
	const char *socket = getenv("SHUNT_SOCKET");

	if (cli->url == NULL && cli->config != NULL)
		return places_add_config(p, cli->config, e);
	if (url != NULL && strncmp(url, "unix:", 5) == 0) {
		places_add_socket(p, url + 5);
		return ERR_OK;
	}
	if (url != NULL && url[0] != '\0') {
		places_add_url(p, url);
		return ERR_OK;
	}
	if (socket != NULL && socket[0] != '\0') {
		places_add_socket(p, socket);
		return ERR_OK;
	}
	if (access(DEFAULT_CONFIG, R_OK) == 0)
		(void)places_add_config(p, DEFAULT_CONFIG, e); /* broken: the other places remain */
	config_default_run_dir(&run_dir);
	places_add_run_dir(p, buf_str(&run_dir));
	places_add_run_dir(p, "/run/shunt");
	places_add_url(p, DEFAULT_URL);
	return ERR_OK;
}

/* What is asked; method NULL: GET, or POST with a body. */
struct question {
	const char *path, *method;
	const struct buf *body;
};

static size_t
exchange_on_data(char *data, size_t size, size_t count, void *arg)
{
	struct exchange *x = arg;

	if (size * count > ANSWER_MAX - x->body->len) {
		x->too_large = true;
		return 0;
	}
	buf_add(x->body, data, size * count);
	return size * count;
}

static struct curl_slist *
exchange_headers(const struct buf *body)
{
	AUTO(buf_fini) struct buf line = BUF_INIT;
	const char *key = getenv("SHUNT_KEY");
	struct curl_slist *list = curl_slist_append(NULL, "Accept: application/json");

	CHECK(list != NULL);
	if (body != NULL)
		CHECK(curl_slist_append(list, "Content-Type: application/json") != NULL);
	if (key != NULL && key[0] != '\0' && strpbrk(key, "\r\n") == NULL) {
		buf_addf(&line, "Authorization: Bearer %s", key);
		CHECK(curl_slist_append(list, buf_str(&line)) != NULL);
	}
	return list;
}

static CURLcode
exchange_perform(
	CURL *curl, struct place *p, struct exchange *x, const struct question *q)
{
	AUTO(buf_fini) struct buf url = BUF_INIT;

	buf_addf(&url, "%s%s", p->socket.len > 0 ? "http://localhost" : buf_str(&p->url), q->path);
	if (p->socket.len > 0)
		(void)curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, buf_str(&p->socket));
	(void)curl_easy_setopt(curl, CURLOPT_URL, buf_str(&url));
	(void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, p->why);
	(void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	(void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	(void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)TOTAL_MS);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, exchange_on_data);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
	if (q->body != NULL) {
		(void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, buf_str(q->body));
		(void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body->len);
	}
	if (q->method != NULL)
		(void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, q->method);
	return curl_easy_perform(curl);
}

/* Why a socket could not be connected; curl would speak of a port of localhost. */
static const char *
socket_why(CURL *curl, const char *path)
{
	long os_errno = 0;

	(void)curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &os_errno);
	if (os_errno == 0 && access(path, W_OK) != 0)
		os_errno = errno;
	switch (os_errno) {
	case ENOENT:
	case ENOTDIR:
		return "no such socket";
	case EACCES:
		return "permission denied; the daemon's user and root may, others can use its "
		       "TCP address (--url)";
	default:
		return os_errno == ECONNREFUSED ? "no daemon listens on it"
						: strerror((int)os_errno);
	}
}

/* One place. The HTTP status, or 0 with p->why. */
static long
daemon_try(struct place *p, struct buf *answer, const struct question *q)
{
	struct curl_slist *headers = exchange_headers(q->body);
	struct exchange x = {.body = answer};
	CURL *curl = curl_easy_init();
	long status = 0;
	CURLcode code;

	CHECK(curl != NULL);
	buf_clear(answer);
	p->why[0] = '\0';
	(void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	code = exchange_perform(curl, p, &x, q);
	if (code == CURLE_OK)
		(void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	else if (x.too_large)
		(void)snprintf(p->why, sizeof(p->why), "the answer is larger than 16 MiB");
	else if (code == CURLE_COULDNT_CONNECT && p->socket.len > 0)
		(void)snprintf(p->why, sizeof(p->why), "%s", socket_why(curl, buf_str(&p->socket)));
	else if (p->why[0] == '\0')
		(void)snprintf(p->why, sizeof(p->why), "%s", curl_easy_strerror(code));
	curl_easy_cleanup(curl);
	curl_slist_free_all(headers);
	return status;
}

static void
daemon_say_unreachable(const struct places *places, FILE *err)
{
	(void)fputs("shunt: no daemon answers. Tried:\n", err);
	for (size_t i = 0; i < places->len; i++) {
		const struct place *p = &places->rows[i];

		(void)fprintf(err, "  %s%s: %s\n", p->socket.len > 0 ? "unix:" : "",
			p->socket.len > 0 ? buf_str(&p->socket) : buf_str(&p->url), p->why);
	}
	(void)fputs(
		"Start one with `shuntd -c FILE`, `systemctl start shunt`, or `./bootstrap run` "
		"for the demo;\nfor one elsewhere give --url or set SHUNT_URL.\n",
		err);
}

/* Read an answer that came: JSON or not, good or not. */
static enum cli_exit
daemon_answer(struct json *out, const struct buf *answer, long status, FILE *err)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	struct json v = {JSON_NONE, NULL, 0};
	struct err e;
	bool is_json = json_check(&v, buf_str(answer), answer->len, &e) == ERR_OK;

	if (is_json)
		*out = v;
	if (status >= 200 && status < 300 && is_json)
		return CLI_OK;
	if (is_json)
		table_add_text(&text, json_path(v, "error.message"));
	if (text.len > 0)
		(void)fprintf(err, "shunt: %s (HTTP %ld)\n", buf_str(&text), status);
	else
		(void)fprintf(err, "shunt: the answer is not one of a shunt daemon (HTTP %ld%s)\n",
			status, is_json ? "" : ", no JSON");
	return CLI_BAD_NEWS;
}

static enum cli_exit
daemon_ask(struct json *out, struct buf *body_out, const struct cli *cli, const struct question *q)
{
	AUTO(places_fini) struct places places = {.len = 0};
	struct err e;
	long status = 0;

	*out = (struct json){JSON_NONE, NULL, 0};
	if (places_find(&places, cli, &e) != ERR_OK) {
		(void)fprintf(cli->err, "shunt: %s\n", e.text);
		return CLI_USAGE;
	}
	for (size_t i = 0; i < places.len && status == 0; i++)
		status = daemon_try(&places.rows[i], body_out, q);
	if (status == 0) {
		daemon_say_unreachable(&places, cli->err);
		return CLI_UNREACHABLE;
	}
	return daemon_answer(out, body_out, status, cli->err);
}

enum cli_exit
daemon_call(struct json *out, struct buf *body_out, const struct cli *cli, const char *path,
	const struct buf *body)
{
	return daemon_ask(out, body_out, cli, &(struct question){path, NULL, body});
}

enum cli_exit
daemon_delete(struct json *out, struct buf *body_out, const struct cli *cli, const char *path)
{
	return daemon_ask(out, body_out, cli, &(struct question){path, "DELETE", NULL});
}
