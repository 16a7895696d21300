/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_encoder_config.c - any bytes as the JSON files of a model folder
 *
 * The input is files one after the other, each but the last ended by a NUL: config.json,
 * modules.json, 1_Pooling/config.json, sentence_bert_config.json, model.safetensors.index.json.
 */
#include <string.h>

#include "lib/encoder/encoder_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"config.json", "modules.json", "1_Pooling/config.json",
	"sentence_bert_config.json", "model.safetensors.index.json"};

/* What a config says is within the limits that the packed form relies on. */
static void
fuzz_limits(const struct model_config *c)
{
	CHECK(c->pool == ENCODER_POOL_MEAN || c->pool == ENCODER_POOL_CLS);
	if (c->family == NULL)
		return;
	CHECK(c->hidden >= 1 && c->hidden <= MODEL_HIDDEN_MAX && c->hidden % c->heads == 0);
	CHECK(c->layers >= 1 && c->layers <= MODEL_LAYERS_MAX);
	CHECK(c->ffn >= 1 && c->ffn <= MODEL_FFN_MAX);
	CHECK(c->position_offset < c->positions && c->positions <= MODEL_POSITIONS_MAX);
	CHECK(c->norm_eps > 0 && c->labels <= MODEL_LABELS_MAX);
	if (c->label_names.len > 0)
		CHECK(c->label_names.data[c->label_names.len - 1] == '\0');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct model_memory_file files[ARRAY_LEN(names)];
	const struct encoder_plan plan = {.dtype = ENCODER_F32, .isa = ENCODER_ISA_BLAS};
	AUTO(model_folder_close) struct model_folder *folder = NULL;
	AUTO(model_folder_close) struct model_folder *whole = NULL;
	AUTO(encoder_close) struct encoder_source *s = NULL;
	AUTO(model_config_fini) struct model_config c = {0};
	const char *at = (const char *)data, *end = at + size;
	struct err e;
	size_t count = 0;

	while (count < ARRAY_LEN(names) && at < end) {
		const char *stop = memchr(at, '\0', (size_t)(end - at));

		stop = stop != NULL ? stop : end;
		if (stop > at) /* an empty one is not there */
			files[count] =
				(struct model_memory_file){names[count], at, (size_t)(stop - at)};
		else
			files[count] = (struct model_memory_file){"absent", "", 0};
		count++;
		at = stop < end ? stop + 1 : end;
	}
	model_folder_memory(&folder, files, count);
	if (model_config_read(&c, folder, &e) == ERR_OK)
		fuzz_limits(&c);
	else
		CHECK(e.code == ERR_CONFIG && e.text[0] != '\0');
	model_folder_memory(&whole, files, count);
	CHECK(encoder_open_folder(&s, &whole, &plan, &e) == ERR_CONFIG); /* there are no weights */
	return 0;
}
