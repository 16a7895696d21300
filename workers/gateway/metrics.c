/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.c - every counter of the board as Prometheus text
 */
#include <stdlib.h>
#include <string.h>

#include "workers/gateway/gateway.h"
#include "workers/role.h"

/* Workers of one role and name, over all slots they ever had: one label set. */
struct metrics_worker {
	const char *role;
	char name[NAME_MAX_LEN];
	uint64_t counters[COUNTERS];
};

static const char *const role_names[ROLES] = {
	[ROLE_NONE] = "none",
#define WORKER(symbol, name, calls, fds, stop_order) [ROLE_##symbol] = #name,
#include "workers/worker_list.h"
#undef WORKER
};

const char *
metrics_role_name(uint32_t role)
{
	return role < ROLES ? role_names[role] : "?";
}

static struct metrics_worker *
metrics_find(struct metrics_worker *rows, size_t *len, const struct slot_info *info)
{
	const char *role = metrics_role_name(info->role);

	for (size_t i = 0; i < *len; i++)
		if (rows[i].role == role && strcmp(rows[i].name, info->name) == 0)
			return &rows[i];
	rows[*len] = (struct metrics_worker){.role = role};
	memcpy(rows[*len].name, info->name, sizeof(info->name));
	return &rows[(*len)++];
}

/* Sum the slots into rows[0..SLOTS_MAX); returns how many rows there are. */
static size_t
metrics_gather(struct metrics_worker *rows, const struct board *board)
{
	struct slot_info info;
	size_t len = 0;

	for (unsigned slot = 0; slot < SLOTS_MAX; slot++) {
		const struct worker_row *w = board_worker(board, slot);
		struct metrics_worker *row;

		board_slot(board, slot, &info);
		if (info.name[0] == '\0')
			continue;
		row = metrics_find(rows, &len, &info);
		for (unsigned c = 0; c < COUNTERS; c++)
			row->counters[c] +=
				atomic_load_explicit(&w->counters[c], memory_order_relaxed);
	}
	return len;
}

/* A label value: backslash, quote and newline are escaped, as the format wants. */
static void
metrics_label(struct buf *out, const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s == '\\' || *s == '"')
			buf_add_char(out, '\\');
		buf_add_char(out, (unsigned char)*s < ' ' ? '?' : *s);
	}
}

static void
metrics_put_row(struct buf *out, enum counter c, const struct metrics_worker *rows, size_t len)
{
	const struct counter_row *row = counter_row(c);

	buf_addf(out, "# HELP shunt_%s %s\n# TYPE shunt_%s %s\n", row->metric, row->help,
		row->metric, row->gauge ? "gauge" : "counter");
	for (size_t i = 0; i < len; i++) {
		if (rows[i].counters[c] == 0 && !row->gauge)
			continue;
		buf_addf(out, "shunt_%s{role=\"%s\",worker=\"", row->metric, rows[i].role);
		metrics_label(out, rows[i].name);
		buf_add_str(out, "\"} ");
		/* a gauge is a signed number in unsigned clothes */
		if (row->gauge)
			buf_addf(out, "%lld\n", (long long)rows[i].counters[c]);
		else
			buf_addf(out, "%llu\n", (unsigned long long)rows[i].counters[c]);
	}
}

void
metrics_put(struct buf *out, const struct board *board)
{
	struct metrics_worker *rows = calloc(SLOTS_MAX, sizeof(*rows));
	size_t len;

	CHECK(rows != NULL);
	len = metrics_gather(rows, board);
	for (unsigned c = 0; c < COUNTERS; c++)
		metrics_put_row(out, (enum counter)c, rows, len);
	fault_put_metrics(out, board);
	free(rows);
}
