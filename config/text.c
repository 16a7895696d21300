/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.c - which texts may be a name, a model name, a path, a URL, a listen address
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/value.h"
#include "lib/base/buf.h"

static bool
refuse(char why[CONFIG_WHY_MAX], const char *text)
{
	(void)snprintf(why, CONFIG_WHY_MAX, "%s", text);
	return false;
}

/* Names go into headers, file names, metric labels and messages unquoted. */
static bool
check_name(const char *text, char why[CONFIG_WHY_MAX])
{
	if (strlen(text) > CONFIG_NAME_MAX)
		return refuse(why, "is longer than 63 characters");
	if (!isalnum((unsigned char)text[0]))
		return refuse(why, "must start with a letter or digit");
	for (const char *p = text; *p != '\0'; p++) {
		if (isalnum((unsigned char)*p) || *p == '.' || *p == '_' || *p == '-')
			continue;
		(void)snprintf(why, CONFIG_WHY_MAX,
			"`%.64s` may only have letters, digits, `.`, `_` and `-`", text);
		return false;
	}
	return true;
}

static bool
check_model(const char *text, char why[CONFIG_WHY_MAX])
{
	for (const char *p = text; *p != '\0'; p++) {
		if (*p > 0x20 && *p < 0x7f && *p != '"' && *p != '\'' && *p != ',' && *p != '\\')
			continue;
		(void)snprintf(why, CONFIG_WHY_MAX,
			"`%.64s` is no model name: printable ASCII without spaces, quotes, commas "
			"and backslashes",
			text);
		return false;
	}
	return true;
}

static bool
check_printable(const char *text, char why[CONFIG_WHY_MAX])
{
	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return refuse(why, "holds a control character");
	return true;
}

static bool
check_port(const char *text, unsigned least, uint16_t *out)
{
	size_t len = strspn(text, "0123456789");
	unsigned long port;

	if (len == 0 || len > 5 || text[len] != '\0')
		return false;
	port = strtoul(text, NULL, 10);
	if (port < least || port > UINT16_MAX)
		return false;
	*out = (uint16_t)port;
	return true;
}

/* authority: host[:port] or [v6][:port], as a copy that is cut up. */
static bool
check_authority(char *authority, char why[CONFIG_WHY_MAX])
{
	char *host = authority, *port = NULL, *end;
	struct in6_addr v6;
	uint16_t number;

	if (*host == '[') {
		end = strchr(host, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return refuse(why, "has a broken [IPv6] address");
		*end = '\0';
		port = end[1] == ':' ? end + 2 : NULL;
		if (inet_pton(AF_INET6, host + 1, &v6) != 1)
			return refuse(why, "has a broken [IPv6] address");
	} else {
		port = strchr(host, ':');
		if (port != NULL)
			*port++ = '\0';
		if (*host == '\0')
			return refuse(why, "has no host");
		for (const char *p = host; *p != '\0'; p++)
			if (!isalnum((unsigned char)*p) && *p != '.' && *p != '-' && *p != '_')
				return refuse(why, "has a host with characters that no host has");
	}
	if (port != NULL && !check_port(port, 1, &number))
		return refuse(why, "has a port that is not 1 to 65535");
	return true;
}

static bool
check_url(const char *text, char why[CONFIG_WHY_MAX])
{
	char authority[CONFIG_MODEL_MAX + 1];
	const char *rest;
	size_t len;

	if (strncmp(text, "http://", 7) == 0)
		rest = text + 7;
	else if (strncmp(text, "https://", 8) == 0)
		rest = text + 8;
	else
		return refuse(why, "must start with http:// or https://");
	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f)
			return refuse(why, "holds a space or a character that no URL has");
	len = strcspn(rest, "/?#");
	(void)snprintf(authority, sizeof(authority), "%.*s", (int)len, rest);
	if (strchr(authority, '@') != NULL)
		return refuse(why, "must not hold a user or password: put the key into a file and "
				   "name it with `key_file`");
	if (strpbrk(rest, "?#") != NULL)
		return refuse(why, "must not have a query or fragment");
	return check_authority(authority, why);
}

bool
config_value_check_text(enum config_type type, const char *text, char why[CONFIG_WHY_MAX])
{
	if (text[0] == '\0')
		return refuse(why, "is empty");
	if (strlen(text) > CONFIG_MODEL_MAX)
		return refuse(why, "is longer than 255 bytes");
	switch (type) {
	case CONFIG_TYPE_NAME:
	case CONFIG_TYPE_NAMES:
		return check_name(text, why);
	case CONFIG_TYPE_MODEL:
	case CONFIG_TYPE_MODELS:
		return check_model(text, why);
	case CONFIG_TYPE_URL:
		return check_url(text, why);
	default:
		return check_printable(text, why);
	}
}

static bool
listen_unix(struct config_listen *l, const char *text, char why[CONFIG_WHY_MAX])
{
	const char *option = strchr(text, ',');
	size_t len = option != NULL ? (size_t)(option - text) : strlen(text);
	char *end;

	if (text[0] != '/')
		return refuse(
			why, "a Unix socket needs an absolute path: unix:/run/shunt/api.sock");
	if (len > 107)
		return refuse(why, "the Unix socket's path is longer than 107 bytes");
	l->mode = 0600;
	if (option != NULL) {
		if (strncmp(option, ",mode=", 6) != 0)
			return refuse(why, "only `,mode=0660` may follow a Unix socket's path");
		l->mode = (uint32_t)strtoul(option + 6, &end, 8);
		if (!isdigit((unsigned char)option[6]) || *end != '\0' || l->mode > 0777)
			return refuse(why, "the socket's mode must be octal, 0 to 0777");
	}
	l->path = strndup(text, len);
	CHECK(l->path != NULL);
	return true;
}

static bool
listen_tcp(struct config_listen *l, const char *text, char why[CONFIG_WHY_MAX])
{
	const char *colon = strrchr(text, ':');
	char host[64];
	unsigned char address[16];
	bool v6 = text[0] == '[';

	if (colon == NULL || !check_port(colon + 1, 0, &l->port))
		return refuse(why,
			"must be IP:PORT, [IPv6]:PORT or unix:PATH, with a port of 0 to 65535");
	(void)snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	if (strcmp(host, "*") == 0)
		(void)snprintf(host, sizeof(host), "0.0.0.0");
	else if (strcmp(host, "localhost") == 0)
		(void)snprintf(host, sizeof(host), "127.0.0.1");
	else if (v6 && host[strlen(host) - 1] == ']') {
		host[strlen(host) - 1] = '\0';
		memmove(host, host + 1, strlen(host));
	} else
		v6 = false;
	if (inet_pton(v6 ? AF_INET6 : AF_INET, host, address) != 1)
		return refuse(why,
			"needs an IP address (names are not looked up): 127.0.0.1:8787 for "
			"this machine only, 0.0.0.0:8787 for all");
	l->host = config_copy(host);
	return true;
}

bool
config_listen_parse(struct config_listen *out, const char *text, char why[CONFIG_WHY_MAX])
{
	struct config_listen l = {0};
	bool good;

	good = check_printable(text, why) &&
	       (strncmp(text, "unix:", 5) == 0 ? listen_unix(&l, text + 5, why)
					       : listen_tcp(&l, text, why));
	if (!good) {
		config_listen_fini(&l);
		return false;
	}
	l.text = config_copy(text);
	*out = l;
	return true;
}
