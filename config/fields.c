/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fields.c - free and hash what a config struct holds, along the key table
 */
#include <stdlib.h>
#include <string.h>

#include "config/key.h"

#define HASH_PRIME UINT64_C(0x100000001b3) /* FNV-1a */

/* The list behind a key: its array and its count. */
static void *
list_of(const struct config_key *key, const void *owner, size_t *len)
{
	void *array;

	memcpy(len, (const char *)owner + key->len_offset, sizeof(*len));
	memcpy(&array, (const char *)owner + key->offset, sizeof(array));
	return array;
}

void
config_listen_fini(struct config_listen *l)
{
	free(l->text);
	free(l->host);
	free(l->path);
	*l = (struct config_listen){0};
}

static void
list_fini(const struct config_key *key, const void *owner)
{
	size_t len, size;
	void *array = list_of(key, owner, &len);

	for (size_t i = 0; i < len; i++) {
		switch (config_key_store(key)) {
		case STORE_TEXTS:
			free(((char **)array)[i]);
			break;
		case STORE_LISTEN:
			config_listen_fini((struct config_listen *)array + i);
			break;
		default:
			size = config_section_row(key->child)->size;
			config_section_fini(key->child, (char *)array + i * size);
		}
	}
	free(array);
}

void
config_key_fini(const struct config_key *key, void *owner)
{
	static const size_t no_len = 0;
	static void *const nothing = NULL;
	char *text;

	switch (config_key_store(key)) {
	case STORE_TEXT:
		memcpy(&text, (char *)owner + key->offset, sizeof(text));
		free(text);
		break;
	case STORE_TEXTS:
	case STORE_LISTEN:
	case STORE_ROWS:
		list_fini(key, owner);
		memcpy((char *)owner + key->len_offset, &no_len, sizeof(no_len));
		break;
	case STORE_MAP:
		config_section_fini(key->child, owner);
		return;
	default:
		return;
	}
	memcpy((char *)owner + key->offset, &nothing, sizeof(nothing));
}

void
config_section_fini(enum config_section section, void *owner)
{
	size_t len;
	const struct config_key *keys = config_keys(section, &len);

	for (size_t i = 0; i < len; i++)
		config_key_fini(&keys[i], owner);
}

uint64_t
config_hash_bytes(uint64_t hash, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * HASH_PRIME;
	/* The length ends the field, so that "ab","c" and "a","bc" differ. */
	for (size_t i = 0; i < sizeof(len); i++)
		hash = (hash ^ (len >> (8 * i) & 0xff)) * HASH_PRIME;
	return hash;
}

static uint64_t
hash_text(uint64_t hash, const char *text)
{
	/* No text is not the empty text. */
	return text == NULL ? config_hash_bytes(hash, "\xff\xff", 2)
			    : config_hash_bytes(hash, text, strlen(text));
}

static size_t
scalar_size(enum config_store store)
{
	static const size_t sizes[] = {
		[STORE_U32] = sizeof(uint32_t),
		[STORE_U64] = sizeof(uint64_t),
		[STORE_I32] = sizeof(int32_t),
		[STORE_DOUBLE] = sizeof(double),
		[STORE_BOOL] = sizeof(bool),
		[STORE_ENUM] = sizeof(enum tri),
	};

	CHECK(store < ARRAY_LEN(sizes) && sizes[store] > 0);
	return sizes[store];
}

static uint64_t
hash_list(uint64_t hash, const struct config_key *key, const void *owner)
{
	size_t len;
	char *array = list_of(key, owner, &len);

	for (size_t i = 0; i < len; i++) {
		if (config_key_store(key) == STORE_TEXTS)
			hash = hash_text(hash, ((char **)(void *)array)[i]);
		else if (config_key_store(key) == STORE_ROWS)
			hash = config_section_hash(
				key->child, array + i * config_section_row(key->child)->size, hash);
		else
			hash = hash_text(hash, ((struct config_listen *)(void *)array)[i].text);
	}
	return config_hash_bytes(hash, &len, sizeof(len));
}

uint64_t
config_section_hash(enum config_section section, const void *owner, uint64_t hash)
{
	size_t len;
	const struct config_key *keys = config_keys(section, &len);
	const char *text;

	for (size_t i = 0; i < len; i++) {
		const char *field = (const char *)owner + keys[i].offset;
		enum config_store store = config_key_store(&keys[i]);

		switch (store) {
		case STORE_TEXT:
			memcpy(&text, field, sizeof(text));
			hash = hash_text(hash, text);
			break;
		case STORE_TEXTS:
		case STORE_LISTEN:
		case STORE_ROWS:
			hash = hash_list(hash, &keys[i], owner);
			break;
		case STORE_MAP:
			hash = config_section_hash(keys[i].child, owner, hash);
			break;
		default:
			hash = config_hash_bytes(hash, field, scalar_size(store));
		}
	}
	return hash;
}
