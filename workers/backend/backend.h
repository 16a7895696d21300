/* SPDX-License-Identifier: Apache-2.0 */
/*
 * backend.h - what the files of the backend worker share
 *
 * Three layers. Dialect (pure: bytes in, OpenAI bytes out; no clock, no I/O): the readers, answer,
 * error_map and the request and answer halves of every kind. Transport: http_call (plain HTTP or libcurl), or
 * the simulated model. Life: call and probe, which speak to the bus.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "config/config.h"
#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/breaker/breaker.h"
#include "lib/fault/fault.h"
#include "lib/sim/sim.h"
#include "schemas/msg.h"
#include "shm/board.h"
#include "workers/common/bus.h"
#include "workers/common/loop.h"

enum {
	EVENT_MAX_BYTES = BUS_EVENT_MAX, /* one event of an upstream's stream */
	ERROR_BODY_MAX = 64 * 1024,	    /* of an upstream's error that goes to the client */
	ANSWER_ID_MAX = 64,
	FINISH_MAX = 64,
	TOOL_BLOCKS_MAX = 128, /* tool calls in one answer */
	IMAGES_MAX = 256,      /* images in one request */
	PROBE_MODELS_MAX = 256
};

struct slice {
	const char *p;
	size_t len;
};

/* ---------------------------------------------------------------------------------------------
 * sse_reader.c, ndjson_reader.c - cut a byte stream into events, however the bytes arrive
 */

/* One event. name is "" where the stream gives none. data lives until the function returns. */
typedef enum err_code event_fn(
	void *arg, const char *name, const char *data, size_t len, struct err *e);

struct sse_reader {
	struct buf line;  /* begun, its end not seen */
	struct buf data;  /* of the event being read */
	size_t max_bytes; /* of one event */
	char name[40];
	bool has_data;
	bool after_cr; /* a LF that follows belongs to the CR before it */
	bool begun;
	bool foreign; /* saw a line that no event stream has, such as HTML or bare JSON */
};

/* Zero-initialised but for max_bytes. ERR_MALFORMED: an event larger than max_bytes. A code of fn
 * ends the feeding and is returned; the rest of the bytes is then lost. */
MUST enum err_code sse_feed(struct sse_reader *r, const char *p, size_t len, event_fn *fn, void *arg,
	struct err *e);
/* The stream ended: dispatch what stands there without its empty line. */
MUST enum err_code sse_end(struct sse_reader *r, event_fn *fn, void *arg, struct err *e);
void sse_fini(struct sse_reader *r);

struct ndjson_reader {
	struct buf line;
	size_t max_bytes;
};

MUST enum err_code ndjson_feed(struct ndjson_reader *r, const char *p, size_t len, event_fn *fn,
	void *arg, struct err *e);
MUST enum err_code ndjson_end(struct ndjson_reader *r, event_fn *fn, void *arg, struct err *e);
void ndjson_fini(struct ndjson_reader *r);

/* ---------------------------------------------------------------------------------------------
 * error_map.c - what an upstream's refusal means
 */

/* Headers that say when to come again, as they stood; filled for answers that are errors. */
struct retry_hints {
	char retry_after[48];
	char retry_after_ms[24];
	struct {
		char name[32]; /* what is limited: "requests", "tokens", ... */
		char reset[40];
		bool spent; /* nothing remains of it */
	} limits[8];
	size_t limits_len;
};

/* Keep the header if it is one of those. name and value are not NUL-terminated. */
void retry_hint_header(
	struct retry_hints *h, const char *name, size_t name_len, const char *value, size_t value_len);
/* Milliseconds from now_wall_ms until the hints let one come again; 0: they don't say. limited: a limit
 * is the reason, even where none is said to be spent; else resets of limits that are not spent mean nothing. */
uint32_t retry_hint_ms(const struct retry_hints *h, bool limited, uint64_t now_wall_ms);

struct refusal {
	unsigned status; /* HTTP; 0: an error inside a stream */
	const char *body;
	size_t len;
	const struct retry_hints *hints; /* NULL: none */
	uint64_t now_wall_ms;
};

/* Fill *e: code, one line of text, retry_after_ms. Returns the code, never ERR_OK. */
enum err_code error_map(struct err *e, const struct refusal *r);

/* ---------------------------------------------------------------------------------------------
 * answer.c - an upstream's answer on its way to OpenAI's shape
 */

struct usage {
	uint32_t prompt, completion, cached, reasoning;
	bool known;
};

/* A tool call of a block-wise stream (Anthropic): which block is which OpenAI index. */
struct tool_block {
	uint32_t block;
	bool open;
	bool has_arguments;
};

/* probs.c: how probable the upstream says that its tokens were. */
struct probs {
	bool wanted; /* the gateway wants to know */
	bool hidden; /* the client did not ask: it sees none of it */
	uint32_t tokens;
	double log_sum; /* of their natural logarithms */
};

struct answer {
	const struct backend_kind *kind;
	enum msg_endpoint endpoint;
	struct probs probs;
	bool want_usage; /* the client asked for a chunk with the usage */
	bool base64;	 /* embeddings as base64 of little-endian floats */
	char id[ANSWER_ID_MAX];
	char model[MODEL_MAX_LEN];
	uint64_t created_s;
	/* what came out */
	struct buf out; /* whole "data: ...\n\n" events nobody took yet */
	uint32_t tokens; /* text, reasoning and argument deltas in out */
	struct usage usage;
	char finish_reason[FINISH_MAX];
	uint64_t begun_choices, ended_choices; /* of OpenAI's shape, by index: seen; with a finish reason */
	bool done; /* the upstream said that it is complete */
	struct buf error_body; /* the error object that ended the stream */
	/* how far the reading is */
	bool begun; /* the first chunk, which names the role, is written */
	uint32_t events;
	struct sse_reader sse;
	struct ndjson_reader ndjson;
	uint32_t tools; /* tool calls begun */
	struct tool_block blocks[TOOL_BLOCKS_MAX];
};

void answer_init(struct answer *a, const struct backend_kind *kind, enum msg_endpoint endpoint);
void answer_fini(struct answer *a);

/* Stream: feed bytes as they arrive, then say that they ended. ERR_CUT: it ended too early. */
MUST enum err_code answer_feed(struct answer *a, const char *p, size_t len, struct err *e);
MUST enum err_code answer_end(struct answer *a, struct err *e);
/* Not a stream: *body is the upstream's on entry, the client's on return. */
MUST enum err_code answer_whole(struct answer *a, struct buf *body, struct err *e);

/* For the kinds: parse one event as a JSON object, or say what is wrong with it. */
MUST enum err_code answer_parse(struct json *out, const char *data, size_t len, struct err *e);
/* An error object arrived in a stream or under status 200. Always returns an error. */
MUST enum err_code answer_refused(struct answer *a, struct json whole, struct err *e);
/* Chunks: answer_chunk_begin, then members of delta, then answer_chunk_end. finish NULL: null. */
void answer_chunk_begin(struct answer *a);
void answer_chunk_end(struct answer *a, const char *finish);
/* One completions chunk; text may be JSON_NONE. */
void answer_text_chunk(struct answer *a, struct json text, const char *finish);
/* The chunk with no choices and the usage. */
void answer_usage_chunk(struct answer *a);
void answer_put_usage(struct buf *b, const struct usage *u);
void answer_put_tool_call(struct answer *a, struct buf *b, struct json id, struct json name);
/* Put log-probabilities, a JSON array of tokens, into the chunk that was just ended. */
void answer_chunk_logprobs(struct answer *a, struct json tokens);
/* An array of numbers as a string: base64 of little-endian 32-bit floats. */
void answer_put_base64(struct buf *b, struct json numbers);
void answer_put_base64_floats(struct buf *b, const float *values, size_t len);
void answer_set_finish(struct answer *a, const char *reason);
uint32_t answer_u32(struct json v); /* 0 where v is no such number */
/* Head of a whole answer: {"id":..,"object":object,"created":..,"model":.. */
void answer_head(struct answer *a, struct buf *b, const char *object);

/* ---------------------------------------------------------------------------------------------
 * probs.c - how sure a model is of its own answer
 */

/* Does the client's body ask for log-probabilities itself? */
bool probs_asked(struct json body);
void probs_add(struct probs *p, double logprob);
/* What a choice's "logprobs" holds, in OpenAI's forms for chat and completions, or Ollama's. */
void probs_read(struct probs *p, struct json logprobs);
/* The geometric mean of the probabilities; 0 where there were none. */
double probs_confidence(const struct probs *p);
/* Write a chunk or a whole answer without its choices' "logprobs", which become null. False: it has
 * none, nothing was written. */
bool probs_hide(struct buf *out, struct json whole);

/* ---------------------------------------------------------------------------------------------
 * request.c - the request on its way to the upstream
 */

/* What a client asked for: views into the ChatStart message and its payload. */
struct call_request {
	enum msg_endpoint endpoint;
	bool stream;
	const char *model; /* the upstream's name */
	const char *body;
	size_t body_len;
	size_t model_at, model_len; /* place of the model's value in body; len 0: none */
	size_t partial; /* bytes of a begun answer at the end of the conversation; 0: none */
	enum prefill prefill; /* how to have it gone on with */
	bool probs; /* ask for log-probabilities, which body does not */
};

enum { UPSTREAM_PARTS_MAX = 5 };

struct upstream_request {
	const char *path; /* below the API's base URL */
	struct slice parts[UPSTREAM_PARTS_MAX]; /* the body, in order; views into the client's body or `own` */
	size_t parts_len;
	size_t len;
	struct buf own;
	struct buf dropped; /* names of parameters the upstream has no place for */
	bool want_usage, base64; /* for the answer */
};

void upstream_request_fini(struct upstream_request *r);
/* Body = what was written to r->own. */
void upstream_request_own(struct upstream_request *r);
void upstream_request_drop(struct upstream_request *r, const char *name);
/* Neither absent nor null. */
bool request_says(struct json v);
/* A parameter that shunt can't express to this upstream. */
enum err_code request_unsupported(struct err *e, const char *upstream, const char *what);

/* Text of a message's content: a string as it is, or the text parts joined. */
void request_content_text(struct buf *out, struct json content);
/* "data:image/png;base64,AAAA": media type and the base64 text; false for any other URL. */
bool request_data_url(struct slice *media, struct slice *data, const struct buf *url);
/* The arguments of a tool call as a JSON object in *out ("" counts as {}). */
MUST enum err_code request_arguments(struct buf *out, struct json arguments, struct err *e);
/* max_completion_tokens or max_tokens; 0: not said. */
uint64_t request_max_tokens(struct json body);
/* Options that no upstream of another dialect can give: n > 1, logit_bias, audio, ... */
MUST enum err_code request_common(struct upstream_request *r, const char *upstream, struct json body,
	struct err *e);

/* ---------------------------------------------------------------------------------------------
 * embed.c - a body of /v1/embeddings and its answer, for kinds that make them here
 */

enum {
	EMBED_INPUTS_MAX = 2048, /* of one request, as OpenAI has it */
	EMBED_INPUT_BYTES_MAX = 1024 * 1024,
	EMBED_PIECE_INPUTS = 16, /* of one Embed message: others get their turn in between */
	EMBED_PIECE_BYTES = 4 * 1024 * 1024
};

/* Zero-initialised. */
struct embed {
	struct buf inputs; /* as they go into Embed messages */
	uint32_t count;	   /* of them */
	uint32_t dimensions; /* asked for; 0: all */
	bool base64;
	/* filled by who embeds */
	struct buf values; /* count times hidden floats */
	uint32_t hidden;
	uint64_t tokens;
	struct buf text; /* scratch */
};

/* ERR_INPUT names the field or the input. */
MUST enum err_code embed_read(struct embed *m, const char *body, size_t len, struct err *e);
/* The piece of m->inputs that starts at `at` and goes into one message: where it ends, and how many
 * inputs are in it. */
size_t embed_next(const struct embed *m, size_t at, uint32_t *count);
MUST enum err_code embed_write(struct buf *out, struct embed *m, const char *model, struct err *e);
void embed_fini(struct embed *m);

/* ---------------------------------------------------------------------------------------------
 * kind_<name>.c - one per row of config/kind_list.h
 */

enum framing { FRAMING_SSE, FRAMING_NDJSON };
enum auth_form { AUTH_BEARER, AUTH_X_API_KEY };

struct call;
struct probe;
struct backend;

/* How a kind's calls run: start once, then exactly one call_done unless stopped before. */
struct transport {
	MUST enum err_code (*start)(struct call *c, struct err *e);
	void (*resume)(struct call *c); /* the call may take bytes again */
	void (*stop)(struct call *c);	/* let go; nothing of it may call back after this */
	void (*probe)(struct probe *p); /* ends in exactly one probe_done unless stopped before */
	void (*probe_stop)(struct probe *p);
};

extern const struct transport transport_http;
extern const struct transport transport_sim;

struct probe_model {
	char name[MODEL_MAX_LEN];
	uint32_t context_tokens;
	uint32_t endpoints; /* 1 << enum msg_endpoint */
	enum tri tools, vision, json, loaded;
};

struct backend_kind {
	const char *name;
	const struct transport *transport;
	enum framing framing;
	enum auth_form auth;
	const char *extra_header; /* NULL: none */
	bool base_has_v1; /* clients of this API count "/v1" to the base URL */
	/* Dialect; NULL for kinds whose transport makes OpenAI's shape itself. */
	MUST enum err_code (*request)(
		struct upstream_request *out, const struct call_request *in, struct err *e);
	MUST enum err_code (*event)(
		struct answer *a, const char *name, const char *data, size_t len, struct err *e);
	MUST enum err_code (*whole)(struct answer *a, struct buf *body, struct err *e);
	/* Probe: the next exchange, false: no more. Then its answer; not OK ends the probe. */
	bool (*probe_next)(struct probe *p);
	MUST enum err_code (*probe_answer)(struct probe *p, unsigned status, struct json body,
		struct err *e);
};

extern const struct backend_kind *const backend_kinds[BACKEND_KINDS];

/* ollama_request.c, anthropic_request.c */
MUST enum err_code ollama_request(
	struct upstream_request *r, const struct call_request *in, struct err *e);
MUST enum err_code anthropic_request(
	struct upstream_request *r, const struct call_request *in, struct err *e);

/* prefill.c: the body for an OpenAI-compatible server that goes on with in->partial. */
MUST enum err_code prefill_write(struct buf *out, const struct call_request *in, struct err *e);

/* openai_scan.c: look into one chunk or body of OpenAI's shape without changing it. */
MUST enum err_code openai_scan(struct answer *a, struct json v, struct err *e);

/* ---- pace.c: how often to look at the upstreams' sockets ---------------------------------- */

/* Zero-initialise. */
struct pace {
	uint64_t window_ns; /* start of the window that is counted */
	uint64_t rest_ns;   /* end of the rest after the last look */
	unsigned pieces;    /* in this window */
	bool busy;	    /* in the last one */
};

/* A piece came of an answer that had begun before. */
void pace_count(struct pace *p);
/* Sockets are ready. 0: look at them now; else leave them until that moment. */
uint64_t pace_rest(struct pace *p, uint64_t now_ns);

/* ---------------------------------------------------------------------------------------------
 * http_call.c - one HTTP exchange on the worker's loop
 *
 * http_curl.c and http_plain.c carry it out; nobody else calls what is theirs.
 */

struct http;
struct http_call;

struct http_options {
	const char *proxy, *ca_file; /* NULL: none, the system's */
	bool tls_verify;
	const char *key;	  /* NULL: none */
	enum auth_form auth;
	const char *extra_header; /* NULL: none */
};

enum http_verdict { HTTP_GO_ON, HTTP_PAUSE, HTTP_STOP };

/* What is said of an answer with status 101. */
#define HTTP_SWITCHED "it switches to another protocol, which nobody asked for"

struct http_head {
	unsigned status; /* 0: no head came */
	char content_type[64];
	struct retry_hints hints; /* where status is an error */
};

/* on_sent and on_data may come from inside http_start and http_resume, on_done only from the loop. */
struct http_user {
	void *arg;
	void (*on_sent)(void *arg); /* connected, the request is being sent */
	enum http_verdict (*on_data)(void *arg, const char *p, size_t len);
	/* The exchange is over; code ERR_OK: the whole answer came, whatever its status. The
	 * http_call is gone when it returns. */
	void (*on_done)(void *arg, enum err_code code, const struct err *e);
};

/* http_headers.c: the fixed headers; calls that run keep the ones they began with */

struct http_headers;

struct http_headers *http_headers_new(const struct http_options *o);
struct http_headers *http_headers_ref(struct http_headers *h); /* one more owner; returns h */
void http_headers_unref(struct http_headers **h_p); /* wipes the key with the last owner */
void *http_headers_list(const struct http_headers *h); /* a struct curl_slist */
const struct buf *http_headers_text(const struct http_headers *h); /* whole lines, as they are sent */

/* http_sockets.c: which sockets are watched, and whose they are */

enum { HTTP_READY_MAX = 64 };

struct http_sockets;
struct plain_conn;

struct http_ready {
	int fd;
	uint32_t events; /* of epoll */
};

MUST enum err_code http_sockets_new(struct http_sockets **out, struct err *e);
void http_sockets_free(struct http_sockets **s_p);
int http_sockets_fd(const struct http_sockets *s); /* readable: one of them has events */
/* As socket and close. */
int http_sockets_open(struct http_sockets *s, int family, int type, int protocol);
int http_sockets_close(struct http_sockets *s, int fd);
/* An open socket's owner; NULL: it is curl's, or closed. */
void http_sockets_own(struct http_sockets *s, int fd, struct plain_conn *owner);
struct plain_conn *http_sockets_owner(struct http_sockets *s, int fd);
/* These events are waited for there; 0: none. False: errno says why. */
bool http_sockets_want(struct http_sockets *s, int fd, uint32_t events);
/* Those that have events which are wanted; returns how many. */
size_t http_sockets_ready(struct http_sockets *s, struct http_ready *out, size_t most);

/* http_error.c: what libcurl's result means for a call; easy is a CURL, code a CURLcode and not
 * CURLE_OK. proxy is NULL where there is none, detail is curl's own text, "" where it has none. */
enum err_code http_error(void *easy, const char *proxy, int code, const struct http_head *head,
	const char *detail, struct err *e);

struct http_request {
	const char *url;
	const struct slice *parts; /* NULL: GET; must live until the end, as must what they show */
	size_t parts_len;
	size_t len;
};

#define HTTP_USER_AGENT "shunt/" SHUNT_VERSION

enum {
	HTTP_KEPT_MAX = 512, /* open connections kept for the next call */
	HTTP_LINGER_MS = 500
};

/* What both engines share. */
struct http {
	struct loop *loop;
	struct http_headers *headers;
	bool proxied;
	struct http_sockets *sockets; /* the loop watches their epoll */
	struct loop_fd epoll;
	struct pace pace;
	struct loop_timer rest; /* the end of a rest from looking at the sockets */
	struct http_curl *curl;
	struct http_plain *plain;
	struct http_call *busy; /* exchanges under way, of both */
	loop_timer_fn *batch_fn;
	void *batch_arg;
};

struct http_engine {
	void (*resume)(struct http_call *c);
	void (*stop)(struct http_call *c);
	void (*linger)(struct http_call *c);
};

/* What the calls of both engines begin with. */
struct http_call {
	const struct http_engine *engine;
	struct http *http;
	struct http_call *next, *prev; /* in busy */
	struct http_user user;
	struct http_head head;
	bool began; /* a piece of the answer's body came */
};

/* An exchange begins: c is made anew and among the busy ones, until it is over. */
void http_call_begin(struct http_call *c, const struct http_engine *engine, struct http *h,
	const struct http_user *u);
void http_call_over(struct http_call *c);

/* Some exchanges moved: tell of those that ended, let the worker send what has piled up. */
void http_batch_done(struct http *h);
/* A header of the answer, after its status. */
void http_head_line(struct http_head *head, const char *name, size_t name_len, const char *value,
	size_t len);
/* A piece of the answer's body came. */
void http_count_piece(struct http_call *c);

/* http_curl.c */
struct http_curl;
MUST enum err_code http_curl_new(struct http_curl **out, struct http *http, struct err *e);
void http_curl_free(struct http_curl **h_p);
void http_curl_set_options(struct http_curl *h, const struct http_options *o);
MUST enum err_code http_curl_start(struct http_curl *h, struct http_call **out,
	const struct http_request *r, const struct http_user *u, struct err *e);
void http_curl_ready(struct http_curl *h, int fd, uint32_t events);
void http_curl_collect(struct http_curl *h); /* tell of exchanges that ended */

/* http_plain.c */
struct http_plain;
void http_plain_new(struct http_plain **out, struct http *http);
void http_plain_free(struct http_plain **h_p);
/* Is this URL plain HTTP to a numeric address? */
bool http_plain_can(struct http_plain *h, const char *url);
/* For the URL that http_plain_can was last asked about. */
void http_plain_start(struct http_plain *h, struct http_call **out, const struct http_request *r,
	const struct http_user *u);
void http_plain_ready(struct plain_conn *k, uint32_t events);

/* plain_conn.c: where plain HTTP goes to, and the connections there that are kept */

struct plain_call;

struct plain_target {
	struct sockaddr_storage address; /* zero but for what its family has */
	socklen_t len;
	char authority[64]; /* as the Host header wants it */
	size_t path_at; /* in the URL */
};

struct plain_conn {
	struct plain_pool *pool;
	struct plain_conn *next; /* in idle */
	int fd;
	struct sockaddr_storage address;
	bool connected;
	bool used; /* had an exchange before this one */
	bool deaf; /* takes nothing more: what it still says decides */
	uint64_t idle_ns;
	struct plain_call *call; /* NULL: idle */
};

/* The idle ones. */
struct plain_pool {
	struct http *http;
	struct plain_conn *idle; /* the latest first */
	size_t idle_len;
};

/* http://ADDRESS[:PORT]/...; false: anything else, or not sure. */
bool plain_target_read(struct plain_target *t, const char *url);
/* A kept connection to there, which is the caller's now; NULL: none. Those that are too old go. */
struct plain_conn *plain_conn_take(struct plain_pool *h, const struct plain_target *t);
/* Start to connect; NULL: errno says why not. */
struct plain_conn *plain_conn_open(struct plain_pool *h, const struct plain_target *t);
void plain_conn_keep(struct plain_conn *k); /* it is the pool's now */
void plain_conn_drop(struct plain_conn *k); /* an idle one ended, or says what nobody asked for */
void plain_conn_close(struct plain_conn **k_p);
void plain_pool_fini(struct plain_pool *h);

MUST enum err_code http_new(
	struct http **out, struct loop *loop, const struct http_options *o, struct err *e);
void http_free(struct http **h_p);
/* New key, proxy, CA; calls that run keep what they began with. */
void http_set_options(struct http *h, const struct http_options *o);
/* Called after each batch of socket work: send what has piled up. */
void http_on_batch(struct http *h, loop_timer_fn *fn, void *arg);

MUST enum err_code http_start(struct http *h, struct http_call **out, const struct http_request *r,
	const struct http_user *u, struct err *e);
const struct http_head *http_head(const struct http_call *c);
void http_resume(struct http_call *c); /* after HTTP_PAUSE */
void http_stop(struct http_call **c_p); /* close the stream or connection now */
/* All that matters came: let the exchange end by itself so that its connection can be used again,
 * but not for long. */
void http_linger(struct http_call **c_p);

/* ---------------------------------------------------------------------------------------------
 * key_file.c - the upstream's API key
 */
MUST enum err_code key_read(char **out, const char *path, struct err *e);
void key_free(char **key_p); /* overwrites it first */

/* ---------------------------------------------------------------------------------------------
 * sim_plan.c - what the simulated model (lib/sim/sim.h) makes of a request
 */

/* What a request asks of the simulated model; strings owned. */
struct sim_plan {
	uint64_t hash;
	uint32_t prompt_tokens;
	uint32_t tokens; /* after max_tokens and stop */
	bool is_length;	 /* max_tokens ended it */
	bool calls_tool;
	bool wants_usage;
	bool shows_probs; /* each token's log-probability in the answer */
	double confidence; /* each token's probability; 0: it tells none */
	struct buf text; /* of the answer, all of it */
	struct buf tool_name, tool_arguments;
};
MUST enum err_code sim_plan(struct sim_plan *out, const struct config_backend *config,
	const struct call_request *in, struct err *e);
void sim_plan_fini(struct sim_plan *p);

/* ---------------------------------------------------------------------------------------------
 * call.c, probe.c, asker.c, backend.c
 */

/* Who asked. */
struct asker {
	uint64_t request_id;
	uint64_t deadline_ns;
	unsigned slot;
	uint32_t generation;
};

enum call_phase {
	CALL_CONNECTING, /* connect deadline */
	CALL_WAITING,	 /* first byte deadline */
	CALL_READING,	 /* stall deadline, but for pauses */
	CALL_SETTLING	 /* the upstream is done with; waits for the client's credit */
};

struct sim_call;
struct embedding;

struct call {
	struct backend *backend;
	struct call *next;	 /* in its hash bucket */
	struct call *next_dirty; /* has bytes to send */
	bool dirty;
	bool paused;
	struct asker asker;
	enum call_phase phase;
	enum err_code result; /* in CALL_SETTLING */
	struct err failure;
	unsigned upstream_status;
	bool stream;
	char model[MODEL_MAX_LEN];
	struct bytes *body;	/* the client's */
	struct buf whole;	/* answer or error body being read */
	struct call_request asked;
	struct upstream_request request;
	struct answer answer;
	int64_t credit, credit_most;
	uint32_t seq, tokens;
	uint32_t first_byte_ms, idle_ms;
	uint64_t started_ns, sent_ns, first_ns, last_ns, token_ns;
	struct loop_timer timer;
	uint64_t armed_ns; /* of the timer; it may fire before it is due, never after */
	bool collect;	   /* the upstream's bytes go to whole, not to answer */
	struct deployment_stat *stat; /* NULL: the table is full */
	enum breaker_call guard;
	bool guarded; /* the breaker knows how it ended */
	struct http_call *http; /* the transport's, whichever it is */
	struct sim_call *sim;
	const struct transport *transport; /* the kind's, unless a fault takes its place */
	struct fault_call *fault; /* NULL: none on purpose */
	char fault_label[32];	  /* "kind#id" of it, "" */
	struct embedding *embedding; /* kind encoder */
};

void call_start(struct backend *b, const struct msg *m, struct bytes *payload);
void call_credit(struct call *c, uint32_t bytes);
/* A gateway asks whether it is under way. NULL: it is not; it never came, or our last message got
 * lost. */
void call_tell(struct backend *b, const struct call *c, const struct msg *m);
void call_cancel(struct call *c, const char *why);
struct call *call_find(struct backend *b, const struct msg *m);
/* Transport: the upstream was reached and has the request. */
void call_sent(struct call *c);
/* Transport: bytes of a stream were put into c->answer.out, or of a body came. */
void call_touched(struct call *c);
/* Transport: no more will come. ERR_OK: the answer (in c->answer, or c->whole) is complete. */
void call_done(struct call *c, enum err_code code, const struct err *e);
/* May the transport make more? */
bool call_is_full(const struct call *c);
/* Send everything that credit allows, for all calls that were touched. */
void call_flush_all(struct backend *b);
/* The upstream's bytes end this way; recorded for call_done, which follows. */
void call_spoil(struct call *c, const struct err *e);
/* The asker's life ended: nobody waits for these. */
void call_drop_orphans(struct backend *b);
void call_free_all(struct backend *b);

struct probe {
	struct backend *backend;
	struct probe *next;
	struct asker asker;
	bool discover;
	uint64_t started_ns;
	struct loop_timer timer;
	struct http_call *http;
	/* the exchange */
	unsigned step;
	bool at_root; /* path is below the server's root, not the API's base */
	bool optional; /* a refusal is no failure */
	struct buf path, body, answer, url;
	struct slice part;
	/* the findings */
	unsigned status; /* of the last exchange */
	bool listed; /* the model list is complete */
	struct probe_model *models;
	size_t models_len, models_at;
	uint32_t left_out; /* models without room there, or with a name too long */
	bool is_local; /* llama.cpp or vLLM: has /health */
	bool has_props;	/* llama.cpp */
};

void probe_start(struct backend *b, const struct msg *m);
void probe_done(struct probe *p, enum err_code code, const struct err *e);
void probe_free_all(struct backend *b);
void probe_drop_orphans(struct backend *b);
/* NULL: the list is full or the name too long. */
struct probe_model *probe_add(struct probe *p, struct json name);
struct probe_model *probe_find(struct probe *p, struct json name);

enum { CALL_BUCKETS = 1024, PLACE_WISHES_MAX = 64 };

/* What of the config must outlive it. */
struct backend_limits {
	uint32_t max_in_flight;
	uint32_t connect_ms, first_byte_ms, stall_ms;
	uint64_t response_bytes;
};

/* places.c: what a gateway wishes, or has been given and not used yet. */
struct place_wish {
	struct asker who;
	uint32_t level, rank, passed;
	bool kept;
	uint64_t until_ns; /* where kept */
};

struct places {
	struct place_wish wishes[PLACE_WISHES_MAX]; /* in the order they came */
	size_t len;
	uint32_t kept;
	int64_t kept_shown, wishes_shown; /* on the board */
	struct loop_timer timer;
};

struct backend {
	struct worker *w;
	const struct config_backend *config; /* what this life stands for, whatever a reload says */
	uint64_t config_hash;
	bool removed; /* a reload took this backend out */
	struct backend_limits limits;
	const struct backend_kind *kind;
	enum prefill learned; /* what the upstream seems to take */
	struct http *http;   /* NULL for kinds without */
	struct http *fault_http; /* to the bad server of a fault; NULL: none was needed yet */
	char *key;
	char *api_base, *root_base; /* URLs without trailing slash */
	struct call *calls[CALL_BUCKETS];
	struct call *dirty;
	uint32_t in_flight;
	struct places places;
	struct breaker breakers[STATS_MAX]; /* beside the rows of figures */
	struct probe *probes;
	uint32_t left_out_told; /* of the last list, in the log */
	struct sim *sim;
	struct name_row *names; /* names.c: of the config that names this server */
	size_t names_len;
	struct embedding *embeddings; /* kind encoder: calls that wait for a classifier */
	uint64_t next_question; /* ids of what they are asked */
};

/* places.c: places kept for gateways whose requests wait */
void places_wanted(struct backend *b, const struct msg *m);
/* A call wants to start: is there a place for it? It uses the one that was kept for its gateway. */
bool places_take(struct backend *b, const struct msg *m);
/* Places may be free: give them to whoever waits. */
void places_serve(struct backend *b);
void places_drop_orphans(struct backend *b);
void places_stop(struct backend *b);

/* names.c: what this server calls the config's models */
void names_learn(struct backend *b); /* the worker's config speaks of this server */
void names_fini(struct backend *b);
/* The server's name for the model that is asked for. */
void names_upstream(
	const struct backend *b, char out[MODEL_MAX_LEN], const struct msg_chat_start *s);

/* guard.c: the breakers of its deployments; s NULL: the table is full, there is none */
void guard_start(struct backend *b); /* take over what a former life published */
void guard_configure(struct backend *b); /* the config is another one */
bool guard_admits(struct backend *b, const struct deployment_stat *s);
void guard_begin(struct call *c);
/* The answer has begun: good enough for a trial. */
void guard_heard(struct call *c);
/* How it ended, once; ERR_CANCELLED: nobody waits for it any more. */
void guard_end(struct call *c, enum err_code code);

/* kind_sim.c */
void sim_free(struct sim **s_p);
/* The whole body that an OpenAI-compatible server would send for this call: SSE or JSON. */
MUST enum err_code sim_body(struct buf *out, const struct call *c, struct err *e);

/* http_transport.c: the upstream's view of the call in c->request, and where it goes; *out points
 * into url and c->request. */
MUST enum err_code transport_prepare(struct http_request *out, struct buf *url, struct call *c,
	struct err *e);
/* Run the call's exchange as r on h, which need not be its backend's own. */
MUST enum err_code transport_exchange(struct call *c, struct http *h, const struct http_request *r,
	struct err *e);

/* ---------------------------------------------------------------------------------------------
 * fault_body.c, fault_server.c, fault_call.c - faults on purpose
 *
 * A call that a fault meets is sent to a bad server: a socket on 127.0.0.1 that this worker itself
 * plays. What it sends, how it sends it and how it ends comes from the rule; where the rule lets the
 * real answer (or the simulated model's) through, that is relayed. So libcurl, the readers and the
 * error table see what a broken upstream would show them.
 */

/* A body on its way through a fault. Zero-initialise but for the first three. */
struct fault_body {
	const struct fault_rule *rule;
	enum framing framing;
	bool stream;
	bool struck;	   /* the fault has come: nothing more goes through, but for duplicate_event */
	struct buf event;  /* begun */
	uint64_t pieces, bytes; /* of text, so far */
};

/* Add to out what goes through. */
void fault_body_feed(struct fault_body *b, const char *p, size_t len, struct buf *out);
/* The real answer ended: what stands without its empty line goes through. */
void fault_body_end(struct fault_body *b, struct buf *out);
void fault_body_fini(struct fault_body *b);

enum fault_end { FAULT_END_NONE, FAULT_END_CLOSE, FAULT_END_RESET };
enum fault_server_mode { FAULT_SERVER_HTTP, FAULT_SERVER_TLS, FAULT_SERVER_REFUSES };

struct fault_server; /* for one connection */

/* asked: the whole head of a request (TLS: its first bytes) came. drained: all sent is out. */
struct fault_server_user {
	void *arg;
	void (*on_asked)(void *arg);
	void (*on_drained)(void *arg);
};

MUST enum err_code fault_server_open(struct fault_server **out, struct loop *loop,
	enum fault_server_mode mode, const struct fault_server_user *u, struct err *e);
void fault_server_close(struct fault_server **s_p);
unsigned fault_server_port(const struct fault_server *s);
/* Send bytes at a time, every ms; before anything is sent. */
void fault_server_drip(struct fault_server *s, uint64_t bytes, uint64_t ms);
void fault_server_send(struct fault_server *s, const void *data, size_t len);
/* After what was sent is out. */
void fault_server_end(struct fault_server *s, enum fault_end end);
size_t fault_server_pending(const struct fault_server *s);

/* Does a fault meet this call? Then its transport is transport_fault from here on. */
void fault_call_take(struct call *c, const struct msg_chat_start *s);
extern const struct transport transport_fault;

/* kind_encoder.c: what classifiers say */
void embedding_on_embedded(struct backend *b, const struct msg *m, struct bytes *payload);
void embedding_on_fail(struct backend *b, const struct msg *m);
void embedding_board_changed(struct backend *b);

/* Does the life that asked still live? */
bool asker_lives(struct backend *b, const struct asker *who);
/* Some work ended: a draining worker may be done. */
void asker_work_ended(struct backend *b);
/* One message to whoever asked. False: that life is gone or its queue is full. */
bool asker_reply(struct backend *b, const struct asker *to, struct msg *m, struct bytes *payload);
