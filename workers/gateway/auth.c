/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth.c - who may ask for what: static API keys and Unix peer credentials
 *
 * A presented key is compared with every key over the full padded length, without a branch on what
 * is found: the time tells neither which key it was nearest to nor how far it agreed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "workers/gateway/gateway.h"

enum { AUTH_FILE_MAX = 1024 * 1024, AUTH_KEY_MIN = 4 };

struct auth_key {
	unsigned char padded[AUTH_KEY_MAX]; /* zero behind the key */
	char name[NAME_MAX_LEN]; /* "": none */
	enum priority priority; /* PRIORITY_USER: it says none */
};

struct auth_keys {
	bool configured;
	size_t len;
	struct auth_key *rows;
};

struct auth {
	struct auth_keys client, admin;
};

static void
auth_close(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static void
auth_skip_spaces(const char **p, size_t *len)
{
	while (*len > 0 && (**p == ' ' || **p == '\t' || **p == '\r')) {
		(*p)++;
		(*len)--;
	}
}

/* "high", "normal", "low"; PRIORITY_USER for anything else. */
static enum priority
auth_priority_of(const char *p, size_t len)
{
#define X(symbol, name, help)                                                                      \
	if (PRIORITY_##symbol != PRIORITY_USER && len == sizeof(#name) - 1 &&                      \
		strncasecmp(p, #name, len) == 0)                                                   \
		return PRIORITY_##symbol;
	PRIORITY_LIST(X)
#undef X
	return PRIORITY_USER;
}

/* A word behind the key: its priority. */
static enum priority
auth_read_priority(const char **p, size_t *len)
{
	enum priority said;
	size_t n = 0;

	while (n < *len && (*p)[n] >= 'a' && (*p)[n] <= 'z')
		n++;
	said = auth_priority_of(*p, n);
	if (said == PRIORITY_USER)
		return said;
	*p += n;
	*len -= n;
	auth_skip_spaces(p, len);
	return said;
}

/* One line: "name:key" or "key", then perhaps a priority, then perhaps "# ...". Empty and comment
 * lines count as nothing. */
static enum err_code
auth_add_line(struct auth_keys *keys, const char *path, unsigned line, const char *p, size_t len,
	struct err *e)
{
	const char *colon, *comment, *name = "";
	size_t key_len = 0, name_len = 0;

	auth_skip_spaces(&p, &len);
	if (len == 0 || *p == '#')
		return ERR_OK;
	comment = memchr(p, '#', len);
	colon = memchr(p, ':', comment == NULL ? len : (size_t)(comment - p));
	if (colon != NULL) {
		name = p;
		name_len = MIN((size_t)(colon - p), (size_t)NAME_MAX_LEN - 1);
		len -= (size_t)(colon + 1 - p);
		p = colon + 1;
		auth_skip_spaces(&p, &len);
	}
	while (key_len < len && p[key_len] > ' ' && p[key_len] <= '~')
		key_len++;
	if (key_len < AUTH_KEY_MIN || key_len > AUTH_KEY_MAX)
		return err_set(e, ERR_CONFIG, "%s:%u: a key must have %d to %d bytes", path, line,
			AUTH_KEY_MIN, AUTH_KEY_MAX);
	if (keys->len == AUTH_KEYS_MAX)
		return err_set(
			e, ERR_CONFIG, "%s:%u: more than %d keys", path, line, AUTH_KEYS_MAX);
	keys->rows = reallocarray(keys->rows, keys->len + 1, sizeof(*keys->rows));
	CHECK(keys->rows != NULL);
	memset(&keys->rows[keys->len], 0, sizeof(*keys->rows));
	memcpy(keys->rows[keys->len].name, name, name_len);
	memcpy(keys->rows[keys->len++].padded, p, key_len);
	p += key_len;
	len -= key_len;
	auth_skip_spaces(&p, &len);
	keys->rows[keys->len - 1].priority = auth_read_priority(&p, &len);
	if (len > 0 && *p != '#')
		return err_set(e, ERR_CONFIG,
			"%s:%u: one key per line, without spaces, and perhaps high, normal or low "
			"behind it",
			path, line);
	return ERR_OK;
}

static enum err_code
auth_read_file(struct buf *out, const char *path, struct err *e)
{
	AUTO(auth_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) != 0)
		return err_set(e, ERR_CONFIG, "key file %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_CONFIG, "key file %s is no regular file", path);
	if ((st.st_mode & (S_IROTH | S_IWOTH)) != 0)
		return err_set(e, ERR_CONFIG, "key file %s is open to everybody: chmod o-rw", path);
	do {
		buf_reserve(out, 4096);
		n = read(fd, out->data + out->len, 4096);
		if (n < 0)
			return err_set(e, ERR_SYS, "key file %s: %s", path, strerror(errno));
		out->len += (size_t)n;
		if (out->len > AUTH_FILE_MAX)
			return err_set(e, ERR_CONFIG, "key file %s is too large", path);
	} while (n > 0);
	out->data[out->len] = '\0';
	return ERR_OK;
}

static enum err_code
auth_keys_load(struct auth_keys *keys, const char *path, struct err *e)
{
	AUTO(buf_fini) struct buf text = BUF_INIT;
	unsigned line = 1;
	size_t at = 0;

	if (path == NULL)
		return ERR_OK;
	keys->configured = true;
	if (auth_read_file(&text, path, e) != ERR_OK)
		return e->code;
	while (at < text.len) {
		const char *p = text.data + at;
		const char *end = memchr(p, '\n', text.len - at);
		size_t len = end == NULL ? text.len - at : (size_t)(end - p);

		if (auth_add_line(keys, path, line++, p, len, e) != ERR_OK)
			break;
		at += len + 1;
	}
	explicit_bzero(text.data, text.len);
	return at < text.len ? e->code : ERR_OK;
}

static void
auth_keys_fini(struct auth_keys *keys)
{
	if (keys->rows != NULL)
		explicit_bzero(keys->rows, keys->len * sizeof(*keys->rows));
	free(keys->rows);
}

void
auth_free(struct auth **a_p)
{
	struct auth *a = *a_p;

	*a_p = NULL;
	if (a == NULL)
		return;
	auth_keys_fini(&a->client);
	auth_keys_fini(&a->admin);
	free(a);
}

MUST enum err_code
auth_load(struct auth **out, const struct config_auth *c, struct err *e)
{
	AUTO(auth_free) struct auth *a = calloc(1, sizeof(*a));
	struct err why = {0};

	CHECK(a != NULL);
	if (auth_keys_load(&a->client, c->keys_file, &why) != ERR_OK ||
		auth_keys_load(&a->admin, c->admin_keys_file, &why) != ERR_OK)
		return err_set(e, why.code, "%s", why.text);
	*out = a;
	a = NULL;
	return ERR_OK;
}

/* 1 where a and b agree in every byte, 0 otherwise; the same work either way. */
static unsigned
auth_same(const unsigned char *a, const unsigned char *b)
{
	unsigned diff = 0;

	for (size_t i = 0; i < AUTH_KEY_MAX; i++)
		diff |= (unsigned)(a[i] ^ b[i]);
	return (diff - 1U) >> 31; /* diff is at most 255 */
}

static bool
auth_has(const struct auth_keys *keys, struct http_str key)
{
	unsigned char padded[AUTH_KEY_MAX] = {0};
	unsigned found = 0;

	if (key.len == 0 || key.len > AUTH_KEY_MAX)
		return false;
	memcpy(padded, key.p, key.len);
	for (size_t i = 0; i < keys->len; i++)
		found |= auth_same(keys->rows[i].padded, padded);
	explicit_bzero(padded, sizeof(padded));
	return found != 0;
}

static struct http_str
auth_presented(const struct http_head *head)
{
	struct http_str v = head->header[HTTP_HEADER_AUTHORIZATION];

	if (v.p == NULL)
		return head->header[HTTP_HEADER_API_KEY];
	if (v.len < 7 || strncasecmp(v.p, "Bearer ", 7) != 0)
		return (struct http_str){NULL, 0};
	v.p += 7;
	v.len -= 7;
	while (v.len > 0 && *v.p == ' ') {
		v.p++;
		v.len--;
	}
	return v;
}

/* The row that has the key, or NULL; like auth_has, every row is looked at. */
static const struct auth_key *
auth_find(const struct auth_keys *keys, struct http_str key)
{
	unsigned char padded[AUTH_KEY_MAX] = {0};
	const struct auth_key *found = NULL;

	if (key.len == 0 || key.len > AUTH_KEY_MAX)
		return NULL;
	memcpy(padded, key.p, key.len);
	for (size_t i = 0; i < keys->len; i++)
		if (auth_same(keys->rows[i].padded, padded) != 0)
			found = &keys->rows[i];
	explicit_bzero(padded, sizeof(padded));
	return found;
}

static const struct auth_key *
auth_find_any(const struct auth *a, struct http_str key)
{
	const struct auth_key *client = auth_find(&a->client, key);
	const struct auth_key *admin = auth_find(&a->admin, key);

	return admin != NULL ? admin : client;
}

void
auth_user(const struct auth *a, struct http_peer peer, const struct http_head *head,
	char out[NAME_MAX_LEN])
{
	const struct auth_key *key = auth_find_any(a, auth_presented(head));

	out[0] = '\0';
	if (peer.is_unix)
		(void)snprintf(out, NAME_MAX_LEN, "uid:%lu", (unsigned long)peer.uid);
	if (key != NULL)
		memcpy(out, key->name, NAME_MAX_LEN);
}

void
auth_identify(const struct auth *a, struct http_peer peer, const struct http_head *head,
	struct auth_who *out)
{
	const struct auth_key *key = auth_find_any(a, auth_presented(head));
	uint64_t where = peer.is_unix ? (uint64_t)peer.uid : peer.address;

	out->said = key == NULL ? PRIORITY_USER : key->priority;
	if (key == NULL)
		out->user = where * 2 + peer.is_unix;
	else if (key->name[0] != '\0')
		out->user = route_hash(key->name, strlen(key->name));
	else
		out->user = route_hash((const char *)key->padded, AUTH_KEY_MAX);
}

enum priority
auth_priority(const struct auth_who *who, enum priority route, const struct http_head *head)
{
	const struct http_str *header = &head->header[HTTP_HEADER_PRIORITY];
	enum priority own = who->said == PRIORITY_USER ? PRIORITY_NORMAL : who->said;
	enum priority base = route == PRIORITY_USER ? own : route, asked;

	asked = header->p == NULL ? PRIORITY_USER : auth_priority_of(header->p, header->len);
	if (asked == PRIORITY_USER)
		return base;
	return MAX(asked, who->said == PRIORITY_USER ? base : MIN(base, who->said));
}

MUST enum err_code
auth_check(const struct auth *a, enum auth_level level, struct http_peer peer,
	const struct http_head *head, struct err *e)
{
	struct http_str key = auth_presented(head);
	bool client, admin;

	if (level == AUTH_OPEN)
		return ERR_OK;
	if (level == AUTH_ADMIN) {
		if (peer.is_unix && (peer.uid == 0 || peer.uid == geteuid()))
			return ERR_OK;
		if (auth_has(&a->admin, key))
			return ERR_OK;
		return err_set(e, ERR_FORBIDDEN,
			"this needs an admin key, or the daemon's Unix socket as its user or root");
	}
	/* both tables are always searched */
	client = auth_has(&a->client, key);
	admin = auth_has(&a->admin, key);
	if (client || admin || !a->client.configured || peer.is_unix)
		return ERR_OK;
	if (key.p == NULL)
		return err_set(e, ERR_AUTH,
			"no API key: send \"Authorization: Bearer KEY\" or \"x-api-key: KEY\"");
	return err_set(e, ERR_AUTH, "this API key is not known here");
}
