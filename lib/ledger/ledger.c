/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ledger.c - lines and files of the log
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "lib/ledger/ledger.h"

/* {"crc":"XXXXXXXX", and {"src":" behind it */
enum { CRC_AT = 8, CRC_LEN = 8, BODY_AT = 18, SOURCE_AT = BODY_AT + 7 };

static uint32_t
line_crc(const char *body, size_t len)
{
	return (uint32_t)crc32(0, (const Bytef *)body, (uInt)len);
}

void
ledger_line_put(struct buf *out, const char *source, const char *record, size_t len)
{
	const size_t start = out->len;
	char crc[CRC_LEN + 1];

	CHECK(len > 2 && record[0] == '{' && strlen(source) < LEDGER_SOURCE_MAX);
	buf_addf(out, "{\"crc\":\"00000000\",\"src\":\"%s\",", source);
	buf_add(out, record + 1, len - 1);
	(void)snprintf(crc, sizeof(crc), "%08x",
		line_crc(out->data + start + BODY_AT, out->len - start - BODY_AT));
	memcpy(out->data + start + CRC_AT, crc, CRC_LEN);
	buf_add_char(out, '\n');
}

bool
ledger_line_check(const char *line, size_t len, char source[LEDGER_SOURCE_MAX])
{
	char crc[CRC_LEN + 1];
	const char *end;

	source[0] = '\0';
	if (len <= SOURCE_AT || len > LEDGER_LINE_MAX || memcmp(line, "{\"crc\":\"", CRC_AT) != 0 ||
		memcmp(line + CRC_AT + CRC_LEN, "\",\"src\":\"", 9) != 0)
		return false;
	(void)snprintf(crc, sizeof(crc), "%08x", line_crc(line + BODY_AT, len - BODY_AT));
	if (memcmp(crc, line + CRC_AT, CRC_LEN) != 0)
		return false;
	end = memchr(line + SOURCE_AT, '"', len - SOURCE_AT);
	if (end == NULL || (size_t)(end - line) - SOURCE_AT >= LEDGER_SOURCE_MAX)
		return false;
	memcpy(source, line + SOURCE_AT, (size_t)(end - line) - SOURCE_AT);
	source[(size_t)(end - line) - SOURCE_AT] = '\0';
	return true;
}

void
ledger_file_path(struct buf *out, const char *folder, uint32_t number)
{
	buf_addf(out, "%s/journal-%08u.jsonl", folder, number);
}

static int
compare_numbers(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* NNNNNNNN of journal-NNNNNNNN.jsonl */
static bool
ledger_file_number(uint32_t *out, const char *name)
{
	static const char prefix[] = "journal-", suffix[] = ".jsonl";
	const size_t prefix_len = sizeof(prefix) - 1;
	char *end;

	if (strncmp(name, prefix, prefix_len) != 0 || strspn(name + prefix_len, "0123456789") != 8)
		return false;
	*out = (uint32_t)strtoul(name + prefix_len, &end, 10);
	return strcmp(end, suffix) == 0;
}

MUST enum err_code
ledger_files(uint32_t **numbers, size_t *len, const char *folder, struct err *e)
{
	DIR *d = opendir(folder);
	struct dirent *entry;
	uint32_t number;

	*numbers = NULL;
	*len = 0;
	if (d == NULL)
		return err_set(e, ERR_SYS, "%s: %s", folder, strerror(errno));
	while ((entry = readdir(d)) != NULL) {
		if (!ledger_file_number(&number, entry->d_name))
			continue;
		*numbers = reallocarray(*numbers, *len + 1, sizeof(**numbers));
		CHECK(*numbers != NULL);
		(*numbers)[(*len)++] = number;
	}
	(void)closedir(d);
	if (*len > 0)
		qsort(*numbers, *len, sizeof(**numbers), compare_numbers);
	return ERR_OK;
}
