/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weights_note.c - notes about segments, with the segment itself, between supervisor and classifier
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shm/weights.h"

_Static_assert(sizeof(struct weights_note) == 4 * 4 + 8 + 8 + 16 + WEIGHTS_TEXT_MAX,
	"a note has no padding");

static bool
weights_note_has_fd(uint32_t kind)
{
	static const bool has[WEIGHTS_NOTES] = {
#define X(symbol, has_fd) [WEIGHTS_NOTE_##symbol] = has_fd,
		WEIGHTS_NOTE_LIST(X)
#undef X
	};

	return kind < WEIGHTS_NOTES && has[kind];
}

union weights_control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int))];
};

enum err_code
weights_send(int socket, const struct weights_note *n, int fd, struct err *e)
{
	struct weights_note copy = *n;
	struct iovec part = {&copy, sizeof(copy)};
	union weights_control control = {.bytes = {0}};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
	struct cmsghdr *c;

	CHECK(n->kind < WEIGHTS_NOTES && weights_note_has_fd(n->kind) == (fd >= 0));
	copy.magic = WEIGHTS_MAGIC;
	if (fd >= 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	if (sendmsg(socket, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(copy))
		return ERR_OK;
	return err_set(
		e, errno == EAGAIN ? ERR_OVERLOADED : ERR_SYS, "weights note: %s", strerror(errno));
}

/* The last descriptor that came; any others are closed. */
static int
weights_take_fd(struct msghdr *m)
{
	int taken = -1, fd;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0);
			at += sizeof(int)) {
			memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
			if (taken >= 0)
				(void)close(taken);
			taken = fd;
		}
	}
	return taken;
}

static void
weights_clean_text(char *text, size_t size)
{
	text[size - 1] = '\0';
	for (char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f || *p == '"')
			*p = *p == '"' ? '\'' : ' ';
}

enum weights_recv
weights_recv(int socket, struct weights_note *n, int *fd)
{
	struct iovec part = {n, sizeof(*n)};
	union weights_control control;
	struct msghdr m = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	ssize_t len;

	*fd = -1;
	memset(n, 0, sizeof(*n));
	len = recvmsg(socket, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (len < 0)
		return errno == EAGAIN || errno == EINTR ? WEIGHTS_RECV_EMPTY : WEIGHTS_RECV_END;
	*fd = weights_take_fd(&m);
	if (len == 0 && *fd < 0)
		return WEIGHTS_RECV_END;
	if (len == (ssize_t)sizeof(*n) && (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 &&
		n->magic == WEIGHTS_MAGIC && n->kind < WEIGHTS_NOTES &&
		weights_note_has_fd(n->kind) == (*fd >= 0)) {
		weights_clean_text(n->dtype, sizeof(n->dtype));
		weights_clean_text(n->isa, sizeof(n->isa));
		weights_clean_text(n->text, sizeof(n->text));
		return WEIGHTS_RECV_NOTE;
	}
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
	return WEIGHTS_RECV_BAD;
}
