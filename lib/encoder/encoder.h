/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder.h - a transformer encoder: a model folder once, forward passes for ever
 *
 * encoder_open reads config.json, the SafeTensors header(s) and tokenizer.json of a folder, or what
 * stands for them in a GGUF file (NAME.gguf: BERT only, without classes), and says how many bytes the
 * packed form needs; encoder_pack writes that form, pointer-free, into memory of the caller's (a
 * weights segment, or malloc): tensors laid out for the kernels of this machine's CPU, and the
 * compiled tokenizer. encoder_attach looks at a packed form where it lies, checks every
 * offset, and copies nothing. Lower case names of architectures are those of config.json.
 * BERT (arXiv:1810.04805), RoBERTa/XLM-R (1907.11692, 1911.02116: positions start at
 * padding_idx + 1), DistilBERT (1910.01108), sentence encoders (MiniLM, BGE), model2vec.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/encoder/tokenizer.h"

enum encoder_dtype { ENCODER_F32, ENCODER_BF16, ENCODER_I8, ENCODER_DTYPES };
const char *encoder_dtype_name(enum encoder_dtype d); /* "f32", "bf16", "i8" */
enum encoder_dtype encoder_dtype_find(const char *name); /* ENCODER_DTYPES: there is none */

/* Instruction set of the kernels; a packed form is for one of them. */
enum encoder_isa {
	ENCODER_ISA_AUTO, /* the best that this CPU has, or what SHUNT_ENCODER_ISA names */
	ENCODER_ISA_BLAS, /* portable: OpenBLAS, f32 only; the test oracle */
	ENCODER_ISA_AVX2,
	ENCODER_ISA_AVX512, /* with VNNI and BF16 where the CPU has them */
	ENCODER_ISA_AMX,
	ENCODER_ISAS
};
const char *encoder_isa_name(enum encoder_isa isa);
bool encoder_isa_runs(enum encoder_isa isa, enum encoder_dtype dtype); /* here, now */

/* What the logits of a head mean: problem_type of config.json. */
enum encoder_problem {
	ENCODER_SINGLE_LABEL, /* one of the labels: softmax */
	ENCODER_MULTI_LABEL,  /* any of them: a sigmoid each */
	ENCODER_REGRESSION    /* numbers */
};

enum encoder_pool { ENCODER_POOL_MODEL, ENCODER_POOL_MEAN, ENCODER_POOL_CLS };

struct encoder_source; /* an opened model folder or GGUF file */

struct encoder_plan {
	enum encoder_dtype dtype;
	enum encoder_isa isa;
};

/* ERR_CONFIG names file, key or tensor; for an architecture that is not supported, what is. */
MUST enum err_code encoder_open(struct encoder_source **out, const char *folder,
	const struct encoder_plan *plan, struct err *e);
void encoder_close(struct encoder_source **s_p);
size_t encoder_packed_bytes(const struct encoder_source *s);
/* Length and identity of a model's embeddings, as encoder_info has them, without packing it. */
MUST enum err_code encoder_look(size_t *len, uint64_t *identity, const char *folder,
	struct err *e);
/* image: encoder_packed_bytes writable zero bytes, 64-byte aligned (2 MiB aligned is best). */
MUST enum err_code encoder_pack(const struct encoder_source *s, void *image, struct err *e);

struct encoder; /* an attached image and its working memory; one thread at a time */

struct encoder_limits {
	uint32_t batch;	  /* most texts in one pass */
	uint32_t tokens;  /* most tokens of all texts in one pass; one text may always have max_tokens */
	uint32_t threads; /* 1 unless the process owns more cores */
};

MUST enum err_code encoder_attach(struct encoder **out, const void *image, size_t len,
	const struct encoder_limits *limits, struct err *e);
/* Open, pack and attach in memory that goes with the encoder, to run it on texts: ERR_CONFIG also
 * where the folder has no tokenizer.json. */
MUST enum err_code encoder_load(struct encoder **out, const char *folder,
	const struct encoder_plan *plan, const struct encoder_limits *limits, struct err *e);
void encoder_free(struct encoder **enc_p);

struct encoder_info {
	char architecture[64];	/* as config.json names it */
	enum encoder_dtype dtype;
	enum encoder_isa isa;
	uint32_t layers, hidden, heads, labels; /* labels 0: no classification head */
	uint32_t max_tokens;	/* longest text, special tokens included */
	uint64_t parameters;
	/* a number for the model's files, byte for byte, wherever they lie and whatever dtype they are
	 * packed to: two encoders with the same one mean the same embeddings */
	uint64_t identity;
	enum encoder_pool pool; /* what the model's files ask for: MEAN or CLS */
	bool normalize;		/* embeddings have length 1 */
	enum encoder_problem problem;
};
const struct encoder_info *encoder_info(const struct encoder *enc);
const char *encoder_label(const struct encoder *enc, uint32_t label); /* id2label, or "LABEL_n" */
/* NULL where a folder had no tokenizer.json: only ids can be run. */
const struct tokenizer *encoder_tokenizer(const struct encoder *enc);
/* How texts are encoded for this model: longest length, and whether with special tokens. */
struct tokenizer_options encoder_tokenizer_options(const struct encoder *enc);
/* The same for an embedding: of as much text as the model takes (max_seq_length of
 * sentence_bert_config.json), where tokenizer.json may cut earlier. */
struct tokenizer_options encoder_embedding_options(const struct encoder *enc);

/* One text of a pass: its ids with special tokens. */
struct encoder_input {
	const uint32_t *ids;
	const uint8_t *types; /* NULL: all 0 */
	size_t len;
};

/* What a pass gives for one text; views into the encoder, until its next pass. */
struct encoder_output {
	const float *logits;	/* labels of them; NULL where the model has no head */
	const float *embedding; /* hidden of them, pooled (and normalized) as asked */
};

/*
 * Run the model over count texts; no padding is computed, nothing is allocated.
 * ERR_INPUT: a text is empty, longer than max_tokens, holds an id outside the vocabulary, or the
 * batch exceeds the limits. (Static embeddings: a text may be empty, its embedding is then 0.)
 */
MUST enum err_code encoder_run(struct encoder *enc, struct encoder_output *out,
	const struct encoder_input *in, size_t count, enum encoder_pool pool, struct err *e);

/* No number of it is NaN or infinite: weights, or activations beyond a number format, can do that. */
bool encoder_finite(const struct encoder *enc, const struct encoder_output *out);

/* softmax(logits)[label], stable. RouteLLM's win rate of the strong model is that of label 0. */
double encoder_probability(const float *logits, uint32_t labels, uint32_t label);
