/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frontier.h - quality against cost, as in RouterBench (arXiv 2403.12031)
 *
 * Points are (mean cost, mean quality) of single models or of a router at one of its settings. Any
 * two may be mixed by a coin, so what is reachable is their convex hull; more money never has to
 * buy less, so the hull is made non-decreasing. AIQ is the mean height of that hull over a range of
 * costs.
 */
#pragma once

#include <stddef.h>

struct frontier_point {
	double cost, quality;
	long tag; /* the caller's: which model, which setting */
};

/*
 * Reduce points to their non-decreasing convex hull, by rising cost. How many are left. Points
 * with a cost or quality that is not finite are dropped.
 */
size_t frontier_hull(struct frontier_point *points, size_t len);

/* Height of a hull at cost: the last quality beyond its end, NaN before its start. */
double frontier_at(const struct frontier_point *hull, size_t len, double cost);

/*
 * Mean height of a hull over low..high. Below the hull's start nothing is reachable: quality 0
 * there. NaN where the range is empty.
 */
double frontier_aiq(const struct frontier_point *hull, size_t len, double low, double high);

/* The lowest cost at which the hull reaches quality; NaN where it never does. */
double frontier_cost_of(const struct frontier_point *hull, size_t len, double quality);
