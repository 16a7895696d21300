/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encoder_load.c - a model folder into memory of the encoder's own, for who shares it with nobody
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/encoder/encoder_private.h"

/* A packed form that goes with its encoder. */
struct image {
	void *map;
	size_t len;
};

static void
image_fini(struct image *i)
{
	if (i->map != NULL)
		(void)munmap(i->map, i->len);
	i->map = NULL;
}

static enum err_code
image_make(struct image *i, const char *folder, const struct encoder_plan *plan, struct err *e)
{
	AUTO(encoder_close) struct encoder_source *source = NULL;
	void *map;

	if (encoder_open(&source, folder, plan, e) != ERR_OK)
		return e->code;
	i->len = encoder_packed_bytes(source);
	map = mmap(NULL, i->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return err_set(
			e, ERR_SYS, "%zu bytes for the weights: %s", i->len, strerror(errno));
	i->map = map;
	return encoder_pack(source, i->map, e);
}

enum err_code
encoder_load(struct encoder **out, const char *folder, const struct encoder_plan *plan,
	const struct encoder_limits *limits, struct err *e)
{
	AUTO(image_fini) struct image image = {.map = NULL};
	AUTO(encoder_free) struct encoder *enc = NULL;

	if (image_make(&image, folder, plan, e) != ERR_OK ||
		encoder_attach(&enc, image.map, image.len, limits, e) != ERR_OK)
		return e->code;
	if (encoder_tokenizer(enc) == NULL)
		return err_set(e, ERR_CONFIG, "%s/tokenizer.json: missing", folder);
	enc->own_image = image.map;
	enc->own_image_len = image.len;
	image.map = NULL;
	*out = enc;
	enc = NULL;
	return ERR_OK;
}
