/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorers.h - the scorer files that a config names, and those that shunt ships
 *
 * Reading is left to the caller. One user at a time: a row holds the room that its scorer works in.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/routing/route.h"
#include "lib/routing/scorer.h"

enum { SCORERS_MEMO = 256, SCORERS_FILE_MAX = 64 * 1024 * 1024 };

struct scorers_row {
	enum scorer_id id;
	char *path;	   /* NULL: none was found (only where a scorer comes with shunt) */
	char *encoder;	   /* who is asked for embeddings; NULL: nobody, the config has none */
	char *route;	   /* the first that names it; NULL: none does, router-<scorer>-... may */
	unsigned line;	   /* of that route in the config */
	bool shipped;	   /* named without a file */
	struct buf data;   /* the file's bytes */
	struct scorer *scorer; /* NULL: not open */
	uint64_t hash;	   /* of data: what is remembered of its answers is theirs alone */
	void *scratch;
	struct scorer_guess *guess;
	struct {
		uint64_t key;
		int index;
	} memo[SCORERS_MEMO]; /* deployment -> index of its model */
};

struct scorers {
	struct scorers_row *rows;
	size_t len;
};

typedef bool scorers_shipped_fn(struct buf *out, const char *name);
typedef enum err_code scorers_read_fn(struct buf *out, const char *path, size_t max, struct err *e);

/* A row for each file that the config's routes name, and one for each scorer that comes with
 * shunt: found says where. Nothing is open yet. */
void scorers_new(struct scorers **out, const struct config *c, scorers_shipped_fn *found);
void scorers_free(struct scorers **s_p);
/* Read and open one row; on failure it stays as it was. The text names file and route. ERR_CONFIG also
 * where it needs embeddings and there is nobody to ask. */
MUST enum err_code scorers_load(struct scorers_row *row, scorers_read_fn *read, struct err *e);
/* Take the open scorer of a row with the same scorer and file, or route, from another set (NULL:
 * none), which loses it. False where there is none. */
enum scorers_same { SCORERS_SAME_FILE, SCORERS_SAME_ROUTE };
bool scorers_inherit(struct scorers_row *row, struct scorers *from, enum scorers_same same);
/* The open row of a scorer, by path and encoder; path NULL: the one that comes with shunt, else any.
 * NULL: none is open. */
struct scorers_row *scorers_find(const struct scorers *s, enum scorer_id id, const char *path,
	const char *encoder);
/* The scorer's model that a deployment is; -1: it was not trained with it. */
int scorers_model(struct scorers_row *row, const struct route_deployment *d);
/*
 * All that can be wrong with the scorer files of a config, for who starts nothing: each file is read,
 * and where it needs embeddings, the encoder is looked at: does it make those that the scorer was
 * trained with? tell is called once for each fault, with the line of its route.
 */
struct scorers_check {
	scorers_shipped_fn *found;
	scorers_read_fn *read;
	/* Length and identity of the embeddings of the model in a folder: encoder_look. */
	enum err_code (*look)(size_t *len, uint64_t *identity, const char *folder, struct err *e);
	void (*tell)(void *arg, unsigned line, const char *text);
	void *arg;
};
/* Returns how many faults there are. */
size_t scorers_check(const struct config *c, const struct scorers_check *how);

/* The models with the least and the best mean on the scorer's own data. */
void scorers_extremes(const struct scorers_row *row, int *weak, int *strong);
