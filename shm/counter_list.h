/* SPDX-License-Identifier: Apache-2.0 */
/*
 * counter_list.h - every counter and gauge, once
 *
 * Without include guard: define COUNTER(symbol, type, metric, help) and include it.
 * Every worker has all of them in its row; /metrics prints each with `shunt_` in front and labels
 * role and worker: gauges of all workers, counters of those that ever touched them. type: counter
 * (only grows, survives restarts of its slot) or gauge (set to 0 at every start).
 */
COUNTER(HTTP_CONNECTIONS, counter, connections_total, "Client connections accepted.")
COUNTER(HTTP_OPEN, gauge, connections_open, "Client connections open now.")
COUNTER(HTTP_REQUESTS, counter, requests_total, "Requests read from clients.")
COUNTER(HTTP_2XX, counter, responses_2xx_total, "Responses sent with a 2xx status.")
COUNTER(HTTP_4XX, counter, responses_4xx_total, "Responses sent with a 4xx status.")
COUNTER(HTTP_5XX, counter, responses_5xx_total, "Responses sent with a 5xx status.")
COUNTER(HTTP_BAD, counter, requests_malformed_total, "Requests refused by the HTTP parser.")
COUNTER(HTTP_TIMEOUTS, counter, client_timeouts_total, "Connections closed for slowness.")
COUNTER(REQ_IN_FLIGHT, gauge, requests_in_flight, "Requests being answered now.")
COUNTER(REQ_CANCELLED, counter, requests_cancelled_total, "Clients that left before the end.")
COUNTER(REQ_ATTEMPTS, counter, attempts_total, "Attempts sent to backends.")
COUNTER(REQ_CASCADES, counter, cascades_total, "Attempts that failed and moved on.")
COUNTER(REQ_STREAM_BROKEN, counter, streams_broken_total, "Streams ended by an error event.")
COUNTER(REQ_PROMPT_TOKENS, counter, prompt_tokens_total, "Prompt tokens of finished requests.")
COUNTER(REQ_TOKENS, counter, completion_tokens_total, "Completion tokens of finished requests.")
COUNTER(REQ_COST_NUSD, counter, cost_nano_usd_total, "Cost of finished requests, 1e-9 USD.")
COUNTER(ROUTE_DECISIONS, counter, route_decisions_total, "Routing decisions made.")
COUNTER(ROUTE_NS, counter, route_nanoseconds_total, "Time spent deciding, in nanoseconds.")
COUNTER(UP_CALLS, counter, upstream_calls_total, "Calls started to the upstream.")
COUNTER(UP_OK, counter, upstream_ok_total, "Calls answered in full.")
COUNTER(UP_FAILED, counter, upstream_failed_total, "Calls that failed.")
COUNTER(UP_CANCELLED, counter, upstream_cancelled_total, "Calls cancelled by a gateway.")
COUNTER(UP_IN_FLIGHT, gauge, upstream_in_flight, "Calls open now.")
COUNTER(UP_PAUSED, counter, upstream_pauses_total, "Times reading stopped for a slow client.")
COUNTER(PROBES, counter, probes_total, "Health probes finished.")
COUNTER(PROBES_FAILED, counter, probes_failed_total, "Health probes that failed.")
COUNTER(SUSPECTS, counter, suspicions_total, "Suspicions reported by gateways.")
COUNTER(MSG_SENT, counter, messages_sent_total, "Messages sent.")
COUNTER(MSG_RECEIVED, counter, messages_received_total, "Messages received.")
COUNTER(MSG_MALFORMED, counter, messages_malformed_total, "Messages dropped: not verified.")
COUNTER(MSG_UNKNOWN, counter, messages_unknown_total, "Messages dropped: no handler here.")
COUNTER(MSG_WRONG_SENDER, counter, messages_wrong_sender_total, "Messages dropped: sender's role.")
COUNTER(MSG_STALE, counter, messages_stale_total, "Messages dropped: another generation.")
COUNTER(MSG_UNSENT, counter, messages_unsent_total, "Messages that could not be sent.")
