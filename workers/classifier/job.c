/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.c - what was asked of a classifier and waits for its pass
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "workers/classifier/classifier.h"

enum { IN_A_ROW_MAX = 4 }; /* passes of classifications while an embedding waits */

struct job *
job_new(enum job_kind kind, const struct msg *m, struct bytes *payload)
{
	struct job *j = calloc(1, sizeof(*j));

	CHECK(j != NULL);
	j->kind = kind;
	j->slot = m->head.sender_slot;
	j->generation = m->head.sender_generation;
	j->request_id = m->head.request_id;
	j->deadline_ns = m->head.deadline_ns;
	j->arrived_ns = clock_ns();
	j->payload = bytes_ref(payload);
	j->texts = 1;
	return j;
}

void
job_free(struct job **j_p)
{
	struct job *j = *j_p;

	*j_p = NULL;
	if (j == NULL)
		return;
	bytes_unref(&j->payload);
	free(j);
}

void
queue_init(struct queue *q)
{
	*q = (struct queue){.len = 0};
	for (size_t i = 0; i < ARRAY_LEN(q->first); i++)
		q->last[i] = &q->first[i];
}

void
queue_add(struct queue *q, struct job *j)
{
	CHECK(j->next == NULL);
	*q->last[j->kind] = j;
	q->last[j->kind] = &j->next;
	q->len++;
}

static struct job *
queue_unlink(struct queue *q, enum job_kind kind, struct job **at)
{
	struct job *j = *at;

	*at = j->next;
	if (q->last[kind] == &j->next)
		q->last[kind] = at;
	j->next = NULL;
	q->len--;
	return j;
}

/* Whose turn it is when a pass begins. */
static enum job_kind
queue_turn(struct queue *q)
{
	if (q->first[JOB_EMBED] == NULL) {
		q->in_a_row = 0;
		return JOB_CLASSIFY;
	}
	if (q->first[JOB_CLASSIFY] == NULL || q->in_a_row >= IN_A_ROW_MAX) {
		q->in_a_row = 0;
		return JOB_EMBED;
	}
	q->in_a_row++;
	return JOB_CLASSIFY;
}

struct job *
queue_take(struct queue *q, size_t room, const enum job_kind *kind)
{
	enum job_kind turn = kind != NULL ? *kind : queue_turn(q);

	if (q->first[turn] == NULL || q->first[turn]->texts > room)
		return NULL;
	return queue_unlink(q, turn, &q->first[turn]);
}

struct job *
queue_take_late(struct queue *q, uint64_t now_ns)
{
	for (enum job_kind kind = JOB_CLASSIFY; kind <= JOB_EMBED; kind++)
		for (struct job **at = &q->first[kind]; *at != NULL; at = &(*at)->next)
			if ((*at)->deadline_ns <= now_ns)
				return queue_unlink(q, kind, at);
	return NULL;
}
