/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address.c - where a checked URL points to
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/address.h"

struct address {
	char host[256]; /* without brackets; all names of this machine are 127.0.0.1 */
	unsigned port;
};

static bool
address_is_local(const char *host)
{
	return strcasecmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
	       strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::1") == 0 || strcmp(host, "::") == 0;
}

/* url has passed the check of its type. */
static void
address_of(struct address *out, const char *url)
{
	const char *host = strstr(url, "://"), *port;
	size_t len;

	CHECK(host != NULL);
	host += 3;
	out->port = strncmp(url, "https", 5) == 0 ? 443 : 80;
	if (*host == '[') {
		host++;
		len = strcspn(host, "]");
		port = host + len + 1;
	} else {
		len = strcspn(host, ":/");
		port = host + len;
	}
	if (*port == ':')
		out->port = (unsigned)strtoul(port + 1, NULL, 10);
	(void)snprintf(out->host, sizeof(out->host), "%.*s", (int)len, host);
	if (address_is_local(out->host))
		(void)snprintf(out->host, sizeof(out->host), "127.0.0.1");
}

bool
config_same_server(const char *url_a, const char *url_b)
{
	struct address a, b;

	if (url_a == NULL || url_b == NULL)
		return false;
	address_of(&a, url_a);
	address_of(&b, url_b);
	return a.port == b.port && strcasecmp(a.host, b.host) == 0;
}

bool
config_is_own_address(const struct config_listen *l, const char *url)
{
	struct address a;

	if (url == NULL || l->host == NULL)
		return false;
	address_of(&a, url);
	if (a.port != l->port)
		return false;
	return strcasecmp(a.host, l->host) == 0 ||
	       (address_is_local(a.host) && address_is_local(l->host));
}
