/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twin.c - a row that changes as a whole without a lock: two copies and an atomic flip
 */
#include <string.h>

#include "shm/board.h"
#include "shm/twin.h"

unsigned
twin_index(uint64_t seq)
{
	return (unsigned)(seq & 1);
}

unsigned
twin_spare(const struct twin *t)
{
	uint64_t seq = atomic_load_explicit(&t->seq, memory_order_relaxed);

	/* The flip that made this copy spare must be seen before what is now written into it. */
	atomic_thread_fence(memory_order_release);
	return twin_index(seq + 1);
}

void
twin_flip(struct twin *t)
{
	uint64_t seq = atomic_load_explicit(&t->seq, memory_order_relaxed);

	atomic_store_explicit(&t->seq, seq + 1, memory_order_release);
}

void
twin_write(struct twin *t, void *copies, size_t size, const void *value)
{
	CHECK(t != NULL && copies != NULL && size > 0);
	memcpy((char *)copies + twin_spare(t) * size, value, size);
	twin_flip(t);
}

uint64_t
twin_begin(const struct twin *t)
{
	return atomic_load_explicit(&t->seq, memory_order_acquire);
}

bool
twin_unchanged(const struct twin *t, uint64_t seq)
{
	/* Everything copied out so far was read before the second look. */
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&t->seq, memory_order_relaxed) == seq;
}

bool
twin_read(const struct twin *t, const void *copies, size_t size, void *out)
{
	uint64_t seq;

	CHECK(t != NULL && copies != NULL && size > 0);
	for (int i = 0; i < TWIN_TRIES; i++) {
		seq = twin_begin(t);
		memcpy(out, (const char *)copies + twin_index(seq) * size, size);
		if (twin_unchanged(t, seq))
			return true;
	}
	memset(out, 0, size);
	return false;
}
