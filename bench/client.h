/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - one keep-alive connection of the load generator, plain or streamed answers
 */
#pragma once

#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hist.h"

enum { CLIENT_BODY_MAX = 65536, CLIENT_TAIL = 64, CLIENT_ERROR_MAX = 200 };

/* What all connections of a run share. */
struct client_run {
	int epoll_fd;
	unsigned port;
	const char *request; /* head and body, ready to send */
	size_t request_len;
	bool stream;
	unsigned tokens; /* that each stream must bring */
	struct hist latency; /* intended send to the last byte */
	struct hist ttft; /* intended send to the first token's arrival */
	struct hist gap; /* between two tokens of one stream */
	struct hist hop; /* the upstream's send of a token to its arrival here */
	uint64_t answered, failed, token_count, reconnects;
	char error[CLIENT_ERROR_MAX]; /* of the first failure */
};

struct client {
	struct client_run *run;
	int fd;
	bool busy;
	bool ended; /* this turn's answer is complete; the owner clears it by sending again */
	struct http_parser parser;
	uint64_t intended_ns, last_token_ns, arrived_ns;
	uint64_t free_at_ns; /* the owner's, for spread starts */
	unsigned tokens;
	bool done_mark; /* [DONE], or pong-1k in a plain answer, was seen */
	char tail[CLIENT_TAIL]; /* the end of the last piece: a mark may be cut in two */
	size_t tail_len;
	char head_of_error[96];
	size_t head_len;
};

uint64_t clock_now(void);
/* Connect (waits; loopback). False with run->error set. */
bool client_connect(struct client *c, struct client_run *run);
/* Send the request as one that should have left at intended_ns. */
void client_send(struct client *c, uint64_t intended_ns);
/* The socket is readable: reads and books; sets ended when the answer is whole or failed. */
void client_event(struct client *c);
/* The run is over: book what is still open as failed. */
void client_abandon(struct client *c);
void client_close(struct client *c);
