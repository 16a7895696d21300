/* SPDX-License-Identifier: Apache-2.0 */
/*
 * panic.c - last words of a dying process
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/base.h"
#include "lib/base/panic.h"

/* Two of the few writable globals of the project: a signal handler has no other way to its row. */
static char *panic_text;
static size_t panic_size;

void
panic_attach(char *text, size_t size)
{
	panic_text = NULL;
	panic_size = size;
	panic_text = text;
}

_Noreturn void
panic_check(const char *file, int line, const char *cond)
{
	char words[256];

	(void)snprintf(words, sizeof(words), "%s:%d: check failed: %s", file, line, cond);
	if (panic_text != NULL && panic_size > 0)
		(void)snprintf(panic_text, panic_size, "%s", words);
	(void)dprintf(STDERR_FILENO, "%s\n", words);
	abort();
}

/* Append s to the text at *at; async-signal-safe. */
static void
panic_append(size_t *at, const char *s)
{
	while (*s != '\0' && *at + 1 < panic_size)
		panic_text[(*at)++] = *s++;
	panic_text[*at] = '\0';
}

static void
panic_append_hex(size_t *at, uintptr_t v)
{
	char digits[2 * sizeof(v) + 1];
	size_t i = sizeof(digits) - 1;

	digits[i] = '\0';
	do {
		digits[--i] = "0123456789abcdef"[v & 15];
		v >>= 4;
	} while (v != 0);
	panic_append(at, "0x");
	panic_append(at, digits + i);
}

static const char *
panic_signal_name(int sig)
{
	switch (sig) {
	case SIGSEGV:
		return "SIGSEGV";
	case SIGBUS:
		return "SIGBUS";
	case SIGFPE:
		return "SIGFPE";
	case SIGILL:
		return "SIGILL";
	default:
		return "SIGABRT";
	}
}

static void
panic_on_signal(int sig, siginfo_t *info, void *context)
{
	size_t at = 0;

	(void)context;
	/* A failed CHECK has already said why it aborts. */
	if (panic_text != NULL && panic_size > 0 && !(sig == SIGABRT && panic_text[0] != '\0')) {
		panic_append(&at, panic_signal_name(sig));
		if (sig != SIGABRT) {
			panic_append(&at, " at ");
			panic_append_hex(&at, (uintptr_t)info->si_addr);
		}
	}
	(void)raise(sig); /* SA_RESETHAND: the default action now ends the process */
}

static const int panic_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

void
panic_catch_signals(void)
{
	struct sigaction sa;

	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = panic_on_signal;
	sa.sa_flags = SA_SIGINFO | SA_RESETHAND | SA_NODEFER;
	(void)sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < ARRAY_LEN(panic_signals); i++)
		(void)sigaction(panic_signals[i], &sa, NULL);
}

void
panic_spare_signals(sigset_t *blocked)
{
	for (size_t i = 0; i < ARRAY_LEN(panic_signals); i++)
		(void)sigdelset(blocked, panic_signals[i]);
}
