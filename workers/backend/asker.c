/* SPDX-License-Identifier: Apache-2.0 */
/*
 * asker.c - the worker that asked for a call or a probe: answer it, notice its end
 */
#include "lib/base/log.h"
#include "workers/backend/backend.h"
#include "workers/common/worker.h"

bool
asker_reply(struct backend *b, const struct asker *to, struct msg *m, struct bytes *payload)
{
	struct err e;

	m->head.request_id = to->request_id;
	m->head.deadline_ns = to->deadline_ns;
	if (bus_send(b->w->bus, to->slot, to->generation, m, payload, &e) == ERR_OK)
		return true;
	log_debug("reply_unsent", "type=%s request=%llu text=\"%s\"", msg_name(m->type),
		(unsigned long long)to->request_id, e.text);
	return false;
}

bool
asker_lives(struct backend *b, const struct asker *who)
{
	struct slot_info info;

	board_slot(b->w->board, who->slot, &info);
	return info.generation == who->generation &&
	       (info.state == SLOT_STARTING || info.state == SLOT_READY ||
		       info.state == SLOT_DRAINING || info.state == SLOT_STOPPING);
}

void
asker_work_ended(struct backend *b)
{
	if (b->w->draining && b->in_flight == 0 && b->probes == NULL)
		worker_drained(b->w);
}
