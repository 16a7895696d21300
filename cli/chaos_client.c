/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chaos_client.c - one request of a chaos run: what is sent, what comes, how it ended
 *
 * Each request has a connection of its own: libcurl sends a request on a connection that died
 * meanwhile once more, and here nothing may be sent twice.
 */
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/chaos.h"

enum { BODY_MAX = 4 * 1024 * 1024, CONNECT_MS = 5000, STEP_MS = 15000, TEXT_MAX = 1024 * 1024 };

/* ---- what comes ---- */

/* A chunk of a stream, or the body of an answer or error. */
static void
client_take(struct chaos_request *r, struct json v, const char *text_path)
{
	struct json choices = json_get(v, "choices"), error = json_get(v, "error"), choice, code;
	struct json mark = json_get(v, "x_shunt");
	struct json_iter it = json_iter(choices);
	size_t had;

	if (error.type != JSON_NONE && error.type != JSON_NULL) {
		code = json_get(error, "code");
		if (!json_copy_text(r->code, sizeof(r->code), code) &&
			!json_copy_text(r->code, sizeof(r->code), json_get(error, "type")))
			(void)snprintf(r->code, sizeof(r->code), "unnamed");
	}
	/* another backend answers now: from the start, or from where the text ended */
	if (json_equals(json_get(mark, "event"), "restart"))
		buf_clear(&r->text);
	if (mark.type == JSON_OBJECT) {
		(void)json_copy_text(r->backend, sizeof(r->backend), json_get(mark, "backend"));
		(void)json_copy_text(r->model, sizeof(r->model), json_get(mark, "model"));
	}
	had = r->text.len;
	while (choices.type == JSON_ARRAY && json_next_item(&it, &choice)) {
		if (r->text.len < TEXT_MAX)
			json_text(&r->text, json_path(choice, text_path));
		if (json_get(choice, "finish_reason").type == JSON_STRING)
			r->finishes++;
	}
	r->pieces += r->text.len > had;
}

static void
client_event(struct chaos_transfer *t, const char *line, size_t len)
{
	struct json v;

	if (len > 0 && line[len - 1] == '\r')
		len--;
	if (len < 6 || memcmp(line, "data: ", 6) != 0)
		return;
	line += 6;
	len -= 6;
	if (len == 6 && memcmp(line, "[DONE]", 6) == 0)
		t->request->ends++;
	else if (json_check(&v, line, len, NULL) == ERR_OK)
		client_take(t->request, v, "delta.content");
	t->told_error = t->told_error || t->request->code[0] != '\0';
}

static size_t
client_on_data(char *data, size_t size, size_t n, void *arg)
{
	struct chaos_transfer *t = arg;
	const char *end;

	if (t->body.len + size * n > BODY_MAX)
		return 0;
	buf_add(&t->body, data, size * n);
	if (!t->is_events)
		return size * n;
	while (t->body.len > 0 && (end = memchr(t->body.data, '\n', t->body.len)) != NULL) {
		size_t len = (size_t)(end - t->body.data);

		client_event(t, t->body.data, len);
		buf_drop_front(&t->body, len + 1);
	}
	if (t->request->leave_after > 0 && t->request->pieces >= t->request->leave_after) {
		t->has_left = true;
		return 0;
	}
	return size * n;
}

/* "cut#request, status#3": the kinds that met it. */
static uint64_t
client_faults(const char *text, size_t len)
{
	uint64_t kinds = 0;

	for (unsigned k = 0; k < FAULT_KINDS; k++) {
		const char *name = fault_kind_row(k)->name;
		const char *at = memmem(text, len, name, strlen(name));

		if (at != NULL && at + strlen(name) < text + len && at[strlen(name)] == '#')
			kinds |= UINT64_C(1) << k;
	}
	return kinds;
}

static size_t
client_on_header(char *data, size_t size, size_t n, void *arg)
{
	struct chaos_transfer *t = arg;
	struct chaos_request *r = t->request;
	struct {
		const char *name;
		char *to;
		size_t size;
	} wanted[] = {{"x-shunt-request-id:", r->id, sizeof(r->id)},
		{"x-shunt-backend:", r->backend, sizeof(r->backend)},
		{"x-shunt-model:", r->model, sizeof(r->model)}};
	const char *value;
	size_t len = size * n;

	while (len > 0 && (data[len - 1] == '\r' || data[len - 1] == '\n'))
		len--;
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		size_t skip = strlen(wanted[i].name);

		if (len > skip && strncasecmp(data, wanted[i].name, skip) == 0) {
			value = data + skip + (data[skip] == ' ');
			(void)snprintf(wanted[i].to, wanted[i].size, "%.*s",
				(int)(data + len - value), value);
		}
	}
	if (len > 17 && strncasecmp(data, "x-shunt-attempts:", 17) == 0)
		r->attempts = (uint32_t)strtoul(data + 17, NULL, 10);
	if (len > 14 && strncasecmp(data, "x-shunt-fault:", 14) == 0)
		r->faults |= client_faults(data + 14, len - 14);
	if (len > 13 && strncasecmp(data, "content-type:", 13) == 0)
		t->is_events = memmem(data, len, "text/event-stream", 17) != NULL;
	return size * n;
}

static size_t
client_on_step_data(char *data, size_t size, size_t n, void *arg)
{
	struct chaos_transfer *t = arg;

	if (t->body.len + size * n <= BODY_MAX)
		buf_add(&t->body, data, size * n);
	return size * n;
}

/* ---- what is sent ---- */

static void
client_header(struct chaos_transfer *t, const char *name, const char *value)
{
	AUTO(buf_fini) struct buf line = BUF_INIT;
	struct curl_slist *list;

	buf_addf(&line, "%s: %s", name, value);
	list = curl_slist_append(t->headers, buf_str(&line));
	CHECK(list != NULL);
	t->headers = list;
}

/* An admin of our daemon comes through its socket; of another's, with a key. */
static void
client_set_target(
	struct chaos_transfer *t, const struct chaos_daemon *d, const char *path, bool as_admin)
{
	AUTO(buf_fini) struct buf url = BUF_INIT;
	AUTO(buf_fini) struct buf bearer = BUF_INIT;
	const char *key = getenv("SHUNT_KEY");
	CURL *easy = curl_easy_init();

	CHECK(easy != NULL);
	t->easy = easy;
	buf_addf(&url, "%s%s", buf_str(&d->url), path);
	if (as_admin && d->socket.len > 0)
		(void)curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, buf_str(&d->socket));
	if (!d->own && key != NULL && strpbrk(key, "\r\n") == NULL) {
		buf_addf(&bearer, "Bearer %s", key);
		client_header(t, "Authorization", buf_str(&bearer));
	}
	(void)curl_easy_setopt(easy, CURLOPT_URL, buf_str(&url));
	(void)curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
	(void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	(void)curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	(void)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
}

static void
client_set_post(struct chaos_transfer *t)
{
	client_header(t, "Content-Type", "application/json");
	client_header(t, "Expect", "");
	(void)curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, buf_str(&t->post));
	(void)curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->post.len);
}

void
chaos_client_open(struct chaos_transfer *t, const struct chaos_daemon *d,
	const struct chaos_load *l, struct chaos_request *r)
{
	AUTO(buf_fini) struct buf key = BUF_INIT;
	struct buf *b = &t->post;

	*t = (struct chaos_transfer){.request = r};
	client_set_target(t, d, "/v1/chat/completions", r->fault[0] != '\0');
	json_put_begin(b, '{');
	json_put_member_str(b, "model", l->model);
	json_put_member_bool(b, "stream", r->stream);
	json_put_key(b, "messages");
	json_put_begin(b, '[');
	json_put_begin(b, '{');
	json_put_member_str(b, "role", "user");
	json_put_member_str(b, "content", r->prompt);
	json_put_end(b, '}');
	json_put_end(b, ']');
	json_put_end(b, '}');
	if (r->fault[0] != '\0')
		client_header(t, "x-shunt-fault", r->fault);
	if (r->user[0] != '\0' && d->own) {
		buf_add_str(&key, "Bearer ");
		chaos_daemon_key(&key, r->user);
		client_header(t, "Authorization", buf_str(&key));
	}
	client_set_post(t);
	(void)curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
	(void)curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, client_on_data);
	(void)curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, client_on_header);
	(void)curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
}

void
chaos_client_open_step(
	struct chaos_transfer *t, const struct chaos_daemon *d, const struct chaos_step *step)
{
	*t = (struct chaos_transfer){.step = step};
	client_set_target(t, d, "/admin/faults", true);
	if (strcmp(step->what, "clear") == 0) {
		(void)curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, "DELETE");
	} else {
		json_put_begin(&t->post, '{');
		json_put_member_str(&t->post, "spec", step->what);
		json_put_end(&t->post, '}');
		client_set_post(t);
	}
	(void)curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, (long)STEP_MS);
	(void)curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
	(void)curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, client_on_step_data);
}

/* ---- the end ---- */

static enum chaos_outcome
client_outcome(struct chaos_transfer *t, int code)
{
	struct chaos_request *r = t->request;
	struct json v;

	if (t->has_left)
		return CHAOS_LEFT;
	if (t->is_events) {
		if (t->told_error)
			return CHAOS_ERROR;
		return code == CURLE_OK && r->status == 200 && r->ends > 0 ? CHAOS_ANSWER
									   : CHAOS_NOTHING;
	}
	if (code != CURLE_OK || json_check(&v, buf_str(&t->body), t->body.len, NULL) != ERR_OK)
		return CHAOS_NOTHING;
	client_take(r, v, "message.content");
	if (r->code[0] != '\0')
		return r->status >= 400 ? CHAOS_ERROR : CHAOS_NOTHING;
	r->ends = r->status == 200 && json_get(v, "choices").type == JSON_ARRAY;
	return r->ends > 0 ? CHAOS_ANSWER : CHAOS_NOTHING;
}

void
chaos_client_close(struct chaos_transfer *t, int code)
{
	if (t->request != NULL) {
		(void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->request->status);
		t->request->outcome = client_outcome(t, code);
		if (t->request->outcome == CHAOS_NOTHING)
			(void)snprintf(t->request->why, sizeof(t->request->why), "%s",
				code == CURLE_OK ? "the answer ended without an end or an error"
						 : curl_easy_strerror((CURLcode)code));
	}
	curl_easy_cleanup(t->easy);
	curl_slist_free_all(t->headers);
	buf_fini(&t->post);
	buf_fini(&t->body);
	*t = (struct chaos_transfer){0};
}
