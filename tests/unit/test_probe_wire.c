/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_probe_wire.c - recorded answers to the questions of a probe: models, context, abilities,
 * loaded
 *
 * Each case is a server as a table of paths and recordings; the kind asks, the table answers, what
 * is not in it is a 404. The findings are compared with what a reader sees in the recordings.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workers/backend/backend.h"

enum { CHAT = 1 << MSG_ENDPOINT_CHAT | 1 << MSG_ENDPOINT_COMPLETIONS };

struct recording {
	const char *path;
	unsigned status;
	const char *file;
};

static bool
wire_read(struct buf *out, const char *file)
{
	const char *root = getenv("SHUNT_SOURCE_ROOT");
	AUTO(buf_fini) struct buf path = BUF_INIT;
	char piece[8192];
	size_t n;
	FILE *f;

	buf_addf(&path, "%s/../shared/data/wire/%s", root != NULL ? root : ".", file);
	f = fopen(path.data, "rb");
	if (f == NULL)
		return false;
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
		buf_add(out, piece, n);
	(void)fclose(f);
	return true;
}

static void
need_recordings(void)
{
	AUTO(buf_fini) struct buf any = BUF_INIT;

	if (!wire_read(&any, "index.jsonl"))
		cr_skip_test("no recordings: ../shared/data/wire is not there");
}

static const struct recording *
answer_of(const struct recording *server, const char *path)
{
	for (; server->path != NULL; server++)
		if (strcmp(server->path, path) == 0)
			return server;
	return NULL;
}

static void
probe_fini(struct probe *p)
{
	buf_fini(&p->path);
	buf_fini(&p->body);
	free(p->models);
}

/* The whole conversation; the code of the exchange that ended it. */
static enum err_code
probe_server(struct probe *p, const struct backend_kind *kind, const struct recording *server,
	struct err *e)
{
	static struct backend backend;
	enum err_code code = ERR_OK;

	*p = (struct probe){.discover = true, .backend = &backend};
	while (code == ERR_OK) {
		AUTO(buf_fini) struct buf text = BUF_INIT;
		const struct recording *r;
		struct json body = {0};

		buf_clear(&p->path);
		buf_clear(&p->body);
		if (!kind->probe_next(p))
			break;
		r = answer_of(server, buf_str(&p->path));
		if (r != NULL) {
			cr_assert(wire_read(&text, r->file), "no %s", r->file);
			cr_assert_eq(json_check(&body, buf_str(&text), text.len, e), ERR_OK,
				"%s: %s", r->file, e->text);
		}
		code = kind->probe_answer(p, r != NULL ? r->status : 404, body, e);
	}
	return code;
}

static const struct probe_model *
model_named(const struct probe *p, const char *name)
{
	for (size_t i = 0; i < p->models_len; i++)
		if (strcmp(p->models[i].name, name) == 0)
			return &p->models[i];
	return NULL;
}

struct finding {
	const char *name;
	uint32_t context_tokens, endpoints;
	enum tri tools, vision, json, loaded;
};

static void
expect_model(const struct probe *p, const struct finding *f)
{
	const struct probe_model *m = model_named(p, f->name);

	cr_assert_not_null(m, "%s is not listed", f->name);
	cr_expect_eq(m->context_tokens, f->context_tokens, "%s: context %u, not %u", f->name,
		m->context_tokens, f->context_tokens);
	cr_expect_eq(m->endpoints, f->endpoints, "%s: endpoints %u", f->name, m->endpoints);
	cr_expect_eq(m->tools, f->tools, "%s: tools %d", f->name, (int)m->tools);
	cr_expect_eq(m->vision, f->vision, "%s: vision %d", f->name, (int)m->vision);
	cr_expect_eq(m->json, f->json, "%s: json %d", f->name, (int)m->json);
	cr_expect_eq(m->loaded, f->loaded, "%s: loaded %d", f->name, (int)m->loaded);
}

static void
expect_server(enum backend_kind_id kind, const struct recording *server, size_t models,
	const struct finding *findings, size_t findings_len)
{
	AUTO(probe_fini) struct probe p;
	struct err e = {0};

	cr_assert_eq(probe_server(&p, backend_kinds[kind], server, &e), ERR_OK, "%s", e.text);
	cr_expect(p.listed);
	cr_expect_eq(p.models_len, models, "%zu models, not %zu", p.models_len, models);
	for (size_t i = 0; i < findings_len; i++)
		expect_model(&p, &findings[i]);
}

static const struct recording llamacpp[] = {
	{"/models", 200, "llamacpp-server/200-models.json"},
	{"/health", 200, "llamacpp-server/200-health.json"},
	{"/props", 200, "llamacpp-server/200-props.json"},
	{"/api/tags", 200, "llamacpp-server/200-api-tags.json"},
	{"/api/show", 200, "llamacpp-server/200-api-show.json"},
	{0},
};

static const struct recording ollama[] = {
	{"/api/version", 200, "ollama-docs/version.json"},
	{"/api/tags", 200, "ollama-docs/list-local-models.json"},
	{"/api/ps", 200, "ollama-docs/list-running-models.json"},
	{"/api/show", 200, "ollama-docs/show-model-information.json"},
	{0},
};

Test(probe_wire, llamacpp_says_context_and_abilities_in_its_properties)
{
	static const struct finding f = {"stories260k", 128, 0, TRI_NO, TRI_NO, TRI_YES, TRI_YES};

	need_recordings();
	expect_server(BACKEND_OPENAI, llamacpp, 1, &f, 1);
}

Test(probe_wire, llamacpp_without_properties_has_the_context_of_its_training)
{
	static const struct recording bare[] = {
		{"/models", 200, "llamacpp-server/200-models.json"}, {0}};
	static const struct finding f = {
		"stories260k", 128, 0, TRI_UNKNOWN, TRI_UNKNOWN, TRI_YES, TRI_YES};

	need_recordings();
	expect_server(BACKEND_OPENAI, bare, 1, &f, 1);
}

Test(probe_wire, llamacpp_that_still_loads_is_of_no_use_yet)
{
	static const struct recording loading[] = {
		{"/models", 200, "llamacpp-server/200-models.json"},
		{"/health", 503, "llamacpp-server/503-health-loading.json"}, {0}};
	AUTO(probe_fini) struct probe p;
	struct err e = {0};

	need_recordings();
	cr_expect_eq(probe_server(&p, backend_kinds[BACKEND_OPENAI], loading, &e), ERR_OVERLOADED);
	cr_expect(strstr(e.text, "503") != NULL, "%s", e.text);
}

Test(probe_wire, a_llamacpp_router_lists_what_it_could_load)
{
	static const struct recording router[] = {
		{"/models", 200, "llamacpp-server/200-router-models-swapped.json"},
		{"/health", 200, "llamacpp-server/200-health.json"},
		{"/props", 200, "llamacpp-server/200-router-props.json"}, {0}};
	static const struct finding f[] = {
		{"stories-a", 0, 0, TRI_UNKNOWN, TRI_UNKNOWN, TRI_YES, TRI_NO},
		{"stories-b", 0, 0, TRI_UNKNOWN, TRI_UNKNOWN, TRI_YES, TRI_YES},
	};

	need_recordings();
	expect_server(BACKEND_OPENAI, router, 2, f, ARRAY_LEN(f));
}

Test(probe_wire, llamacpp_can_be_asked_as_an_ollama)
{
	static const struct finding f = {"stories260k", 128, CHAT, TRI_NO, TRI_NO, TRI_YES, TRI_NO};

	need_recordings();
	expect_server(BACKEND_OLLAMA, llamacpp, 1, &f, 1);
}

Test(probe_wire, ollama_shows_each_model)
{
	static const struct finding f[] = {
		{"deepseek-r1:latest", 8192, CHAT, TRI_NO, TRI_YES, TRI_YES, TRI_NO},
		{"llama3.2:latest", 8192, CHAT, TRI_NO, TRI_YES, TRI_YES, TRI_NO},
	};

	need_recordings();
	expect_server(BACKEND_OLLAMA, ollama, 2, f, ARRAY_LEN(f));
}

Test(probe_wire, ollama_says_what_is_loaded)
{
	static const struct recording running[] = {
		{"/api/tags", 200, "ollama-docs/list-running-models.json"},
		{"/api/ps", 200, "ollama-docs/list-running-models.json"}, {0}};
	static const struct finding f = {
		"mistral:latest", 0, 0, TRI_UNKNOWN, TRI_UNKNOWN, TRI_YES, TRI_YES};

	need_recordings();
	expect_server(BACKEND_OLLAMA, running, 1, &f, 1);
}

Test(probe_wire, hosted_servers_list_names_and_no_more)
{
	static const struct recording cerebras[] = {
		{"/models", 200, "cerebras/200-v1_models-plain-test-known-model-names-c8eef1.json"},
		{0}};
	static const struct recording perplexity[] = {
		{"/models", 200,
			"perplexity/200-v1_models-think-providers-perplexity-models-list-models"
			"-lists-th-7959aa.json"},
		{0}};
	static const struct finding known[] = {
		{"gemma-4-31b", 0, 0, TRI_UNKNOWN, TRI_UNKNOWN, TRI_UNKNOWN, TRI_UNKNOWN},
		{"zai-glm-4.7", 0, 0, TRI_UNKNOWN, TRI_UNKNOWN, TRI_UNKNOWN, TRI_UNKNOWN},
	};
	static const struct finding other = {"anthropic/claude-haiku-4-5", 0, 0, TRI_UNKNOWN,
		TRI_UNKNOWN, TRI_UNKNOWN, TRI_UNKNOWN};

	need_recordings();
	expect_server(BACKEND_OPENAI, cerebras, 3, known, ARRAY_LEN(known));
	expect_server(BACKEND_OPENAI, perplexity, 39, &other, 1);
}

Test(probe_wire, anthropic_says_context_and_abilities)
{
	static const struct recording anthropic[] = {
		{"/v1/models?limit=1000", 200,
			"anthropic/200-v1_models-think-anthropic-list-models-bc1cb0.json"},
		{0}};
	static const struct finding f = {"claude-opus-5", 1000000, 1 << MSG_ENDPOINT_CHAT, TRI_YES,
		TRI_YES, TRI_YES, TRI_UNKNOWN};

	need_recordings();
	expect_server(BACKEND_ANTHROPIC, anthropic, 11, &f, 1);
}

/* A server of another kind on the port: a clear refusal or a list, never a model without a name. */
Test(probe_wire, answers_of_other_servers_do_no_harm)
{
	static const struct recording *const servers[] = {llamacpp, ollama};

	need_recordings();
	for (size_t kind = 0; kind < BACKEND_KINDS; kind++) {
		if (backend_kinds[kind]->probe_next == NULL)
			continue;
		for (size_t i = 0; i < ARRAY_LEN(servers); i++)
			for (const struct recording *r = servers[i]; r->path != NULL; r++) {
				const struct recording all[] = {{"/models", 200, r->file},
					{"/health", 200, r->file}, {"/props", 200, r->file},
					{"/api/version", 200, r->file}, {"/api/tags", 200, r->file},
					{"/api/ps", 200, r->file}, {"/api/show", 200, r->file},
					{"/v1/models?limit=1000", 200, r->file}, {0}};
				AUTO(probe_fini) struct probe p;
				struct err e = {0};
				enum err_code code = probe_server(&p, backend_kinds[kind], all, &e);

				cr_expect(code == ERR_OK || (code == ERR_MALFORMED && e.text[0]),
					"%s: %d %s", r->file, (int)code, e.text);
				for (size_t m = 0; m < p.models_len; m++)
					cr_expect(p.models[m].name[0] != '\0');
			}
	}
}
