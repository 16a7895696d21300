/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scorer_file.c - the file of a trained scorer: sections behind a checked head
 */
#include <string.h>

#include "lib/routing/scorer_parts.h"

static const char file_magic[8] = {'s', 'h', 'u', 'n', 't', 's', 'c', 'r'};

/* As they lie in the file; little-endian like every machine that shunt runs on. */
struct file_head {
	char magic[8];
	uint32_t version;
	uint32_t sections;
	uint64_t len;
	uint64_t checksum; /* of everything behind it, and of `sections` */
	char scorer[SCORER_NAME_MAX];
	uint64_t reserved[2];
};

struct file_entry {
	char tag[8];
	uint64_t offset;
	uint64_t len;
};

_Static_assert(sizeof(struct file_head) == 64, "the head is one line of the cache");

enum { CHECKED_FROM = offsetof(struct file_head, scorer) };

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "scorer files are little-endian");

/* Four lanes of multiply and rotate over 32 bytes at a time; finds damage, resists no attacker. */
static uint64_t
file_checksum(uint32_t sections, const char *data, size_t len)
{
	static const uint64_t prime = 0x9e3779b97f4a7c15U;
	uint64_t lane[4] = {1, 2, 3, 4}, word, sum = len ^ (uint64_t)sections << 32;
	size_t i;
	unsigned k;

	for (i = 0; i + 32 <= len; i += 32) {
		for (k = 0; k < 4; k++) {
			memcpy(&word, data + i + 8 * k, 8);
			word = (lane[k] ^ word) * prime;
			lane[k] = word << 29 | word >> 35;
		}
	}
	for (; i < len; i++)
		lane[i & 3] = (lane[i & 3] ^ (unsigned char)data[i]) * prime;
	for (k = 0; k < 4; k++) {
		sum = (sum ^ lane[k]) * prime;
		sum ^= sum >> 31;
	}
	return sum;
}

static enum err_code
file_head_check(const struct file_head *h, const char *what, const char *data, size_t len,
	struct err *e)
{
	if (memcmp(h->magic, file_magic, sizeof(file_magic)) != 0)
		return err_set(e, ERR_CONFIG, "%s: no scorer file", what);
	if (h->version != SCORER_VERSION)
		return err_set(e, ERR_CONFIG, "%s: a scorer file of version %u; this shunt reads %d",
			what, h->version, SCORER_VERSION);
	if (h->len != len)
		return err_set(e, ERR_CONFIG,
			"%s: damaged: %zu bytes long, its head says %llu", what, len,
			(unsigned long long)h->len);
	if (h->checksum != file_checksum(h->sections, data + CHECKED_FROM, len - CHECKED_FROM))
		return err_set(e, ERR_CONFIG, "%s: damaged: wrong checksum", what);
	if (h->sections > SCORER_SECTIONS_MAX)
		return err_set(e, ERR_CONFIG, "%s: damaged: %u sections", what, h->sections);
	return ERR_OK;
}

enum err_code
scorer_file_open(
	struct scorer_file *out, const char *what, const void *data, size_t len, struct err *e)
{
	struct file_head h;
	struct file_entry entry;
	enum err_code rc;
	uint32_t i;

	if (data == NULL || len < sizeof(h))
		return err_set(e, ERR_CONFIG, "%s: no scorer file, only %zu bytes", what, len);
	if ((uintptr_t)data % 16 != 0)
		return err_set(e, ERR_CONFIG, "%s: not aligned in memory", what);
	memcpy(&h, data, sizeof(h));
	rc = file_head_check(&h, what, data, len, e);
	if (rc != ERR_OK)
		return rc;
	*out = (struct scorer_file){.what = what, .data = data, .len = len, .sections = h.sections};
	memcpy(out->scorer, h.scorer, SCORER_NAME_MAX);
	if (h.sections * sizeof(entry) > len - sizeof(h))
		return err_set(e, ERR_CONFIG, "%s: damaged: table of sections cut", what);
	for (i = 0; i < h.sections; i++) {
		memcpy(&entry, out->data + sizeof(h) + i * sizeof(entry), sizeof(entry));
		if (entry.offset % SCORER_ALIGN != 0 || entry.offset > len ||
			entry.len > len - entry.offset)
			return err_set(e, ERR_CONFIG, "%s: damaged: section %u outside the file",
				what, i);
	}
	return ERR_OK;
}

bool
scorer_file_section(const void **out, size_t *len, const struct scorer_file *f, const char *tag)
{
	struct file_entry entry;
	uint32_t i;

	for (i = 0; i < f->sections; i++) {
		memcpy(&entry, f->data + sizeof(struct file_head) + i * sizeof(entry),
			sizeof(entry));
		if (strncmp(entry.tag, tag, sizeof(entry.tag)) != 0)
			continue;
		*out = f->data + entry.offset;
		*len = entry.len;
		return true;
	}
	return false;
}

enum err_code
scorer_file_array(const void **out, const struct scorer_file *f, const char *tag, size_t count,
	size_t size, struct err *e)
{
	const void *data;
	size_t len;

	if (!scorer_file_section(&data, &len, f, tag))
		return err_set(e, ERR_CONFIG, "%s: section '%s' is missing", f->what, tag);
	if (len / size != count || len % size != 0)
		return err_set(e, ERR_CONFIG, "%s: section '%s' has %zu bytes, not %zu * %zu",
			f->what, tag, len, count, size);
	*out = data;
	return ERR_OK;
}

enum err_code
scorer_file_floats(const float **out, const struct scorer_file *f, const char *tag, size_t count,
	struct err *e)
{
	const void *data;
	enum err_code rc;

	rc = scorer_file_array(&data, f, tag, count, sizeof(float), e);
	if (rc != ERR_OK)
		return rc;
	if (!scorer_floats_finite(data, count))
		return err_set(e, ERR_CONFIG, "%s: section '%s' holds a value that is no number",
			f->what, tag);
	*out = data;
	return ERR_OK;
}

void
scorer_file_seal(void *data, size_t len)
{
	struct file_head h;

	CHECK(len >= sizeof(h));
	memcpy(&h, data, sizeof(h));
	h.len = len;
	h.checksum = file_checksum(
		h.sections, (const char *)data + CHECKED_FROM, len - CHECKED_FROM);
	memcpy(data, &h, sizeof(h));
}

void
scorer_file_write(
	struct buf *out, const char *scorer, const struct scorer_section *sections, size_t len)
{
	struct file_head h = {.version = SCORER_VERSION, .sections = (uint32_t)len};
	struct file_entry *entries;
	size_t at = scorer_align(sizeof(h) + len * sizeof(*entries)), i;

	CHECK(out->len == 0 && len <= SCORER_SECTIONS_MAX && strlen(scorer) <= SCORER_NAME_MAX);
	for (h.len = at, i = 0; i < len; i++)
		h.len += scorer_align(sections[i].len);
	buf_reserve(out, h.len);
	memset(out->data, 0, h.len);
	entries = (struct file_entry *)(void *)(out->data + sizeof(h));
	for (i = 0; i < len; i++) {
		CHECK(strlen(sections[i].tag) <= sizeof(entries[i].tag));
		memcpy(entries[i].tag, sections[i].tag, strlen(sections[i].tag));
		entries[i].offset = at;
		entries[i].len = sections[i].len;
		if (sections[i].len > 0)
			memcpy(out->data + at, sections[i].data, sections[i].len);
		at += scorer_align(sections[i].len);
	}
	memcpy(h.magic, file_magic, sizeof(file_magic));
	memcpy(h.scorer, scorer, strlen(scorer));
	out->len = at;
	memcpy(out->data, &h, sizeof(h));
	scorer_file_seal(out->data, at);
}
