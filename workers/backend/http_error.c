/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_error.c - what libcurl's result means for a call
 */
#include <curl/curl.h>
#include <errno.h>
#include <string.h>

#include "workers/backend/backend.h"

static enum err_code
http_error_connect(CURL *easy, const char *proxy, const char *text, struct err *e)
{
	const char *whose = proxy != NULL ? "its proxy: " : "";
	long os_errno = 0;

	(void)curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os_errno);
	if (os_errno == ECONNREFUSED)
		return err_set(
			e, ERR_CONNECT, "%sconnection refused: nothing listens there", whose);
	return err_set(e, ERR_CONNECT, "%scan't connect: %.250s", whose,
		os_errno != 0 ? strerror((int)os_errno) : text);
}

/* The exchange began and broke. */
static enum err_code
http_error_broken(const struct http_head *head, const char *text, struct err *e)
{
	if (head->status == 101)
		return err_set(e, ERR_MALFORMED, "%s", HTTP_SWITCHED);
	if (head->status >= 200)
		return err_set(e, ERR_CUT, "the connection broke within the answer: %.250s", text);
	return err_set(e, ERR_RESET, "the connection broke before the answer: %.250s", text);
}

enum err_code
http_error(void *easy, const char *proxy, int code, const struct http_head *head,
	const char *detail, struct err *e)
{
	const char *text = detail[0] != '\0' ? detail : curl_easy_strerror((CURLcode)code);
	long tunnel_status = 0;

	(void)curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &tunnel_status);
	if (tunnel_status >= 300)
		return err_set(e, ERR_CONNECT, "its proxy refuses the tunnel with status %ld",
			tunnel_status);
	switch ((CURLcode)code) {
	case CURLE_COULDNT_RESOLVE_HOST:
		return err_set(e, ERR_CONNECT, "its name does not resolve: %.250s", text);
	case CURLE_COULDNT_RESOLVE_PROXY:
		return err_set(e, ERR_CONNECT, "its proxy's name does not resolve: %.250s", text);
	case CURLE_COULDNT_CONNECT:
		return http_error_connect(easy, proxy, text, e);
	case CURLE_PROXY:
		return err_set(e, ERR_CONNECT, "its proxy failed: %.250s", text);
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
		return err_set(e, ERR_CONNECT, "TLS: %.250s", text);
	case CURLE_PARTIAL_FILE:
		return err_set(e, ERR_CUT, "the answer was cut: %.250s", text);
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
		return err_set(e, ERR_MALFORMED, "the upstream does not speak HTTP: %.250s", text);
	case CURLE_OUT_OF_MEMORY: /* what libcurl says of a header of more than 100 KB */
		return err_set(e, ERR_MALFORMED, "its header is too large: %.250s", text);
	default:
		return http_error_broken(head, text, e);
	}
}
