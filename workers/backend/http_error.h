/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_error.h - what libcurl's result means for a call
 */
#pragma once

#include <curl/curl.h>

#include "lib/base/err.h"

struct http_head;

/* proxy is NULL where there is none; code is not CURLE_OK; detail is curl's own text, "" where it
 * has none. */
enum err_code http_error(CURL *easy, const char *proxy, CURLcode code, const struct http_head *head,
	const char *detail, struct err *e);
