/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kind.c - the kinds of config/kind_list.h and the files that speak for them
 */
#include "workers/backend/backend.h"

#define BACKEND_KIND(symbol, name, wants_url, local_port, tells_probs, help)                       \
	extern const struct backend_kind backend_kind_##name;
#include "config/kind_list.h"
#undef BACKEND_KIND

const struct backend_kind *const backend_kinds[BACKEND_KINDS] = {
#define BACKEND_KIND(symbol, name, wants_url, local_port, tells_probs, help)                       \
	[BACKEND_##symbol] = &backend_kind_##name,
#include "config/kind_list.h"
#undef BACKEND_KIND
};
