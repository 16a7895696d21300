/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parse.h - a tree along the key table into structs; private to config/
 */
#pragma once

#include "config/key.h"
#include "config/tree.h"

struct buf;

/* Fill *c (zeroed) with the defaults and then what the tree says. Faults are added; *c can be
 * freed with config_section_fini whatever happened. */
void config_read(struct config *c, const struct tree *t, struct config_faults *faults);
/* Set a section's fields to their defaults; required ones stay empty. */
void config_defaults(enum config_section section, void *owner);
/* Grow a counted array by one zeroed element and return that. */
void *config_grow(void **array, size_t *len, size_t size);

/* imply.c: values that depend on other keys; paths become absolute (path: of the config file). */
void config_imply_values(struct config *c, const char *path);
/* imply.c: local servers, discovery, the route `auto`, the command line's socket. */
void config_imply_rows(struct config *c);
/* check.c: what no single key can say. Run after both: rows that were added count as names. */
void config_check(const struct config *c, const struct tree *t, struct config_faults *faults);
/* cascade.c: can a route with scorer cascade do its work? False: *why says what is missing. */
bool config_cascade_check(struct buf *why, const struct config *c, const struct config_route *r);
/* fault_rows.c: likewise for the rows of `faults`. */
void config_check_fault_rows(const struct config *c, const struct tree *t,
	struct config_faults *faults);
