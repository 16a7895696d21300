/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msg.c - encode and decode the messages of shunt.fbs
 */
#include <string.h>

#include "schemas/msg.h"

/* In the generated shunt_msg.cc. Both use the caller's memory only and allocate nothing. */
const unsigned char *shunt_msg_encode(size_t *len, void *work, const struct msg *m);
const char *shunt_msg_decode(struct msg *out, const void *data, size_t len);

struct msg_str
msg_str(const char *s)
{
	return (struct msg_str){s, strlen(s)};
}

struct msg_str
msg_str_cut(const char *s, size_t max)
{
	size_t len = strnlen(s, max + 1);

	if (len <= max)
		return (struct msg_str){s, len};
	/* Cut in front of the UTF-8 character that does not fit as a whole. */
	len = max;
	while (len > 0 && ((unsigned char)s[len] & 0xc0) == 0x80)
		len--;
	return (struct msg_str){s, len};
}

char *
msg_str_copy(char *out, size_t size, struct msg_str s)
{
	size_t len;

	CHECK(size > 0);
	len = MIN(s.len, size - 1);
	if (len > 0)
		memcpy(out, s.p, len);
	out[len] = '\0';
	return out;
}

void
msg_encode(struct buf *out, const struct msg *m)
{
	_Alignas(16) unsigned char work[MSG_WORK_SIZE];
	size_t len = 0;
	const unsigned char *data = shunt_msg_encode(&len, work, m);

	CHECK(data != NULL);
	CHECK(len <= MSG_LEN_MAX);
	buf_add(out, data, len);
}

MUST enum err_code
msg_decode(struct msg *out, const void *data, size_t len, struct err *e)
{
	struct msg m;
	const char *why;

	CHECK((uintptr_t)data % 8 == 0);
	memset(&m, 0, sizeof(m));
	why = shunt_msg_decode(&m, data, len);
	if (why != NULL)
		return err_set(e, ERR_MALFORMED, "message of %zu bytes: %s", len, why);
	*out = m;
	return ERR_OK;
}

static const struct {
	const char *name;
	bool payload;
} msg_rows[MSG_TYPES] = {[MSG_NONE] = {"?", false},
#define X(type, member, name, payload) [type] = {name, payload},
	MSG_LIST(X)
#undef X
};

const char *
msg_name(enum msg_type type)
{
	return (unsigned)type < MSG_TYPES ? msg_rows[type].name : "?";
}

bool
msg_may_carry_payload(enum msg_type type)
{
	return (unsigned)type < MSG_TYPES && msg_rows[type].payload;
}
