/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key.h - the rows of key_list.h and type_list.h as tables; private to config/
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"

/* What a field is in its struct. */
enum config_store {
	STORE_U32,
	STORE_U64,
	STORE_I32,
	STORE_DOUBLE,
	STORE_BOOL,
	STORE_ENUM,
	STORE_TEXT,   /* char *, heap */
	STORE_TEXTS,  /* char **, heap, counted */
	STORE_LISTEN, /* struct config_listen *, heap, counted */
	STORE_ROWS,   /* array of the child section's struct, heap, counted */
	STORE_MAP     /* fields of the same struct under a name of their own */
};

enum config_type {
#define CONFIG_TYPE(symbol, store, name, help) CONFIG_TYPE_##symbol,
#include "config/type_list.h"
#undef CONFIG_TYPE
	CONFIG_TYPES
};

enum config_section {
#define CONFIG_SECTION(symbol, owner, path, help) SECTION_##symbol,
#include "config/key_list.h"
	SECTION_NONE
};

enum { CONFIG_KEYS_MAX = 32 }; /* of one section */

struct config_type_row {
	enum config_store store;
	const char *name;
	const char *help;
};

struct config_section_row {
	const char *path;
	const char *help;
	size_t size;	    /* of the struct that owns the fields */
	size_t line_offset; /* of its line field; SIZE_MAX: none */
};

struct config_key {
	enum config_section section;
	const char *name;
	enum config_type type;
	size_t offset;	   /* of the field in the section's owner */
	size_t len_offset; /* of a list's count */
	const char *def;   /* default as text; "": not said; NULL: required */
	double min, max;   /* of numbers; max of a list: most entries */
	const char *unit;
	enum config_section child;
	const char *help;
};

/* One of the words that an ENUM or BOOL may be. */
struct config_choice {
	const char *name;
	int value;
	const char *help; /* NULL: a second spelling, not shown */
};

const struct config_type_row *config_type_row(enum config_type type);
enum config_store config_key_store(const struct config_key *key);
const struct config_section_row *config_section_row(enum config_section section);
/* The keys of a section, in the table's order. */
const struct config_key *config_keys(enum config_section section, size_t *len);
/* By name; NULL: unknown. */
const struct config_key *config_key_find(enum config_section section, const char *name, size_t len);
/* The name that was meant by an unknown one, or NULL. */
const char *config_key_near(enum config_section section, const char *wrong);
/* The words of a type with STORE_ENUM or STORE_BOOL; {NULL} ends them. NULL for other types. */
const struct config_choice *config_choices(enum config_type type);

/* Free all that the section's fields hold in owner (not owner itself). */
void config_section_fini(enum config_section section, void *owner);
/* Free what one key's field holds and set it to nothing (numbers stay as they are). */
void config_key_fini(const struct config_key *key, void *owner);
/* Mix the values of the section's fields into hash. */
uint64_t config_section_hash(enum config_section section, const void *owner, uint64_t hash);
uint64_t config_hash_bytes(uint64_t hash, const void *data, size_t len);
void config_listen_fini(struct config_listen *l);
