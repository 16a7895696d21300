/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.h - one HTTP exchange with the running daemon, wherever it listens
 */
#pragma once

#include "cli/command.h"
#include "lib/base/buf.h"
#include "lib/base/json.h"

/*
 * Send a request (body NULL: GET, else POST of JSON) to the first place where a daemon answers and
 * check that the answer is JSON. *out is a view into body_out. CLI_OK for a 2xx answer; otherwise
 * it has been said on cli->err what is wrong (with CLI_BAD_NEWS, *out is the daemon's error body,
 * or JSON_NONE).
 */
MUST enum cli_exit daemon_call(struct json *out, struct buf *body_out, const struct cli *cli,
	const char *path, const struct buf *body);
/* Likewise, with method DELETE. */
MUST enum cli_exit daemon_delete(
	struct json *out, struct buf *body_out, const struct cli *cli, const char *path);
