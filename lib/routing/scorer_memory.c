/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_memory.c - the nearest training prompts of a prompt
 */
#include <math.h>
#include <string.h>

#include "lib/routing/scorer_memory.h"

enum err_code
memory_open(struct scorer *s, const struct scorer_file *f, struct err *e)
{
	struct memory *m = (struct memory *)s;
	const void *section;
	enum err_code rc;
	size_t len;

	rc = project_open(&m->project, f, e);
	if (rc != ERR_OK)
		return rc;
	if (!scorer_file_section(&section, &len, f, "outcome") || len == 0 || len % s->models != 0)
		return err_set(e, ERR_CONFIG, "%s: section 'outcome' is missing or cut", f->what);
	m->outcome = section;
	m->rows = len / s->models;
	return scorer_file_floats(&m->keys, f, "keys", m->rows * m->project.rank, e);
}

void
memory_close(struct scorer *s)
{
	project_close(&((struct memory *)s)->project);
}

size_t
memory_scratch_bytes(const struct scorer *s)
{
	(void)s;
	return sizeof(struct memory_scratch);
}

/* Sink the new root of a heap whose root is the least alike. */
static void
memory_sink(struct memory_near *heap, size_t n)
{
	size_t i = 0, child;
	struct memory_near moved = heap[0];

	while ((child = 2 * i + 1) < n) {
		if (child + 1 < n && heap[child + 1].likeness < heap[child].likeness)
			child++;
		if (moved.likeness <= heap[child].likeness)
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = moved;
}

static float
memory_likeness(const float *a, const float *b, size_t n)
{
	float lane[8] = {0};
	size_t i, k;

	for (i = 0; i < n; i += 8) { /* the rank is a multiple of 16 */
		for (k = 0; k < 8; k++)
			lane[k] += a[i + k] * b[i + k];
	}
	return (lane[0] + lane[4]) + (lane[1] + lane[5]) + (lane[2] + lane[6]) + (lane[3] + lane[7]);
}

size_t
memory_nearest(const struct memory *m, const struct scorer_input *in, struct memory_scratch *t)
{
	size_t rank = m->project.rank, n = 0, i;
	float norm = 0, v;

	project_input(t->z, &m->project, in, &t->project);
	for (i = 0; i < rank; i++)
		norm += t->z[i] * t->z[i];
	norm = norm > 0 ? 1 / sqrtf(norm) : 0;
	for (i = 0; i < MEMORY_NEAR_MAX; i++)
		t->near[i] = (struct memory_near){0, -2};
	for (i = 0; i < m->rows; i++) {
		v = norm * memory_likeness(t->z, m->keys + i * rank, rank);
		if (v <= t->near[0].likeness)
			continue;
		t->near[0] = (struct memory_near){(uint32_t)i, v};
		memory_sink(t->near, MEMORY_NEAR_MAX);
	}
	for (i = 0; i < MEMORY_NEAR_MAX; i++) {
		if (t->near[i].likeness >= -1)
			t->near[n++] = t->near[i];
	}
	return n;
}
