/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.h - YAML text as a plain tree with line numbers; private to config/
 *
 * The subset that a config needs: one document of maps, lists and scalars. Anchors, aliases and
 * tags are faults, so that the tree is never larger than the text; nodes and depth have limits.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"

enum { TREE_NODES_MAX = 65536, TREE_DEPTH_MAX = 12 };

enum tree_type { TREE_SCALAR, TREE_LIST, TREE_MAP };

struct tree_node {
	enum tree_type type;
	unsigned line; /* from 1 */
	unsigned key;  /* of a map's member: index of its key's scalar; else 0 */
	unsigned first, next; /* first child and next sibling; 0: none */
	bool plain;    /* scalar without quotes */
	char *text;    /* scalar, NUL-terminated */
	size_t len;
};

/* nodes[0] is unused, so that 0 means none; root is 0 for an empty text. */
struct tree {
	struct tree_node *nodes;
	unsigned len, cap;
	unsigned root;
};

/* False with at least one fault where the text is not such a tree. */
MUST bool tree_read(struct tree *out, const char *text, size_t len, struct config_faults *faults);
/* The line of a value by its path, "routes[0].models[2]"; of the longest part of the path that is
 * there where it ends early; 0 where none is. */
unsigned tree_line(const struct tree *t, const char *path);
void tree_fini(struct tree *t);
