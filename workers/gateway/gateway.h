/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway.h - what the files of this folder share; included only here and by the tests of it
 *
 * From below upwards: http_* speaks HTTP/1.1 with clients and knows nothing of models; auth,
 * chat_body, catalog, metrics and status are single nouns; request is one routed request from its
 * decision to its only answer; api is the table of endpoints; gateway.c is the worker.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/config.h"
#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/breaker/breaker.h"
#include "lib/queue/queue.h"
#include "lib/routing/judge.h"
#include "lib/routing/route.h"
#include "lib/routing/scorers.h"
#include "schemas/msg.h"
#include "shm/board.h"
#include "workers/common/loop.h"

struct gateway;
struct request;
struct worker;

/* ---- http_request.c: one request head ---------------------------------------------------- */

/* Bytes of somebody else's buffer. */
struct http_str {
	const char *p;
	size_t len;
};

/* The only headers that are looked at; the others are checked for form and dropped. */
#define HTTP_HEADER_LIST(X)                                                                        \
	X(HOST, "host")                                                                            \
	X(CONTENT_LENGTH, "content-length")                                                        \
	X(TRANSFER_ENCODING, "transfer-encoding")                                                  \
	X(EXPECT, "expect")                                                                        \
	X(FAULT, "x-shunt-fault")                                                                  \
	X(CONTENT_ENCODING, "content-encoding")                                                    \
	X(AUTHORIZATION, "authorization")                                                          \
	X(API_KEY, "x-api-key")                                                                    \
	X(REQUEST_ID, "x-request-id")                                                              \
	X(PRIORITY, "x-shunt-priority")                                                            \
	X(SESSION, "x-shunt-session")

enum http_header {
#define X(symbol, name) HTTP_HEADER_##symbol,
	HTTP_HEADER_LIST(X)
#undef X
	HTTP_HEADERS
};

/* Views into the text it was parsed from. */
struct http_head {
	unsigned method; /* enum http_method of http_parser.h */
	bool http10;
	bool keep_alive;
	bool chunked;
	bool expects_continue;
	uint64_t body_bytes; /* Content-Length; 0 where chunked or without a body */
	struct http_str path;  /* without the query; "*" for OPTIONS * */
	struct http_str query;
	struct http_str header[HTTP_HEADERS]; /* the first of each name; p NULL: not there */
};

/* How far a head was looked through, so that each byte is looked at once. */
struct http_scan {
	size_t at;
	size_t line_at; /* start of the line being read */
	bool after_cr;
	bool lines;	/* a whole line was seen */
};

enum http_scan_result { HTTP_SCAN_MORE, HTTP_SCAN_DONE, HTTP_SCAN_BAD };

/* Look for the end of the head in data[0..len); DONE: s->at is the length of the head. BAD for any
 * byte or line form that no head may hold, as soon as it is there; *why tells. */
enum http_scan_result http_scan(struct http_scan *s, const char *data, size_t len,
	const char **why);

/* Parse a whole head, its empty line included. ERR_INPUT for anything ambiguous. */
MUST enum err_code http_head_parse(struct http_head *out, const char *text, size_t len,
	struct err *e);

bool http_str_is(struct http_str s, const char *text); /* ASCII case ignored */

/* ---- http_chunk.c: a chunked body -------------------------------------------------------- */

struct http_chunk {
	unsigned state;
	unsigned digits;
	uint64_t left;	/* of the current chunk */
	size_t line;	/* bytes of the current extension or of all trailers */
};

enum http_chunk_result { HTTP_CHUNK_MORE, HTTP_CHUNK_DONE, HTTP_CHUNK_BAD, HTTP_CHUNK_TOO_LARGE };

/* Decode data[0..len) onto body, which may hold body_max bytes at most; *used: bytes consumed. */
enum http_chunk_result http_chunk_feed(struct http_chunk *k, const char *data, size_t len,
	size_t *used, struct buf *body, uint64_t body_max);

/* ---- http_conn.c: one client connection -------------------------------------------------- */

enum conn_phase {
	CONN_IDLE,   /* waits for the first byte of a request */
	CONN_HEAD,   /* reads a request head */
	CONN_BODY,   /* reads a request body */
	CONN_BUSY,   /* a request is being answered or its answer being written */
	CONN_LINGER, /* answered; throws away what the client still sends, so that it reads the answer */
	CONN_CLOSED  /* waits to be freed at the end of the turn */
};

struct http_peer {
	bool is_unix;
	uid_t uid; /* of a Unix socket's other end */
	uint64_t address; /* hash of the IP address */
};

struct http_conn {
	struct http_server *server;
	struct http_conn *next, *prev; /* of the server's list */
	struct http_conn *next_dirty, *next_dead;
	struct loop_fd fd;
	struct loop_timer timer; /* of the phase */
	enum conn_phase phase;
	struct http_peer peer;

	struct buf in;	/* read, not consumed from in_at on */
	size_t in_at;
	struct buf head_text; /* of the current request: `head` points into it */
	struct http_head head;
	struct http_scan scan;
	struct http_chunk chunk;
	struct buf body_buf;
	struct bytes *body; /* the whole body; NULL: empty */
	uint64_t body_start_ns;

	struct buf out; /* to be written from out_at on; then */
	size_t out_at;
	struct bytes *out_body; /* from out_body_at on */
	size_t out_body_at;
	bool dirty;	/* in the server's list of connections to flush */
	bool replied;	/* nothing will be added to the answer */
	bool committed; /* a status line was written for the current request */
	bool streaming; /* between http_stream_begin and its end */
	bool closing;	/* close after this answer */
	bool used;	/* had a request before */
	bool unread;	/* the client may still be sending: linger before close */

	const void *endpoint; /* of api.c */
	void *owner;	      /* of who answers asynchronously: struct request */
};

/* What the layer above does. All get the connection; server->arg leads to their own state. */
struct http_ops {
	/* The head is there, the body is not: reply to refuse it (http_reply_*) or do nothing. */
	void (*on_head)(struct http_conn *c);
	/* The whole request is there: reply now, or keep c as long as on_gone was not called. */
	void (*on_request)(struct http_conn *c);
	/* The client left, or takes nothing, before the answer was complete: c ends. */
	void (*on_gone)(struct http_conn *c);
	/* The client took bytes of a stream. */
	void (*on_taken)(struct http_conn *c);
	/* The last connection of a draining server ended. */
	void (*on_drained)(struct http_server *s);
	/* counters grow and gauges move by n */
	void (*count)(struct http_server *s, enum counter which, int64_t n);
};

/* Own one connected, non-blocking socket from here on; closed, and NULL, where that fails. */
struct http_conn *http_conn_open(struct http_server *s, int fd, struct http_peer peer);
void http_conn_close(struct http_conn *c);
/* No (further) request can be read here: answer with e, then close. */
void http_conn_refuse(struct http_conn *c, const struct err *e);
/* Something was added to out, or the answer is complete: write it at the end of this turn. */
void http_conn_dirty(struct http_conn *c);
/* Write what is there; finishes the request when all of a complete answer is written. */
void http_conn_flush(struct http_conn *c);
/* Answer bytes the socket has not taken yet. */
size_t http_conn_pending(const struct http_conn *c);
void http_conn_free(struct http_conn *c);

/* ---- http_server.c: listening, limits, end of turn --------------------------------------- */

enum { HTTP_LISTENERS_MAX = 16, HTTP_DATE_MAX = 40 };

struct http_listener {
	struct loop_fd fd;
	struct http_server *server;
	bool is_unix;
};

struct http_server {
	struct loop *loop;
	const struct config_limits *limits;
	const struct http_ops *ops;
	void *arg;
	struct http_conn *conns, *dirty, *dead;
	unsigned open;
	bool draining;
	struct http_listener listeners[HTTP_LISTENERS_MAX];
	size_t listeners_len;
	struct loop_timer accept_timer; /* listens again after running out of descriptors */
	char date[HTTP_DATE_MAX];
	uint64_t date_s;
};

/* limits, ops and loop stay the caller's and must outlive the server. */
void http_server_init(struct http_server *s, struct loop *loop, const struct config_limits *limits,
	const struct http_ops *ops, void *arg);
/* The descriptors stay the caller's. */
MUST enum err_code http_server_listen(struct http_server *s, const int *fds, size_t len,
	struct err *e);
/* Accept nothing more, close idle connections, new ones after a second; on_drained comes when the last
 * one has ended. */
void http_server_drain(struct http_server *s);
/* Close everything, without on_gone. */
void http_server_fini(struct http_server *s);
/* Value of the Date header for now. */
const char *http_server_date(struct http_server *s);

/* ---- http_reply.c: answers --------------------------------------------------------------- */

/* Add "name: value\r\n"; bytes that no header may hold become '?', long values are cut. */
void http_put_header(struct buf *out, const char *name, const char *value);
void http_put_retry_after(struct buf *out, uint32_t ms);
/* Add a JSON error body in OpenAI's shape; param NULL: null. */
void http_put_error(struct buf *out, const struct err *e, const char *param);

/* headers: whole lines from http_put_header, or NULL. One of these once per request. */
void http_reply(struct http_conn *c, unsigned status, const char *type, const struct buf *headers,
	const void *body, size_t len);
/* As above; takes its own reference to body. */
void http_reply_bytes(struct http_conn *c, unsigned status, const char *type,
	const struct buf *headers, struct bytes *body);
void http_reply_error(struct http_conn *c, const struct err *e, const char *param,
	const struct buf *headers);
void http_continue(struct http_conn *c); /* 100 Continue */

/* An event stream: chunked for HTTP/1.1, until close for 1.0. trailer NULL: none is announced. */
void http_stream_begin(struct http_conn *c, const struct buf *headers, const char *trailer);
void http_stream_add(struct http_conn *c, const void *data, size_t len);
/* trailers: as headers. The connection stays open. */
void http_stream_end(struct http_conn *c, const struct buf *trailers);
/* End the stream by an error event. It is whole as HTTP, so the connection stays. */
void http_stream_fail(struct http_conn *c, const struct err *e);

/* ---- auth.c: who may ask for what -------------------------------------------------------- */

enum { AUTH_KEY_MAX = 256, AUTH_KEYS_MAX = 4096 };

enum auth_level { AUTH_OPEN, AUTH_CLIENT, AUTH_ADMIN };

struct auth;

/* Read the key files of the config; ERR_CONFIG or ERR_SYS where one can't be trusted or read. */
MUST enum err_code auth_load(struct auth **out, const struct config_auth *c, struct err *e);
void auth_free(struct auth **a_p);
/* The name before the key in the keys file, "uid:N" on a Unix socket, else "". For faults_*. */
void auth_user(const struct auth *a, struct http_peer peer, const struct http_head *head,
	char out[NAME_MAX_LEN]);
/* Whose request it is, where users are told apart. */
struct auth_who {
	uint64_t user; /* a name of the keys file, a key, a Unix user or an IP address, as a hash */
	enum priority said; /* of the keys file; PRIORITY_USER: nothing */
};
void auth_identify(const struct auth *a, struct http_peer peer, const struct http_head *head,
	struct auth_who *out);
/* The priority of a request of such a route; its header may lower it, and raise it as far as the keys
 * file says. */
enum priority auth_priority(const struct auth_who *who, enum priority route,
	const struct http_head *head);
/* May this peer with these headers do what needs level? ERR_AUTH or ERR_FORBIDDEN. */
MUST enum err_code auth_check(const struct auth *a, enum auth_level level, struct http_peer peer,
	const struct http_head *head, struct err *e);

/* ---- chat_body.c: a request body to what routing asks about ------------------------------ */

enum { FALLBACKS_MAX = 16 };

/* Everything points into the body it was read from, or into `text` and `model`. */
struct chat_body {
	struct route_request route; /* model: set where the body names one */
	bool dealt; /* route.seed is its turn, also when it is decided again */
	char model[MODEL_MAX_LEN];
	char forced[NAME_MAX_LEN]; /* "route" of POST /v1/route */
	uint32_t model_at; /* where the value of "model" stands, quotes included */
	uint32_t model_len; /* 0: no model */
	uint32_t cut_at, cut_len; /* what no upstream must see: the member "fallbacks" */
	const char *fallbacks[FALLBACKS_MAX]; /* in names */
	struct buf names;
	const char *param; /* the field a fault is about; NULL: the body as a whole */
	struct buf text;   /* decoded turns */
	struct json messages;	/* views of the body; JSON_NONE: not there */
	struct json first_turn; /* content of the first user turn */
	struct json user;
	struct json session; /* metadata.session_id or a name like it */
};

enum chat_body_form { CHAT_BODY_REQUEST, CHAT_BODY_QUESTION /* of POST /v1/route */ };

/* Check and walk body[0..len), which must outlive *out. *out is filled as far as it came and is the
 * caller's to chat_body_fini, also after an error; it must be zero or finished before. */
MUST enum err_code chat_body_read(struct chat_body *out, enum route_endpoint endpoint,
	enum chat_body_form form, const char *body, size_t len, struct err *e);
/* All messages that are no user turns, latest first, decoded; at most so many bytes. Replaces *out. */
void chat_body_others(const struct chat_body *b, struct buf *out, size_t most);
/* Move to another place; *from is empty after. The body's bytes must stay where they are. */
void chat_body_move(struct chat_body *to, struct chat_body *from);
void chat_body_fini(struct chat_body *b);

/* ---- catalog.c: config and profile rows as routing sees them ------------------------------ */

/* A snapshot that requests keep alive; the figures of the newest one are kept fresh. */
struct catalog {
	struct route_catalog route;
	struct route_deployment *deployments; /* = route.deployments */
	struct catalog_row *rows; /* beside deployments */
	unsigned owners;
	bool serves; /* a deployment can take a request now */
	uint64_t made_ns;
};

struct catalog_row {
	int slot;   /* of the backend's worker; -1: none */
	bool ready; /* that worker is, when the catalog was made */
	bool coming; /* slot is -1 only because it waited out its restart delay then */
	uint32_t first_byte_ms, stall_ms;
	float latency_ms; /* of a whole call; 0: not measured */
	const struct deployment_stat *stat; /* on the board; NULL: it was never called there */
	float failure_rate; /* the profiler's */
	uint64_t suspect_ns; /* when the profiler was last told */
	char backend[NAME_MAX_LEN];
	char upstream[MODEL_MAX_LEN];
	char model[MODEL_MAX_LEN];
	char why[128];
};

/* Build one from what stands on the board now; the caller is its first owner. */
struct catalog *catalog_new(const struct config *c, const struct board *board);
struct catalog *catalog_ref(struct catalog *k);
void catalog_unref(struct catalog **k_p);
/* Look again at calls in flight and breakers: a few loads per deployment. */
void catalog_refresh(struct catalog *k, const struct board *board);

/* ---- ttl.c: what is remembered for a while ------------------------------------------------ */

struct ttl;

/* Room for about so many values of so many bytes, multiples of 8 apart. */
void ttl_new(struct ttl **out, size_t values, size_t value_bytes);
void ttl_free(struct ttl **t_p);
/* The value of a key (never 0) that is no older than age_ns; NULL: none. Valid until the next put. */
void *ttl_get(struct ttl *t, uint64_t key, uint64_t now_ns, uint64_t age_ns);
/* The place for a value, to be filled in; what was there before is undefined. */
void *ttl_put(struct ttl *t, uint64_t key, uint64_t now_ns);

/* ---- scorer_files.c ----------------------------------------------------------------------- */

/* Is this process here to stay, or will another one take its place because of this config? */
enum scorer_files_use { SCORER_FILES_STAY, SCORER_FILES_LAST };
/* Open what the config names; *s_p is the set until now (NULL: none) and the new one after. */
void scorer_files_load(struct scorers **s_p, const struct config *c, enum scorer_files_use use);

/* ---- judge.c: what a scorer says of a prompt ----------------------------------------------- */

enum { JUDGE_DEADLINE_MS = 200 /* where no route says */ };

/* What a classifier said, or why it did not. */
struct ask_answer {
	enum route_answer answer; /* JUDGE_READY or JUDGE_FAILED */
	double want;		  /* its own word, where that was asked for */
	const float *embedding;	  /* likewise */
	size_t embedding_len;
	uint64_t identity; /* of the model that made it */
	const char *why;   /* JUDGE_FAILED */
};

/* One decision's questions; where a classifier must be asked, what to ask it. */
struct judge_call {
	struct gateway *g;
	const struct chat_body *body;
	struct route_judge judge; /* of body->route */
	/* of judge_call_hear; JUDGE_LATER: nobody was asked yet */
	enum route_answer answer;
	double want;
	struct buf embedding; /* floats */
	uint64_t identity;
	char why[ROUTE_WHY_MAX];
	/* filled in by a decision that is pending */
	char encoder[NAME_MAX_LEN];
	bool embeds; /* its embedding is wanted, not its own word */
	struct buf text;
	uint64_t asked; /* a hash of these three */
	uint64_t forgot; /* the gateway's when it was asked */
	uint32_t deadline_ms;
	struct buf others; /* of the body, for the text policy `all` */
	bool others_read;
};

/* The body's route request asks through call from here on. */
void judge_call_init(struct judge_call *call, struct gateway *g, struct chat_body *body);
void judge_call_move(struct judge_call *to, struct judge_call *from, struct chat_body *body);
void judge_call_fini(struct judge_call *call);
/* The classifier has answered, or will not: the decision can be made. */
void judge_call_hear(struct judge_call *call, const struct ask_answer *a);
/* Scorers or config are others: remember nothing. */
void judge_forget(struct gateway *g);

/* ---- ask.c: questions to classifiers ------------------------------------------------------- */

/* One question under way; id 0: none. */
struct ask {
	struct gateway *g;
	struct ask *next, *prev;
	uint64_t id;
	bool embeds; /* as in judge_call */
	unsigned slot;
	uint32_t generation;
	struct loop_timer timer;
	void (*done)(struct ask *a, const struct ask_answer *answer);
	void *arg;
};

/* Ask what call notes; done comes once, later, from the loop. False where nobody can be asked: *why
 * says it, and done does not come. g, done and arg are set by the caller. */
bool ask_start(struct ask *a, const struct judge_call *call, char why[ROUTE_WHY_MAX]);
/* Nobody is interested any more. */
void ask_drop(struct ask *a);
/* Classifiers ended: what was asked of them is answered now. */
void asks_board_changed(struct gateway *g);
void ask_on_classified(struct worker *w, const struct msg *m, struct bytes *payload);
void ask_on_fail(struct worker *w, const struct msg *m, struct bytes *payload);

/* ---- prompt_log.c: prompts that the config wants written down ------------------------------ */

struct prompt_log;

MUST enum err_code prompt_log_start(struct gateway *g, struct err *e);
void prompt_log_stop(struct gateway *g);
/* One prompt of a route, with how sure a model was of its answer to it where that is known. */
struct prompt_log_note {
	const char *route; /* "": none */
	const char *model; /* NULL: not known */
	double confidence;
};
void prompt_log_add(struct gateway *g, const struct route_request *r,
	const struct prompt_log_note *note);

/* ---- decide.c: a decision, its conversation, its shadow ------------------------------------ */

/* Who asks, in which conversation; 0: not known. */
struct decide_who {
	uint64_t who;
	uint64_t session;
	bool session_said; /* by the client, or this is not the first turn */
};

/* Fill in the model or route of a body that names none, then decide into g->decision, which may be
 * pending. call: of judge_call_init. */
MUST enum err_code decide_make(struct gateway *g, struct chat_body *b, const struct decide_who *who,
	uint64_t *took_ns, struct err *e);
struct decide_who decide_identify(const struct chat_body *b, const struct http_head *head);
/* A request went the way of g->decision: remember its conversation. */
void decide_remember(struct gateway *g, const struct decide_who *who);
/* Let the route's shadow decide, too; takes the body over where it must wait. */
void decide_shadow(struct gateway *g, const char *id, struct chat_body *b);
/* The answer of POST /v1/route. */
void decide_explain(struct buf *out, struct gateway *g, struct chat_body *b, uint64_t took_ns);

/* ---- wait.c: a request that waits for a classifier ------------------------------------------ */

struct wait {
	struct ask ask;
	struct judge_call call;
	struct chat_body body;
	struct decide_who who;
	uint64_t since_ns;
};

/* The decision is pending: ask, and go on with request_decide when there is an answer or none to
 * come. Takes body and call over. */
void wait_start(struct request *r, struct chat_body *body, struct judge_call *call,
	const struct decide_who *who);
void wait_free(struct wait **w_p);

/* ---- metrics.c, status.c ----------------------------------------------------------------- */

/* Prometheus text of every row of counter_list.h, over all slots. */
void metrics_put(struct buf *out, const struct board *board);
const char *metrics_role_name(uint32_t role); /* "?" where out of range */
/* The JSON of `shunt status --json`. */
void status_put(struct buf *out, const struct board *board, const struct config *config,
	const struct catalog *catalog);

/* ---- record.c: the record of every request and every attempt ----------------------------- */

struct journal;

/* Open this gateway's ring, where the config wants a journal. */
MUST enum err_code record_start(struct gateway *g, struct err *e);
void record_stop(struct gateway *g);
/* May a request begin? ERR_UNAVAILABLE: its record would be lost, and the config forbids that. */
MUST enum err_code record_admits(const struct gateway *g, struct err *e);
/* The attempt under way is over. code ERR_OK: with an answer, whose end is given. */
void record_attempt(const struct request *r, enum err_code code, uint16_t http,
	const struct msg_chat_end *end);
/* The request is over, with this status; before the last of its answer is written. */
void record_request(const struct request *r, unsigned status);
/* A request that was refused before it was one: a bad body, too many. */
void record_refused(struct gateway *g, const struct http_conn *c, enum route_endpoint endpoint,
	const struct err *e);

/* ---- hop.c: the deadlines of one attempt --------------------------------------------------------- */

enum hop_backend { HOP_UNASKED, HOP_ASKED, HOP_AT_WORK };

struct hop {
	enum hop_backend backend; /* is it at work on it? */
	uint64_t look_ns; /* when to look again */
};

/* An attempt was sent. */
void hop_begin(struct request *r);
/* A piece of its answer came. */
void hop_moved(struct request *r);
/* The backend says that it is at work on it. */
void hop_is_at_work(struct hop *h);
/* Look at the attempt under way: false where it had its time, and failed. Else look_ns is set. */
bool hop_goes_on(struct request *r);
/* The attempt under way is another one now. */
void hop_arm(struct request *r);

/* ---- hedge.c: two attempts at once, for the first that answers --------------------------------- */

/* What is kept of an attempt while the other one of the two is "under way"; id 0: there is none. */
struct attempt_kept {
	uint64_t id;
	int slot;
	uint32_t generation, n, seq;
	uint16_t row;
	uint64_t attempt_ns, last_ns;
	struct hop hop;
};

/* An attempt was sent: start another one when it is late. */
void hedge_arm(struct request *r);
/* A piece or the end of an answer came: its attempt is the one under way, the other is cancelled. */
void hedge_heard(struct request *r, const struct msg *m);
/* A failure came: its attempt is the one under way. */
void hedge_turn(struct request *r, const struct msg *m);
/* The attempt under way failed: the other takes its place; false: there is none. */
bool hedge_take_over(struct request *r);
bool hedge_is(const struct request *r, const struct msg *m);
/* The other one is not wanted any more. */
void hedge_drop(struct request *r, const char *reason);
/* The life that the other one runs on ended. */
void hedge_board_changed(struct request *r);

/* ---- chain.c: who may be tried after a failure ----------------------------------------------- */

/* The attempt under way failed so: pass over candidates that would fail the same way. */
void chain_narrow(struct request *r, const struct err *e);
/* No candidate is left: pause, then try one again whose failure may be over. False: there is none. */
bool chain_retry(struct request *r);

/* ---- resume.c: one stream out of several attempts ------------------------------------------ */

enum resume_turn { RESUME_RESTART, RESUME_CONTINUE };

struct resume {
	enum mid_stream policy;
	enum route_endpoint endpoint;
	uint32_t hold;	 /* tokens kept back before the first goes out */
	struct buf held; /* events kept back; NULL data: none */
	size_t seen;	 /* of them, read along */
	size_t text_before; /* text.len before what is held */
	/* what the client has, and with what is held */
	struct buf text; /* of choice 0 */
	uint32_t tokens;
	bool began, finished; /* a chunk, a finish_reason */
	bool mixed;   /* more than plain text of one choice */
	bool calling; /* a tool call has begun */
	struct buf id, created, model; /* JSON values of its first chunk */
	/* since the stream broke */
	bool later;  /* another attempt's chunks follow */
	bool marked; /* and the client was told */
	enum resume_turn turn;
	struct buf owed; /* white space the client has and the backend may say again */
	uint32_t prompt_before, completion_before; /* tokens of the attempts before */
};

void resume_new(struct resume **out, enum mid_stream policy, uint32_t hold,
	enum route_endpoint endpoint);
void resume_free(struct resume **s_p);
/* Read whole events; add to out what the client gets of them. ERR_MALFORMED. */
MUST enum err_code resume_read(struct resume *s, struct buf *out, const char *data, size_t len,
	struct err *e);
/* The stream broke: s->turn says how it goes on. body is the client's. */
void resume_turn(struct resume *s, const char *body, size_t len);
/* It broke before the client got anything. */
void resume_reset(struct resume *s);
/* The body for a backend that goes on with the text; returns how many bytes of text are in it: 0:
 * nothing was written, the client's own body will do. */
uint32_t resume_body(struct resume *s, struct buf *out, struct json body, uint32_t *model_at);
struct resume_note {
	uint32_t attempt;
	const char *model, *backend;
	enum err_code code; /* why the one before ended */
};
/* The event that tells the client. */
void resume_mark(struct resume *s, struct buf *out, const struct resume_note *note);

/* ---- cascade.c: is the weak model sure of its own answer? --------------------------------------- */

enum cascade_state {
	CASCADE_OFF,
	CASCADE_ASKS,	/* what the weak model answers is judged before it is shown */
	CASCADE_PASSED, /* it was, or can't be: what comes is shown */
	CASCADE_ASIDE,	/* it was unsure: a strong one is asked */
	CASCADE_GIVEN	/* and none answered: the weak model once more, as it is */
};

struct cascade {
	enum cascade_state state;
	double threshold;  /* of the confidence */
	const char *model; /* the weak one's; of the request's catalog */
	/* of the attempt under way */
	uint32_t judged; /* tokens that it told the probability of; 0: none */
	double confidence;
	double found; /* confidence that decided; negative: none did */
};

/* The decision is taken, the catalog and candidates are there. */
void cascade_begin(struct request *r, const struct route_decision *d);
/* Is an attempt at r's row judged? Not one that goes on with what the client has seen. */
bool cascade_asks(const struct request *r);
/* A piece, or the end, of its answer came. */
void cascade_heard(struct request *r, uint32_t judged, float confidence);
/* As much of the answer is there as is judged by: is it too unsure to be shown? Says yes at most once
 * for a request. */
bool cascade_is_unsure(struct request *r);
/* The attempt under way is unsure: a strong model answers. billed: it is accounted for, and over. */
enum cascade_end { CASCADE_UNDER_WAY, CASCADE_ENDED };
void cascade_put_aside(struct request *r, enum cascade_end end);
/* The attempt failed: was it perhaps for what we asked for? Then the same one may be tried again,
 * without. */
bool cascade_stops_asking(struct request *r, enum err_code code);
/* r fails, whoever might answer: nobody else is asked. */
void cascade_ends(struct request *r);
/* r is about to fail: true where the weak model answers after all. */
bool cascade_gives(struct request *r);

/* ---- stream.c: pieces on their way to the client --------------------------------------------- */

/* Takes a piece of the attempt under way. An error: the attempt is no good; ERR_UNSURE: for a cascade,
 * and the client got nothing of it. */
MUST enum err_code stream_add(struct request *r, const struct bytes *payload, uint32_t tokens,
	struct err *e);
/* Status line and headers, before anything is known of the answer. */
void stream_notice_begin(struct request *r);
/* Has the client got anything of an answer? */
bool stream_is_seen(const struct request *r);
/* The answer is complete. */
void stream_end(struct request *r);

enum stream_verdict {
	STREAM_UNSEEN,	/* the client has nothing: any candidate may answer */
	STREAM_RESUMES, /* the next candidate takes over */
	STREAM_WHOLE,	/* the answer was complete already */
	STREAM_LOST	/* only an error event is left */
};
/* The attempt under way failed. */
enum stream_verdict stream_broke(struct request *r, enum err_code code);
/* What the next attempt sends; the caller's to unref. partial: as in ChatStart. */
struct bytes *stream_body(struct request *r, uint32_t *model_at, uint32_t *partial);

/* ---- admit.c: breakers and the budget for retries --------------------------------------------- */

/* Is the deployment left alone now? Look again at *look_ns. */
bool admit_cools(const struct request *r, uint16_t row, unsigned slot, uint64_t *look_ns);
/* When to look again at what may be asked from look_ns on; 0: that is longer than r may wait. */
uint64_t admit_wait(struct request *r, uint64_t look_ns);
/* Is a deployment that answered with e worth another try after the pause? */
bool admit_again(const struct request *r, const struct err *e);
/* A request came; it pays a share of a retry, and of a hedge. */
void admit_earn(struct gateway *g);
/* May an attempt follow one that failed? */
bool admit_retry(struct gateway *g);
/* May one start beside another that is late? Taken from what fails, that would have no retry left. */
bool admit_hedge(struct gateway *g);
/* What the breaker says of it now. */
void admit_fill(struct catalog_row *row, struct route_deployment *d);
/* Failure rates as the breakers see them, and who fails much more than its siblings. */
void admit_rates(struct catalog *k, uint32_t min_calls);

/* ---- place.c: requests that wait for a place at a backend ---------------------------------------- */

/* What this gateway told the backend in a slot. */
struct place_wish {
	bool open;
	uint8_t level;
	uint32_t generation; /* of the backend's life that it was said to */
	uint64_t id;	     /* the same while it is open, however often it is said */
};

struct places {
	struct queue *queue;
	struct place_wish wishes[SLOTS_MAX];
	uint32_t running[SLOTS_MAX]; /* attempts of this gateway under way */
	uint64_t cost_us[SLOTS_MAX]; /* of one, as a moving average; 0: none has ended yet */
	int64_t shown[3]; /* gauges on the board, from COUNTER_QUEUE_LEN on */
	uint64_t end_ns; /* of waiting, where the gateway drains; 0: it does not */
	struct loop_timer look;
};

void places_new(struct gateway *g);
void places_free(struct gateway *g); /* after the requests */
/* May a new request go to the worker in slot at once? */
bool place_is_free(const struct gateway *g, unsigned slot, uint32_t max);
/* All that could serve r are full: it waits, or is refused, and may be gone. False: none of them is
 * even there. */
bool place_wait(struct request *r);
/* It waits no longer, if it does. */
void place_leave(struct request *r);
void place_on_free(struct worker *w, const struct msg *m, struct bytes *payload);
/* Workers have come or gone. */
void places_look(struct gateway *g);
void places_config_changed(struct gateway *g);
/* No place after half of the time that is left for answers. */
void places_drain(struct gateway *g);
/* An attempt of r was sent to its slot; it is over. */
void place_began(struct request *r);
void place_ended(struct request *r, enum err_code code);
/* What the client gets to know of its waiting. */
void place_put_headers(const struct request *r, struct buf *out);

/* ---- request.c, attempt.c: one routed request -------------------------------------------- */

enum { REQUESTS_MAX = 65536, REQUEST_ID_MAX = 64, REQUEST_WINDOW_BYTES = 256 * 1024 };

enum candidate_state { CANDIDATE_FRESH, CANDIDATE_TRIED };

struct request {
	struct gateway *g;
	struct http_conn *conn;
	struct request *next, *prev; /* of those in flight */
	uint32_t index;		     /* in gateway.requests */
	bool active;
	char id[REQUEST_ID_MAX];
	char client_id[REQUEST_ID_MAX]; /* the client's x-request-id, sanitised */
	struct bytes *body;
	uint32_t model_at, model_len;
	uint32_t cut_at, cut_len; /* of the body: not for upstreams */
	enum route_endpoint endpoint;
	bool stream;
	bool asked_stream; /* stays so where an error is the answer */

	struct catalog *catalog;
	char route[NAME_MAX_LEN];
	char reason[ROUTE_REASON_MAX];
	char arm[NAME_MAX_LEN]; /* the route that decided, where an experiment does */
	uint16_t candidates[ROUTE_CANDIDATES_MAX]; /* rows of catalog, best first */
	uint8_t candidate_state[ROUTE_CANDIDATES_MAX];
	uint8_t candidate_code[ROUTE_CANDIDATES_MAX]; /* enum err_code of its latest failure */
	uint64_t candidate_ns[ROUTE_CANDIDATES_MAX]; /* it asked to be left alone until then */
	uint32_t retries_left, hedge_ms;
	uint32_t pauses; /* before retries, so far */
	size_t candidates_len;
	uint32_t attempts_max, attempts;
	uint32_t route_first_byte_ms;
	uint32_t deaths; /* workers that died under it */
	uint64_t started_ns, deadline_ns, decided_ns;

	/* the attempt under way; attempt_id 0: none */
	uint64_t attempt_id;
	int slot;
	uint32_t generation;
	uint16_t row; /* of catalog */
	uint32_t attempt_n; /* 1, 2, ... of the request's attempts */
	struct attempt_kept other; /* that runs beside it */
	uint32_t seq; /* ChatDelta messages so far */
	uint64_t attempt_ns, first_ns, last_ns; /* started, committed, heard from */
	struct hop hop;
	struct wait *wait; /* for a classifier's answer; NULL: it has been decided */
	bool question; /* of POST /v1/route: the decision is all it wants */
	bool parked; /* waits for a worker that is coming back, or a deployment that is cooling */
	bool retries; /* the last attempt was an upstream's failure: the next one is a retry */
	bool waited;
	struct queue_item place; /* in the queue for one, or what it has from there */
	struct queue_servers full; /* said that they are, since its last start from the queue */
	bool place_guessed; /* it was charged with a guess */
	enum priority priority; /* of the route */
	uint32_t queue_notice_ms;
	uint32_t queue_position; /* when it came; 0: it did not wait */
	uint64_t queued_ns, queue_ns; /* in the queue since; in all until then */
	uint64_t place_end_ns; /* it waits no longer than that; 0: it has not waited */
	struct loop_timer place_timer, notice_timer;
	bool noticed; /* all that the client has of its stream is comments */
	bool again; /* decided once more: the config is another one */
	uint64_t park_end_ns; /* for such a worker; 0: it is not waited for */
	uint64_t wait_end_ns; /* for such a deployment; 0: it has not waited yet */
	uint64_t received, credited; /* stream bytes: from the backend; credit given beyond the first */
	struct loop_timer hop_timer, total_timer, park_timer, pause_timer;
	struct loop_timer hedge_timer; /* starts the other attempt; then: its hop */

	enum err_code code; /* how it ended */
	struct err err; /* the most telling failure so far */
	uint16_t err_http;
	struct bytes *err_body;
	double cost_usd; /* of all attempts, as are the tokens */
	uint32_t prompt_tokens, completion_tokens;
	uint32_t prompt_guess; /* tokens of the prompt, by its bytes */
	uint32_t delta_tokens; /* of the attempt under way */
	double attempt_usd;
	struct cascade cascade;
	struct resume *resume; /* NULL: streams that break are lost, and nothing is held back */
	struct request_fault *fault; /* of fault.c; NULL: none are set on purpose */
};

/* Decide and start, or answer with an error; takes the body of c. */
enum request_form { REQUEST_ANSWER, REQUEST_QUESTION /* POST /v1/route */ };
void request_begin(struct gateway *g, struct http_conn *c, enum route_endpoint endpoint,
	enum request_form form);
/* Decide and start, wait, explain or fail. */
void request_decide(struct request *r, struct chat_body *body, struct judge_call *call,
	const struct decide_who *who);
/* The client left. */
void request_cancel(struct request *r, const char *reason);
void request_taken(struct request *r);
/* The config is another one, and nothing was sent yet: decide again. It may be over with this. */
void request_again(struct request *r);
/* Answer with e, or end the stream by it, and finish; unless an answer was put aside before. */
void request_fail(struct request *r, const struct err *e);
void request_finish(struct request *r, unsigned status);
struct request *request_find(struct gateway *g, const struct msg *m);
/* drain_ms is over: answer all that run with an error, or end their streams by it. */
void requests_end(struct gateway *g);
void requests_free(struct gateway *g);
/* The headers that say what was decided. */
void request_put_headers(const struct request *r, struct buf *out);
/* What is only known at the end of a stream. */
void request_put_trailers(const struct request *r, struct buf *out);

/* Try the next candidate, wait for a worker that is coming back, or give up. */
void attempt_next(struct request *r);
/* Send it to its i-th candidate, in slot, where a place is kept. False: it was not sent there, and may
 * be over. */
enum attempt_start {
	ATTEMPT_STARTED,
	ATTEMPT_GIVEN_UP, /* it had no retry left: it is over */
	ATTEMPT_UNSENT    /* the worker can't be told: it goes on elsewhere */
};
enum attempt_start attempt_start_at(struct request *r, size_t i, int slot, uint32_t generation);
/* Send it to the next candidate with a good worker, if there is one; false: none. */
bool attempt_start_good(struct request *r);
/* How long an attempt at its row may take to its first byte. */
uint32_t attempt_first_ms(const struct request *r);
/* Its candidate is as good as one that was not tried. */
void attempt_may_again(struct request *r, uint16_t row);
/* The attempt under way is no good: give it up. */
void attempt_broken(struct request *r, enum err_code code, const char *text);
/* The attempt under way failed: e and the upstream's words (http status, body or NULL). */
void attempt_failed(struct request *r, const struct err *e, uint16_t http, struct bytes *body);
/* The attempt under way ends without an answer: account for it and record it. */
enum attempt_bill {
	ATTEMPT_AS_HEARD, /* its prompt and tokens count where any came */
	ATTEMPT_BILLED	  /* given up while it went well: its prompt counts in any case */
};
void attempt_close(struct request *r, enum err_code code, uint16_t http, enum attempt_bill bill);
/* Tell the backend that nobody wants the answer any more. */
void attempt_cancel(struct request *r, const char *reason);
/* Slots changed: attempts on ended lives fail now, parked requests go on. */
void attempts_board_changed(struct gateway *g);
void attempt_on_delta(struct worker *w, const struct msg *m, struct bytes *payload);
void attempt_on_end(struct worker *w, const struct msg *m, struct bytes *payload);
void attempt_on_fail(struct worker *w, const struct msg *m, struct bytes *payload);

/* ---- fault.c, api_fault.c: faults on purpose ------------------------------------------------ */

/* May this request bring its x-shunt-fault header, if it has one? ERR_FORBIDDEN, ERR_INPUT. */
MUST enum err_code fault_check_head(const struct gateway *g, const struct http_conn *c,
	struct err *e);
void fault_begin(struct request *r, const struct http_conn *c);
/* What the backend needs to know for its own decision, and the header's fault where it comes. */
void fault_fill(struct request *r, const struct catalog_row *row, struct msg_chat_start *start);
/* A message of the attempt named one that was carried out. */
void fault_note(struct request *r, struct msg_str label);
const char *fault_came(const struct request *r); /* "kind#id, ...", "" */
void fault_fini(struct request *r);
void fault_put_list(struct buf *out, const struct board *board); /* a JSON array */
void fault_put_metrics(struct buf *out, const struct board *board);
void fault_on_changed(struct worker *w, const struct msg *m, struct bytes *payload);
/* The profiler died or came back: what was asked of it may have been done. */
void fault_board_changed(struct gateway *g);
void fault_conn_gone(struct gateway *g, const struct http_conn *c);
void fault_waits_free(struct gateway *g);

/* ---- api*.c: the endpoints ---------------------------------------------------------------- */

void api_on_head(struct http_conn *c);
void api_on_request(struct http_conn *c);

void api_chat(struct gateway *g, struct http_conn *c);
void api_completions(struct gateway *g, struct http_conn *c);
void api_embeddings(struct gateway *g, struct http_conn *c);
void api_models(struct gateway *g, struct http_conn *c);
void api_model(struct gateway *g, struct http_conn *c);
void api_route(struct gateway *g, struct http_conn *c);
void api_health(struct gateway *g, struct http_conn *c);
void api_ready(struct gateway *g, struct http_conn *c);
void api_metrics(struct gateway *g, struct http_conn *c);
void api_status(struct gateway *g, struct http_conn *c);
void api_faults(struct gateway *g, struct http_conn *c);
void api_fault_add(struct gateway *g, struct http_conn *c);
void api_fault_clear(struct gateway *g, struct http_conn *c);
void api_hello(struct gateway *g, struct http_conn *c);

/* ---- gateway state ------------------------------------------------------------------------ */

enum { ROUTE_TURNS = 256 };

struct gateway {
	struct worker *w;
	struct board *board;
	const struct config *config;
	struct http_server http;
	struct auth *auth;
	struct catalog *catalog;
	struct route_rules *rules;
	struct route_decision *decision; /* scratch of request_begin and api_route */
	struct route_decision *other; /* scratch for shadows and comparisons */
	struct scorers *scorers;
	uint64_t config_hash; /* of what this process was started for */
	struct ttl *judged, *sessions;
	uint64_t forgot; /* how often judged was emptied */
	uint64_t unfit_told[64]; /* by scorer row: file and model that do not fit, logged last */
	struct ask *asks; /* under way */
	unsigned shadows; /* of them, for shadows */
	uint64_t next_ask;
	uint64_t profile_changes;
	bool catalog_stale;
	uint64_t route_turns[ROUTE_TURNS]; /* requests so far, by a hash of the name asked for */
	struct places *places;
	struct fault_wait *fault_waits; /* changes of the faults under way */
	uint64_t next_number; /* of requests */
	uint64_t next_attempt;
	double retries, hedges; /* saved up; see admit.c */
	bool retries_begun;
	struct request **requests; /* by index; REQUESTS_MAX entries, filled as needed */
	uint32_t requests_len;
	uint32_t *free_indexes;
	uint32_t free_len;
	struct request *running;
	struct journal *journal; /* NULL: none is kept */
	struct prompt_log *prompts; /* NULL: none are kept */
	struct buf record; /* scratch of record.c */
	uint64_t lost_told_ns; /* when a lost record was last logged */
	bool draining;
};

/* ---- state.c ---- */

MUST enum err_code gateway_new(struct gateway **out, struct worker *w, struct err *e);
void gateway_free(struct gateway **g_p);
void gateway_config_changed(struct gateway *g); /* w->config is another one */
/* The catalog as of now: rebuilt only where config, slots or the profiler's findings changed. */
struct catalog *gateway_catalog(struct gateway *g);
/* Count on the worker's own row. */
void gateway_count(struct gateway *g, enum counter which, int64_t n);
