/* SPDX-License-Identifier: Apache-2.0 */
/*
 * panic.h - last words of a dying process
 *
 * A failed CHECK or a fatal signal leaves one line of text in a buffer that outlives the process
 * (the worker's row on the board), where the supervisor finds it for the obituary.
 */
#pragma once

#include <signal.h>
#include <stddef.h>

/* Send last words to text[0..size), NUL-terminated; NULL detaches. The memory stays the caller's
 * and must live until the process ends or panic_attach is called again. */
void panic_attach(char *text, size_t size);

/* Catch SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT: write last words, then die of that signal. */
void panic_catch_signals(void);

/* Take these signals out of what a thread is going to block: a fault that is blocked ends the process
 * without its handler, and so without last words. */
void panic_spare_signals(sigset_t *blocked);
