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

#include "shunt_msg.h" /* generated: struct msg_str, enum msg_type, struct msg, MSG_LIST, limits */

/* View of a C string for building a message. */
struct msg_str msg_str(const char *s);
/* Likewise of at most max bytes of it, whole UTF-8 characters: the limits are MSG_<..>_MAX. */
struct msg_str msg_str_cut(const char *s, size_t max);
/* Copy into out[0..size), NUL-terminated, cut to fit. Returns out. */
char *msg_str_copy(char *out, size_t size, struct msg_str s);

/* Append the encoding of m to out. CHECKs the limits of the schema: they are our own promises, so
 * text that came from outside goes through msg_str_cut first. */
void msg_encode(struct buf *out, const struct msg *m);

/*
 * Verify data[0..len) and set *out to views into it; out lives as long as data, which must be
 * aligned to 8 bytes. ERR_MALFORMED for anything that is not exactly one known message within its
 * limits, with no byte too many.
 */
MUST enum err_code msg_decode(struct msg *out, const void *data, size_t len, struct err *e);

const char *msg_name(enum msg_type type);
bool msg_may_carry_payload(enum msg_type type); /* raw bytes beside the message */
