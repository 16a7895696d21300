/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - the pieces of an answer on their way to the client, over all attempts of a request
 *
 * Without a policy for broken streams and without tokens to hold back, bytes go through unread.
 */
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "workers/common/worker.h"
#include "workers/gateway/gateway.h"

/* Less than the credit a backend begins with: what is held is not given back as credit. */
enum { STREAM_HELD_MAX = REQUEST_WINDOW_BYTES / 2 };

static void
stream_begin(struct request *r)
{
	AUTO(buf_fini) struct buf headers = BUF_INIT;

	request_put_headers(r, &headers);
	http_stream_begin(r->conn, &headers,
		r->resume == NULL ? "x-shunt-cost-usd" : "x-shunt-cost-usd, x-shunt-attempts");
}

/* The first byte decides: status line and headers go out. */
static void
stream_commit(struct request *r)
{
	if (stream_is_seen(r))
		return;
	r->first_ns = clock_ns();
	if (!r->noticed)
		stream_begin(r);
	r->noticed = false;
}

bool
stream_is_seen(const struct request *r)
{
	return r->conn->committed && !r->noticed;
}

void
stream_notice_begin(struct request *r)
{
	if (r->conn->committed)
		return;
	stream_begin(r);
	r->noticed = true;
}

/* The client is told, once, that another backend answers now. */
static void
stream_mark(struct request *r)
{
	struct resume *s = r->resume;
	const struct catalog_row *row = &r->catalog->rows[r->row];
	AUTO(buf_fini) struct buf event = BUF_INIT;

	if (s == NULL || !s->later || s->marked)
		return;
	gateway_count(r->g,
		s->turn == RESUME_CONTINUE ? COUNTER_REQ_CONTINUED : COUNTER_REQ_RESTARTED, 1);
	resume_mark(s, &event,
		&(struct resume_note){.attempt = r->attempts,
			.model = row->model,
			.backend = row->backend,
			.code = r->err.code});
	http_stream_add(r->conn, event.data, event.len);
}

static bool
stream_holds(const struct request *r)
{
	const struct resume *s = r->resume;

	if (s->finished || s->held.len >= STREAM_HELD_MAX)
		return false;
	return s->calling || (!stream_is_seen(r) && r->delta_tokens < s->hold);
}

static void
stream_release(struct request *r)
{
	struct resume *s = r->resume;

	stream_commit(r);
	if (s->held.len > 0)
		http_stream_add(r->conn, s->held.data, s->held.len);
	buf_clear(&s->held);
}

MUST enum err_code
stream_add(struct request *r, const struct bytes *payload, uint32_t tokens, struct err *e)
{
	struct resume *s = r->resume;

	r->delta_tokens += tokens;
	if (s == NULL) {
		stream_commit(r);
		http_stream_add(r->conn, payload->data, payload->len);
		return ERR_OK;
	}
	stream_mark(r);
	if (s->held.len == 0)
		s->text_before = s->text.len;
	s->seen = s->held.len;
	if (resume_read(s, &s->held, payload->data, payload->len, e) != ERR_OK)
		return e->code;
	s->tokens += tokens;
	if (stream_holds(r))
		return ERR_OK;
	if (cascade_is_unsure(r))
		return err_set(e, ERR_UNSURE, "unsure of its own answer");
	stream_release(r);
	return ERR_OK;
}

void
stream_end(struct request *r)
{
	static const char done[] = "data: [DONE]\n\n";
	AUTO(buf_fini) struct buf trailers = BUF_INIT;

	stream_commit(r);
	if (r->resume != NULL) {
		stream_mark(r);
		stream_release(r);
	}
	http_stream_add(r->conn, done, sizeof(done) - 1);
	request_put_trailers(r, &trailers);
	http_stream_end(r->conn, &trailers);
}

enum stream_verdict
stream_broke(struct request *r, enum err_code code)
{
	struct resume *s = r->resume;

	if (s == NULL)
		return stream_is_seen(r) ? STREAM_LOST : STREAM_UNSEEN;
	if (s->finished && s->policy != MID_STREAM_ERROR)
		return STREAM_WHOLE;
	if (!stream_is_seen(r)) {
		resume_reset(s);
		return STREAM_UNSEEN;
	}
	if (s->policy == MID_STREAM_ERROR || !err_cascades(code))
		return STREAM_LOST;
	resume_turn(s, r->body->data, r->body->len);
	s->prompt_before = r->prompt_tokens;
	s->completion_before = r->completion_tokens;
	log_info("stream_resumed", "id=%s turn=%s code=%s text_bytes=%zu", r->id,
		s->turn == RESUME_CONTINUE ? "continue" : "restart", err_name(code), s->text.len);
	return STREAM_RESUMES;
}

struct bytes *
stream_body(struct request *r, uint32_t *model_at, uint32_t *partial)
{
	AUTO(buf_fini) struct buf body = BUF_INIT;
	struct json root;

	*model_at = r->model_at - (r->model_at > r->cut_at ? r->cut_len : 0);
	*partial = 0;
	if (r->resume != NULL && r->resume->later &&
		json_check(&root, r->body->data, r->body->len, NULL) == ERR_OK)
		*partial = resume_body(r->resume, &body, root, model_at);
	if (*partial == 0 && r->cut_len == 0)
		return bytes_ref(r->body);
	if (*partial == 0) {
		buf_add(&body, r->body->data, r->cut_at);
		buf_add(&body, r->body->data + r->cut_at + r->cut_len,
			r->body->len - r->cut_at - r->cut_len);
	}
	return bytes_from_buf(&body);
}
