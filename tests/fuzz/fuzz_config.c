/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_config.c - any bytes as a config: refused with faults, or a config that can be used
 */
#include <string.h>

#include "config/config.h"
#include "lib/base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What all who use a config may rely on. */
static void
fuzz_use(const struct config *c)
{
	CHECK(c->backends_len > 0 && c->routes_len > 0 && c->listen_len > 0);
	CHECK(c->run_dir != NULL && strlen(c->run_dir) <= CONFIG_RUN_DIR_MAX);
	for (size_t i = 0; i < c->backends_len; i++) {
		CHECK(config_backend(c, c->backends[i].name) == &c->backends[i]);
		CHECK(config_hash_backend(&c->backends[i]) == config_hash_backend(&c->backends[i]));
	}
	for (size_t i = 0; i < c->models_len; i++) {
		CHECK(config_model(c, c->models[i].name) == &c->models[i]);
		for (size_t j = 0; j < c->models[i].deployments_len; j++)
			CHECK(config_backend(c, c->models[i].deployments[j].backend) != NULL);
	}
	for (size_t i = 0; i < c->routes_len; i++)
		CHECK(config_route(c, c->routes[i].name) == &c->routes[i] &&
			c->routes[i].models_len > 0);
	for (size_t i = 0; i < c->rules_len; i++)
		CHECK(c->rules[i].model != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(config_free) struct config *c = NULL;
	struct config_faults faults;
	struct err e;
	unsigned line = 0;

	if (config_parse(&c, "/etc/f.yaml", (const char *)data, size, &faults, &e) == ERR_OK) {
		CHECK(faults.len == 0);
		fuzz_use(c);
		return 0;
	}
	CHECK(c == NULL && faults.len > 0 && faults.len <= CONFIG_FAULTS_MAX);
	for (size_t i = 0; i < faults.len; i++) {
		CHECK(faults.rows[i].line >= line && faults.rows[i].text[0] != '\0');
		line = faults.rows[i].line;
	}
	return 0;
}
