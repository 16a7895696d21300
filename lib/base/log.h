/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line per event on standard error
 *
 * Levels: error = the operator must look; warn = we coped, say how; info = life cycle only;
 * debug = per request. Never prompts, keys or bodies.
 * A line: 2026-01-02T03:04:05.678Z info gateway-0 worker_ready pid=12 generation=1
 */
#pragma once

#include "lib/base/base.h"
#include "lib/base/err.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

/* Who speaks: copied. Until called it is "shunt". */
void log_open(const char *who, enum log_level level, enum log_format format);
void log_set(enum log_level level, enum log_format format); /* as log_open, under the same name */

/* event is a stable snake_case name; fmt gives key=value pairs separated by one space. A value with
 * spaces or quotes goes through as it is in text form; pass it last, in double quotes. */
void log_event(enum log_level level, const char *event, const char *fmt, ...) PRINTF(3, 4);

#define log_error(event, ...) log_event(LOG_ERROR, event, __VA_ARGS__)
#define log_warn(event, ...) log_event(LOG_WARN, event, __VA_ARGS__)
#define log_info(event, ...) log_event(LOG_INFO, event, __VA_ARGS__)
#define log_debug(event, ...) log_event(LOG_DEBUG, event, __VA_ARGS__)
