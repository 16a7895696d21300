/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chaos_look.c - what a chaos run sees of its daemon: status, counters, journal
 */
#include <curl/curl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/chaos.h"
#include "lib/base/clock.h"
#include "lib/ledger/ledger.h"

enum {
	ASK_MS = 5000,
	SETTLE_MS = 5000,
	LOOK_AGAIN_MS = 30,
	ANSWER_MAX = 16 * 1024 * 1024,
	HOPS_MAX = 16
};

static size_t
look_on_data(char *data, size_t size, size_t n, void *arg)
{
	struct buf *b = arg;

	if (b->len + size * n > ANSWER_MAX)
		return 0;
	buf_add(b, data, size * n);
	return size * n;
}

static long
look_ask(struct buf *answer, const struct chaos_daemon *d, const char *method, const char *path)
{
	AUTO(buf_fini) struct buf url = BUF_INIT;
	AUTO(buf_fini) struct buf line = BUF_INIT;
	const char *key = getenv("SHUNT_KEY");
	struct curl_slist *headers = NULL;
	CURL *easy = curl_easy_init();
	long status = 0;

	CHECK(easy != NULL);
	buf_clear(answer);
	buf_addf(&url, "%s%s", buf_str(&d->url), path);
	if (d->socket.len > 0)
		(void)curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, buf_str(&d->socket));
	if (!d->own && key != NULL && strpbrk(key, "\r\n") == NULL) {
		buf_addf(&line, "Authorization: Bearer %s", key);
		headers = curl_slist_append(NULL, buf_str(&line));
		CHECK(headers != NULL);
	}
	(void)curl_easy_setopt(easy, CURLOPT_URL, buf_str(&url));
	(void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	(void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	(void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)ASK_MS);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, look_on_data);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
	(void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
	if (curl_easy_perform(easy) == CURLE_OK)
		(void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(easy);
	curl_slist_free_all(headers);
	return status;
}

long
chaos_ask(struct buf *answer, const struct chaos_daemon *d, const char *path)
{
	return look_ask(answer, d, "GET", path);
}

void
chaos_ask_clear(const struct chaos_daemon *d, uint64_t fault)
{
	AUTO(buf_fini) struct buf answer = BUF_INIT;
	AUTO(buf_fini) struct buf path = BUF_INIT;

	buf_addf(&path, "/admin/faults/%" PRIu64, fault);
	(void)look_ask(&answer, d, "DELETE", buf_str(&path)); /* 404: it is over already */
}

/* ---- status ---- */

/* Is one of the rows so? */
static bool
look_has(struct json rows, const char *name, const char *value)
{
	struct json_iter it = json_iter(rows);
	struct json row;

	while (json_next_item(&it, &row))
		if (json_equals(json_get(row, name), value))
			return true;
	return false;
}

static bool
look_all_are(struct json rows, const char *name, const char *wanted)
{
	struct json_iter it = json_iter(rows);
	struct json row;

	while (rows.type == JSON_ARRAY && json_next_item(&it, &row))
		if (!json_equals(json_get(row, name), wanted))
			return false;
	return rows.type == JSON_ARRAY;
}

bool
chaos_look_is_up(const struct chaos_daemon *d)
{
	AUTO(buf_fini) struct buf answer = BUF_INIT;
	struct json v;

	return chaos_ask(&answer, d, "/admin/status") == 200 &&
	       json_check(&v, buf_str(&answer), answer.len, NULL) == ERR_OK &&
	       look_all_are(json_get(v, "workers"), "state", "ready") &&
	       !look_has(json_get(v, "backends"), "health", "down");
}

/* Requests in flight; UINT64_MAX: no answer. */
static uint64_t
look_in_flight(const struct chaos_daemon *d)
{
	AUTO(buf_fini) struct buf answer = BUF_INIT;
	uint64_t sum = 0, n;
	struct json v, rows, row;
	struct json_iter it;

	if (chaos_ask(&answer, d, "/admin/status") != 200 ||
		json_check(&v, buf_str(&answer), answer.len, NULL) != ERR_OK)
		return UINT64_MAX;
	rows = json_get(v, "backends");
	it = json_iter(rows);
	while (rows.type == JSON_ARRAY && json_next_item(&it, &row))
		if (json_u64(&n, json_get(row, "in_flight")))
			sum += n;
	return sum;
}

/* ---- faults ---- */

static void
look_faults(uint64_t hits[FAULT_KINDS], const struct chaos_daemon *d)
{
	AUTO(buf_fini) struct buf answer = BUF_INIT;
	AUTO(buf_fini) struct buf label = BUF_INIT;

	memset(hits, 0, FAULT_KINDS * sizeof(hits[0]));
	if (chaos_ask(&answer, d, "/metrics") != 200)
		return;
	for (unsigned k = 0; k < FAULT_KINDS; k++) {
		const char *at = buf_str(&answer), *end, *value;

		buf_clear(&label);
		buf_addf(&label, "kind=\"%s\"", fault_kind_row(k)->name);
		while ((at = strstr(at, "\nshunt_faults_injected_total{")) != NULL) {
			at++;
			end = strchrnul(at, '\n');
			value = memmem(at, (size_t)(end - at), "} ", 2);
			if (value != NULL &&
				memmem(at, (size_t)(end - at), label.data, label.len) != NULL)
				hits[k] += strtoull(value + 2, NULL, 10);
		}
	}
}

void
chaos_look_base(struct chaos_seen *seen, const struct chaos_daemon *d)
{
	struct chaos_use use = chaos_daemon_use(d);

	seen->own = d->own;
	look_faults(seen->hits_before, d);
	seen->fds_more = -use.fds;
	seen->memory_more_kb = -use.rss_kb;
}

/* ---- journal ---- */

/* A request that a client saw end, and the backends of its attempts. */
struct record {
	const char *id;
	unsigned records, hops_len;
	uint8_t hops[HOPS_MAX]; /* places in the fallback order */
};

static int
record_compare(const void *a, const void *b)
{
	return strcmp(((const struct record *)a)->id, ((const struct record *)b)->id);
}

struct book {
	struct record *records;
	size_t len;
	const struct chaos_scenario *s;
	struct chaos_seen *seen;
};

static struct record *
book_find(const struct book *k, struct json id)
{
	char text[40];
	const struct record wanted = {.id = text};

	if (!json_copy_text(text, sizeof(text), id))
		return NULL;
	return bsearch(&wanted, k->records, k->len, sizeof(wanted), record_compare);
}

static void
book_add_hop(const struct book *k, struct record *r, struct json backend)
{
	size_t place = 0;

	while (place < k->s->fallback.len && !json_equals(backend, k->s->fallback.rows[place]))
		place++;
	if (r->hops_len < HOPS_MAX)
		r->hops[r->hops_len++] = (uint8_t)place;
}

static void
book_line(struct book *k, const char *line, size_t len)
{
	char source[LEDGER_SOURCE_MAX];
	struct record *r;
	struct json v;

	if (!ledger_line_check(line, len, source) || json_check(&v, line, len, NULL) != ERR_OK) {
		k->seen->journal_damaged++;
		return;
	}
	k->seen->journal_records++;
	if (json_equals(json_get(v, "kind"), "request") &&
		(r = book_find(k, json_get(v, "id"))) != NULL)
		r->records++;
	if (json_equals(json_get(v, "kind"), "attempt") &&
		(r = book_find(k, json_get(v, "request"))) != NULL)
		book_add_hop(k, r, json_get(v, "backend"));
}

static void
book_read(struct book *k, const char *folder)
{
	uint32_t *numbers = NULL;
	size_t len = 0, cap = 0;
	char *line = NULL;
	struct err e;

	if (ledger_files(&numbers, &len, folder, &e) != ERR_OK)
		len = 0;
	for (size_t i = 0; i < len; i++) {
		AUTO(buf_fini) struct buf path = BUF_INIT;
		ssize_t n;
		FILE *f;

		ledger_file_path(&path, folder, numbers[i]);
		f = fopen(buf_str(&path), "re");
		if (f == NULL)
			continue;
		while ((n = getline(&line, &cap, f)) > 0)
			if (line[n - 1] == '\n') /* else it is being written */
				book_line(k, line, (size_t)n - 1);
		(void)fclose(f);
	}
	free(line);
	free(numbers);
}

static void
book_judge(struct book *k)
{
	struct chaos_seen *seen = k->seen;

	seen->journal_missing = seen->journal_twice = seen->orders_seen = 0;
	buf_clear(&seen->journal_why);
	buf_clear(&seen->orders_why);
	for (size_t i = 0; i < k->len; i++) {
		const struct record *r = &k->records[i];

		seen->journal_missing += r->records == 0;
		seen->journal_twice += r->records > 1;
		if (r->records != 1 && seen->journal_why.len == 0)
			buf_addf(&seen->journal_why, "first %s", r->id);
		seen->orders_seen += r->hops_len > 0;
		for (unsigned h = 0; h < r->hops_len; h++)
			if ((h > 0 && r->hops[h] < r->hops[h - 1]) ||
				r->hops[h] >= k->s->fallback.len) {
				if (seen->orders_why.len == 0)
					buf_addf(&seen->orders_why, "not so: %s", r->id);
			}
	}
}

/* Every id that a client saw with an end. */
static void
book_open(struct book *k, const struct chaos_plan *p)
{
	k->records = calloc(p->len + 1, sizeof(*k->records));
	CHECK(k->records != NULL);
	for (size_t i = 0; i < p->len; i++)
		if (p->requests[i].id[0] != '\0' && p->requests[i].outcome != CHAOS_NOTHING)
			k->records[k->len++].id = p->requests[i].id;
	qsort(k->records, k->len, sizeof(*k->records), record_compare);
}

static void
look_journal(struct chaos_seen *seen, const struct chaos_scenario *s, const struct chaos_plan *p,
	const struct chaos_daemon *d)
{
	AUTO(buf_fini) struct buf folder = BUF_INIT;
	struct book k = {.s = s, .seen = seen};

	buf_addf(&folder, "%s/state/journal", buf_str(&d->home));
	seen->journal_records = seen->journal_damaged = 0;
	book_open(&k, p);
	book_read(&k, buf_str(&folder));
	book_judge(&k);
	free(k.records);
}

/* ---- all of it ---- */

static bool
look_is_settled(const struct chaos_seen *seen, const struct chaos_scenario *s,
	const struct chaos_use *use, const struct chaos_seen *base)
{
	if (seen->busy != 0)
		return false;
	if (!seen->own)
		return true;
	if (s->limits[CHAOS_JOURNAL] >= 0 &&
		seen->journal_missing + seen->journal_twice + seen->journal_damaged > 0)
		return false;
	return s->limits[CHAOS_FDS] < 0 ||
	       (double)(base->fds_more + use->fds) <= s->limits[CHAOS_FDS];
}

void
chaos_look(struct chaos_seen *seen, const struct chaos_scenario *s, const struct chaos_plan *p,
	const struct chaos_daemon *d, int signal_fd)
{
	const struct chaos_seen base = *seen;
	uint64_t until_ns = clock_ns() + clock_ms_to_ns(SETTLE_MS), hits[FAULT_KINDS];
	struct chaos_use use;

	do {
		seen->busy = look_in_flight(d);
		use = chaos_daemon_use(d);
		if (d->own && (s->limits[CHAOS_JOURNAL] >= 0 || s->fallback.len > 0))
			look_journal(seen, s, p, d);
	} while (!look_is_settled(seen, s, &use, &base) && clock_ns() < until_ns &&
		 !chaos_daemon_wait(d, signal_fd, LOOK_AGAIN_MS));
	seen->fds_more = base.fds_more + use.fds;
	seen->memory_more_kb = base.memory_more_kb + use.rss_kb;
	for (size_t i = 0; i < p->len; i++)
		seen->kinds_hit |= p->requests[i].faults;
	look_faults(hits, d);
	for (unsigned k = 0; k < FAULT_KINDS; k++)
		if (hits[k] > seen->hits_before[k])
			seen->kinds_hit |= UINT64_C(1) << k;
}
