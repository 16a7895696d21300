/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prompt_log.c - prompts as scorers see them, kept for `shunt calibrate` where the config asks
 *
 * The only place where words of users are written down, so it is off unless prompt_log_bytes says
 * otherwise, readable by the daemon's user alone, and ends when it is full. The file is opened
 * before the sandbox closes: a gateway may open none for writing later.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/json.h"
#include "lib/base/log.h"
#include "lib/routing/judge.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"

struct prompt_log {
	int fd;
	uint64_t bytes;
	struct buf line;
};

MUST enum err_code
prompt_log_start(struct gateway *g, struct err *e)
{
	AUTO(buf_fini) struct buf path = BUF_INIT;
	struct stat st;
	int fd;

	if (g->config->prompt_log_bytes == 0)
		return ERR_OK;
	buf_addf(&path, "%s/prompts", g->config->state_dir);
	if (mkdir(buf_str(&path), 0700) != 0 && errno != EEXIST)
		return err_set(
			e, ERR_SYS, "prompt_log: mkdir %s: %s", buf_str(&path), strerror(errno));
	buf_addf(&path, "/%u.jsonl", g->w->slot);
	fd = open(buf_str(&path), O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &st) != 0) {
		(void)err_set(e, ERR_SYS, "prompt_log: %s: %s", buf_str(&path), strerror(errno));
		if (fd >= 0)
			(void)close(fd);
		return e->code;
	}
	g->prompts = calloc(1, sizeof(*g->prompts));
	CHECK(g->prompts != NULL);
	*g->prompts = (struct prompt_log){.fd = fd, .bytes = (uint64_t)st.st_size};
	log_warn("prompts_are_logged", "file=%s bytes=%llu of=%llu", buf_str(&path),
		(unsigned long long)g->prompts->bytes,
		(unsigned long long)g->config->prompt_log_bytes);
	return ERR_OK;
}

void
prompt_log_stop(struct gateway *g)
{
	struct prompt_log *p = g->prompts;

	g->prompts = NULL;
	if (p == NULL)
		return;
	(void)close(p->fd);
	buf_fini(&p->line);
	free(p);
}

/* False: there is no text in it, and nothing to calibrate by. */
static bool
prompt_log_line(struct buf *out, const struct gateway *g, const struct route_request *r,
	const struct prompt_log_note *note)
{
	const struct config_route *route = config_route(g->config, note->route);
	AUTO(buf_fini) struct buf source = BUF_INIT;
	char text[ROUTE_TEXT_MAX];
	size_t len = route_text(text, r, route);

	if (len == 0)
		return false;
	buf_addf(&source, "log/%s", note->route);
	buf_clear(out);
	json_put_begin(out, '{');
	json_put_member_str(out, "dataset", buf_str(&source));
	json_put_key(out, "prompt");
	json_put_string(out, text, len);
	if (note->model != NULL) {
		json_put_key(out, "confidence");
		json_put_begin(out, '{');
		json_put_member_double(out, note->model, note->confidence);
		json_put_end(out, '}');
	}
	json_put_end(out, '}');
	buf_add_char(out, '\n');
	return true;
}

void
prompt_log_add(struct gateway *g, const struct route_request *r, const struct prompt_log_note *note)
{
	struct prompt_log *p = g->prompts;
	ssize_t n;

	if (p == NULL || r->turns_count == 0 || r->endpoint == ROUTE_EMBEDDINGS ||
		note->route[0] == '\0' || !prompt_log_line(&p->line, g, r, note))
		return;
	if (p->bytes + p->line.len > g->config->prompt_log_bytes) {
		log_info("prompt_log_full", "bytes=%llu", (unsigned long long)p->bytes);
		prompt_log_stop(g);
		return;
	}
	n = write(p->fd, p->line.data, p->line.len);
	if (n == (ssize_t)p->line.len) {
		p->bytes += (uint64_t)n;
		return;
	}
	log_error("prompt_log_failed", "text=\"%s\" action=\"no more prompts are logged\"",
		n < 0 ? strerror(errno) : "the disk is full");
	prompt_log_stop(g);
}
