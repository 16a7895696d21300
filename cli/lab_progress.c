/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_progress.c - how far training has come, and Ctrl-C
 */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "cli/lab.h"
#include "lib/base/clock.h"

enum { BAR_WIDTH = 24, DRAW_EVERY_MS = 100 };

static volatile sig_atomic_t interrupted;

static void
on_interrupt(int signal_number)
{
	(void)signal_number;
	interrupted = 1;
}

void
lab_progress_begin(struct lab_progress *p, const struct cli *cli)
{
	struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESETHAND};
	int fd = fileno(cli->err);

	*p = (struct lab_progress){.start_ns = clock_ns()};
	if (fd >= 0 && isatty(fd) == 1)
		p->to = cli->err;
	interrupted = 0;
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
}

bool
lab_progress_step(void *progress, const char *stage, double done)
{
	struct lab_progress *p = progress;
	uint64_t now = clock_ns();
	double spent = (double)(now - p->start_ns) / (double)NS_PER_S;
	int filled = (int)(done * BAR_WIDTH + 0.5);
	char bar[BAR_WIDTH + 1];

	if (interrupted != 0)
		return false;
	if (p->to == NULL || now - p->drawn_ns < (uint64_t)DRAW_EVERY_MS * NS_PER_MS)
		return true;
	p->drawn_ns = now;
	filled = MAX(0, MIN(filled, (int)BAR_WIDTH));
	memset(bar, '.', BAR_WIDTH);
	memset(bar, '#', (size_t)filled);
	bar[BAR_WIDTH] = '\0';
	(void)fprintf(p->to, "\r[%s] %3.0f %%  %-36.36s", bar, done * 100, stage);
	if (done > 0.01)
		(void)fprintf(p->to, " %5.0f s left", spent * (1 - done) / done);
	(void)fprintf(p->to, "\033[K");
	(void)fflush(p->to);
	return true;
}

void
lab_progress_end(struct lab_progress *p)
{
	const struct sigaction usual = {.sa_handler = SIG_DFL};

	if (p->to != NULL && p->drawn_ns != 0) {
		(void)fputs("\r\033[K", p->to);
		(void)fflush(p->to);
	}
	(void)sigaction(SIGINT, &usual, NULL);
	(void)sigaction(SIGTERM, &usual, NULL);
}
