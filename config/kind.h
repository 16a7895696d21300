/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kind.h - the backend kinds of kind_list.h as an enum
 */
#pragma once

enum backend_kind_id {
#define BACKEND_KIND(symbol, name, wants_url, local_port, tells_probs, help) BACKEND_##symbol,
#include "config/kind_list.h"
#undef BACKEND_KIND
	BACKEND_KINDS
};
