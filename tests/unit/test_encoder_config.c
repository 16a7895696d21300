/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_encoder_config.c - what config.json and its companions may say, and what is refused how
 */
#include "lib/encoder/model_config.h"
#include "tests/unit/encoder_model.h"

#define SIZES                                                                                      \
	"\"hidden_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2,"                     \
	"\"intermediate_size\":16,\"vocab_size\":32,\"max_position_embeddings\":20"
#define BERT "\"model_type\":\"bert\",\"architectures\":[\"BertModel\"],"
#define ROBERTA "\"model_type\":\"roberta\",\"architectures\":[\"RobertaModel\"],"

static enum err_code
config_of(
	struct model_config *c, const struct model_memory_file *files, size_t count, struct err *e)
{
	AUTO(model_folder_close) struct model_folder *folder = NULL;

	model_folder_memory(&folder, files, count);
	return model_config_read(c, folder, e);
}

static enum err_code
config_json(struct model_config *c, const char *text, struct err *e)
{
	const struct model_memory_file file = {"config.json", text, strlen(text)};

	return config_of(c, &file, 1, e);
}

Test(encoder_config, says_what_it_does_not_support)
{
	static const struct {
		const char *json, *want;
	} rows[] = {
		{"{\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"]}",
			"architecture LlamaForCausalLM (model_type llama) is not supported; "
			"supported: "
			"bert, roberta, xlm-roberta, camembert, distilbert, mpnet, model2vec"},
		{"{\"model_type\":\"bert\",\"architectures\":[\"BertForQuestionAnswering\"]," SIZES
		 "}",
			"architecture BertForQuestionAnswering"},
		{"{\"model_type\":\"bert\",\"architectures\":[\"RobertaModel\"]," SIZES "}",
			"architecture RobertaModel (model_type bert)"},
		{"{}", "model_type not said"},
		{"[]", "not an object"},
		{"{", "line 1"},
		{"{" BERT SIZES ",\"hidden_act\":\"silu\"}",
			"hidden_act \"silu\" is not supported; supported: gelu, gelu_new, relu"},
		{"{" BERT SIZES ",\"position_embedding_type\":\"relative_key\"}",
			"position_embedding_type \"relative_key\" is not supported"},
		{"{" BERT SIZES ",\"is_decoder\":true}", "decoders are not supported"},
		{"{" BERT SIZES ",\"layer_norm_eps\":0}", "layer_norm_eps must lie between"},
		{"{" BERT SIZES ",\"layer_norm_eps\":1e-75}", "layer_norm_eps must lie between"},
		{"{" BERT SIZES ",\"layer_norm_eps\":\"x\"}", "layer_norm_eps must lie between"},
		{"{" BERT "\"hidden_size\":8}", "num_hidden_layers is missing"},
		{"{" BERT "\"hidden_size\":-8}", "hidden_size must be a number from 1 to 16384"},
		{"{" BERT "\"hidden_size\":1e30}", "hidden_size must be a number"},
		{"{" BERT "\"hidden_size\":9,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
		 "\"intermediate_size\":16,\"vocab_size\":32}",
			"hidden_size 9 is no multiple of 2 heads"},
		{"{" BERT SIZES ",\"type_vocab_size\":1000}", "type_vocab_size must be a number"},
		{"{" ROBERTA SIZES ",\"pad_token_id\":19}", "pad_token_id 19 leaves no position"},
		{"{" ROBERTA SIZES ",\"pad_token_id\":32}", "outside of the vocabulary"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(model_config_fini) struct model_config c = {0};
		struct err e = {0};

		cr_expect_eq(config_json(&c, rows[i].json, &e), ERR_CONFIG, "%s", rows[i].json);
		cr_expect(strstr(e.text, rows[i].want) != NULL &&
				  strstr(e.text, "memory/config.json") != NULL,
			"%s gives: %s", rows[i].json, e.text);
	}
}

Test(encoder_config, labels_must_be_complete)
{
#define CLASSIFIER                                                                                 \
	"{\"model_type\":\"bert\",\"architectures\":[\"BertForSequenceClassification\"]," SIZES ","
	static const struct {
		const char *json, *want;
	} rows[] = {
		{CLASSIFIER "\"id2label\":{}}", "id2label must be an object"},
		{CLASSIFIER "\"id2label\":[\"a\"]}", "id2label must be an object"},
		{CLASSIFIER "\"id2label\":{\"0\":\"a\",\"2\":\"c\"}}", "label 1 is missing"},
		{CLASSIFIER "\"id2label\":{\"0\":7}}", "label 0 is missing, too long or no string"},
		{CLASSIFIER "\"problem_type\":\"guess\"}", "problem_type \"guess\" is not known"},
	};
	static const char swapped[] = CLASSIFIER "\"id2label\":{\"1\":\"b\",\"0\":\"a\"}}";
	AUTO(model_config_fini) struct model_config good = {0};
	struct err e = {0};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(model_config_fini) struct model_config c = {0};

		cr_expect_eq(config_json(&c, rows[i].json, &e), ERR_CONFIG);
		cr_expect(
			strstr(e.text, rows[i].want) != NULL, "%s gives: %s", rows[i].json, e.text);
	}
	cr_assert_eq(config_json(&good, swapped, &e), ERR_OK, "%s", e.text);
	cr_expect(good.head && good.labels == 2);
	cr_expect_arr_eq(good.label_names.data, "a\0b", 4);
}

Test(encoder_config, roberta_starts_after_its_padding)
{
	AUTO(model_config_fini) struct model_config c = {0};
	AUTO(model_config_fini) struct model_config bert = {0};
	struct err e;

	cr_assert_eq(config_json(&c, "{" ROBERTA SIZES "}", &e), ERR_OK, "%s", e.text);
	cr_expect_eq(c.position_offset, 2);
	cr_assert_eq(config_json(&bert, "{" BERT SIZES ",\"pad_token_id\":null}", &e), ERR_OK, "%s",
		e.text);
	cr_expect_eq(bert.position_offset, 0);
}

#define MODULE(path, kind)                                                                         \
	"{\"idx\":0,\"name\":\"x\",\"path\":\"" path                                               \
	"\",\"type\":\"sentence_transformers.models." kind "\"}"

static enum err_code
config_sentence(struct model_config *c, const char *modules, const char *pooling, struct err *e)
{
	static const char config[] = "{" BERT SIZES "}";
	const struct model_memory_file files[] = {
		{"0_Transformer/config.json", config, sizeof(config) - 1},
		{"config.json", config, sizeof(config) - 1},
		{"modules.json", modules, strlen(modules)},
		{"1_Pooling/config.json", pooling, strlen(pooling)},
	};

	return config_of(c, files, ARRAY_LEN(files), e);
}

Test(encoder_config, sentence_modules_say_pooling_and_normalization)
{
	static const char modules[] = "[" MODULE("0_Transformer", "Transformer") "," MODULE(
		"1_Pooling", "Pooling") "," MODULE("2_Normalize", "Normalize") "]";
	AUTO(model_config_fini) struct model_config c = {0};
	AUTO(model_config_fini) struct model_config newer = {0};
	struct err e;

	cr_assert_eq(
		config_sentence(&c, modules,
			"{\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":false}", &e),
		ERR_OK, "%s", e.text);
	cr_expect(c.normalize && c.pool == ENCODER_POOL_CLS && c.hidden == 8);
	cr_assert_eq(config_sentence(&newer, modules, "{\"pooling_mode\":\"mean\"}", &e), ERR_OK);
	cr_expect(newer.pool == ENCODER_POOL_MEAN);
}

Test(encoder_config, sentence_modules_that_are_not_supported_are_named)
{
	static const struct {
		const char *modules, *pooling, *want;
	} rows[] = {
		{"[" MODULE("", "Transformer") "," MODULE("2_Dense", "Dense") "]", "{}",
			"module Dense is not supported"},
		{"[" MODULE("1_Pooling", "Pooling") "]", "{\"pooling_mode_max_tokens\":true}",
			"pooling_mode_max_tokens is not supported"},
		{"[" MODULE("1_Pooling", "Pooling") "]", "{}", "pooling is not supported"},
		{"[" MODULE("../x", "Transformer") "]", "{}", "a module without type and path"},
		{"[{\"type\":1}]", "{}", "a module without type and path"},
		{"{}", "{}", "modules.json: not an array"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		AUTO(model_config_fini) struct model_config c = {0};
		struct err e = {0};

		cr_expect_eq(config_sentence(&c, rows[i].modules, rows[i].pooling, &e), ERR_CONFIG,
			"%s", rows[i].modules);
		cr_expect(strstr(e.text, rows[i].want) != NULL, "%s gives: %s", rows[i].modules,
			e.text);
	}
}
