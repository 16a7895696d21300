/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key.c - the rows of key_list.h and type_list.h as tables, and what walks a struct along them
 */
#include <stdlib.h>
#include <string.h>

#include "config/key.h"
#include "lib/base/near.h"

static const struct config_type_row type_rows[CONFIG_TYPES] = {
#define CONFIG_TYPE(symbol, store, name, help) {STORE_##store, name, help},
#include "config/type_list.h"
#undef CONFIG_TYPE
};

/* Which struct owns a section's fields: only here, to take offsets of fields. */
#define CONFIG_SECTION(symbol, owner, path, help) typedef owner config_owner_##symbol;
#include "config/key_list.h"

static const struct config_section_row section_rows[SECTION_NONE] = {
#define CONFIG_SECTION(symbol, owner, path, help) {path, help, sizeof(owner), SIZE_MAX},
#define CONFIG_ROW_SECTION(symbol, owner, path, help)                                              \
	{path, help, sizeof(owner), offsetof(owner, line)},
#include "config/key_list.h"
};

#define REQUIRED NULL
#define NOT_SAID ""
static const struct config_key key_rows[] = {
#define CONFIG_KEY(section_, key_, type_, field, def_, min_, max_, unit_, help_)                   \
	{SECTION_##section_, #key_, CONFIG_TYPE_##type_, offsetof(config_owner_##section_, field), \
		SIZE_MAX, def_, min_, max_, unit_, SECTION_NONE, help_},
#define CONFIG_LIST(section_, key_, type_, field, child_, def_, most_, help_)                      \
	{SECTION_##section_, #key_, CONFIG_TYPE_##type_, offsetof(config_owner_##section_, field), \
		offsetof(config_owner_##section_, field##_len), def_, 0, most_, "",                \
		SECTION_##child_, help_},
#define CONFIG_MAP(section_, key_, child_, help_)                                                  \
	{SECTION_##section_, #key_, CONFIG_TYPE_MAP, 0, SIZE_MAX, NOT_SAID, 0, 0, "",              \
		SECTION_##child_, help_},
#include "config/key_list.h"
};

static const struct config_choice flag_choices[] = {
	{"no", false, ""},
	{"yes", true, ""},
	{"false", false, NULL},
	{"true", true, NULL},
	{"off", false, NULL},
	{"on", true, NULL},
	{NULL},
};

static const struct config_choice tri_choices[] = {
	{"no", TRI_NO, ""},
	{"yes", TRI_YES, ""},
	{"unknown", TRI_UNKNOWN, ""},
	{"false", TRI_NO, NULL},
	{"true", TRI_YES, NULL},
	{NULL},
};

static const struct config_choice kind_choices[] = {
#define BACKEND_KIND(symbol, name, wants_url, local_port, tells_probs, help)                       \
	{#name, BACKEND_##symbol, help},
#include "config/kind_list.h"
#undef BACKEND_KIND
	{NULL},
};

static const struct config_choice strategy_choices[] = {
#define X(symbol, name, help) {#name, STRATEGY_##symbol, help},
	STRATEGY_LIST(X)
#undef X
		{NULL},
};

static const struct config_choice dtype_choices[] = {
#define X(symbol, name) {#name, CONFIG_DTYPE_##symbol, ""},
	CONFIG_DTYPE_LIST(X)
#undef X
		{NULL},
};

static const struct config_choice isa_choices[] = {
#define X(symbol, name) {#name, CONFIG_ISA_##symbol, ""},
	CONFIG_ISA_LIST(X)
#undef X
		{NULL},
};

static const struct config_choice text_choices[] = {
#define X(symbol, name, help) {#name, TEXT_##symbol, help},
	TEXT_POLICY_LIST(X)
#undef X
		{NULL},
};

static const struct config_choice mid_stream_choices[] = {
#define X(symbol, name, help) {#name, MID_STREAM_##symbol, help},
	MID_STREAM_LIST(X)
#undef X
		{NULL},
};

static const struct config_choice priority_choices[] = {
#define X(symbol, name, help) {#name, PRIORITY_##symbol, help},
	PRIORITY_LIST(X)
#undef X
		{NULL},
};

static const struct config_choice prefill_choices[] = {
#define X(symbol, name, help) {#name, PREFILL_##symbol, help},
	PREFILL_LIST(X)
#undef X
		{NULL},
};

static const struct config_choice level_choices[] = {
	{"error", LOG_ERROR, ""},
	{"warn", LOG_WARN, ""},
	{"info", LOG_INFO, ""},
	{"debug", LOG_DEBUG, ""},
	{NULL},
};

static const struct config_choice format_choices[] = {
	{"text", LOG_TEXT, ""},
	{"json", LOG_JSON, ""},
	{NULL},
};

static const struct config_choice *const type_choices[CONFIG_TYPES] = {
	[CONFIG_TYPE_FLAG] = flag_choices,
	[CONFIG_TYPE_TRI] = tri_choices,
	[CONFIG_TYPE_KIND] = kind_choices,
	[CONFIG_TYPE_STRATEGY] = strategy_choices,
	[CONFIG_TYPE_DTYPE] = dtype_choices,
	[CONFIG_TYPE_ISA] = isa_choices,
	[CONFIG_TYPE_TEXT_POLICY] = text_choices,
	[CONFIG_TYPE_MID_STREAM] = mid_stream_choices,
	[CONFIG_TYPE_PRIORITY] = priority_choices,
	[CONFIG_TYPE_PREFILL] = prefill_choices,
	[CONFIG_TYPE_LOG_LEVEL] = level_choices,
	[CONFIG_TYPE_LOG_FORMAT] = format_choices,
};

const struct config_type_row *
config_type_row(enum config_type type)
{
	CHECK(type < CONFIG_TYPES);
	return &type_rows[type];
}

enum config_store
config_key_store(const struct config_key *key)
{
	return config_type_row(key->type)->store;
}

const struct config_section_row *
config_section_row(enum config_section section)
{
	CHECK(section < SECTION_NONE);
	return &section_rows[section];
}

const struct config_choice *
config_choices(enum config_type type)
{
	CHECK(type < CONFIG_TYPES);
	return type_choices[type];
}

const struct config_key *
config_keys(enum config_section section, size_t *len)
{
	size_t first = 0, end;

	while (first < ARRAY_LEN(key_rows) && key_rows[first].section != section)
		first++;
	end = first;
	while (end < ARRAY_LEN(key_rows) && key_rows[end].section == section)
		end++;
	*len = end - first;
	CHECK(*len > 0 && *len <= CONFIG_KEYS_MAX);
	return &key_rows[first];
}

const struct config_key *
config_key_find(enum config_section section, const char *name, size_t len)
{
	size_t keys_len;
	const struct config_key *keys = config_keys(section, &keys_len);

	for (size_t i = 0; i < keys_len; i++)
		if (strlen(keys[i].name) == len && memcmp(keys[i].name, name, len) == 0)
			return &keys[i];
	return NULL;
}

const char *
config_key_near(enum config_section section, const char *wrong)
{
	const char *names[CONFIG_KEYS_MAX];
	size_t keys_len;
	const struct config_key *keys = config_keys(section, &keys_len);

	for (size_t i = 0; i < keys_len; i++)
		names[i] = keys[i].name;
	return near_name(wrong, names, keys_len);
}

const char *
strategy_name(enum strategy s)
{
	CHECK(s < STRATEGIES);
	return strategy_choices[s].name;
}
