/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder_source.c - open a model folder or GGUF file: config, tensors, tokenizer; then pack it
 */
#include <stdlib.h>
#include <string.h>

#include "lib/encoder/encoder_source.h"
#include "lib/encoder/safetensors.h"

static const char tokenizer_json[] = "tokenizer.json";

void
encoder_close(struct encoder_source **s_p)
{
	struct encoder_source *s = *s_p;

	if (s == NULL)
		return;
	buf_fini(&s->tokenizer);
	tensor_set_free(&s->tensors);
	model_config_fini(&s->config);
	model_folder_close(&s->folder);
	free(s);
	*s_p = NULL;
}

static enum err_code
find_kernel(struct encoder_source *s, const struct encoder_plan *plan, struct err *e)
{
	s->kernel = kernel_find(plan->isa, plan->dtype);
	if (s->kernel != NULL)
		return ERR_OK;
	return err_set(e, ERR_CONFIG, "no kernel for %s on %s runs on this machine%s",
		encoder_dtype_name(plan->dtype), encoder_isa_name(plan->isa),
		plan->isa == ENCODER_ISA_AUTO && getenv("SHUNT_ENCODER_ISA") != NULL
			? " (SHUNT_ENCODER_ISA is set)"
			: "");
}

/* Names for labels that the config does not name. */
static void
name_labels(struct encoder_source *s)
{
	if (s->config.label_names.len > 0)
		return;
	for (uint32_t i = 0; i < s->header.labels; i++) {
		buf_addf(&s->config.label_names, "LABEL_%u", i);
		buf_add(&s->config.label_names, "", 1);
	}
}

/* What the config alone decides. */
static void
fill_header(struct encoder_source *s)
{
	const struct model_config *c = &s->config;
	struct packed_header *h = &s->header;
	uint32_t room = c->positions - c->position_offset;

	memcpy(h->architecture, c->architecture, sizeof(h->architecture));
	h->dtype = s->kernel->dtype;
	h->isa = s->kernel->isa;
	h->layers = c->layers;
	h->hidden = c->hidden;
	h->heads = c->heads;
	h->ffn = c->ffn;
	h->vocab = h->word_rows = h->dropped_id = c->vocab;
	h->types = c->types;
	h->buckets = c->buckets;
	h->labels = c->labels;
	h->max_tokens =
		c->max_tokens == 0 || c->family == NULL ? c->max_tokens : MIN(c->max_tokens, room);
	if (h->max_tokens == 0)
		h->max_tokens = room;
	h->padding_id = c->padding;
	h->position_rows = h->max_tokens + (c->padding < c->vocab);
	h->activation = c->activation;
	h->head_activation = c->family != NULL ? c->family->head_activation : KERNEL_NONE;
	h->problem = c->problem;
	h->pool = c->pool;
	h->normalize = c->normalize;
	h->norm_eps = c->family != NULL ? c->norm_eps : 1;
}

static enum err_code
read_gguf(struct encoder_source *s, struct err *e)
{
	AUTO(gguf_fini) struct gguf g = {.what = NULL};

	if (model_gguf_open(&g, s->folder, e) != ERR_OK ||
		model_gguf_read(&s->config, &g, e) != ERR_OK)
		return e->code;
	s->weights = g.what;
	s->tensors = g.tensors;
	g.tensors = NULL;
	return tokenizer_gguf_compile(&s->tokenizer, &g, e);
}

static enum err_code
read_folder(struct encoder_source *s, struct err *e)
{
	struct model_file file;

	if (model_config_read(&s->config, s->folder, e) != ERR_OK)
		return e->code;
	s->weights = model_folder_name(s->folder, "model.safetensors");
	if (safetensors_open(&s->tensors, s->folder, e) != ERR_OK ||
		model_folder_get(&file, s->folder, tokenizer_json, PACKED_TOKENIZER_MAX / 4, e) !=
			ERR_OK)
		return e->code;
	if (file.data == NULL)
		return ERR_OK;
	return tokenizer_compile(&s->tokenizer, model_folder_name(s->folder, tokenizer_json),
		file.data, file.len, e);
}

static enum err_code
source_read(struct encoder_source *s, const struct encoder_plan *plan, struct err *e)
{
	enum err_code code = find_kernel(s, plan, e);

	if (code == ERR_OK)
		code = model_folder_gguf(s->folder) != NULL ? read_gguf(s, e) : read_folder(s, e);
	if (code != ERR_OK)
		return code;
	fill_header(s);
	code = s->config.family != NULL ? encoder_look_transformer(s, e)
					: encoder_look_static(s, e);
	if (code != ERR_OK)
		return code;
	if (s->tokenizer.len > PACKED_TOKENIZER_MAX)
		return err_set(e, ERR_CONFIG, "%s: its tokenizer is too large", s->weights);
	name_labels(s);
	s->header.tokenizer_len = s->tokenizer.len;
	s->header.identity = model_folder_identity(s->folder);
	s->header.label_names_len = s->config.label_names.len;
	s->layout = packed_layout(&s->header, s->kernel);
	packed_seal(&s->header, &s->layout);
	return ERR_OK;
}

enum err_code
encoder_open_folder(struct encoder_source **out, struct model_folder **folder_p,
	const struct encoder_plan *plan, struct err *e)
{
	AUTO(encoder_close) struct encoder_source *s = calloc(1, sizeof(*s));
	enum err_code code;

	CHECK(s != NULL);
	s->folder = *folder_p;
	*folder_p = NULL;
	code = source_read(s, plan, e);
	if (code != ERR_OK)
		return code;
	*out = s;
	s = NULL;
	return ERR_OK;
}

enum err_code
encoder_open(struct encoder_source **out, const char *folder, const struct encoder_plan *plan,
	struct err *e)
{
	AUTO(model_folder_close) struct model_folder *f = NULL;
	enum err_code code = model_folder_open(&f, folder, e);

	return code != ERR_OK ? code : encoder_open_folder(out, &f, plan, e);
}

size_t
encoder_packed_bytes(const struct encoder_source *s)
{
	return s->layout.total;
}

enum err_code
encoder_look(size_t *len, uint64_t *identity, const char *folder, struct err *e)
{
	static const struct encoder_plan any = {.dtype = ENCODER_F32, .isa = ENCODER_ISA_BLAS};
	AUTO(encoder_close) struct encoder_source *s = NULL;

	if (encoder_open(&s, folder, &any, e) != ERR_OK)
		return e->code;
	*len = s->header.hidden;
	*identity = s->header.identity;
	return ERR_OK;
}

enum err_code
encoder_pack(const struct encoder_source *s, void *image, struct err *e)
{
	enum err_code code = s->config.family != NULL ? encoder_pack_transformer(s, image, e)
						      : encoder_pack_static(s, image, e);

	if (code != ERR_OK)
		return code;
	memcpy((char *)image + s->layout.label_names, buf_str(&s->config.label_names),
		s->config.label_names.len);
	memcpy((char *)image + s->layout.tokenizer, buf_str(&s->tokenizer), s->tokenizer.len);
	memcpy(image, &s->header, sizeof(s->header)); /* last: without it there is no packed form */
	return ERR_OK;
}
