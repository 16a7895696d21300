/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_config.c - read config.json of a transformer encoder
 */
#include <stdio.h>
#include <string.h>

#include "lib/encoder/model_config.h"

static const char config_json[] = "config.json";

/* config.json while it is read. */
struct reader {
	struct json root;
	const char *what;
	struct err *e;
};

void
model_config_fini(struct model_config *c)
{
	buf_fini(&c->label_names);
}

/* The member called name or, DistilBERT's way, other (NULL: none). null counts as absent. */
static struct json
member(const struct reader *r, const char *name, const char *other)
{
	struct json v = json_get(r->root, name);

	if ((v.type == JSON_NONE || v.type == JSON_NULL) && other != NULL)
		v = json_get(r->root, other);
	if (v.type == JSON_NULL)
		v.type = JSON_NONE;
	return v;
}

/* What a size may be, and what it is where the file does not say; no fallback: it must. */
struct range {
	uint32_t min, max;
	int64_t fallback;
};

enum { MUST_STAND = -1 };

static enum err_code
read_size(uint32_t *out, const struct reader *r, const char *name, const char *other,
	struct range range)
{
	struct json v = member(r, name, other);
	uint64_t n;

	if (v.type == JSON_NONE && range.fallback != MUST_STAND) {
		*out = (uint32_t)range.fallback;
		return ERR_OK;
	}
	if (v.type == JSON_NONE)
		return err_set(r->e, ERR_CONFIG, "%s: %s is missing", r->what, name);
	if (!json_u64(&n, v) || n < range.min || n > range.max)
		return err_set(r->e, ERR_CONFIG, "%s: %s must be a number from %u to %u", r->what,
			name, range.min, range.max);
	*out = (uint32_t)n;
	return ERR_OK;
}

static enum err_code
read_sizes(struct model_config *c, const struct reader *r)
{
	const struct model_family *f = c->family;
	uint32_t padding = 0, types = f->parts[MODEL_TYPES] != NULL ? 2 : 0;
	const struct {
		uint32_t *out;
		const char *name, *other;
		struct range range;
	} sizes[] = {
		{&c->hidden, "hidden_size", "dim", {1, MODEL_HIDDEN_MAX, MUST_STAND}},
		{&c->layers, "num_hidden_layers", "n_layers", {1, MODEL_LAYERS_MAX, MUST_STAND}},
		{&c->heads, "num_attention_heads", "n_heads", {1, MODEL_HEADS_MAX, MUST_STAND}},
		{&c->ffn, "intermediate_size", "hidden_dim", {1, MODEL_FFN_MAX, MUST_STAND}},
		{&c->vocab, "vocab_size", NULL, {1, MODEL_VOCAB_MAX, MUST_STAND}},
		{&c->positions, "max_position_embeddings", NULL, {1, MODEL_POSITIONS_MAX, 512}},
		{&c->types, "type_vocab_size", NULL, {0, MODEL_TYPES_MAX, types}},
		{&c->buckets, "relative_attention_num_buckets", NULL, {4, MODEL_BUCKETS_MAX, 32}},
	};
	enum err_code code = ERR_OK;

	for (size_t i = 0; i < ARRAY_LEN(sizes) && code == ERR_OK; i++)
		code = read_size(sizes[i].out, r, sizes[i].name, sizes[i].other, sizes[i].range);
	if (code == ERR_OK && f->positions_after_padding)
		code = read_size(&padding, r, "pad_token_id", NULL,
			(struct range){0, MODEL_POSITIONS_MAX, 1});
	if (code != ERR_OK)
		return code;
	if (c->hidden % c->heads != 0)
		return err_set(r->e, ERR_CONFIG, "%s: hidden_size %u is no multiple of %u heads",
			r->what, c->hidden, c->heads);
	if (f->parts[MODEL_TYPES] == NULL)
		c->types = 0;
	if (f->parts[MODEL_RELATIVE] == NULL)
		c->buckets = 0;
	c->position_offset = f->positions_after_padding ? padding + 1 : 0;
	c->padding = f->positions_after_padding ? padding : c->vocab;
	if (c->padding > c->vocab || (f->positions_after_padding && padding == c->vocab))
		return err_set(r->e, ERR_CONFIG, "%s: pad_token_id %u is outside of the vocabulary",
			r->what, padding);
	if (c->position_offset >= c->positions)
		return err_set(r->e, ERR_CONFIG,
			"%s: pad_token_id %u leaves no position of max_position_embeddings %u",
			r->what, padding, c->positions);
	return ERR_OK;
}

static enum err_code
read_activation(struct model_config *c, const struct reader *r)
{
	static const struct {
		const char *name;
		enum kernel_epilogue activation;
	} names[] = {
		{"gelu", KERNEL_GELU},
		{"gelu_python", KERNEL_GELU},
		{"gelu_new", KERNEL_GELU_TANH},
		{"gelu_fast", KERNEL_GELU_TANH},
		{"gelu_pytorch_tanh", KERNEL_GELU_TANH},
		{"relu", KERNEL_RELU},
	};
	struct json v = member(r, "hidden_act", "activation");

	c->activation = KERNEL_GELU;
	if (v.type == JSON_NONE)
		return ERR_OK;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (json_equals(v, names[i].name)) {
			c->activation = names[i].activation;
			return ERR_OK;
		}
	return err_set(r->e, ERR_CONFIG,
		"%s: hidden_act %.*s is not supported; supported: gelu, gelu_new, relu", r->what,
		(int)MIN(v.len, 64), v.p);
}

static enum err_code
read_eps(struct model_config *c, const struct reader *r)
{
	struct json v = member(r, "layer_norm_eps", NULL);
	double eps = 1e-12;

	if (!c->family->hidden_eps_fixed && v.type != JSON_NONE &&
		(!json_double(&eps, v) || !((float)eps > 0 && eps < 1)))
		return err_set(
			r->e, ERR_CONFIG, "%s: layer_norm_eps must lie between 0 and 1", r->what);
	c->norm_eps = (float)eps;
	return ERR_OK;
}

static enum err_code
read_unsupported(const struct reader *r)
{
	struct json v = member(r, "position_embedding_type", NULL);

	if (v.type != JSON_NONE && !json_equals(v, "absolute"))
		return err_set(r->e, ERR_CONFIG,
			"%s: position_embedding_type %.*s is not supported; supported: absolute",
			r->what, (int)MIN(v.len, 64), v.p);
	if (json_is_true(member(r, "is_decoder", NULL)) ||
		json_is_true(member(r, "add_cross_attention", NULL)) ||
		json_is_true(member(r, "is_encoder_decoder", NULL)))
		return err_set(
			r->e, ERR_CONFIG, "%s: decoders are not supported, only encoders", r->what);
	return ERR_OK;
}

/* id2label is {"0": "name", "1": ...}, in any order, without gap. */
static enum err_code
read_labels(struct model_config *c, const struct reader *r)
{
	struct json map = member(r, "id2label", NULL), key, value;
	struct json_iter it = json_iter(map);
	char id[16], name[MODEL_LABEL_BYTES_MAX];
	uint32_t count = 0;

	if (map.type == JSON_NONE)
		return read_size(
			&c->labels, r, "num_labels", NULL, (struct range){1, MODEL_LABELS_MAX, 0});
	while (json_next_member(&it, &key, &value))
		count++;
	if (map.type != JSON_OBJECT || count == 0 || count > MODEL_LABELS_MAX)
		return err_set(r->e, ERR_CONFIG,
			"%s: id2label must be an object with 1 to %d names", r->what,
			MODEL_LABELS_MAX);
	/* Nearly always in order, so one walk finds them; else they are looked up one by one. */
	it = json_iter(map);
	for (uint32_t i = 0; i < count; i++) {
		(void)snprintf(id, sizeof(id), "%u", i);
		if (!json_next_member(&it, &key, &value) || !json_equals(key, id)) {
			value = count <= 4096 ? json_get(map, id)
					      : (struct json){.type = JSON_NONE};
			it = (struct json_iter){NULL, NULL};
		}
		if (!json_copy_text(name, sizeof(name), value))
			return err_set(r->e, ERR_CONFIG,
				"%s: id2label: label %u is missing, too long or no string", r->what,
				i);
		buf_add(&c->label_names, name, strlen(name) + 1);
	}
	c->labels = count;
	return ERR_OK;
}

static enum err_code
read_problem(struct model_config *c, const struct reader *r)
{
	static const char *const names[] = {
		[ENCODER_SINGLE_LABEL] = "single_label_classification",
		[ENCODER_MULTI_LABEL] = "multi_label_classification",
		[ENCODER_REGRESSION] = "regression",
	};
	struct json v = member(r, "problem_type", NULL);

	if (v.type == JSON_NONE)
		return ERR_OK;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (json_equals(v, names[i])) {
			c->problem = (enum encoder_problem)i;
			return ERR_OK;
		}
	return err_set(r->e, ERR_CONFIG, "%s: problem_type %.*s is not known", r->what,
		(int)MIN(v.len, 64), v.p);
}

static enum err_code
unsupported(const struct reader *r, const char *architecture, const char *model_type)
{
	AUTO(buf_fini) struct buf names = BUF_INIT;

	model_family_names(&names);
	return err_set(r->e, ERR_CONFIG,
		"%s: architecture %s (model_type %s) is not supported; supported: %s, each as "
		"encoder or ...ForSequenceClassification",
		r->what, architecture, model_type[0] != '\0' ? model_type : "not said",
		buf_str(&names));
}

/* The family, and whether the architecture's class has a head that we know. */
static enum err_code
read_architecture(struct model_config *c, const struct reader *r)
{
	static const char *const plain[] = {"Model", "ForMaskedLM", "ForPreTraining"};
	struct json_iter it = json_iter(member(r, "architectures", NULL));
	struct json first;
	char model_type[64] = "";
	const char *rest;

	(void)json_copy_text(model_type, sizeof(model_type), member(r, "model_type", NULL));
	if (!json_next_item(&it, &first) ||
		!json_copy_text(c->architecture, sizeof(c->architecture), first))
		(void)snprintf(c->architecture, sizeof(c->architecture), "%s", model_type);
	if (strcmp(model_type, "model2vec") == 0 || strcmp(c->architecture, "StaticModel") == 0)
		return ERR_OK;
	c->family = model_family_find(model_type);
	if (c->family == NULL)
		return unsupported(r, c->architecture, model_type);
	if (strcmp(c->architecture, model_type) == 0) /* architectures is missing */
		return ERR_OK;
	if (strncmp(c->architecture, c->family->class_name, strlen(c->family->class_name)) != 0)
		return unsupported(r, c->architecture, model_type);
	rest = c->architecture + strlen(c->family->class_name);
	c->head = strcmp(rest, "ForSequenceClassification") == 0;
	for (size_t i = 0; i < ARRAY_LEN(plain) && !c->head; i++)
		if (strcmp(rest, plain[i]) == 0)
			return ERR_OK;
	return c->head ? ERR_OK : unsupported(r, c->architecture, model_type);
}

/* model2vec: the sizes are those of its tensors. */
static enum err_code
read_static(struct model_config *c, const struct reader *r)
{
	struct json normalize = member(r, "normalize", NULL);

	c->normalize = c->normalize || json_is_true(normalize);
	c->pool = ENCODER_POOL_MEAN;
	c->max_tokens = MODEL_STATIC_TOKENS;
	return ERR_OK;
}

enum err_code
model_config_read(struct model_config *out, struct model_folder *folder, struct err *e)
{
	struct reader r = {.e = e};
	enum err_code code = model_sentence_read(out, folder, e);

	if (code != ERR_OK)
		return code;
	r.what = model_folder_name(folder, config_json);
	code = model_folder_json(&r.root, folder, config_json, e);
	if (code != ERR_OK)
		return code;
	if (r.root.type == JSON_NONE && strcmp(out->architecture, "StaticEmbedding") == 0)
		return read_static(out, &r);
	if (r.root.type != JSON_OBJECT)
		return err_set(e, ERR_CONFIG, "%s: %s", r.what,
			r.root.type == JSON_NONE ? "missing" : "not an object");
	code = read_architecture(out, &r);
	if (code != ERR_OK)
		return code;
	if (out->family == NULL)
		return read_static(out, &r);
	code = read_sizes(out, &r);
	if (code == ERR_OK)
		code = read_unsupported(&r);
	if (code == ERR_OK)
		code = read_activation(out, &r);
	if (code == ERR_OK)
		code = read_eps(out, &r);
	if (code == ERR_OK && out->head)
		code = read_labels(out, &r);
	return code == ERR_OK && out->head ? read_problem(out, &r) : code;
}
