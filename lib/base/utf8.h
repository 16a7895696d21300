/* SPDX-License-Identifier: Apache-2.0 */
/*
 * utf8.h - tell UTF-8 from other bytes, write one code point
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"

enum { UTF8_REPLACEMENT = 0xfffd };

/* Length of the well-formed sequence that starts at p: 1..4; 0 where there is none before end
 * (overlong forms, surrogates and anything above U+10FFFF are none). */
size_t utf8_sequence(const char *p, const char *end);

/* Append code point c; one that is no scalar value becomes U+FFFD. */
void utf8_add(struct buf *out, uint32_t c);
