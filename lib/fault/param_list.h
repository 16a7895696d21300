/* SPDX-License-Identifier: Apache-2.0 */
/*
 * param_list.h - the one table of what a fault may say beside its kind: whom it meets, when, how
 *
 * Without include guard: define FAULT_PARAM and include it. One-line specs, rows of the config's
 * `faults`, printing and range checks come out of these rows; kind_list.h says which kind takes
 * which of those that say how.
 *
 * FAULT_PARAM(symbol, name, use, type, field, min, max, help)
 *   use    MATCH: whom; WHEN; HOW
 *   type   TEXT: char field[], at most its size; COUNT: uint64_t; TIME: uint64_t milliseconds,
 *          written as 500, 500ms, 2s, 1.5m or 1h; SHIFT: int64_t, a TIME with a sign; SHARE: double
 */
/* clang-format off */
FAULT_PARAM(BACKEND, backend, MATCH, TEXT, backend, 0, 0, "only calls to this backend")
FAULT_PARAM(MODEL, model, MATCH, TEXT, model, 0, 0, "only calls of this model, by the client's name for it or the upstream's")
FAULT_PARAM(ROUTE, route, MATCH, TEXT, route, 0, 0, "only requests of this route")
FAULT_PARAM(USER, user, MATCH, TEXT, user, 0, 0, "only requests of this user: the name before the key in auth.keys_file, or uid:N on a Unix socket")
FAULT_PARAM(WORKER, worker, MATCH, TEXT, worker, 0, 0, "only this worker, or the workers of this role (gateway, backend, ...)")
FAULT_PARAM(MESSAGE, message, MATCH, TEXT, message, 0, 0, "only messages of this type (ChatStart, ChatDelta, ...)")
FAULT_PARAM(EVERY, every, WHEN, COUNT, every, 1, 1000000, "only each n-th of those that it could meet")
FAULT_PARAM(PROBABILITY, probability, WHEN, SHARE, probability, 0, 1, "only this share of them, drawn from seed")
FAULT_PARAM(SEED, seed, WHEN, COUNT, seed, 0, 9007199254740992, "of the draws; the same seed and requests give the same decisions (default: 1)")
FAULT_PARAM(AFTER, after, WHEN, TIME, after_ms, 0, 86400000, "begins so long after it was set, or after the daemon's start")
FAULT_PARAM(FOR, for, WHEN, TIME, for_ms, 1, 86400000, "ends so long after it began (default: until cleared; for resource faults 30s)")
FAULT_PARAM(PERIOD, period, WHEN, TIME, period_ms, 10, 3600000, "process faults: comes again after so long (default: once)")
FAULT_PARAM(COUNT, count, WHEN, COUNT, count, 1, 1000000000, "ends after so many hits (default: no limit; for process faults 1 per worker)")
FAULT_PARAM(STATUS, status, HOW, COUNT, status, 400, 599, "the HTTP status (default: 503)")
FAULT_PARAM(BODY, body, HOW, TEXT, body, 0, 0, "the answer's body (default: an error in OpenAI's shape)")
FAULT_PARAM(RETRY_AFTER, retry_after, HOW, TIME, retry_after_ms, 0, 86400000, "sent as Retry-After, in whole seconds (default for rate_limit: 1s)")
FAULT_PARAM(TIME, time, HOW, TIME, time_ms, 0, 600000, "how long")
FAULT_PARAM(SPREAD, spread, HOW, TIME, spread_ms, 0, 600000, "standard deviation of a normally distributed time")
FAULT_PARAM(TOKENS, tokens, HOW, COUNT, tokens, 0, 1000000, "after so many pieces of text (of a whole answer: 4 bytes each)")
FAULT_PARAM(BYTES, bytes, HOW, COUNT, bytes, 0, 1073741824, "how many bytes, or after how many")
FAULT_PARAM(FILES, files, HOW, COUNT, files, 4, 65536, "how many descriptors it may have; open ones stay (default: 16; with fewer than 4, poll() itself fails)")
FAULT_PARAM(BY, by, HOW, SHIFT, by_ms, -86400000, 86400000, "how far the wall clock is off; negative: slow")
/* clang-format on */
