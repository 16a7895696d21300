/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_encode.c - --encoder DIR: the embeddings that a scorer learns from and is asked with
 */
#include "cli/lab.h"

enum cli_exit
lab_encode(
	struct encode *out, const struct cli *cli, const struct dataset *d, struct encode_plan plan)
{
	const char *dtype = cli->values['D'];
	struct lab_progress bar;
	enum err_code code;
	struct err e;

	*out = (struct encode){.embeddings = NULL};
	plan.folder = cli->values['C'];
	if (dtype != NULL)
		plan.dtype = encoder_dtype_find(dtype);
	if (plan.dtype == ENCODER_DTYPES || (dtype != NULL && plan.folder == NULL)) {
		(void)fprintf(cli->err, "shunt %s: --dtype %s: %s\n", cli->command, dtype,
			plan.folder == NULL ? "of the encoder, but --encoder DIR is missing"
					    : "must be f32, bf16 or i8");
		return CLI_USAGE;
	}
	if (plan.folder == NULL)
		return CLI_OK;
	lab_progress_begin(&bar, cli);
	plan.progress = lab_progress_step;
	plan.progress_arg = &bar;
	code = encode_dataset(out, d, &plan, &e);
	lab_progress_end(&bar);
	return code == ERR_OK ? CLI_OK : lab_fail(cli, e.text);
}

enum cli_exit
lab_encode_fits(const struct lab_scorer *s, const struct cli *cli, const struct encode *encoded)
{
	const struct scorer_embedding *wanted = s->open != NULL ? scorer_embedding(s->open) : NULL;

	if (wanted == NULL ||
		(encoded->embeddings != NULL && encoded->made.identity == wanted->identity))
		return CLI_OK;
	(void)fprintf(cli->err, "shunt %s: %s was trained with embeddings of %s; %s\n",
		cli->command, s->path, wanted->name,
		encoded->embeddings != NULL ? "--encoder names another model"
					    : "--encoder DIR is missing");
	return CLI_USAGE;
}
