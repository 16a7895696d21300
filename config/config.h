/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - YAML text to a checked, immutable struct config
 *
 * Parsing has no side effect and reads no other file. Every key is declared once in key_list.h with
 * type, default, range and help; the parser, `shuntd --check`, the man page and docs/config.md all
 * come out of it. Unknown keys, duplicate keys, wrong types, values out of range and dangling names
 * (a route naming no model) are faults: each has file, line and a text naming the key; all of them
 * are reported, not only the first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/kind.h"
#include "lib/base/base.h"
#include "lib/base/err.h"
#include "lib/base/log.h"
#include "lib/fault/fault.h"

struct buf;

enum {
	CONFIG_FILE_MAX = 512 * 1024, /* bytes of a config file; = CONFIG_TEXT_MAX of shm/board.h */
	CONFIG_WORKERS_MAX = 128, /* processes; = SLOTS_MAX of shm/board.h */
	CONFIG_NAME_MAX = 63,	      /* bytes of backend, route and rule names */
	CONFIG_MODEL_MAX = 255,	      /* bytes of model names */
	CONFIG_RUN_DIR_MAX = 90	      /* so that socket paths in it fit sockaddr_un */
};

struct config_listen {
	char *text;	/* as written, for messages: "127.0.0.1:8787" or "unix:/run/shunt/shunt.sock" */
	char *host;	/* NULL for unix */
	uint16_t port;	/* 0: any free port (tests) */
	char *path;	/* unix socket path, NULL for TCP */
	uint32_t mode;	/* of the unix socket */
};

struct config_limits {
	uint64_t body_bytes;
	uint64_t header_bytes;
	uint64_t response_bytes; /* a non-stream answer held in memory */
	uint32_t connections;	 /* per gateway */
	uint32_t header_ms;	 /* whole request head, from its first byte */
	uint32_t body_ms;	 /* whole body; and */
	uint64_t body_min_bytes_per_s; /* 0: not checked */
	uint32_t idle_ms;	 /* keep-alive without a request */
	uint32_t write_ms;	 /* client takes no byte */
	uint32_t request_ms;	 /* a request's whole life */
};

struct config_auth {
	char *keys_file;       /* NULL: open to everybody who can connect */
	char *admin_keys_file; /* NULL: admin by Unix socket only */
};

struct config_restart {
	uint32_t delay_ms; /* first delay; doubles with jitter */
	uint32_t delay_max_ms;
	uint32_t healthy_ms; /* ready for this long: delay starts over */
};

/* When a deployment that fails is left alone (lib/breaker), and what may be tried again. */
struct config_breaker {
	bool enabled;
	uint32_t window_ms;
	uint32_t min_calls;
	double failure_rate;
	uint32_t open_ms, open_max_ms;
	uint32_t wait_ms; /* a request waits for a deployment to take calls again; 0: never */
	double retry_share; /* attempts after a failure, of all requests */
	uint32_t retry_burst;
};

/* Requests that wait for a place at a backend. Of each gateway. */
struct config_queue {
	uint32_t max, max_per_user; /* requests; max 0: nobody waits */
	uint64_t max_bytes; /* of their bodies */
	uint32_t wait_ms;
};

/* The record of every request and every attempt. */
struct config_journal {
	bool enabled;
	uint64_t file_bytes;
	uint32_t files; /* kept; 0: all */
	uint32_t sync_ms; /* 0: never asked for */
	uint64_t ring_bytes;
	uint64_t spill_bytes;
	bool refuse_when_full;
};

enum tri { TRI_NO, TRI_YES, TRI_UNKNOWN };

/* How an upstream is made to go on with a begun answer: symbol, name in the config, help */
#define PREFILL_LIST(X)                                                                            \
	X(AUTO, auto, "assistant for llama.cpp, vllm for vLLM, else instruct")  \
	X(ASSISTANT, assistant, "it goes on with a last message that is the assistant's")             \
	X(VLLM, vllm, "the same, with vLLM's continue_final_message")                                 \
	X(INSTRUCT, instruct, "it is told to go on, by a message: the seam may show")

enum prefill {
#define X(symbol, name, help) PREFILL_##symbol,
	PREFILL_LIST(X)
#undef X
};

struct config_backend {
	char *name;
	enum backend_kind_id kind;
	char *url;	/* without trailing slash; NULL for kinds without one */
	char *key_file; /* NULL: no key */
	char *proxy;	/* NULL: none (the environment is not read) */
	char *ca_file;	/* NULL: the system's */
	char *encoder;	/* kind encoder: name of the config_encoder; checked to exist */
	bool tls_verify;
	enum tri discover_said; /* as written; use discover */
	bool discover;	/* serve every model the upstream lists under its own name */
	bool standby;	/* only when nothing else can answer */
	uint32_t max_in_flight;
	uint32_t connect_ms;
	uint32_t first_byte_ms;
	uint32_t stall_ms; /* between bytes */
	uint32_t probe_ms; /* between health probes */
	enum prefill prefill;
	/* kind sim only */
	struct {
		uint64_t seed;
		uint32_t ttft_ms;
		uint32_t tokens_per_s; /* 0: as fast as possible */
		uint32_t tokens;       /* length of an answer */
		double confidence;     /* probability of each token; 0: it tells none; negative: by
					* prompt and seed */
		char **models;	       /* what it serves */
		size_t models_len;
	} sim;
	unsigned line;
};

/* Number formats and instruction sets of encoders, as lib/encoder/encoder.h names them. */
#define CONFIG_DTYPE_LIST(X) X(AUTO, auto) X(F32, f32) X(BF16, bf16) X(I8, i8)
#define CONFIG_ISA_LIST(X) X(AUTO, auto) X(BLAS, blas) X(AVX2, avx2) X(AVX512, avx512) X(AMX, amx)

enum config_dtype {
#define X(symbol, name) CONFIG_DTYPE_##symbol,
	CONFIG_DTYPE_LIST(X)
#undef X
};

enum config_isa {
#define X(symbol, name) CONFIG_ISA_##symbol,
	CONFIG_ISA_LIST(X)
#undef X
};

/* Its processes are called NAME-0, NAME-1, ...: names of slots, so a little shorter than those. */
enum { CONFIG_ENCODER_NAME_MAX = 56 };

struct config_encoder {
	char *name;
	char *folder;
	enum config_dtype dtype;
	enum config_isa isa;
	uint32_t processes, threads;
	uint32_t batch, batch_tokens; /* of one pass */
	uint32_t queue;		      /* requests waiting in one process */
	bool preload;
	uint32_t idle_ms; /* 0: weights stay */
	uint32_t load_ms;
	unsigned line;
};

struct config_deployment {
	char *backend;	/* name; checked to exist */
	char *model;	/* upstream name */
	uint32_t weight; /* for weighted balancing */
	unsigned line;
};

struct config_model {
	char *name;
	struct config_deployment *deployments;
	size_t deployments_len;
	double quality;	      /* 0..1, prior of this model's answers; negative: not said */
	double input_usd;     /* per million tokens; negative: not said */
	double output_usd;
	uint32_t context_tokens; /* 0: not said, ask the profiler */
	enum tri tools, vision, json;
	char *scorer_name; /* what scorer files call it; NULL: its own name */
	unsigned line;
};

/* symbol, name in the config, help */
#define STRATEGY_LIST(X)                                                                           \
	X(BALANCED, balanced, "quality, cost and latency alike")                                   \
	X(QUALITY_FIRST, quality_first, "the best answer, then the price")                         \
	X(COST_FIRST, cost_first, "the cheapest that is good enough for the prompt")               \
	X(SPEED, speed, "the quickest first token and answer")                                     \
	X(ROUND_ROBIN, round_robin, "one after the other")                                         \
	X(WEIGHTED, weighted, "at random by the deployments' weight")                              \
	X(LEAST_LOADED, least_loaded, "the one with most free capacity")

enum strategy {
#define X(symbol, name, help) STRATEGY_##symbol,
	STRATEGY_LIST(X)
#undef X
	STRATEGIES
};
const char *strategy_name(enum strategy s);

/* symbol, name in the config, help */
#define TEXT_POLICY_LIST(X)                                                                        \
	X(LAST, last, "the latest user turn alone")                                                \
	X(TURNS, turns, "the latest user turn, then up to three earlier ones")                     \
	X(ALL, all, "the latest user turn, then all other messages, latest first")

enum text_policy {
#define X(symbol, name, help) TEXT_##symbol,
	TEXT_POLICY_LIST(X)
#undef X
	TEXT_POLICIES
};

/* What becomes of a stream that breaks after its first byte: symbol, name in the config, help */
#define MID_STREAM_LIST(X)                                                                         \
	X(ERROR, error, "it ends by an error event")                                               \
	X(RESTART, restart, "the next candidate answers from the start, after an event that says so") \
	X(CONTINUE, continue, "the next candidate goes on where the text ended; where that would "    \
			      "not be sound, as restart")

enum mid_stream {
#define X(symbol, name, help) MID_STREAM_##symbol,
	MID_STREAM_LIST(X)
#undef X
};

/* Who is served first where requests wait: symbol, name in the config, help */
#define PRIORITY_LIST(X)                                                                           \
	X(HIGH, high, "16 of 21 places while all three wait")                                      \
	X(NORMAL, normal, "4 of 21")                                                               \
	X(LOW, low, "1 of 21: slow, but never standing still")                                     \
	X(USER, user, "what the keys file says of the user's key; normal where it says nothing")

enum priority {
#define X(symbol, name, help) PRIORITY_##symbol,
	PRIORITY_LIST(X)
#undef X
};

struct config_route {
	char *name;
	char **models; /* names or "*" for all; order is the tie-break */
	size_t models_len;
	char *default_model; /* NULL: the best single one by score */
	enum strategy strategy;
	double dial;	    /* 0 cheapest .. 1 best; negative: the strategy's own weights */
	char *scorer;	    /* NAME or NAME:FILE; config_scorer_split takes it apart */
	char *encoder;	    /* for the file, where it needs embeddings; NULL: the first */
	double threshold;   /* from where on a strong model is wanted; negative: not said */
	enum text_policy text;
	uint32_t deadline_ms;	/* of a scorer that asks a classifier */
	uint32_t cache_ms;	/* what a scorer said of a text counts so long; 0: only once */
	uint32_t session_ms;	/* a conversation is remembered so long; 0: not at all */
	uint32_t session_falls; /* turns in a row that must want a weaker model */
	struct {
		char *route;  /* decides for its share; NULL: no experiment */
		double share;
	} experiment;
	char *shadow; /* route that decides too, and is only counted; NULL: none */
	uint32_t attempts;  /* most candidates tried for one request */
	uint32_t retries;   /* of them, tries of a deployment that failed before */
	char **fallbacks;   /* tried after the route's own candidates, in this order */
	size_t fallbacks_len;
	uint32_t hedge_ms;  /* a second candidate starts when the first is so late; 0: never */
	enum mid_stream mid_stream;
	uint32_t hold; /* tokens of a stream kept back before the client gets the first */
	uint32_t first_byte_ms; /* hop deadline; 0: the backend's */
	uint32_t request_ms;	/* 0: limits.request_ms */
	enum priority priority;
	uint32_t queue_notice_ms; /* streams that wait longer tell their place; 0: never */
	double max_usd;		/* price cap per million output tokens; negative: none */
	unsigned line;
};

/* A word rule: fires on whole words only, case-insensitive. */
struct config_rule {
	char *name; /* class: action, memory, chat, vision, code, ... */
	int32_t priority;
	char **words;	 /* words and phrases; "*" at the end of a word matches its continuations */
	size_t words_len;
	char **except;	 /* phrases in which a hit does not count */
	size_t except_len;
	bool on_image;	 /* fires on requests with an image */
	bool on_tools;	 /* fires on requests with tools */
	char **routes;	 /* only in these; empty: in all */
	size_t routes_len;
	char *model;	 /* the model (or route's model group) it sends to */
	unsigned line;
};

/* A fault on purpose: config_fault_line makes the line of fault_parse out of it. */
struct config_fault_row {
	char *kind;
#define FAULT_PARAM(symbol, name, use, type, field, min, max, help) char *p_##name;
#include "lib/fault/param_list.h"
#undef FAULT_PARAM
	unsigned line;
};

struct config {
	char *run_dir;
	char *state_dir;
	struct config_listen *listen;
	size_t listen_len;
	uint32_t gateways; /* processes */
	enum log_level log_level;
	enum log_format log_format;
	bool discover_local; /* look for Ollama, llama.cpp, vLLM on their usual ports */
	uint32_t start_ms;   /* a worker that is not ready by then is killed */
	uint32_t heartbeat_ms; /* a worker silent for this long is killed */
	uint32_t drain_ms;     /* time for running requests at stop and replace */
	uint32_t spin_us;      /* loop_set_spin of gateways and backends */
	bool pin_cpus;	       /* keep the busy workers of one request path on one core */
	uint64_t prompt_log_bytes; /* of each gateway; 0: prompts are written down nowhere */
	struct config_restart restart;
	struct config_breaker breaker;
	struct config_queue queue;
	struct config_journal journal;
	struct config_limits limits;
	struct config_auth auth;
	struct config_backend *backends;
	size_t backends_len;
	struct config_encoder *encoders;
	size_t encoders_len;
	struct config_model *models;
	size_t models_len;
	struct config_route *routes;
	size_t routes_len;
	struct config_rule *rules;
	size_t rules_len;
	struct config_fault_row *faults;
	size_t faults_len;
};

/* Where a process of this user keeps its runtime files, and what must outlive a boot, unless the
 * config says otherwise. */
void config_default_run_dir(struct buf *out);
void config_default_state_dir(struct buf *out);

struct config_fault {
	unsigned line; /* 0: the file as a whole */
	char text[200];
};

enum { CONFIG_FAULTS_MAX = 50 };

struct config_faults {
	struct config_fault rows[CONFIG_FAULTS_MAX]; /* in line order */
	size_t len;
	size_t more; /* how many did not fit */
};

/* The socket that every gateway listens on for the command line, mode 0600: RUN_DIR/shunt.sock.
 * config_parse appends it to listen. */
#define CONFIG_SOCKET_NAME "shunt.sock"

/*
 * Parse text (len bytes, need not be NUL-terminated). path names the file in messages, and relative
 * paths in the text start at its folder, so the daemon passes an absolute one. On ERR_CONFIG
 * *out is untouched, faults (NULL allowed) tells everything and e the first one as "PATH:LINE: ..".
 */
MUST enum err_code config_parse(struct config **out, const char *path, const char *text, size_t len,
	struct config_faults *faults, struct err *e);
/* Read the file (at most CONFIG_FILE_MAX), then as above. *text_out is the text. */
MUST enum err_code config_load(struct config **out, struct buf *text_out, const char *path,
	struct config_faults *faults, struct err *e);
void config_free(struct config **c_p);

const struct config_backend *config_backend(const struct config *c, const char *name);
const struct config_encoder *config_encoder(const struct config *c, const char *name);
/* Whose process is called NAME-INDEX; NULL: no encoder's. */
const struct config_encoder *config_encoder_of(const struct config *c, const char *process);
/* Which encoder makes the embeddings for the scorer file of a route (NULL: of any); NULL: there are
 * none. */
const char *config_route_encoder(const struct config *c, const struct config_route *route);
const struct config_model *config_model(const struct config *c, const char *name);
const struct config_route *config_route(const struct config *c, const char *name);

/* A route's `scorer` taken apart: views of the text. */
struct config_scorer {
	size_t name_len;
	const char *rest; /* behind the colon: a file or an encoder's name; NULL: none */
};
struct config_scorer config_scorer_split(const char *text);

/* What config_scorer_split's name stands for. */
enum config_scorer_kind {
	CONFIG_SCORER_UNKNOWN,
	CONFIG_SCORER_PLAIN, /* needs nothing */
	CONFIG_SCORER_FILE,  /* reads a file */
	CONFIG_SCORER_ASKS   /* asks a classifier */
};
enum config_scorer_kind config_scorer_kind(const char *name, size_t len);

/* The folders of the scorer files that routes name, each once; texts are the config's. The gateways
 * may read them. Returns how many; at most max are put into out. */
enum { CONFIG_SCORER_FOLDERS_MAX = 16 };
struct config_folder {
	const char *path; /* of a file in it */
	size_t len;	  /* of the folder's part */
};
size_t config_scorer_folders(struct config_folder *out, size_t max, const struct config *c);
/* The folders in which those files really lie now, links followed, each once: texts, each with its NUL,
 * one behind the other. Of a file that is not there the folder that is named. Returns how many, at
 * most CONFIG_SCORER_FOLDERS_MAX. */
size_t config_scorer_targets(struct buf *out, const struct config *c);

void config_fault_line(struct buf *out, const struct config_fault_row *row);
/* The rows as rules, without ids; returns how many. */
size_t config_fault_rules(const struct config *c, struct fault_rule out[FAULTS_MAX]);
/* Do the names exist that a rule asks for? ERR_INPUT as fault_parse gives it. */
MUST enum err_code config_fault_check(const struct config *c, const struct fault_rule *r,
	struct err *e);

/*
 * A hash of what a worker was built from (line numbers do not count), so that a reload restarts it
 * only when that changed: the listening sockets, the names of its key files and the folders of its
 * scorer files (its sandbox admits no others) and the journal's ring for a gateway, the journal's
 * folder for the recorder, its backend row for a backend worker.
 */
uint64_t config_hash_gateway(const struct config *c);
uint64_t config_hash_recorder(const struct config *c);
uint64_t config_hash_backend(const struct config_backend *b);
uint64_t config_hash_encoder(const struct config_encoder *e);
/* Encoders with the same one can use the same weights: folder, dtype and isa. */
uint64_t config_hash_weights(const struct config_encoder *e);

/* The reference of all keys, from key_list.h: Markdown for docs/config.md, roff for the man page. */
enum config_doc { CONFIG_DOC_MARKDOWN, CONFIG_DOC_ROFF };
void config_reference(struct buf *out, enum config_doc form);
