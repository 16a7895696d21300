/* SPDX-License-Identifier: Apache-2.0 */
/*
 * classifier.h - what the files of the classifier worker share
 *
 * Few threads. The main one has the loop, the bus and the queue and never waits; the engine runs
 * one pass at a time; the loader lives as long as a load; another sees to huge pages once. Each owns
 * what it works on until it hands it back, so nothing is shared but two small mailboxes.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/encoder/encoder.h"
#include "schemas/msg.h"
#include "shm/weights.h"
#include "workers/common/loop.h"

struct worker;

enum {
	TEXT_MAX_BYTES = 1024 * 1024,	/* of one text */
	EMBED_INPUTS_MAX = 64,		/* of one Embed */
	EMBED_MAX_BYTES = 64 * 1024 * 1024,
	PASS_TEXTS_MAX = 256, /* = the most of encoders[].batch */
	WANTED_PROBABILITIES = 1,
	WANTED_LOGITS = 2,
	WANTED_EMBEDDING = 4,
	WANTED_ALL = 7
};

_Static_assert(EMBED_INPUTS_MAX <= PASS_TEXTS_MAX, "an Embed is one pass");

/* ---- job.c: what was asked and waits ------------------------------------------------------ */

enum job_kind { JOB_CLASSIFY, JOB_EMBED };

struct job {
	struct job *next;
	enum job_kind kind;
	unsigned slot; /* of the asker */
	uint32_t generation;
	uint64_t request_id, deadline_ns, arrived_ns;
	struct bytes *payload;
	uint32_t texts;		 /* 1, or how many inputs */
	uint32_t wanted;	 /* of a Classify */
	enum tokenizer_cut cut; /* likewise */
};

/* Two lines: classifications go first, but not for ever. */
struct queue {
	struct job *first[2], **last[2]; /* by kind */
	size_t len;			 /* jobs */
	unsigned in_a_row;		 /* classifications since the last embedding that waits */
};

void queue_init(struct queue *q);
void queue_add(struct queue *q, struct job *j); /* takes j over */
/* The next one for a pass with room for that many texts; kind: of the pass so far, NULL: any. */
struct job *queue_take(struct queue *q, size_t room, const enum job_kind *kind);
struct job *queue_take_late(struct queue *q, uint64_t now_ns); /* one past its deadline, or NULL */
struct job *job_new(enum job_kind kind, const struct msg *m, struct bytes *payload);
void job_free(struct job **j_p);

/* ---- pass.c: texts of several jobs through the model -------------------------------------- */

struct pass_text {
	struct job *job;
	const char *data; /* text, or ids where has_ids */
	size_t len;	  /* bytes */
	bool has_ids;
	/* the result */
	struct err err; /* code ERR_OK: the rest counts */
	struct tokens tokens;
	uint32_t label;
	float probability, win_rate;
	struct buf values; /* floats: of a Classify the wanted ones, of an Embed the embedding */
};

struct pass {
	struct pass_text texts[PASS_TEXTS_MAX]; /* memory of results is kept from pass to pass */
	size_t len;
	uint64_t started_ns, run_ns; /* run_ns: how long it took */
	uint32_t runs;		     /* of the encoder */
	uint64_t tokens;
};

struct pass *pass_new(void);
void pass_free(struct pass **p_p);
void pass_drop(struct pass *p); /* free its jobs; it is empty again */
/* Add all texts of a job. ERR_INPUT: its payload has not the form that it says. */
MUST enum err_code pass_add(struct pass *p, struct job *j, struct err *e);

struct model;
/* Tokenize and run; fills in the results. Any thread, one at a time per model and scratch. */
void pass_run(struct pass *p, struct model *m, struct tokenizer_scratch *scratch);

/* ---- engine.c: the thread that runs passes ------------------------------------------------ */

struct engine;

/* done is called on the loop's thread after each pass. */
MUST enum err_code engine_new(struct engine **out, struct loop *loop, loop_timer_fn *done, void *arg,
	struct err *e);
void engine_free(struct engine **g_p); /* waits for the pass under way */
bool engine_busy(const struct engine *g);
void engine_start(struct engine *g, struct pass *p, struct model *m); /* must not be busy */

/* ---- model.c: a mapped segment and the encoder on it -------------------------------------- */

struct model {
	struct weights_view view;
	struct encoder *encoder;
	struct encoder_limits limits;
	uint32_t generation;
	/* model_polish */
	pthread_t thread;
	bool polished; /* the thread was started */
	atomic_bool stop;
};

/* fd stays the caller's. */
MUST enum err_code model_open(struct model **out, int fd, const struct config_encoder *c,
	struct err *e);
void model_close(struct model **m_p);
/* Huge pages, by a thread: the loader sees to them, but may have died in the middle of it. */
void model_polish(struct model *m);

/* ---- loader.c: read a folder, pack it, seal the segment: once, for all processes ----------- */

struct loader;

struct loader_result {
	struct err err; /* code ERR_OK: */
	int fd;		/* the sealed segment; the loader's */
	char dtype[8], isa[16];
};

/* What may be done only before the sandbox's filter of system calls: AMX is asked of the system, and
 * OpenBLAS loaded where the model will run on it. */
void loader_prepare(const struct config_encoder *c);
/* done is called on the loop's thread when the segment is there or the load failed. */
MUST enum err_code loader_new(struct loader **out, struct loop *loop, const struct config_encoder *c,
	uint32_t generation, uint64_t identity, loop_timer_fn *done, void *arg, struct err *e);
const struct loader_result *loader_result(const struct loader *l);
/* The thread has nothing left to do; until then loader_free would wait. */
bool loader_ended(const struct loader *l);
void loader_free(struct loader **l_p);

/* ---- weights.c: the keeper's counterpart -------------------------------------------------- */

struct classifier;

MUST enum err_code client_open(struct classifier *c, struct err *e);
void client_close(struct classifier *c);
/* Requests wait and there is no model: have it given or loaded. */
void client_want(struct classifier *c);
/* A pass ended or nothing is running: switch to a newer generation if one was given. */
void client_switch(struct classifier *c);
void client_used(struct classifier *c); /* the idle time starts over */

/* ---- reply.c ------------------------------------------------------------------------------- */

void reply_result(struct classifier *c, struct pass *p); /* answers and frees all its jobs */
void reply_fail(struct classifier *c, struct job **j_p, const struct err *e); /* frees the job */

/* ---- check.c ------------------------------------------------------------------------------- */

/* Print "FILE:LINE: what" for each scorer file that is no good, or not for its encoder; the exit status. */
int check_config(const char *path);

/* ---- classifier.c ------------------------------------------------------------------------- */

struct classifier {
	struct worker *w;
	struct config_encoder config; /* texts are owned copies */
	struct queue queue;
	struct pass *pass;
	struct engine *engine;
	struct model *model; /* NULL: none is mapped */
	/* client.c */
	struct loop_fd keeper;
	struct model *next; /* given while the engine runs */
	struct loader *loader;
	uint32_t loading; /* generation */
	bool wants;	  /* asked for, not answered yet */
	uint64_t used_ns;
	struct loop_timer idle, load_end, reap, polish;
};

/* Start the next pass if the engine is free and there is something to do. */
void classifier_pump(struct classifier *c);
/* Fail everything that waits. */
void classifier_fail_all(struct classifier *c, const struct err *e);
