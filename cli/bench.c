/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.c - `shunt bench classifier`: how long a model's forward pass takes on this machine
 *
 * Also the C side of bench/classifier, which runs it beside other engines: with "-" it takes
 * "TOKENS RUNS" lines from standard input, so that one driver can interleave many processes, and
 * with --image it packs the weights into a file once, or maps what is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/table.h"
#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/encoder/encoder.h"

enum {
	FIRST_TOKENS = 16, /* of the first pass after attach */
	RUNS = 9, /* of each length on the command line; the median counts */
	RUNS_MOST = 100000,
	THREADS_MOST = 64,
	HUGE_PAGE = 2 << 20,
	MADVISE_COLLAPSE = 25, /* MADV_COLLAPSE of Linux 6.1; Debian 12's headers lack it */
};

static const char *const default_lengths[] = {"8", "16", "32", "64", "128", "256", "512"};

struct bench {
	const struct cli *cli;
	struct encoder_plan plan;
	uint32_t threads;
	struct encoder *encoder;
	void *room; /* address space that holds the map */
	void *map;
	size_t room_len, len;
	double pack_ms; /* open, read and pack; 0 where an image was there */
	double first_ms; /* attach and the first pass */
	double first_cpu_ms; /* likewise, of this process on the CPU */
	uint32_t *ids;
	double *ms; /* RUNS_MOST */
	struct table *table;
};

static void
bench_fini(struct bench *b)
{
	encoder_free(&b->encoder);
	table_free(&b->table);
	free(b->ids);
	free(b->ms);
	if (b->room != NULL)
		(void)munmap(b->room, b->room_len);
}

static void
bench_close(const int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static double
since_ms(uint64_t start)
{
	return (double)(clock_ns() - start) / 1e6;
}

static double
cpu_ms(void)
{
	struct timespec ts = {0};

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* Ids that every engine of a comparison can make; inside the vocabulary of any real model. */
static void
bench_ids(struct bench *b, uint32_t count)
{
	uint32_t state = 12345;

	for (uint32_t i = 0; i < count; i++) {
		state = (state * 1103515245u + 12345u) & 0x7fffffff;
		b->ids[i] = 1000 + state % 20000;
	}
}

static enum err_code
bench_pass(struct bench *b, struct encoder_output *out, uint32_t count, struct err *e)
{
	const struct encoder_input in = {.ids = b->ids, .len = count};

	return encoder_run(b->encoder, out, &in, 1, ENCODER_POOL_MODEL, e);
}

/* Memory for a packed model: anonymous, or the file of --image. On a border of huge pages, as the
 * daemon maps its segments: else bench_collapse could do nothing. */
static enum err_code
bench_map(struct bench *b, int fd, int protection, struct err *e)
{
	int flags = fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
	size_t wide = b->len + HUGE_PAGE;
	char *room =
		mmap(NULL, wide, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *at;

	if (room == MAP_FAILED)
		return err_set(e, ERR_SYS, "map %zu bytes: %s", wide, strerror(errno));
	at = room + (HUGE_PAGE - (uintptr_t)room % HUGE_PAGE) % HUGE_PAGE;
	if (mmap(at, b->len, protection, flags | MAP_FIXED, fd, 0) == MAP_FAILED) {
		(void)munmap(room, wide);
		return err_set(e, ERR_SYS, "map %zu bytes: %s", b->len, strerror(errno));
	}
	if (fd < 0)
		(void)madvise(at, b->len, MADV_HUGEPAGE);
	b->room = room;
	b->room_len = wide;
	b->map = at;
	return ERR_OK;
}

/* Once the weights are there, into huge pages, for all who map them later. Old systems refuse. */
static void
bench_collapse(const struct bench *b)
{
	(void)madvise(b->map, b->len, MADVISE_COLLAPSE);
}

static enum err_code
bench_pack(struct bench *b, int fd, struct err *e)
{
	AUTO(encoder_close) struct encoder_source *source = NULL;
	uint64_t start = clock_ns();

	if (encoder_open(&source, b->cli->values['M'], &b->plan, e) != ERR_OK)
		return e->code;
	b->len = encoder_packed_bytes(source);
	if (fd >= 0 && ftruncate(fd, (off_t)b->len) != 0)
		return err_set(e, ERR_SYS, "%s: %zu bytes: %s", b->cli->values['i'], b->len,
			strerror(errno));
	if (bench_map(b, fd, PROT_READ | PROT_WRITE, e) != ERR_OK ||
		encoder_pack(source, b->map, e) != ERR_OK)
		return e->code;
	b->pack_ms = since_ms(start);
	bench_collapse(b);
	return ERR_OK;
}

static enum err_code
bench_image(struct bench *b, const char *path, struct err *e)
{
	AUTO(bench_close) int fd = -1;
	struct stat st;

	if (path == NULL)
		return bench_pack(b, -1, e);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &st) != 0)
		return err_set(e, ERR_SYS, "%s: %s", path, strerror(errno));
	if (st.st_size == 0)
		return bench_pack(b, fd, e);
	b->len = (size_t)st.st_size;
	return bench_map(b, fd, PROT_READ, e);
}

static enum err_code
bench_open(struct bench *b, struct encoder_output *first, struct err *e)
{
	const struct encoder_limits limits = {.batch = 1, .threads = b->threads};
	uint64_t start;
	double start_cpu_ms;
	uint32_t most;

	if (bench_image(b, b->cli->values['i'], e) != ERR_OK)
		return e->code;
	start = clock_ns();
	start_cpu_ms = cpu_ms();
	if (encoder_attach(&b->encoder, b->map, b->len, &limits, e) != ERR_OK)
		return e->code;
	most = encoder_info(b->encoder)->max_tokens;
	b->ids = calloc(MAX(most, (uint32_t)FIRST_TOKENS), sizeof(*b->ids));
	b->ms = calloc(RUNS_MOST, sizeof(*b->ms));
	if (b->ids == NULL || b->ms == NULL)
		return err_set(e, ERR_SYS, "no memory");
	bench_ids(b, MAX(most, (uint32_t)FIRST_TOKENS));
	if (bench_pass(b, first, MIN(most, (uint32_t)FIRST_TOKENS), e) != ERR_OK)
		return e->code;
	b->first_ms = since_ms(start);
	b->first_cpu_ms = cpu_ms() - start_cpu_ms;
	return ERR_OK;
}

static int
compare_ms(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void
bench_say_model(struct bench *b, const struct encoder_output *first)
{
	const struct encoder_info *info = encoder_info(b->encoder);
	AUTO(buf_fini) struct buf line = BUF_INIT;

	if (b->cli->output != CLI_JSON)
		return;
	json_put_begin(&line, '{');
	json_put_member_str(&line, "architecture", info->architecture);
	json_put_member_str(&line, "dtype", encoder_dtype_name(info->dtype));
	json_put_member_str(&line, "isa", encoder_isa_name(info->isa));
	json_put_key(&line, "threads");
	json_put_u64(&line, b->threads);
	json_put_key(&line, "image_bytes");
	json_put_u64(&line, b->len);
	json_put_key(&line, "pack_ms");
	json_put_double(&line, b->pack_ms);
	json_put_key(&line, "attach_first_ms");
	json_put_double(&line, b->first_ms);
	json_put_key(&line, "attach_first_cpu_ms");
	json_put_double(&line, b->first_cpu_ms);
	json_put_key(&line, "logits");
	json_put_begin(&line, '[');
	for (uint32_t i = 0; first->logits != NULL && i < info->labels; i++)
		json_put_double(&line, (double)first->logits[i]);
	json_put_end(&line, ']');
	json_put_end(&line, '}');
	(void)fprintf(b->cli->out, "%s\n", buf_str(&line));
	(void)fflush(b->cli->out);
}

/* One length: all times as JSON, or a row of the table. */
static void
bench_say_length(struct bench *b, uint32_t tokens, uint32_t runs)
{
	AUTO(buf_fini) struct buf line = BUF_INIT;
	double median;
	char text[32];

	json_put_begin(&line, '[');
	for (uint32_t i = 0; i < runs; i++)
		json_put_double(&line, b->ms[i]);
	json_put_end(&line, ']');
	if (b->cli->output == CLI_JSON) {
		(void)fprintf(b->cli->out, "{\"tokens\":%u,\"ms\":%s}\n", tokens, buf_str(&line));
		(void)fflush(b->cli->out);
		return;
	}
	qsort(b->ms, runs, sizeof(*b->ms), compare_ms);
	median = b->ms[runs / 2];
	(void)snprintf(text, sizeof(text), "%u", tokens);
	table_cell(b->table, text, TABLE_PLAIN);
	(void)snprintf(text, sizeof(text), "%.3f", median);
	table_cell(b->table, text, TABLE_PLAIN);
	(void)snprintf(text, sizeof(text), "%.3f..%.3f", b->ms[0], b->ms[runs - 1]);
	table_cell(b->table, text, TABLE_PLAIN);
	(void)snprintf(text, sizeof(text), "%.0f", 1000 / median);
	table_cell(b->table, text, TABLE_PLAIN);
}

static enum err_code
bench_length(struct bench *b, uint32_t tokens, uint32_t runs, struct err *e)
{
	struct encoder_output out;

	if (tokens < 1 || tokens > encoder_info(b->encoder)->max_tokens)
		return err_set(e, ERR_INPUT, "%u tokens: the model takes 1 to %u", tokens,
			encoder_info(b->encoder)->max_tokens);
	for (uint32_t i = 0; i <= runs; i++) {
		uint64_t start = clock_ns();

		if (bench_pass(b, &out, tokens, e) != ERR_OK)
			return e->code;
		if (i > 0) /* the first one warms up */
			b->ms[i - 1] = since_ms(start);
	}
	bench_say_length(b, tokens, runs);
	return ERR_OK;
}

static bool
read_count(uint32_t *out, const char *text, uint32_t most)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	*out = (uint32_t)n;
	return end != text && (*end == '\0' || *end == ' ' || *end == '\n') && n >= 1 && n <= most;
}

static enum err_code
bench_follow(struct bench *b, struct err *e)
{
	char line[64];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		const char *space = strchr(line, ' ');
		uint32_t tokens, runs;

		if (!read_count(&tokens, line, UINT32_MAX) || space == NULL ||
			!read_count(&runs, space + 1, RUNS_MOST))
			return err_set(e, ERR_INPUT, "standard input: lines are TOKENS RUNS");
		if (bench_length(b, tokens, runs, e) != ERR_OK)
			return e->code;
	}
	return ERR_OK;
}

static enum err_code
bench_lengths(struct bench *b, char *const *args, int len, struct err *e)
{
	int count = len > 0 ? len : (int)ARRAY_LEN(default_lengths);

	table_new(&b->table);
	table_column(b->table, "TOKENS", TABLE_RIGHT);
	table_column(b->table, "MS", TABLE_RIGHT);
	table_column(b->table, "RANGE", TABLE_RIGHT);
	table_column(b->table, "PER SECOND", TABLE_RIGHT);
	for (int i = 0; i < count; i++) {
		const char *text = len > 0 ? args[i] : default_lengths[i];
		uint32_t tokens;

		if (!read_count(&tokens, text, UINT32_MAX))
			return err_set(e, ERR_INPUT, "%s: not a number of tokens", text);
		if (len == 0 && tokens > encoder_info(b->encoder)->max_tokens)
			break;
		if (bench_length(b, tokens, RUNS, e) != ERR_OK)
			return e->code;
	}
	return ERR_OK;
}

static void
bench_print(struct bench *b)
{
	const struct encoder_info *info = encoder_info(b->encoder);
	AUTO(buf_fini) struct buf title = BUF_INIT;

	buf_addf(&title, "%s, %s on %s, %u thread%s; image %.1f MB, attach and first pass %.1f ms",
		info->architecture, encoder_dtype_name(info->dtype), encoder_isa_name(info->isa),
		b->threads, b->threads == 1 ? "" : "s", (double)b->len / 1e6, b->first_ms);
	table_print(b->table, buf_str(&title), b->cli->out);
}

/* --dtype, --isa, --threads. */
static enum err_code
bench_read(struct bench *b, struct err *e)
{
	const char *dtype = b->cli->values['D'], *isa = b->cli->values['I'];
	const char *threads = b->cli->values['g'];

	b->threads = 1;
	for (int i = 0; dtype != NULL && i < ENCODER_DTYPES; i++)
		if (strcmp(encoder_dtype_name((enum encoder_dtype)i), dtype) == 0)
			b->plan.dtype = (enum encoder_dtype)i;
	for (int i = 0; isa != NULL && i < ENCODER_ISAS; i++)
		if (strcmp(encoder_isa_name((enum encoder_isa)i), isa) == 0)
			b->plan.isa = (enum encoder_isa)i;
	if (dtype != NULL && strcmp(encoder_dtype_name(b->plan.dtype), dtype) != 0)
		return err_set(e, ERR_INPUT, "--dtype %s: must be f32, bf16 or i8", dtype);
	if (isa != NULL && strcmp(encoder_isa_name(b->plan.isa), isa) != 0)
		return err_set(
			e, ERR_INPUT, "--isa %s: must be auto, blas, avx2, avx512 or amx", isa);
	if (threads != NULL && !read_count(&b->threads, threads, THREADS_MOST))
		return err_set(
			e, ERR_INPUT, "--threads %s: must be 1 to %d", threads, THREADS_MOST);
	if (b->cli->values['M'] == NULL)
		return err_set(e, ERR_INPUT, "--model DIR is missing");
	if (b->cli->args_len < 1 || strcmp(b->cli->args[0], "classifier") != 0)
		return err_set(e, ERR_INPUT, "what? classifier is what can be measured");
	return ERR_OK;
}

enum cli_exit
cli_bench(const struct cli *cli)
{
	AUTO(bench_fini) struct bench b = {.cli = cli};
	struct encoder_output first;
	enum err_code code;
	struct err e;
	bool follow;

	if (bench_read(&b, &e) != ERR_OK) {
		(void)fprintf(cli->err, "shunt bench: %s\n", e.text);
		return CLI_USAGE;
	}
	follow = cli->args_len == 2 && strcmp(cli->args[1], "-") == 0;
	code = bench_open(&b, &first, &e);
	if (code == ERR_OK) {
		bench_say_model(&b, &first);
		code = follow ? bench_follow(&b, &e)
			      : bench_lengths(&b, cli->args + 1, cli->args_len - 1, &e);
	}
	if (code != ERR_OK) {
		(void)fprintf(cli->err, "shunt bench: %s\n", e.text);
		return CLI_BAD_NEWS;
	}
	if (cli->output != CLI_JSON && !follow)
		bench_print(&b);
	return CLI_OK;
}
