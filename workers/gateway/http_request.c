/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_request.c - one HTTP/1.x request head: where it ends, what it says
 *
 * The packaged http_parser splits the head, but Debian builds it without its strict mode (it takes
 * "Host : x", bare LF and raw bytes in the target). Two servers that read one head differently are
 * how requests get smuggled, so everything ambiguous is refused here before and after it: the scan
 * allows only CRLF lines of printable bytes, the callbacks only token names and plain framing.
 */
#include <http_parser.h>
#include <limits.h>
#include <string.h>
#include <strings.h>

#include "workers/gateway/gateway.h"

/* State of one http_head_parse. */
struct head_parse {
	struct http_head *out;
	const char *why; /* first fault */
	struct http_str name;
	unsigned count[HTTP_HEADERS];
	struct http_str url;
};

static const char *const header_names[HTTP_HEADERS] = {
#define X(symbol, name) name,
	HTTP_HEADER_LIST(X)
#undef X
};

bool
http_str_is(struct http_str s, const char *text)
{
	return s.len == strlen(text) && strncasecmp(s.p, text, s.len) == 0;
}

static bool
head_is_token(struct http_str s)
{
	static const char other[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < s.len; i++) {
		char c = s.p[i];

		if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
			continue;
		if (c == '\0' || strchr(other, c) == NULL)
			return false;
	}
	return s.len > 0;
}

/* A line ended: is it the empty one that ends the head, or one that may not stand here? */
static enum http_scan_result
scan_line(struct http_scan *s, const char *data, const char **why)
{
	size_t len = s->at - s->line_at - 2; /* s->at is behind its LF */
	char first = data[s->line_at];

	if (len == 0 && s->lines)
		return HTTP_SCAN_DONE;
	if (len > 0 && s->lines && (first == ' ' || first == '\t')) {
		*why = "folded header line";
		return HTTP_SCAN_BAD;
	}
	/* Empty lines in front of the request line are skipped by the caller of http_scan. */
	if (len == 0) {
		*why = "empty request line";
		return HTTP_SCAN_BAD;
	}
	s->lines = true;
	s->line_at = s->at;
	return HTTP_SCAN_MORE;
}

enum http_scan_result
http_scan(struct http_scan *s, const char *data, size_t len, const char **why)
{
	while (s->at < len) {
		unsigned char c = (unsigned char)data[s->at++];
		enum http_scan_result result;

		if (s->after_cr) {
			if (c != '\n') {
				*why = "CR without LF";
				return HTTP_SCAN_BAD;
			}
			s->after_cr = false;
			result = scan_line(s, data, why);
			if (result != HTTP_SCAN_MORE)
				return result;
			continue;
		}
		s->after_cr = c == '\r';
		if ((c < ' ' && c != '\t' && c != '\r') || c == 0x7f) {
			*why = c == '\n' ? "LF without CR" : "control byte in the head";
			return HTTP_SCAN_BAD;
		}
	}
	return HTTP_SCAN_MORE;
}

static int
head_bad(struct head_parse *h, const char *why)
{
	if (h->why == NULL)
		h->why = why;
	return 1;
}

static int
on_url(http_parser *p, const char *at, size_t len)
{
	struct head_parse *h = p->data;

	if (h->url.p == NULL)
		h->url.p = at;
	h->url.len += len;
	return 0;
}

static int
on_name(http_parser *p, const char *at, size_t len)
{
	struct head_parse *h = p->data;

	h->name = (struct http_str){at, len};
	if (!head_is_token(h->name))
		return head_bad(h, "header name is no token");
	return 0;
}

static int
on_value(http_parser *p, const char *at, size_t len)
{
	struct head_parse *h = p->data;
	struct http_str value = {at, len};

	while (value.len > 0 && (at[value.len - 1] == ' ' || at[value.len - 1] == '\t'))
		value.len--;
	for (unsigned i = 0; i < HTTP_HEADERS; i++) {
		if (!http_str_is(h->name, header_names[i]))
			continue;
		if (h->count[i]++ == 0)
			h->out->header[i] = value;
		break;
	}
	return 0;
}

/* The head is complete; the body is none of the parser's business. */
static int
on_headers(http_parser *p)
{
	(void)p;
	return 1;
}

static bool
head_digits(uint64_t *out, struct http_str s)
{
	uint64_t v = 0;

	if (s.len == 0 || s.len > 18)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	}
	*out = v;
	return true;
}

/* How long is the body? Any doubt is a fault: the next request starts where this one ends. */
static const char *
head_framing(struct head_parse *h)
{
	struct http_head *out = h->out;
	const struct http_str *coding = &out->header[HTTP_HEADER_TRANSFER_ENCODING];
	const struct http_str *length = &out->header[HTTP_HEADER_CONTENT_LENGTH];

	if (coding->p != NULL && length->p != NULL)
		return "both Content-Length and Transfer-Encoding";
	if (h->count[HTTP_HEADER_CONTENT_LENGTH] > 1)
		return "repeated Content-Length";
	if (length->p != NULL && !head_digits(&out->body_bytes, *length))
		return "Content-Length is no number";
	if (coding->p == NULL)
		return NULL;
	if (h->count[HTTP_HEADER_TRANSFER_ENCODING] > 1 || !http_str_is(*coding, "chunked"))
		return "the only Transfer-Encoding taken here is \"chunked\"";
	if (out->http10)
		return "Transfer-Encoding in HTTP/1.0";
	out->chunked = true;
	return NULL;
}

/* Path and query of the request target, which may be absolute ("http://host/path"). */
static const char *
head_target(struct head_parse *h)
{
	struct http_parser_url u;
	struct http_head *out = h->out;

	for (size_t i = 0; i < h->url.len; i++)
		if (h->url.p[i] <= ' ' || h->url.p[i] > '~')
			return "request target holds bytes that must be percent-encoded";
	if (out->method == HTTP_OPTIONS && http_str_is(h->url, "*")) {
		out->path = h->url;
		return NULL;
	}
	/* its offsets are 16 bits wide */
	if (h->url.len == 0 || h->url.len > UINT16_MAX || out->method == HTTP_CONNECT)
		return "request target is no path";
	http_parser_url_init(&u);
	if (http_parser_parse_url(h->url.p, h->url.len, 0, &u) != 0)
		return "request target is no path";
	out->path = (struct http_str){"/", 1};
	if ((u.field_set & (1 << UF_PATH)) != 0)
		out->path = (struct http_str){
			h->url.p + u.field_data[UF_PATH].off, u.field_data[UF_PATH].len};
	if ((u.field_set & (1 << UF_QUERY)) != 0)
		out->query = (struct http_str){
			h->url.p + u.field_data[UF_QUERY].off, u.field_data[UF_QUERY].len};
	if (*out->path.p != '/')
		return "request target is no path";
	return NULL;
}

/* Exactly "METHOD TARGET HTTP/1.D"; the parser takes more spaces and digits. */
static bool
head_line_is_plain(const struct head_parse *h, const http_parser *p, const char *text)
{
	const char *method = http_method_str((enum http_method)p->method);
	size_t len = strlen(method);
	const char *version = h->url.p + h->url.len;

	return strncmp(text, method, len) == 0 && h->url.p == text + len + 1 && text[len] == ' ' &&
	       strncmp(version, " HTTP/1.", 8) == 0 && version[9] == '\r';
}

/* What the parser found, read with our own rules. NULL: good. */
static const char *
head_judge(struct head_parse *h, http_parser *p, const char *text)
{
	struct http_head *out = h->out;
	const char *why;

	if (p->http_major != 1)
		return "only HTTP/1.1 and HTTP/1.0 are spoken here";
	if (h->url.p == NULL || !head_line_is_plain(h, p, text))
		return "request line is not METHOD PATH HTTP/1.1";
	out->method = p->method;
	out->http10 = p->http_minor == 0;
	out->keep_alive = out->http10 ? (p->flags & F_CONNECTION_KEEP_ALIVE) != 0
				      : (p->flags & F_CONNECTION_CLOSE) == 0;
	if (h->count[HTTP_HEADER_HOST] > 1)
		return "repeated Host";
	if (!out->http10 && h->count[HTTP_HEADER_HOST] == 0)
		return "no Host header";
	if (h->count[HTTP_HEADER_AUTHORIZATION] > 1 || h->count[HTTP_HEADER_API_KEY] > 1)
		return "repeated key header";
	why = head_target(h);
	if (why == NULL)
		why = head_framing(h);
	out->expects_continue = !out->http10 && out->header[HTTP_HEADER_EXPECT].p != NULL &&
				http_str_is(out->header[HTTP_HEADER_EXPECT], "100-continue");
	return why;
}

MUST enum err_code
http_head_parse(struct http_head *out, const char *text, size_t len, struct err *e)
{
	struct http_head head = {0};
	struct head_parse h = {.out = &head};
	http_parser_settings on;
	http_parser p;
	size_t used;

	http_parser_settings_init(&on);
	on.on_url = on_url;
	on.on_header_field = on_name;
	on.on_header_value = on_value;
	on.on_headers_complete = on_headers;
	/* Our own limit has been kept already; the parser's counter must not be a second one. */
	http_parser_set_max_header_size(INT_MAX);
	http_parser_init(&p, HTTP_REQUEST);
	p.data = &h;
	used = http_parser_execute(&p, &on, text, len);
	if (h.why == NULL && HTTP_PARSER_ERRNO(&p) != HPE_OK)
		h.why = http_errno_description(HTTP_PARSER_ERRNO(&p));
	if (h.why == NULL && used != len)
		h.why = "bytes behind the head";
	if (h.why == NULL)
		h.why = head_judge(&h, &p, text);
	if (h.why != NULL)
		return err_set(e, ERR_INPUT, "malformed HTTP request: %s", h.why);
	*out = head;
	return ERR_OK;
}
