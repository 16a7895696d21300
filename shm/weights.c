/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weights.c - a weights segment: made, sealed, checked, mapped
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/weights.h"

#ifndef MADV_COLLAPSE /* newer than the packaged header */
#define MADV_COLLAPSE 25
#endif

enum { WEIGHTS_COLLAPSE_BYTES = 4 * WEIGHTS_ALIGN }; /* about 10 ms */
enum { WEIGHTS_SEALS = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

_Static_assert(sizeof(struct weights_head) == 32, "the head has no padding");
_Static_assert(sizeof(struct weights_head) <= WEIGHTS_ALIGN, "the head is before the image");

/* Map all of fd at an address that huge pages can be put on. */
static enum err_code
weights_map(void **out, int fd, size_t len, int prot, struct err *e)
{
	const size_t room = len + WEIGHTS_ALIGN;
	uintptr_t start, at;
	char *p;

	p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return err_set(
			e, ERR_SYS, "weights: no room for %zu bytes: %s", room, strerror(errno));
	start = (uintptr_t)p;
	at = (start + WEIGHTS_ALIGN - 1) & ~((uintptr_t)WEIGHTS_ALIGN - 1);
	if (mmap(p + (at - start), len, prot, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
		(void)err_set(e, ERR_SYS, "weights: map %zu bytes: %s", len, strerror(errno));
		(void)munmap(p, room);
		return ERR_SYS;
	}
	/* Give back what lies before and behind; lengths are whole pages because WEIGHTS_ALIGN is.
	 */
	if (at > start)
		CHECK(munmap(p, at - start) == 0);
	CHECK(munmap(p + (at - start) + len, room - len - (at - start)) == 0);
	*out = p + (at - start);
	return ERR_OK;
}

static size_t
weights_len(size_t image_bytes)
{
	size_t len = WEIGHTS_ALIGN + image_bytes;

	return (len + WEIGHTS_ALIGN - 1) & ~((size_t)WEIGHTS_ALIGN - 1);
}

enum err_code
weights_draft_open(struct weights_draft *d, size_t image_bytes, struct err *e)
{
	struct weights_draft made = WEIGHTS_DRAFT_INIT;
	enum err_code code = ERR_SYS;

	if (image_bytes == 0 || image_bytes > SIZE_MAX / 4)
		return err_set(e, ERR_SYS, "weights: %zu bytes is no size", image_bytes);
	made.len = weights_len(image_bytes);
	made.fd = memfd_create("shunt-weights", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (made.fd < 0)
		return err_set(e, ERR_SYS, "weights: memfd_create: %s", strerror(errno));
	if (ftruncate(made.fd, (off_t)made.len) < 0)
		(void)err_set(
			e, ERR_SYS, "weights: %zu bytes of memory: %s", made.len, strerror(errno));
	else
		code = weights_map(&made.base, made.fd, made.len, PROT_READ | PROT_WRITE, e);
	if (code != ERR_OK) {
		weights_draft_close(&made);
		return code;
	}
	made.image = (char *)made.base + WEIGHTS_ALIGN;
	*d = made;
	return ERR_OK;
}

enum err_code
weights_draft_seal(struct weights_draft *d, const struct weights_head *head, struct err *e)
{
	CHECK(d->fd >= 0 && d->base != NULL);
	CHECK(head->magic == WEIGHTS_MAGIC && head->image_bytes <= d->len - WEIGHTS_ALIGN);
	memcpy(d->base, head, sizeof(*head));
	CHECK(munmap(d->base, d->len) == 0);
	d->base = d->image = NULL;
	/* EBUSY where somebody still maps it writable: it stays unsealed and is good for nothing */
	if (fcntl(d->fd, F_ADD_SEALS, WEIGHTS_SEALS) < 0)
		return err_set(e, ERR_SYS, "weights: seal: %s", strerror(errno));
	return ERR_OK;
}

void
weights_draft_close(struct weights_draft *d)
{
	if (d->base != NULL)
		CHECK(munmap(d->base, d->len) == 0);
	if (d->fd >= 0)
		(void)close(d->fd);
	*d = (struct weights_draft)WEIGHTS_DRAFT_INIT;
}

enum err_code
weights_check(int fd, uint64_t *bytes, struct err *e)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (seals < 0)
		return err_set(e, ERR_MALFORMED, "weights: not a memfd: %s", strerror(errno));
	if ((seals & WEIGHTS_SEALS) != WEIGHTS_SEALS)
		return err_set(e, ERR_MALFORMED, "weights: not sealed (seals %x)", (unsigned)seals);
	if (fstat(fd, &st) < 0)
		return err_set(e, ERR_SYS, "weights: fstat: %s", strerror(errno));
	if (st.st_size <= WEIGHTS_ALIGN || st.st_size % WEIGHTS_ALIGN != 0)
		return err_set(e, ERR_MALFORMED, "weights: %lld bytes is not the size of a segment",
			(long long)st.st_size);
	*bytes = (uint64_t)st.st_size;
	return ERR_OK;
}

static enum err_code
weights_check_head(const struct weights_head *h, size_t len, uint64_t plan, struct err *e)
{
	if (h->magic != WEIGHTS_MAGIC)
		return err_set(e, ERR_MALFORMED, "weights: wrong magic %08x", h->magic);
	if (h->image_bytes == 0 || h->image_bytes > len - WEIGHTS_ALIGN)
		return err_set(e, ERR_MALFORMED, "weights: an image of %llu bytes in %zu",
			(unsigned long long)h->image_bytes, len);
	if (h->plan != plan)
		return err_set(e, ERR_MALFORMED, "weights: of another folder or number format");
	return ERR_OK;
}

enum err_code
weights_view_open(struct weights_view *v, int fd, uint64_t plan, struct err *e)
{
	struct weights_view made = {0};
	enum err_code code;
	uint64_t bytes;
	void *p;

	if ((code = weights_check(fd, &bytes, e)) != ERR_OK ||
		(code = weights_map(&p, fd, (size_t)bytes, PROT_READ, e)) != ERR_OK)
		return code;
	made.base = p;
	made.len = (size_t)bytes;
	made.image = (const char *)p + WEIGHTS_ALIGN;
	memcpy(&made.head, p, sizeof(made.head));
	code = weights_check_head(&made.head, made.len, plan, e);
	if (code != ERR_OK) {
		weights_view_close(&made);
		return code;
	}
	*v = made;
	return ERR_OK;
}

void
weights_view_close(struct weights_view *v)
{
	/* the qualifier of the read-only view is all that is dropped */
	if (v->base != NULL)
		CHECK(munmap((void *)(uintptr_t)v->base, v->len) == 0);
	*v = (struct weights_view){0};
}

/* The kernel heeds no signal, not even SIGKILL, before a call ends: many short ones. */
bool
weights_view_collapse(const struct weights_view *v, const atomic_bool *stop)
{
	const size_t len = v->len - WEIGHTS_ALIGN;

	CHECK(v->base != NULL);
	for (size_t at = 0; at < len; at += WEIGHTS_COLLAPSE_BYTES) {
		/* madvise wants no qualifier, and changes nothing in the bytes */
		char *from = (char *)(uintptr_t)v->image + at;

		if (atomic_load(stop) ||
			madvise(from, MIN(len - at, (size_t)WEIGHTS_COLLAPSE_BYTES),
				MADV_COLLAPSE) != 0)
			return false;
	}
	return true;
}
