/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.h - the one table of errors, and the struct that carries an error up to whoever stops it
 *
 * A fallible function returns enum err_code and fills the caller's struct err (its last
 * parameter). Library code never logs; the handler or main that stops the error logs it once.
 * Code branches on policy (err_cascades), never on lists of codes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/base.h"

enum {
	CASCADES = 1 << 0, /* the next candidate may answer instead */
	COUNTS = 1 << 1,   /* says something bad about the deployment's health */
	RETRIES = 1 << 3,  /* may be over in a moment: the same deployment can be tried again */
	LARGER = 1 << 4,   /* only who has a larger context may do better */
	OTHER_MODEL = 1 << 5, /* the same upstream model would say the same */
	COOLS = 1 << 2,	   /* the deployment asks to be left alone for a while */
};

/*
 * code, name, HTTP status given to the client, OpenAI error type, policy
 * The name is stable: it is the `code` of error bodies, a log field and a metric label.
 */
/* clang-format off */
#define ERR_LIST(X)                                                                                \
	/* what the client did */                                                                  \
	X(ERR_INPUT,          "invalid_request",     400, "invalid_request_error", 0)              \
	X(ERR_AUTH,           "unauthorized",        401, "authentication_error",  0)              \
	X(ERR_FORBIDDEN,      "forbidden",           403, "permission_error",      0)              \
	X(ERR_NOT_FOUND,      "not_found",           404, "invalid_request_error", 0)              \
	X(ERR_MODEL,          "model_not_found",     404, "invalid_request_error", 0)              \
	X(ERR_METHOD,         "method_not_allowed",  405, "invalid_request_error", 0)              \
	X(ERR_CLIENT_SLOW,    "request_timeout",     408, "invalid_request_error", 0)              \
	X(ERR_TOO_LARGE,      "request_too_large",   413, "invalid_request_error", 0)              \
	X(ERR_HEADERS,        "headers_too_large",   431, "invalid_request_error", 0)              \
	X(ERR_CANCELLED,      "client_closed",       499, "invalid_request_error", 0)              \
	/* what routing found */                                                                   \
	X(ERR_NO_CANDIDATE,   "no_candidate",        400, "invalid_request_error", 0)              \
	X(ERR_UNAVAILABLE,    "unavailable",         503, "server_error",          0)              \
	X(ERR_DEADLINE,       "deadline_exceeded",   504, "server_error",          0)              \
	/* what an upstream or its worker did */                                                   \
	X(ERR_BAD_REQUEST,    "upstream_bad_request", 400, "invalid_request_error", 0)             \
	X(ERR_CONTEXT_LENGTH, "context_length_exceeded", 400, "invalid_request_error", CASCADES | LARGER)   \
	X(ERR_POLICY,         "content_policy",      400, "invalid_request_error", CASCADES | OTHER_MODEL)       \
	X(ERR_UPSTREAM_AUTH,  "upstream_auth",       502, "server_error",          CASCADES | COUNTS) \
	X(ERR_UPSTREAM_MODEL, "upstream_model_not_found", 502, "server_error",     CASCADES | COUNTS) \
	X(ERR_UNSUPPORTED,    "unsupported",         400, "invalid_request_error", CASCADES)       \
	X(ERR_RATE_LIMITED,   "rate_limited",        429, "rate_limit_error",      CASCADES | COOLS | RETRIES) \
	X(ERR_OVERLOADED,     "overloaded",          503, "server_error",          CASCADES | COUNTS | COOLS | RETRIES) \
	X(ERR_TIMEOUT,        "upstream_timeout",    504, "server_error",          CASCADES | COUNTS) \
	X(ERR_CONNECT,        "upstream_connect",    502, "server_error",          CASCADES | COUNTS | RETRIES) \
	X(ERR_RESET,          "upstream_reset",      502, "server_error",          CASCADES | COUNTS | RETRIES) \
	X(ERR_CUT,            "upstream_cut",        502, "server_error",          CASCADES | COUNTS | RETRIES) \
	X(ERR_MALFORMED,      "upstream_malformed",  502, "server_error",          CASCADES | COUNTS) \
	X(ERR_UPSTREAM,       "upstream_error",      502, "server_error",          CASCADES | COUNTS) \
	X(ERR_WORKER_DIED,    "worker_died",         502, "server_error",          CASCADES)       \
	/* ourselves */                                                                            \
	X(ERR_CONFIG,         "config",              500, "server_error",          0)              \
	X(ERR_SYS,            "system",              500, "server_error",          CASCADES)       \
	/* last, for numbers stand in journals: full, or its breaker is open; nobody was asked */  \
	X(ERR_BUSY,           "busy",                503, "server_error",          CASCADES)       \
	/* what the queue of a gateway says */                                                     \
	X(ERR_QUEUE_FULL,     "queue_full",          503, "server_error",          0)              \
	X(ERR_USER_QUEUE,     "user_queue_full",     429, "rate_limit_error",      0)              \
	X(ERR_LATE,           "deadline_unreachable", 503, "server_error",         0)              \
	X(ERR_SHED,           "shed",                503, "server_error",          0)              \
	X(ERR_WAITED,         "queue_timeout",       503, "server_error",          0)              \
	/* what the answer itself says: no failure of its deployment, and no client gets to see it */ \
	X(ERR_UNSURE,         "unsure",              502, "server_error",          CASCADES)
/* clang-format on */

enum err_code {
	ERR_OK = 0,
#define X(code, name, http, type, policy) code,
	ERR_LIST(X)
#undef X
	ERR_CODES
};

enum { ERR_TEXT_MAX = 384 };

struct err {
	enum err_code code;
	uint32_t retry_after_ms; /* 0: not said */
	char text[ERR_TEXT_MAX]; /* one line, no newline, safe to show to a client */
};

/* Fill *e (NULL allowed) and return code, so that `return err_set(e, ERR_SYS, "...");` works. */
enum err_code err_set(struct err *e, enum err_code code, const char *fmt, ...) PRINTF(3, 4);

/* Put "what: " before the text of e and return its code. */
enum err_code err_wrap(struct err *e, const char *fmt, ...) PRINTF(2, 3);

const char *err_name(enum err_code code);
const char *err_openai_type(enum err_code code);
unsigned err_http_status(enum err_code code);
bool err_cascades(enum err_code code);
bool err_counts(enum err_code code);
bool err_cools(enum err_code code);
bool err_retries(enum err_code code);
bool err_wants_larger(enum err_code code);
bool err_wants_other(enum err_code code);

/* A code read from a message or from the board: ERR_SYS where it is out of range. */
enum err_code err_code_checked(uint32_t raw);
