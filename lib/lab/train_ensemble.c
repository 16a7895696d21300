/* SPDX-License-Identifier: Apache-2.0 */
/*
 * train_ensemble.c - train several scorers on the same rows and average them
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/lab/train_parts.h"

enum { ENSEMBLE_PARTS_MAX = 8 };

static const enum scorer_id ensemble_parts[] = {SCORER_LINEAR, SCORER_KNN, SCORER_CLUSTER};

/* Errors and means as the first part that knows errors has them. */
static void
ensemble_errors(float *error, float *mean, const struct buf *parts, const enum scorer_id *ids,
	size_t len)
{
	struct scorer_file f;
	const void *data;
	size_t i, bytes;
	struct err e;

	for (i = 0; i < len; i++) {
		CHECK(scorer_file_open(&f, "part", parts[i].data, parts[i].len, &e) == ERR_OK);
		if (i == 0 && scorer_file_section(&data, &bytes, &f, "mean"))
			memcpy(mean, data, bytes);
		if ((i == 0 || ids[i] == SCORER_LINEAR) &&
			scorer_file_section(&data, &bytes, &f, "error"))
			memcpy(error, data, bytes);
	}
}

static void
ensemble_write(struct buf *out, const struct train_job *j, const struct buf *parts,
	const enum scorer_id *ids, size_t len)
{
	static const char *const tags[ENSEMBLE_PARTS_MAX] = {
		"part0", "part1", "part2", "part3", "part4", "part5", "part6", "part7"};
	float error[SCORER_MODELS_MAX], mean[SCORER_MODELS_MAX], weights[ENSEMBLE_PARTS_MAX];
	struct train_file file;
	size_t i;

	train_file_init(&file);
	for (i = 0; i < len; i++) {
		weights[i] = 1 / (float)len;
		train_file_add(&file, tags[i], parts[i].data, parts[i].len);
	}
	ensemble_errors(error, mean, parts, ids, len);
	train_file_add(&file, "weights", weights, len * sizeof(float));
	train_file_write(&file, out, j, error, mean);
	train_file_fini(&file);
}

static enum err_code
ensemble_train(struct train_job *j, struct buf *out, struct err *e)
{
	const enum scorer_id *ids = j->o->parts != NULL ? j->o->parts : ensemble_parts;
	size_t len = j->o->parts != NULL ? j->o->parts_len : ARRAY_LEN(ensemble_parts), i;
	struct buf parts[ENSEMBLE_PARTS_MAX] = {BUF_INIT};
	struct train_report report = j->report;
	enum err_code rc = ERR_OK;

	if (len == 0 || len > ENSEMBLE_PARTS_MAX)
		return err_set(e, ERR_INPUT, "an ensemble has 1 to %d parts", ENSEMBLE_PARTS_MAX);
	for (i = 0; i < len && rc == ERR_OK; i++) {
		if (ids[i] == SCORER_ENSEMBLE || scorer_kind(ids[i]) != SCORER_KIND_TRAINED) {
			rc = err_set(e, ERR_INPUT, "'%s' may not be part of an ensemble",
				scorer_name(ids[i]));
			break;
		}
		rc = train_part(&parts[i], j, ids[i], (double)i / (double)len,
			(double)(i + 1) / (double)len, e);
		if (ids[i] == SCORER_LINEAR)
			report = j->report;
	}
	if (rc == ERR_OK) {
		j->report = report;
		ensemble_write(out, j, parts, ids, len);
	}
	for (i = 0; i < len; i++)
		buf_fini(&parts[i]);
	return rc;
}

const struct train_ops train_ensemble_ops = {ensemble_train};
