/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weights.h - a weights segment: one packed model in a sealed memfd, and the notes about it
 *
 * A classifier that was told to load makes a segment, lets the encoder pack the model into it, seals
 * it and hands it to the supervisor, who looks at its size and seals only, keeps it, and hands it to
 * every classifier of that model, now and after any crash. Nobody can write to it or cut it short
 * ever after. Notes travel with at most one descriptor over a socketpair that the supervisor made
 * for each classifier (SOCK_SEQPACKET): fixed-size structs, never text of others.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/base.h"
#include "lib/base/err.h"

enum {
	WEIGHTS_MAGIC = 0x53485731,
	/* Huge pages need image and mapping aligned to this; what lies between the head and the image
	 * is a hole that takes no memory. */
	WEIGHTS_ALIGN = 2 * 1024 * 1024,
	WEIGHTS_TEXT_MAX = 256
};

/* What stands at the start of a segment. */
struct weights_head {
	uint32_t magic;
	uint32_t generation;
	uint64_t identity;    /* of the folder's files when it was built: weights_identity */
	uint64_t plan;	      /* config_hash_weights: folder, dtype, isa */
	uint64_t image_bytes; /* from WEIGHTS_ALIGN on */
};

/* A hash over names, sizes, times, inodes and devices of the files in the folder and in folders of it
 * that an encoder may read (symbolic links: of their targets), or of the one file. 0: it can't be
 * read. Reads no file. */
uint64_t weights_identity(const char *folder);

/* Call fn for each of those files that lies outside of the folder, where a link leads to: a hub's
 * cache is made of them. target: an absolute path without links. */
struct stat;
typedef void weights_link_fn(void *arg, const char *target, const struct stat *st);
void weights_links(const char *folder, weights_link_fn *fn, void *arg);

/* Loader: a new segment for an image of that many bytes. *image: where to pack, writable. */
struct weights_draft {
	int fd; /* -1: none */
	void *base;
	size_t len;
	void *image;
};
#define WEIGHTS_DRAFT_INIT {-1, NULL, 0, NULL}
MUST enum err_code weights_draft_open(struct weights_draft *d, size_t image_bytes, struct err *e);
/* Write the head, unmap, seal. After it nobody can change the segment; d->fd stays the caller's. */
MUST enum err_code weights_draft_seal(struct weights_draft *d, const struct weights_head *head,
	struct err *e);
void weights_draft_close(struct weights_draft *d);

/* A segment mapped read-only. */
struct weights_view {
	const void *base; /* NULL: none */
	size_t len;
	struct weights_head head; /* copied out and checked */
	const void *image;
};
/* Checks seals, size, head and plan. fd stays the caller's and is not needed afterwards. */
MUST enum err_code weights_view_open(struct weights_view *v, int fd, uint64_t plan, struct err *e);
void weights_view_close(struct weights_view *v);
/* Put the mapping on huge pages where the kernel can: takes 0.2 to 1.3 s for 440 MB, saves page
 * faults and the time to unmap ever after. Any thread; ends early where *stop becomes true, and
 * where the process is killed. false: it did not put all of it there. */
bool weights_view_collapse(const struct weights_view *v, const atomic_bool *stop);

/* Supervisor: is fd a segment that nobody can change any more? Maps and reads nothing. */
MUST enum err_code weights_check(int fd, uint64_t *bytes, struct err *e);

/* symbol, with a descriptor or not */
#define WEIGHTS_NOTE_LIST(X)                                                                       \
	/* classifier to supervisor */                                                             \
	X(HELLO, false)	 /* I am here: give me the segment if there is one */                      \
	X(WANT, false)	 /* requests wait for it: give it, or have it loaded */                    \
	X(BUILT, true)	 /* generation, dtype, isa: what you told me to load */                    \
	X(BROKEN, false) /* generation, text: I could not load it */                               \
	X(MAPS, false)	 /* generation: I have mapped this one and no other; 0: none */            \
	X(IDLE, false)	 /* unused for idle_ms, I have unmapped it */                              \
	/* supervisor to classifier */                                                             \
	X(GIVE, true)	 /* generation: map this one from now on */                                \
	X(LOAD, false)	 /* generation: build it and say BUILT or BROKEN */                        \
	X(REFUSE, false) /* text, retry_ms: there is none and none will come soon */

enum weights_note_kind {
#define X(symbol, has_fd) WEIGHTS_NOTE_##symbol,
	WEIGHTS_NOTE_LIST(X)
#undef X
	WEIGHTS_NOTES
};

struct weights_note {
	uint32_t magic;
	uint32_t kind; /* enum weights_note_kind */
	uint32_t generation;
	uint32_t retry_ms;
	uint64_t identity;
	char dtype[8], isa[16];
	char text[WEIGHTS_TEXT_MAX]; /* one line for a person */
};

/* Never waits. fd -1: none; it stays the caller's. ERR_OVERLOADED: the other side does not read. */
MUST enum err_code weights_send(int socket, const struct weights_note *n, int fd, struct err *e);

enum weights_recv { WEIGHTS_RECV_NOTE, WEIGHTS_RECV_EMPTY, WEIGHTS_RECV_END, WEIGHTS_RECV_BAD };
/* Never waits. *fd is the receiver's to close (-1: none), only where the kind carries one. Texts are
 * NUL-terminated and printable. BAD: something came that is no note of ours; it is gone. */
enum weights_recv weights_recv(int socket, struct weights_note *n, int *fd);
