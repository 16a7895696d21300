/* SPDX-License-Identifier: Apache-2.0 */
/*
 * packed.c - the layout of a packed model, and what is checked before one is used
 */
#include <string.h>

#include "lib/encoder/packed.h"

static const char magic[8] = {'s', 'h', 'u', 'n', 't', 'e', 'n', 'c'};

/* Reserve bytes; the offset at which they start. */
static size_t
take(size_t *at, size_t bytes)
{
	size_t start = *at;

	*at = (start + bytes + KERNEL_ALIGN - 1) / KERNEL_ALIGN * KERNEL_ALIGN;
	return start;
}

static size_t
take_floats(size_t *at, size_t count)
{
	return take(at, count * sizeof(float));
}

static struct packed_norm
take_norm(size_t *at, size_t dim)
{
	struct packed_norm n;

	n.weight = take_floats(at, dim);
	n.bias = take_floats(at, dim);
	return n;
}

static void
layout_layers(
	struct packed_layout *l, size_t *at, const struct packed_header *h, const struct kernel *k)
{
	size_t in = 0;

	l->qkv = take(&in, k->packed_bytes(h->hidden, 3 * h->hidden));
	l->out = take(&in, k->packed_bytes(h->hidden, h->hidden));
	l->up = take(&in, k->packed_bytes(h->hidden, h->ffn));
	l->down = take(&in, k->packed_bytes(h->ffn, h->hidden));
	l->attention_norm = take_norm(&in, h->hidden);
	l->output_norm = take_norm(&in, h->hidden);
	l->layer_bytes = in;
	l->layers = take(at, in * h->layers);
}

struct packed_layout
packed_layout(const struct packed_header *h, const struct kernel *kernel)
{
	struct packed_layout l = {0};
	size_t word = h->dtype == ENCODER_F32 ? sizeof(float) : sizeof(uint16_t);
	size_t at = 0;

	(void)take(&at, sizeof(*h));
	l.label_names = take(&at, h->label_names_len);
	l.tokenizer = take(&at, h->tokenizer_len);
	l.words = take(&at, (size_t)h->word_rows * h->hidden * word);
	l.row_of = take(&at, h->mapped ? h->vocab * sizeof(uint32_t) : 0);
	l.weight_of = take_floats(&at, h->weighted ? h->vocab : 0);
	if (h->layers > 0) {
		l.positions = take_floats(&at, (size_t)h->position_rows * h->hidden);
		l.types = take_floats(&at, (size_t)h->types * h->hidden);
		if (h->buckets > 0)
			l.relative = take_floats(&at, h->heads * (2 * (size_t)h->max_tokens - 1));
		l.embed_norm = take_norm(&at, h->hidden);
		layout_layers(&l, &at, h, kernel);
	}
	if (h->labels > 0) {
		l.head_dense = take(&at, kernel->packed_bytes(h->hidden, h->hidden));
		l.head_out = take(&at, kernel->packed_bytes(h->hidden, h->labels));
	}
	l.total = at;
	return l;
}

static uint64_t
header_checksum(const struct packed_header *h)
{
	struct packed_header copy = *h;
	const unsigned char *p = (const unsigned char *)&copy;
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	copy.checksum = 0;
	for (size_t i = 0; i < sizeof(copy); i++)
		sum = (sum ^ p[i]) * UINT64_C(0x100000001b3);
	return sum;
}

void
packed_seal(struct packed_header *h, const struct packed_layout *l)
{
	memcpy(h->magic, magic, sizeof(magic));
	h->version = PACKED_VERSION;
	h->header_bytes = sizeof(*h);
	h->total = l->total;
	h->checksum = header_checksum(h);
}

static bool
between(uint32_t n, uint32_t min, uint32_t max)
{
	return n >= min && n <= max;
}

/* Within the limits that packed_layout asks for, so that nothing in it can overflow. */
static bool
sizes_good(const struct packed_header *h)
{
	bool transformer = h->layers > 0;

	return between(h->layers, 0, MODEL_LAYERS_MAX) && between(h->hidden, 1, MODEL_HIDDEN_MAX) &&
	       between(h->vocab, 1, MODEL_VOCAB_MAX) && between(h->word_rows, 1, MODEL_VOCAB_MAX) &&
	       h->types <= MODEL_TYPES_MAX && h->buckets <= MODEL_BUCKETS_MAX &&
	       h->labels <= MODEL_LABELS_MAX && between(h->max_tokens, 1, MODEL_POSITIONS_MAX) &&
	       h->activation < KERNEL_EPILOGUES && h->head_activation < KERNEL_EPILOGUES &&
	       h->activation != KERNEL_RESIDUAL && h->head_activation != KERNEL_RESIDUAL &&
	       h->problem <= ENCODER_REGRESSION &&
	       between(h->pool, ENCODER_POOL_MEAN, ENCODER_POOL_CLS) && h->normalize <= 1 &&
	       h->padding_id <= h->vocab &&
	       h->position_rows == h->max_tokens + (h->padding_id < h->vocab) && h->mapped <= 1 &&
	       h->weighted <= 1 && h->dropped_id <= h->vocab &&
	       h->tokenizer_len <= PACKED_TOKENIZER_MAX &&
	       h->label_names_len <= (uint64_t)MODEL_LABELS_MAX * MODEL_LABEL_BYTES_MAX &&
	       h->norm_eps > 0 && (h->mapped || h->word_rows == h->vocab) &&
	       (!transformer || (between(h->heads, 1, MODEL_HEADS_MAX) &&
					between(h->ffn, 1, MODEL_FFN_MAX) &&
					h->hidden % h->heads == 0 && !h->mapped && !h->weighted));
}

/* labels names, each with its NUL, and nothing else. */
static bool
names_good(const struct packed_header *h, const char *names)
{
	uint32_t count = 0;

	for (size_t i = 0; i < h->label_names_len; i++)
		count += names[i] == '\0';
	return count == h->labels &&
	       (h->label_names_len == 0 || names[h->label_names_len - 1] == '\0');
}

static bool
rows_good(const struct packed_header *h, const void *rows)
{
	const uint32_t *row_of = rows;

	for (uint32_t i = 0; h->mapped && i < h->vocab; i++)
		if (row_of[i] >= h->word_rows)
			return false;
	return true;
}

enum err_code
packed_check(struct packed_header *out, struct packed_layout *layout, const struct kernel **kernel,
	const void *image, size_t len, struct err *e)
{
	struct packed_header h;
	struct packed_layout l;
	const struct kernel *k;

	if (len < sizeof(h) || (uintptr_t)image % KERNEL_ALIGN != 0)
		return err_set(e, ERR_CONFIG, "packed model: %zu bytes, or not aligned", len);
	memcpy(&h, image, sizeof(h));
	if (memcmp(h.magic, magic, sizeof(magic)) != 0)
		return err_set(e, ERR_CONFIG, "packed model: it is none");
	if (h.version != PACKED_VERSION || h.header_bytes != sizeof(h))
		return err_set(e, ERR_CONFIG, "packed model: version %u, this program reads %d",
			h.version, PACKED_VERSION);
	if (h.checksum != header_checksum(&h) || !sizes_good(&h) ||
		h.architecture[sizeof(h.architecture) - 1] != '\0')
		return err_set(e, ERR_CONFIG, "packed model: its header is damaged");
	k = h.isa < ENCODER_ISAS && h.isa != ENCODER_ISA_AUTO && h.dtype < ENCODER_DTYPES
		    ? kernel_find((enum encoder_isa)h.isa, (enum encoder_dtype)h.dtype)
		    : NULL;
	if (k == NULL)
		return err_set(e, ERR_CONFIG, "packed model: %s on %s does not run on this machine",
			encoder_dtype_name((enum encoder_dtype)h.dtype),
			encoder_isa_name((enum encoder_isa)h.isa));
	l = packed_layout(&h, k);
	if (l.total != h.total || l.total > len)
		return err_set(e, ERR_CONFIG, "packed model: %zu bytes of %zu", len, l.total);
	if (!names_good(&h, (const char *)image + l.label_names) ||
		!rows_good(&h, (const char *)image + l.row_of))
		return err_set(e, ERR_CONFIG, "packed model: its tables are damaged");
	*out = h;
	*layout = l;
	*kernel = k;
	return ERR_OK;
}
