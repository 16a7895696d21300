/* SPDX-License-Identifier: Apache-2.0 */
/*
 * board.h - the shared memory that all processes of one daemon see
 *
 * One memfd made by the supervisor. Rows are fixed-size and pointer-free; each has one writer
 * (shm_list.h). A worker maps everything read-only and its own rows writable through a second map;
 * it can reach no other row for writing. No lock is ever held here: a row that changes as a whole
 * is a pair of copies and an atomic flip (twin), everything else is a single 64-bit atomic. Killing
 * a writer at any instruction leaves a whole row behind.
 * Readers copy out and check bounds before use: what another process wrote may be garbage.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/base.h"
#include "lib/base/err.h"
#include "lib/fault/fault.h"

enum {
	BOARD_MAGIC = 0x53484e54,
	SLOTS_MAX = 128,
	PROFILES_MAX = 256,
	WEIGHTS_MAX = 32, /* segments: of the config's encoders, and of those that a reload took out */
	NAME_MAX_LEN = 64,   /* backend, worker and route names, NUL included */
	MODEL_MAX_LEN = 256, /* model names, NUL included */
	CONFIG_TEXT_MAX = 512 * 1024,
	LAST_WORDS_MAX = 512,
	STATS_MAX = 64 /* deployments one backend worker keeps figures of */
};

enum board_writer { WRITER_SUPERVISOR, WRITER_SLOT, WRITER_PROFILER };

/* What a slot's process is doing, as the supervisor sees it. */
enum slot_state {
	SLOT_EMPTY,	 /* never used, or free again */
	SLOT_STARTING,	 /* forked, not ready yet */
	SLOT_READY,	 /* serving */
	SLOT_DRAINING,	 /* finishes what it has, takes nothing new */
	SLOT_STOPPING,	 /* told to end now */
	SLOT_BACKOFF,	 /* dead, waits for its restart delay */
	SLOT_STATES
};
const char *slot_state_name(uint32_t state); /* "?" where out of range */

/* Which half of a twin pair is whole; see twin_read. */
struct twin {
	_Atomic uint64_t seq;
};

struct board_head {
	uint32_t magic;
	uint32_t layout; /* hash over the names, sizes and counts of shm_list.h */
	uint64_t started_wall_s;
	uint64_t started_ns;
	uint32_t supervisor_pid;
	char version[28];
	char run_dir[256];
};

struct slot_info {
	uint32_t role; /* enum role */
	uint32_t state;
	uint32_t pid;
	uint32_t generation; /* counts the lives of this slot from 1 */
	uint32_t restarts;
	uint32_t index; /* of several workers of one role */
	uint64_t since_ns;
	char name[NAME_MAX_LEN]; /* "gateway-0", or the backend's name */
};

struct slot_row {
	struct twin twin;
	struct slot_info copy[2];
};

/* The text of the accepted config; each worker parses it for itself. */
struct config_row {
	struct twin twin; /* its value counts the accepted configs: 1 is the first */
	struct {
		uint32_t len;
		char path[256]; /* of the file, for messages and relative names */
		char text[CONFIG_TEXT_MAX];
	} copy[2];
};

enum counter {
#define COUNTER(symbol, type, metric, help) COUNTER_##symbol,
#include "shm/counter_list.h"
#undef COUNTER
	COUNTERS
};

/* Figures of one deployment, kept by its backend worker; they only grow. */
struct deployment_stat {
	char model[MODEL_MAX_LEN]; /* upstream name; written once, before ok or failed first grow */
	_Atomic uint64_t used;	   /* 0: free row */
	_Atomic uint64_t in_flight;
	_Atomic uint64_t ok;
	_Atomic uint64_t failed; /* only failures that count (err_counts) */
	_Atomic uint64_t failed_in_row;
	_Atomic uint64_t ttft_us_sum;  /* over ttft_count calls */
	_Atomic uint64_t ttft_count;
	_Atomic uint64_t tokens;       /* completion tokens after the first */
	_Atomic uint64_t token_us_sum; /* time from first to last token */
	_Atomic uint64_t total_us_sum; /* over ok calls */
	_Atomic uint64_t breaker; /* breaker_word of lib/breaker; changes at once when its state does */
	_Atomic uint64_t breaker_why; /* code of the call that opened it */
	_Atomic uint64_t window; /* calls << 32 | failures that the breaker looks at */
	_Atomic uint64_t window_ns; /* until then, when nothing more comes */
};

/* How far one process has drawn the rules of the fault table; row i belongs to rule id[i]. */
struct fault_tally {
	_Atomic uint64_t id[FAULTS_MAX]; /* 0: free; written after draws and hits were zeroed */
	_Atomic uint64_t draws[FAULTS_MAX];
	_Atomic uint64_t hits[FAULTS_MAX];
	_Atomic uint64_t kinds[FAULT_KINDS]; /* hits of all times, by kind */
};

struct worker_row {
	_Atomic uint64_t heartbeat_ns;
	_Atomic uint64_t rss_kb;
	_Atomic uint64_t pss_kb;
	_Atomic uint64_t config_seen; /* the config generation it runs with */
	_Atomic uint64_t counters[COUNTERS];
	char last_words[LAST_WORDS_MAX];
	struct fault_tally faults; /* outlives a restart of the slot */
	_Alignas(4096) struct deployment_stat stats[STATS_MAX];
};

enum deployment_health { HEALTH_UNKNOWN, HEALTH_UP, HEALTH_DOWN };

/* What the profiler knows of one model on one backend. */
struct profile_info {
	char backend[NAME_MAX_LEN];
	char model[MODEL_MAX_LEN]; /* the upstream's name */
	uint32_t used;		   /* 0: free row */
	uint32_t health;	   /* enum deployment_health */
	uint32_t discovered;	   /* the upstream listed it */
	uint32_t endpoints;	   /* bit mask of 1 << endpoint; 0: not known */
	uint32_t tools, vision, json; /* 0 no, 1 yes, 2 not known */
	uint32_t loaded;	      /* likewise */
	uint32_t context_tokens;      /* 0: not known */
	float ttft_ms;		      /* moving averages; 0: nothing measured yet */
	float tokens_per_s;
	float latency_ms;
	float failure_rate; /* 0..1 */
	uint64_t ok, failed;
	uint64_t updated_ns;
	char why[128]; /* reason of HEALTH_DOWN */
};

struct profile_row {
	struct twin twin;
	struct profile_info copy[2];
};

struct profile_table {
	_Atomic uint64_t changes; /* grows when a row appears, goes, changes health or abilities;
				  * at most once a second when averages moved */
	struct profile_row rows[PROFILES_MAX];
};

/* The faults in force. The profiler is its writer; the supervisor fills in those of the config once,
 * before the first worker starts. */
struct fault_rules {
	uint64_t last_id; /* ids are never used again */
	uint64_t config; /* generation of the config whose list they hold */
	struct fault_rule rule[FAULTS_MAX]; /* id 0: free */
};

struct fault_table {
	struct twin twin; /* 0: nobody ever set one */
	struct fault_rules copy[2];
};

enum weights_state {
	WEIGHTS_NONE,	 /* free row */
	WEIGHTS_ABSENT,	 /* nobody has asked for them yet, or unloaded when idle */
	WEIGHTS_LOADING, /* a classifier builds the first generation */
	WEIGHTS_LOADED,
	WEIGHTS_RENEWING, /* loaded, and the next generation is being built */
	WEIGHTS_FAILED,	  /* the last load failed; `why` tells */
	WEIGHTS_STATES
};
const char *weights_state_name(uint32_t state); /* "?" where out of range */

/* What the supervisor knows of one model's weights. */
struct weights_info {
	char name[NAME_MAX_LEN]; /* of the first encoder that uses them */
	char folder[256];
	char dtype[8], isa[16];	 /* as built; "" before */
	uint32_t state;		 /* enum weights_state */
	uint32_t generation;	 /* of what is loaded; 0: nothing is */
	uint32_t loads, failures;
	uint64_t bytes;
	uint64_t since_ns;	  /* in this state */
	uint32_t maps[SLOTS_MAX]; /* by slot: the generation that its worker has mapped; 0: none */
	char why[256];		  /* of the last load that failed; "" after one that did not */
};

struct weights_row {
	struct twin twin;
	struct weights_info copy[2];
};

struct board; /* a mapping of the board */

/* Supervisor: make the memfd, map it whole and writable, fill in the head. */
MUST enum err_code board_create(struct board **out, const char *run_dir, struct err *e);
/* Worker: map fd_ro whole read-only and, through fd_rw, slot's own rows (and the role's tables,
 * profiles_writable) writable. Closes neither. Checks magic, size and layout. */
enum board_access { BOARD_SLOT_ONLY, BOARD_SLOT_AND_PROFILES };
MUST enum err_code board_attach(struct board **out, int fd_ro, int fd_rw, unsigned slot,
	enum board_access access, struct err *e);
void board_close(struct board **b_p);

int board_fd_rw(const struct board *b); /* supervisor only; owned by the board */
int board_fd_ro(const struct board *b); /* likewise: a read-only open of the same memfd */

/* Read-only views of everything. */
const struct board_head *board_head(const struct board *b);
const struct worker_row *board_worker(const struct board *b, unsigned slot);
uint64_t board_profile_changes(const struct board *b);
/* Copy out a whole row; never waits. */
void board_slot(const struct board *b, unsigned slot, struct slot_info *out);
void board_profile(const struct board *b, unsigned row, struct profile_info *out);
void board_weights(const struct board *b, unsigned row, struct weights_info *out);
/* Copy out the accepted config text (caller's buf) and its path; returns its generation, 0: none. */
struct buf;
uint64_t board_config(const struct board *b, struct buf *text, char path[256]);
uint64_t board_config_generation(const struct board *b);
/* Which change of the fault table is in force; 0: none was ever made. One load. */
uint64_t board_faults_seq(const struct board *b);
/* Copy out the rules, without those that are not sound; returns their seq. */
uint64_t board_faults(const struct board *b, struct fault_rules *out);
/* Draws and hits of one rule over all processes. */
struct fault_state board_fault_sum(const struct board *b, uint64_t id);
/* Hits of all times of one kind by the process in slot; SLOTS_MAX: by the supervisor. */
uint64_t board_fault_hits(const struct board *b, unsigned slot, enum fault_kind kind);
/* The figures that the worker in slot keeps of a model; NULL: none yet. */
const struct deployment_stat *board_stat(const struct board *b, unsigned slot, const char *model);
/* The slot in state STARTING..DRAINING whose role and name match, newest READY first; -1: none. */
int board_find_slot(const struct board *b, uint32_t role, const char *name);

/* Writers. CHECK that the caller may write there. */
void board_set_slot(struct board *b, unsigned slot, const struct slot_info *info);
MUST enum err_code board_set_config(struct board *b, const char *path, const char *text, size_t len,
	struct err *e);
struct worker_row *board_own_row(struct board *b); /* the attached slot's own row */
struct worker_row *board_slot_row(struct board *b, unsigned slot); /* supervisor: before a start */
/* Supervisor, before a start: gauges, last words and memory figures to 0, heartbeat to now. Counters
 * outlive a restart, and start from 0 where the slot goes to another worker. */
enum board_life { BOARD_LIFE_FIRST, BOARD_LIFE_AGAIN };
void board_prepare_slot(struct board *b, unsigned slot, enum board_life life);
/* Supervisor, when its process has ended: nothing is in flight there, it holds no memory. */
void board_bury_slot(struct board *b, unsigned slot);
/* Copy out a slot's last words as one printable line, "" where it left none. */
void board_last_words(const struct board *b, unsigned slot, char out[LAST_WORDS_MAX]);
void board_set_profile(struct board *b, unsigned row, const struct profile_info *info);
void board_profiles_changed(struct board *b);
void board_set_faults(struct board *b, const struct fault_rules *rules);
/* Draw rule for an event that it meets, with the state in this process's own tally (a worker's row,
 * the supervisor's) and the hits of all others. True: it comes. *draw is its number. */
bool board_fault_draw(struct board *b, const struct fault_rule *rule, uint64_t *draw);
/* Count a fault that was carried out without a draw. */
void board_fault_count(struct board *b, enum fault_kind kind);
void board_set_weights(struct board *b, unsigned row, const struct weights_info *info);

/* Counters of the attached slot's own row. */
void board_count(struct board *b, enum counter c, uint64_t n);
void board_gauge(struct board *b, enum counter c, int64_t delta);

/* The documented rows of counter_list.h. */
struct counter_row {
	const char *metric; /* without the shunt_ prefix */
	const char *help;
	bool gauge;
};
const struct counter_row *counter_row(enum counter c);
