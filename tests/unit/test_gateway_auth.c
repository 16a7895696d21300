/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_gateway_auth.c - keys, peers and what each may ask for
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "workers/gateway/gateway.h"

static char *
key_file(const char *text, mode_t mode)
{
	char *path = strdup("/tmp/shunt-test-keys-XXXXXX");
	int fd = mkstemp(path);

	cr_assert(fd >= 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	cr_assert_eq(fchmod(fd, mode), 0);
	(void)close(fd);
	return path;
}

static enum err_code
load(struct auth **out, const char *clients, const char *admins, struct err *e)
{
	char *client_path = clients == NULL ? NULL : key_file(clients, 0600);
	char *admin_path = admins == NULL ? NULL : key_file(admins, 0600);
	struct config_auth c = {client_path, admin_path};
	enum err_code code = auth_load(out, &c, e);

	for (int i = 0; i < 2; i++) {
		char *path = i == 0 ? client_path : admin_path;

		if (path != NULL)
			(void)unlink(path);
		free(path);
	}
	return code;
}

static const struct http_peer tcp = {false, (uid_t)-1};

static enum err_code
ask(const struct auth *a, enum auth_level level, struct http_peer peer, const char *authorization,
	const char *api_key)
{
	struct http_head head = {0};
	struct err e;

	if (authorization != NULL)
		head.header[HTTP_HEADER_AUTHORIZATION] =
			(struct http_str){authorization, strlen(authorization)};
	if (api_key != NULL)
		head.header[HTTP_HEADER_API_KEY] = (struct http_str){api_key, strlen(api_key)};
	return auth_check(a, level, peer, &head, &e);
}

Test(gateway_auth, without_key_file_clients_are_welcome_and_admins_are_not)
{
	AUTO(auth_free) struct auth *a = NULL;
	struct err e;

	cr_assert_eq(load(&a, NULL, NULL, &e), ERR_OK);
	cr_assert_eq(ask(a, AUTH_CLIENT, tcp, NULL, NULL), ERR_OK);
	cr_assert_eq(ask(a, AUTH_CLIENT, tcp, "Bearer anything", NULL), ERR_OK);
	cr_assert_eq(ask(a, AUTH_ADMIN, tcp, NULL, NULL), ERR_FORBIDDEN);
}

Test(gateway_auth, only_whole_keys_open)
{
	static const char *const wrong[] = {"Bearer ", "Bearer alice", "Bearer key-of-alic",
		"Bearer key-of-alicee", "Bearer key-of-alice key-of-bob", "Bearer KEY-OF-ALICE",
		"key-of-alice", "Basic key-of-alice", "Bearer # people",
		"Bearer alice:key-of-alice"};
	AUTO(auth_free) struct auth *a = NULL;
	struct err e;

	cr_assert_eq(load(&a,
			     "# people\nalice:key-of-alice\n\n  key-of-bob # note: x\r\n"
			     "carol: key-of-carol",
			     NULL, &e),
		ERR_OK, "%s", e.text);
	cr_assert_eq(ask(a, AUTH_CLIENT, tcp, "Bearer key-of-alice", NULL), ERR_OK);
	cr_assert_eq(ask(a, AUTH_CLIENT, tcp, "bearer  key-of-bob", NULL), ERR_OK);
	cr_assert_eq(ask(a, AUTH_CLIENT, tcp, NULL, "key-of-carol"), ERR_OK);
	cr_assert_eq(ask(a, AUTH_CLIENT, tcp, NULL, NULL), ERR_AUTH);
	cr_assert_eq(ask(a, AUTH_CLIENT, tcp, NULL, "key-of-dave"), ERR_AUTH);
	cr_assert_eq(ask(a, AUTH_OPEN, tcp, NULL, NULL), ERR_OK);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		cr_assert_eq(ask(a, AUTH_CLIENT, tcp, wrong[i], NULL), ERR_AUTH, "%s", wrong[i]);
}

Test(gateway_auth, an_empty_key_file_opens_to_nobody)
{
	AUTO(auth_free) struct auth *a = NULL;
	struct err e;

	cr_assert_eq(load(&a, "# none yet\n", NULL, &e), ERR_OK);
	cr_assert_eq(ask(a, AUTH_CLIENT, tcp, NULL, NULL), ERR_AUTH);
	cr_assert_eq(ask(a, AUTH_CLIENT, tcp, "Bearer ", NULL), ERR_AUTH);
}

Test(gateway_auth, longest_keys_are_compared_to_their_last_byte)
{
	AUTO(auth_free) struct auth *a = NULL;
	char key[AUTH_KEY_MAX + 2] = {0};
	struct err e;

	memset(key, 'k', AUTH_KEY_MAX);
	cr_assert_eq(load(&a, key, NULL, &e), ERR_OK);
	cr_assert_eq(ask(a, AUTH_CLIENT, tcp, NULL, key), ERR_OK);
	key[AUTH_KEY_MAX - 1] = 'x';
	cr_assert_eq(ask(a, AUTH_CLIENT, tcp, NULL, key), ERR_AUTH);
	key[AUTH_KEY_MAX - 1] = '\0';
	cr_assert_eq(ask(a, AUTH_CLIENT, tcp, NULL, key), ERR_AUTH);
	memset(key, 'k', AUTH_KEY_MAX + 1);
	cr_assert_eq(ask(a, AUTH_CLIENT, tcp, NULL, key), ERR_AUTH);
}

Test(gateway_auth, unix_peers_need_no_key_and_only_owner_and_root_are_admins)
{
	AUTO(auth_free) struct auth *a = NULL;
	struct http_peer other = {true, geteuid() + 1}, own = {true, geteuid()}, root = {true, 0};
	struct err e;

	cr_assert_eq(load(&a, "key-of-alice", "key-of-root", &e), ERR_OK);
	cr_assert_eq(ask(a, AUTH_CLIENT, other, NULL, NULL), ERR_OK);
	cr_assert_eq(ask(a, AUTH_ADMIN, other, NULL, NULL), ERR_FORBIDDEN);
	cr_assert_eq(ask(a, AUTH_ADMIN, own, NULL, NULL), ERR_OK);
	cr_assert_eq(ask(a, AUTH_ADMIN, root, NULL, NULL), ERR_OK);
	cr_assert_eq(ask(a, AUTH_ADMIN, tcp, "Bearer key-of-alice", NULL), ERR_FORBIDDEN);
	cr_assert_eq(ask(a, AUTH_ADMIN, tcp, "Bearer key-of-root", NULL), ERR_OK);
	cr_assert_eq(ask(a, AUTH_CLIENT, tcp, "Bearer key-of-root", NULL), ERR_OK);
}

static struct http_head
presents(const char *key, const char *priority)
{
	struct http_head h = {0};

	if (key != NULL)
		h.header[HTTP_HEADER_API_KEY] = (struct http_str){key, strlen(key)};
	if (priority != NULL)
		h.header[HTTP_HEADER_PRIORITY] = (struct http_str){priority, strlen(priority)};
	return h;
}

static struct auth_who
who(const struct auth *a, struct http_peer peer, const char *key)
{
	struct http_head h = presents(key, NULL);
	struct auth_who out;

	auth_identify(a, peer, &h, &out);
	return out;
}

Test(gateway_auth, users_are_names_then_keys_then_addresses)
{
	AUTO(auth_free) struct auth *a = NULL;
	struct http_peer here = {.address = 7}, there = {.address = 8}, unix7 = {true, 7, 0};
	struct err e;

	cr_assert_eq(load(&a, "ann:key-one high\nann:key-two\nkey-three low # note\nkey-four\n",
			     NULL, &e),
		ERR_OK, "%s", e.text);
	cr_expect_eq(who(a, here, "key-one").user, who(a, there, "key-two").user);
	cr_expect_neq(who(a, here, "key-three").user, who(a, here, "key-four").user);
	cr_expect_neq(who(a, here, "key-one").user, who(a, here, "key-four").user);
	cr_expect_neq(who(a, here, NULL).user, who(a, there, NULL).user);
	cr_expect_neq(who(a, here, NULL).user, who(a, unix7, NULL).user);
	cr_expect_eq(who(a, here, "unknown").user, who(a, here, NULL).user);
	cr_expect_eq(who(a, here, "key-one").said, PRIORITY_HIGH);
	cr_expect_eq(who(a, here, "key-two").said, PRIORITY_USER);
	cr_expect_eq(who(a, here, "key-three").said, PRIORITY_LOW);
	cr_assert_eq(load(&a, "ann:key-one highest\n", NULL, &e), ERR_CONFIG);
}

Test(gateway_auth, a_header_lowers_and_raises_only_as_far_as_the_key)
{
	static const struct {
		enum priority key, route, want;
		const char *header;
	} rows[] = {
		{PRIORITY_USER, PRIORITY_USER, PRIORITY_NORMAL, NULL},
		{PRIORITY_USER, PRIORITY_USER, PRIORITY_LOW, "low"},
		{PRIORITY_USER, PRIORITY_USER, PRIORITY_NORMAL, "high"},
		{PRIORITY_USER, PRIORITY_USER, PRIORITY_NORMAL, "nonsense"},
		{PRIORITY_USER, PRIORITY_USER, PRIORITY_NORMAL, "user"},
		{PRIORITY_HIGH, PRIORITY_USER, PRIORITY_HIGH, NULL},
		{PRIORITY_HIGH, PRIORITY_USER, PRIORITY_NORMAL, "NORMAL"},
		{PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_LOW, NULL},
		{PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_HIGH, "high"},
		{PRIORITY_LOW, PRIORITY_USER, PRIORITY_LOW, "high"},
		{PRIORITY_LOW, PRIORITY_HIGH, PRIORITY_HIGH, NULL},
		{PRIORITY_USER, PRIORITY_HIGH, PRIORITY_LOW, "low"},
		{PRIORITY_USER, PRIORITY_LOW, PRIORITY_LOW, "normal"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct auth_who user = {1, rows[i].key};
		struct http_head h = presents(NULL, rows[i].header);

		cr_expect_eq(auth_priority(&user, rows[i].route, &h), rows[i].want, "row %zu", i);
	}
}

Test(gateway_auth, files_that_can_not_be_trusted_are_refused)
{
	char *path = key_file("key-of-alice\n", 0644);
	struct config_auth c = {path, NULL};
	struct auth *a = NULL;
	struct err e;

	cr_assert_eq(auth_load(&a, &c, &e), ERR_CONFIG);
	cr_assert_not_null(strstr(e.text, path));
	cr_assert_null(strstr(e.text, "alice"), "a key in an error text");
	cr_assert_null(a);
	(void)unlink(path);
	cr_assert_eq(auth_load(&a, &c, &e), ERR_CONFIG, "a missing file is an open door");
	free(path);
	cr_assert_eq(load(&a, "bob: two words\n", NULL, &e), ERR_CONFIG);
	cr_assert_eq(load(&a, "bob:\n", NULL, &e), ERR_CONFIG);
	cr_assert_eq(load(&a, "abc\n", NULL, &e), ERR_CONFIG);
}
