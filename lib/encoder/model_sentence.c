/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model_sentence.c - what sentence-transformers adds to a model: modules, pooling, normalization
 */
#include <stdio.h>
#include <string.h>

#include "lib/encoder/model_config.h"

enum { PATH_MAX_HERE = 128 };

/* A module's path is a plain folder name, or empty for the model's own folder. */
static bool
path_good(const char *path)
{
	return path[0] != '.' && path[0] != '/' && strstr(path, "..") == NULL;
}

static enum err_code
read_pooling(struct model_config *c, struct model_folder *folder, const char *name, struct err *e)
{
	static const char *const others[] = {"pooling_mode_max_tokens",
		"pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens",
		"pooling_mode_lasttoken"};
	const char *what = model_folder_name(folder, name);
	struct json root, mode;
	enum err_code code = model_folder_json(&root, folder, name, e);
	bool cls, mean;

	if (code != ERR_OK || root.type == JSON_NONE)
		return code;
	if (root.type != JSON_OBJECT)
		return err_set(e, ERR_CONFIG, "%s: not an object", what);
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (json_is_true(json_get(root, others[i])))
			return err_set(e, ERR_CONFIG,
				"%s: %s is not supported; supported: mean and cls", what,
				others[i]);
	mode = json_get(root, "pooling_mode");
	cls = json_is_true(json_get(root, "pooling_mode_cls_token")) || json_equals(mode, "cls");
	mean = json_is_true(json_get(root, "pooling_mode_mean_tokens")) ||
	       json_equals(mode, "mean");
	if (cls == mean)
		return err_set(e, ERR_CONFIG,
			"%s: %s pooling is not supported; supported: mean and cls", what,
			cls ? "mean and cls at once as" : "this");
	c->pool = cls ? ENCODER_POOL_CLS : ENCODER_POOL_MEAN;
	return ERR_OK;
}

/* max_seq_length: how long texts were in training. */
static enum err_code
read_length(struct model_config *c, struct model_folder *folder, struct err *e)
{
	static const char name[] = "sentence_bert_config.json";
	struct json root, v;
	enum err_code code = model_folder_json(&root, folder, name, e);
	uint64_t n;

	if (code != ERR_OK)
		return code;
	v = json_get(root, "max_seq_length");
	if (v.type == JSON_NONE || v.type == JSON_NULL)
		return ERR_OK;
	if (!json_u64(&n, v) || n == 0)
		return err_set(e, ERR_CONFIG, "%s: max_seq_length must be a positive number",
			model_folder_name(folder, name));
	c->max_tokens = (uint32_t)MIN(n, UINT32_MAX);
	return ERR_OK;
}

/* Where the transformer's files are; known only once the other modules are read. */
struct modules {
	const char *what;
	char base[PATH_MAX_HERE];
};

static enum err_code
read_module(struct model_config *c, struct modules *m, struct model_folder *folder,
	struct json module, struct err *e)
{
	char type[128], path[PATH_MAX_HERE], file[PATH_MAX_HERE + 16];
	const char *kind;

	if (!json_copy_text(type, sizeof(type), json_get(module, "type")) ||
		!json_copy_text(path, sizeof(path), json_get(module, "path")) ||
		(strcmp(path, ".") != 0 && !path_good(path)))
		return err_set(e, ERR_CONFIG, "%s: a module without type and path", m->what);
	kind = strrchr(type, '.') != NULL ? strrchr(type, '.') + 1 : type;
	if (strcmp(kind, "Normalize") == 0) {
		c->normalize = true;
		return ERR_OK;
	}
	if (strcmp(kind, "Pooling") == 0) {
		(void)snprintf(file, sizeof(file), "%s/config.json", path);
		return read_pooling(c, folder, file, e);
	}
	if (strcmp(kind, "Transformer") != 0 && strcmp(kind, "StaticEmbedding") != 0)
		return err_set(e, ERR_CONFIG,
			"%s: module %s is not supported; supported: Transformer, StaticEmbedding, "
			"Pooling (mean, cls), Normalize",
			m->what, kind);
	if (strcmp(kind, "StaticEmbedding") == 0)
		(void)snprintf(c->architecture, sizeof(c->architecture), "StaticEmbedding");
	if (strcmp(path, ".") != 0)
		(void)snprintf(m->base, sizeof(m->base), "%s", path);
	return ERR_OK;
}

enum err_code
model_sentence_read(struct model_config *out, struct model_folder *folder, struct err *e)
{
	struct modules m = {.what = model_folder_name(folder, "modules.json")};
	struct json root, module;
	struct json_iter it;
	enum err_code code = model_folder_json(&root, folder, "modules.json", e);

	out->pool = ENCODER_POOL_MEAN;
	if (code != ERR_OK)
		return code;
	if (root.type != JSON_NONE && root.type != JSON_ARRAY)
		return err_set(e, ERR_CONFIG, "%s: not an array", m.what);
	if (root.type == JSON_NONE) {
		code = read_pooling(out, folder, "1_Pooling/config.json", e);
		if (code == ERR_OK)
			code = read_pooling(out, folder, "pooling_config.json", e);
	}
	for (it = json_iter(root); code == ERR_OK && json_next_item(&it, &module);)
		code = read_module(out, &m, folder, module, e);
	if (code != ERR_OK)
		return code;
	if (m.base[0] != '\0')
		model_folder_descend(folder, m.base);
	return read_length(out, folder, e);
}
