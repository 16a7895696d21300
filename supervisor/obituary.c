/* SPDX-License-Identifier: Apache-2.0 */
/*
 * obituary.c - one line for each death: who, of what, and the last words
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "supervisor/supervisor.h"

/* "exit:1" or "signal:SEGV" */
static void
obituary_cause(char *out, size_t size, const siginfo_t *si)
{
	const char *name;

	if (si->si_code == CLD_EXITED) {
		(void)snprintf(out, size, "exit:%d", si->si_status);
		return;
	}
	name = sigabbrev_np(si->si_status);
	if (name != NULL)
		(void)snprintf(out, size, "signal:SIG%s", name);
	else
		(void)snprintf(out, size, "signal:%d", si->si_status);
}

void
obituary_write(const struct supervisor *s, const struct seat *seat, const siginfo_t *si)
{
	/* SIGTERM ends one that was told to go before it could catch it. */
	bool as_told = seat->state == CHILD_DRAINING &&
		       si->si_status == (si->si_code == CLD_EXITED ? 0 : SIGTERM);
	char cause[32], words[LAST_WORDS_MAX];

	obituary_cause(cause, sizeof(cause), si);
	board_last_words(s->board, seat->slot, words);
	log_event(as_told ? LOG_INFO : LOG_WARN, as_told ? "worker_ended" : "worker_died",
		"role=%s name=%s slot=%u pid=%d generation=%u cause=%s lived_ms=%" PRIu64
		" restarts=%u words=\"%s\"",
		table_role(seat->role)->name, seat->name, seat->slot, seat->pid, seat->generation,
		cause, (clock_ns() - seat->started_ns) / NS_PER_MS, seat->restarts, words);
}
