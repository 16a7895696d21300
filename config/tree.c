/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.c - YAML text as a plain tree with line numbers
 */
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "config/fault.h"
#include "config/tree.h"

/* An open map or list while reading. */
struct open_node {
	unsigned node;
	unsigned last; /* its last child; 0: none */
	unsigned key; /* in a map: the key that waits for its value; 0: none */
};

struct reader {
	struct tree *tree;
	struct config_faults *faults;
	struct open_node stack[TREE_DEPTH_MAX];
	unsigned depth;
	unsigned documents;
	bool failed;
};

static void
reader_fail(struct reader *r, unsigned line, const char *text)
{
	config_fault(r->faults, line, "%s", text);
	r->failed = true;
}

static unsigned
reader_new_node(struct reader *r, enum tree_type type, unsigned line)
{
	struct tree *t = r->tree;

	if (t->len == TREE_NODES_MAX) {
		reader_fail(r, line, "the file has too many values");
		return 0;
	}
	if (t->len == t->cap) {
		t->cap = t->cap == 0 ? 256 : t->cap * 2;
		t->nodes = reallocarray(t->nodes, t->cap, sizeof(t->nodes[0]));
		CHECK(t->nodes != NULL);
	}
	t->nodes[t->len] = (struct tree_node){.type = type, .line = line};
	return t->len++;
}

/* Hang a finished scalar or a just opened container where it belongs. */
static void
reader_place(struct reader *r, unsigned node)
{
	struct tree_node *nodes = r->tree->nodes;
	struct open_node *top;

	if (r->depth == 0) {
		r->tree->root = node;
		return;
	}
	top = &r->stack[r->depth - 1];
	if (nodes[top->node].type == TREE_MAP && top->key == 0) {
		if (nodes[node].type != TREE_SCALAR)
			reader_fail(r, nodes[node].line, "a key must be a plain word");
		top->key = node;
		return;
	}
	nodes[node].key = top->key;
	top->key = 0;
	if (top->last == 0)
		nodes[top->node].first = node;
	else
		nodes[top->last].next = node;
	top->last = node;
}

static void
reader_open(struct reader *r, enum tree_type type, unsigned line)
{
	unsigned node = reader_new_node(r, type, line);

	if (node == 0)
		return;
	reader_place(r, node);
	if (r->depth == TREE_DEPTH_MAX) {
		reader_fail(r, line, "maps and lists are nested too deeply");
		return;
	}
	r->stack[r->depth++] = (struct open_node){.node = node};
}

static void
reader_scalar(struct reader *r, const yaml_event_t *event, unsigned line)
{
	unsigned index = reader_new_node(r, TREE_SCALAR, line);
	struct tree_node *node;

	if (index == 0)
		return;
	node = &r->tree->nodes[index];
	node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	node->len = event->data.scalar.length;
	node->text = malloc(node->len + 1);
	CHECK(node->text != NULL);
	memcpy(node->text, event->data.scalar.value, node->len);
	node->text[node->len] = '\0';
	if (memchr(node->text, '\0', node->len) != NULL)
		reader_fail(r, line, "a value holds a NUL byte");
	reader_place(r, index);
}

static const char *
event_forbidden(const yaml_event_t *e)
{
	static const char anchor[] =
		"anchors and aliases (&name, *name) are not supported: write the "
		"value out, and put texts that begin with & or * in quotes";
	static const char tag[] =
		"tags (!name) are not supported: put texts that begin with ! in quotes";

	switch (e->type) {
	case YAML_ALIAS_EVENT:
		return anchor;
	case YAML_SCALAR_EVENT:
		return e->data.scalar.anchor != NULL ? anchor
		       : e->data.scalar.tag != NULL  ? tag
						     : NULL;
	case YAML_SEQUENCE_START_EVENT:
		return e->data.sequence_start.anchor != NULL ? anchor
		       : e->data.sequence_start.tag != NULL  ? tag
							     : NULL;
	case YAML_MAPPING_START_EVENT:
		return e->data.mapping_start.anchor != NULL ? anchor
		       : e->data.mapping_start.tag != NULL  ? tag
							    : NULL;
	default:
		return NULL;
	}
}

static void
reader_event(struct reader *r, const yaml_event_t *event)
{
	unsigned line = (unsigned)event->start_mark.line + 1;
	const char *forbidden = event_forbidden(event);

	if (forbidden != NULL) {
		reader_fail(r, line, forbidden);
		return;
	}
	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (r->documents++ > 0)
			reader_fail(r, line, "only one document (---) is allowed");
		break;
	case YAML_SCALAR_EVENT:
		reader_scalar(r, event, line);
		break;
	case YAML_SEQUENCE_START_EVENT:
		reader_open(r, TREE_LIST, line);
		break;
	case YAML_MAPPING_START_EVENT:
		reader_open(r, TREE_MAP, line);
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		r->depth--;
		break;
	default:
		break;
	}
}

/* libyaml's words, and for the commonest slip what to do about it. */
static void
reader_syntax(struct reader *r, const yaml_parser_t *parser)
{
	const char *problem = parser->problem != NULL ? parser->problem : "not valid YAML";
	unsigned line = (unsigned)parser->problem_mark.line + 1;

	/* The reader knows only the offset of a bad byte; the mark is where the parser stands. */
	if (parser->error == YAML_READER_ERROR)
		line = (unsigned)parser->mark.line + 1;
	config_fault(r->faults, line, "not valid YAML: %s%s%s%s", problem,
		parser->context != NULL ? ", " : "", parser->context != NULL ? parser->context : "",
		strstr(problem, "cannot start any token") != NULL
			? " (indent with spaces, not tabs; quote texts that begin with @, ` or %)"
			: "");
	r->failed = true;
}

bool
tree_read(struct tree *out, const char *text, size_t len, struct config_faults *faults)
{
	struct reader r = {.tree = out, .faults = faults};
	yaml_parser_t parser;
	yaml_event_t event;
	bool end = false;

	*out = (struct tree){0};
	(void)reader_new_node(&r, TREE_SCALAR, 0); /* 0 is no node */
	CHECK(yaml_parser_initialize(&parser) == 1);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	while (!r.failed && !end) {
		if (yaml_parser_parse(&parser, &event) == 0) {
			reader_syntax(&r, &parser);
			break;
		}
		end = event.type == YAML_STREAM_END_EVENT;
		reader_event(&r, &event);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	if (r.failed)
		tree_fini(out);
	return !r.failed;
}

/* The child of node that the head of path names, moving path behind that; 0: none. */
static unsigned
tree_step(const struct tree *t, unsigned node, const char **path)
{
	const char *name = *path + (**path == '.' ? 1 : 0);
	size_t len = strcspn(name, ".[");
	unsigned child = t->nodes[node].first;
	unsigned long at = 0;
	char *end;

	if (*name == '[') {
		at = strtoul(name + 1, &end, 10);
		if (t->nodes[node].type != TREE_LIST || *end != ']')
			return 0;
		*path = end + 1;
		while (child != 0 && at-- > 0)
			child = t->nodes[child].next;
		return child;
	}
	*path = name + len;
	for (; child != 0 && t->nodes[node].type == TREE_MAP; child = t->nodes[child].next) {
		const struct tree_node *key = &t->nodes[t->nodes[child].key];

		if (key->len == len && memcmp(key->text, name, len) == 0)
			return child;
	}
	return 0;
}

unsigned
tree_line(const struct tree *t, const char *path)
{
	unsigned node = t->root, line = 0;

	if (node == 0)
		return 0;
	while (*path != '\0') {
		node = tree_step(t, node, &path);
		if (node == 0)
			break;
		line = t->nodes[node].line;
	}
	return line;
}

void
tree_fini(struct tree *t)
{
	for (unsigned i = 0; i < t->len; i++)
		free(t->nodes[i].text);
	free(t->nodes);
	*t = (struct tree){0};
}
