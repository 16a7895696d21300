/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - the two clocks
 *
 * Deadlines and ages use the monotonic clock, which all processes of one machine share, so a
 * deadline in a message means the same to its receiver. Wall time is for people and for APIs.
 */
#pragma once

#include <stdint.h>

enum { NS_PER_US = 1000, NS_PER_MS = 1000000 };
#define NS_PER_S UINT64_C(1000000000)

uint64_t clock_ns(void);	     /* monotonic, since boot */
uint64_t clock_wall_s(void);	     /* seconds since 1970 */
void clock_wall_shift(int64_t by_ms); /* a fault on purpose: clock_wall_s is off by this much */
uint64_t clock_ms_to_ns(uint64_t ms); /* saturates at UINT64_MAX */
