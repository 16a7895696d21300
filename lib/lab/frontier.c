/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frontier.c - non-decreasing convex hulls of quality against cost
 */
#include <math.h>
#include <stdlib.h>

#include "lib/base/base.h"
#include "lib/lab/frontier.h"

static int
compare_points(const void *a, const void *b)
{
	const struct frontier_point *p = a, *q = b;

	if (p->cost != q->cost)
		return p->cost < q->cost ? -1 : 1;
	if (p->quality != q->quality)
		return p->quality > q->quality ? -1 : 1;
	return p->tag < q->tag ? -1 : p->tag > q->tag;
}

/* Does b lie on or below the line from a to c? */
static int
is_below(const struct frontier_point *a, const struct frontier_point *b,
	const struct frontier_point *c)
{
	return (b->quality - a->quality) * (c->cost - a->cost) <=
	       (c->quality - a->quality) * (b->cost - a->cost);
}

size_t
frontier_hull(struct frontier_point *points, size_t len)
{
	size_t finite = 0, n = 0;

	for (size_t i = 0; i < len; i++) {
		if (isfinite(points[i].cost) && isfinite(points[i].quality))
			points[finite++] = points[i];
	}
	if (finite > 1)
		qsort(points, finite, sizeof(*points), compare_points);
	for (size_t i = 0; i < finite; i++) {
		struct frontier_point p = points[i];

		if (n > 0 && p.quality <= points[n - 1].quality)
			continue; /* dearer and no better */
		while (n > 1 && is_below(&points[n - 2], &points[n - 1], &p))
			n--;
		points[n++] = p;
	}
	return n;
}

double
frontier_at(const struct frontier_point *hull, size_t len, double cost)
{
	if (len == 0 || cost < hull[0].cost)
		return NAN;
	for (size_t i = 1; i < len; i++) {
		const struct frontier_point *a = &hull[i - 1], *b = &hull[i];

		if (cost <= b->cost)
			return a->quality +
			       (b->quality - a->quality) * (cost - a->cost) / (b->cost - a->cost);
	}
	return hull[len - 1].quality;
}

double
frontier_aiq(const struct frontier_point *hull, size_t len, double low, double high)
{
	double area = 0, from;

	if (!(high > low) || len == 0)
		return NAN;
	from = MAX(low, hull[0].cost);
	if (from >= high)
		return 0;
	for (size_t i = 1; i < len && from < high; i++) {
		double to = MIN(hull[i].cost, high);

		if (to <= from)
			continue;
		area += (to - from) * (frontier_at(hull, len, from) + frontier_at(hull, len, to)) /
			2;
		from = to;
	}
	if (from < high)
		area += (high - from) * hull[len - 1].quality;
	return area / (high - low);
}

double
frontier_cost_of(const struct frontier_point *hull, size_t len, double quality)
{
	for (size_t i = 0; i < len; i++) {
		const struct frontier_point *a = &hull[i > 0 ? i - 1 : 0], *b = &hull[i];

		if (b->quality < quality)
			continue;
		if (i == 0)
			return b->cost;
		return a->cost +
		       (b->cost - a->cost) * (quality - a->quality) / (b->quality - a->quality);
	}
	return NAN;
}
