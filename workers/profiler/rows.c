/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rows.c - the table of deployments: configured ones always, found ones while they are listed
 */
#include <stdio.h>
#include <string.h>

#include "workers/profiler/profiler.h"

struct row *
rows_find(struct rows *rows, const char *backend, const char *model)
{
	size_t i;

	for (i = 0; i < PROFILES_MAX; i++) {
		if (rows->row[i].info.used != 0 && strcmp(rows->row[i].info.model, model) == 0 &&
			strcmp(rows->row[i].info.backend, backend) == 0)
			return &rows->row[i];
	}
	return NULL;
}

static void
rows_drop(struct rows *rows, struct row *row)
{
	*row = (struct row){.slot = -1, .dirty = true};
	rows->notable = true;
}

enum rows_kind { ROWS_CONFIGURED, ROWS_FOUND };

/* A row for a new deployment. A configured one takes the place of a found one in a full table. */
static struct row *
rows_add(struct rows *rows, const char *backend, const char *model, enum rows_kind kind)
{
	struct row *row = NULL;
	size_t i;

	for (i = 0; i < PROFILES_MAX; i++) {
		if (rows->row[i].info.used == 0) {
			row = &rows->row[i];
			break;
		}
		if (kind == ROWS_CONFIGURED && !rows->row[i].configured)
			row = &rows->row[i];
	}
	if (row == NULL || strlen(backend) >= NAME_MAX_LEN || strlen(model) >= MODEL_MAX_LEN)
		return NULL;
	rows_drop(rows, row);
	row->info.used = 1;
	(void)snprintf(row->info.backend, sizeof(row->info.backend), "%s", backend);
	(void)snprintf(row->info.model, sizeof(row->info.model), "%s", model);
	row->info.tools = row->info.vision = row->info.json = row->info.loaded = TRI_UNKNOWN;
	return row;
}

static bool
rows_name_is_clean(const char *name)
{
	const unsigned char *p;

	for (p = (const unsigned char *)name; *p != '\0'; p++) {
		if (*p < ' ' || *p == 0x7f)
			return false;
	}
	return name[0] != '\0';
}

void
rows_adopt(struct rows *rows, unsigned i, const struct profile_info *info)
{
	CHECK(i < PROFILES_MAX);
	rows->row[i] = (struct row){.slot = -1};
	if (info->used == 0)
		return;
	if (info->used != 1 || !rows_name_is_clean(info->backend) ||
		!rows_name_is_clean(info->model) ||
		rows_find(rows, info->backend, info->model) != NULL) {
		rows_drop(rows, &rows->row[i]);
		return;
	}
	rows->row[i].info = *info;
}

/* A found deployment stays as long as its backend is asked for what it serves. */
static bool
rows_has_reason(const struct row *row, const struct config *c)
{
	const struct config_backend *b = config_backend(c, row->info.backend);

	return row->configured || (b != NULL && b->discover && row->info.discovered == 1);
}

static void
rows_configure_one(struct rows *rows, const struct config_deployment *d)
{
	struct row *row = rows_find(rows, d->backend, d->model);

	if (row == NULL)
		row = rows_add(rows, d->backend, d->model, ROWS_CONFIGURED);
	if (row != NULL)
		row->configured = true;
}

void
rows_configure(struct rows *rows, const struct config *c)
{
	size_t i, k;

	for (i = 0; i < PROFILES_MAX; i++)
		rows->row[i].configured = false;
	for (i = 0; i < c->models_len; i++) {
		for (k = 0; k < c->models[i].deployments_len; k++)
			rows_configure_one(rows, &c->models[i].deployments[k]);
	}
	for (i = 0; i < PROFILES_MAX; i++) {
		if (rows->row[i].info.used != 0 && !rows_has_reason(&rows->row[i], c))
			rows_drop(rows, &rows->row[i]);
	}
}

static void
rows_note(struct rows *rows, struct row *row, uint32_t *field, uint32_t v)
{
	if (*field == v)
		return;
	*field = v;
	row->dirty = rows->notable = true;
}

static uint32_t
rows_tri(uint32_t v)
{
	return v <= TRI_UNKNOWN ? v : TRI_UNKNOWN;
}

bool
rows_found(
	struct rows *rows, const struct config_backend *b, const struct found *f, uint64_t now_ns)
{
	struct row *row;

	if (!rows_name_is_clean(f->name))
		return true;
	row = rows_find(rows, b->name, f->name);
	if (row == NULL && !b->discover)
		return true;
	if (row == NULL)
		row = rows_add(rows, b->name, f->name, ROWS_FOUND);
	if (row == NULL)
		return false;
	row->listed = true;
	rows_note(rows, row, &row->info.discovered, 1);
	rows_note(rows, row, &row->info.context_tokens, f->context_tokens);
	rows_note(rows, row, &row->info.endpoints, f->endpoints);
	rows_note(rows, row, &row->info.tools, rows_tri(f->tools));
	rows_note(rows, row, &row->info.vision, rows_tri(f->vision));
	rows_note(rows, row, &row->info.json, rows_tri(f->json));
	rows_note(rows, row, &row->info.loaded, rows_tri(f->loaded));
	row->info.updated_ns = now_ns;
	row->dirty = true;
	return true;
}

void
rows_list_end(struct rows *rows, const char *backend)
{
	struct row *row;
	size_t i;

	for (i = 0; i < PROFILES_MAX; i++) {
		row = &rows->row[i];
		if (row->info.used == 0 || strcmp(row->info.backend, backend) != 0)
			continue;
		if (!row->listed && !row->configured)
			rows_drop(rows, row);
		else if (!row->listed)
			rows_note(rows, row, &row->info.discovered, 0);
		row->listed = false;
	}
}

void
rows_stand_in(struct rows *rows, const char *backend)
{
	size_t i;

	for (i = 0; i < PROFILES_MAX; i++) {
		if (rows->row[i].info.used != 0 && strcmp(rows->row[i].info.backend, backend) == 0)
			return;
	}
	(void)rows_add(rows, backend, "", ROWS_FOUND); /* a full table has other news */
}

static bool
rows_health_one(struct rows *rows, struct row *row, enum health_event event, const char *why)
{
	if (!health_step(&row->info, event, why))
		return false;
	row->dirty = rows->notable = true;
	return true;
}

unsigned
rows_health(struct rows *rows, const char *backend, enum health_event event, const char *why)
{
	unsigned changed = 0;
	size_t i;

	for (i = 0; i < PROFILES_MAX; i++) {
		if (rows->row[i].info.used != 0 && strcmp(rows->row[i].info.backend, backend) == 0)
			changed += rows_health_one(rows, &rows->row[i], event, why);
	}
	return changed;
}

struct row *
rows_sample(struct rows *rows, const char *backend, int slot, const struct deployment_stat *stat,
	enum rows_look look, uint64_t elapsed_ns)
{
	char model[MODEL_MAX_LEN];
	struct sample now, delta;
	enum health_event event;
	struct row *row;

	(void)snprintf(model, sizeof(model), "%.*s", MODEL_MAX_LEN - 1, stat->model);
	row = rows_find(rows, backend, model);
	if (row == NULL)
		return NULL;
	sample_read(&now, stat);
	if (row->slot != slot)
		row->last = (struct sample){0};
	row->slot = slot;
	delta = sample_since(&now, &row->last);
	row->last = now;
	if (look == ROWS_BASELINE)
		return NULL;
	if (average_update(&row->info, &delta, elapsed_ns))
		row->dirty = rows->moved = true;
	event = health_of_calls(&now, &delta);
	if (event == HEALTH_EVENTS)
		return NULL;
	return rows_health_one(rows, row, event, "") ? row : NULL;
}
