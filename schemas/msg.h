/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msg.h - encode and decode the messages of shunt.fbs
 *
 * The structs come out of the schema at build time (shunt_msg.h, generated): for table ChatStart a
 * `struct msg_chat_start`, a union member msg.chat_start and an enum value MSG_CHAT_START; strings
 * are `struct msg_str` views. This is the only interface to FlatBuffers in the project.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

/* A string in a message: not NUL-terminated for the reader's purposes; len bytes. */
struct msg_str {
	const char *p;
	size_t len;
};

/* View of a C string for building a message. */
struct msg_str msg_str(const char *s);
/* Copy into out[0..size), NUL-terminated, cut to fit. Returns out. */
char *msg_str_copy(char *out, size_t size, struct msg_str s);

#include "shunt_msg.h" /* generated: enum msg_type, struct msg_head, struct msg, row list */

/* Append the encoding of m to out. CHECKs the limits of the schema: they are our own promises. */
void msg_encode(struct buf *out, const struct msg *m);

/*
 * Verify data[0..len) and set *out to views into it; out lives as long as data. ERR_MALFORMED for
 * anything that is not exactly one known message within its limits.
 */
MUST enum err_code msg_decode(struct msg *out, const void *data, size_t len, struct err *e);

const char *msg_name(enum msg_type type);
