/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_metrics.c - APGR, CPT, intervals, frontiers and noise against cases worked by hand
 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "lib/lab/bootstrap.h"
#include "lib/lab/frontier.h"
#include "lib/lab/metrics.h"
#include "lib/lab/noise.h"

static void
measure(struct metrics_apgr *exact, struct metrics_apgr *grid, const struct metrics_pair *rows,
	size_t len)
{
	uint32_t order[64];

	cr_assert_leq(len, 64);
	metrics_order(order, rows, len);
	metrics_exact(exact, rows, len, order);
	if (grid != NULL)
		metrics_grid(grid, rows, len, order);
}

Test(metrics, the_area_is_a_trapezoid_over_every_share)
{
	/* Gains by falling want: 1, 0, 1, 0; PGR 0, .5, .5, 1, 1: area (.25 + .5 + .75 + 1) / 4. */
	static const struct metrics_pair rows[] = {
		{0, 1, 0.9}, {0, 1, 0.4}, {1, 1, 0.6}, {0, 0, 0.1}};
	struct metrics_apgr a, g;

	measure(&a, &g, rows, 4);
	cr_expect_float_eq(a.apgr, 0.625, 1e-12);
	cr_expect_float_eq(a.cpt[0], 0.25, 1e-12);
	cr_expect_float_eq(a.cpt[1], 0.25, 1e-12);
	cr_expect_float_eq(a.cpt[2], 0.75, 1e-12);
	cr_expect_float_eq(g.apgr, 0.625, 1e-12, "the grid meets every share of four rows");
}

Test(metrics, equal_wants_keep_the_order_of_the_file)
{
	static const struct metrics_pair first[] = {{0, 1, 5}, {0, 0, 5}, {0, 0, 5}},
					 last[] = {{0, 0, 5}, {0, 0, 5}, {0, 1, 5}};
	struct metrics_apgr a;

	measure(&a, NULL, first, 3);
	cr_expect_float_eq(a.apgr, (0.5 + 1 + 1) / 3, 1e-12);
	measure(&a, NULL, last, 3);
	cr_expect_float_eq(a.apgr, 0.5 / 3, 1e-12);
}

Test(metrics, no_gap_is_not_a_number)
{
	static const struct metrics_pair rows[] = {{1, 0, 1}, {0, 1, 2}};
	struct metrics_apgr a, g;

	measure(&a, &g, rows, 2);
	cr_expect(isnan(a.apgr) && isnan(a.cpt[0]) && isnan(g.apgr) && isnan(g.cpt[2]));
}

/* 0.1 + 0.2 and 0.3 as floats: what is left of their difference is rounding, not a gap. */
Test(metrics, a_gap_of_rounding_is_none)
{
	static const struct metrics_pair rows[] = {
		{(double)0.1F, (double)0.3F, 1}, {(double)0.2F, 0, 2}, {1, 1, 3}};
	struct interval i;
	uint32_t order[3];
	struct metrics_apgr a, g;

	measure(&a, &g, rows, 3);
	cr_expect(isnan(a.apgr) && isnan(a.cpt[0]) && isnan(g.apgr), "%g %g", a.apgr, g.apgr);
	metrics_order(order, rows, 3);
	bootstrap_apgr(&i, rows, 3, order, 200, 1);
	cr_expect(isnan(i.low) || fabs(i.low) < 100, "%g", i.low);
}

Test(metrics, all_wants_equal_leaves_the_grid_without_a_curve)
{
	static const struct metrics_pair rows[] = {{0, 1, 3}, {0, 1, 3}};
	struct metrics_apgr a, g;

	measure(&a, &g, rows, 2);
	cr_expect_float_eq(a.apgr, 0.5, 1e-12);
	cr_expect(isnan(g.apgr), "one threshold is one point");
}

Test(metrics, one_row_is_a_straight_line)
{
	static const struct metrics_pair rows[] = {{0, 1, 0.3}};
	struct metrics_apgr a;

	measure(&a, NULL, rows, 1);
	cr_expect_float_eq(a.apgr, 0.5, 1e-12);
	cr_expect_float_eq(a.cpt[2], 1, 1e-12);
}

Test(metrics, a_worse_strong_model_has_a_curve_as_well)
{
	static const struct metrics_pair rows[] = {{1, 0, 0.9}, {1, 1, 0.1}};
	struct metrics_apgr a;

	measure(&a, NULL, rows, 2);
	cr_expect_float_eq(a.apgr, 0.75, 1e-12);
}

Test(metrics, the_threshold_lets_the_wanted_share_pass)
{
	static const struct metrics_pair rows[] = {
		{0, 1, 0.1}, {0, 1, 0.4}, {0, 1, 0.3}, {0, 1, 0.2}};
	uint32_t order[4];

	metrics_order(order, rows, 4);
	cr_expect_float_eq(metrics_threshold(rows, 4, order, 0.5), 0.3, 0);
	cr_expect_float_eq(metrics_threshold(rows, 4, order, 1), 0.1, 0);
	cr_expect_gt(metrics_threshold(rows, 4, order, 0), 0.4);
}

Test(metrics, calibration_error_weighs_bins_by_their_rows)
{
	struct metrics_ece e = {.count = {0}};

	cr_expect(isnan(metrics_ece(&e)));
	for (int i = 0; i < 3; i++)
		metrics_ece_add(&e, 0.9, i == 0 ? 0 : 1); /* seen 2/3 of 0.9 */
	metrics_ece_add(&e, 0.1, 0.1);
	metrics_ece_add(&e, 1.5, 1.5); /* out of range: the last bin */
	cr_expect_float_eq(metrics_ece(&e), 3 * (0.9 - 2.0 / 3) / 5, 1e-12);
}

Test(bootstrap, the_interval_holds_the_value_and_is_the_same_for_a_seed)
{
	struct metrics_pair rows[64];
	uint32_t order[64];
	struct interval a, b, c;
	struct metrics_apgr exact;

	for (size_t i = 0; i < 64; i++)
		rows[i] = (struct metrics_pair){
			.weak = 0, .strong = i % 3 == 0, .want = (double)(i % 7)};
	metrics_order(order, rows, 64);
	metrics_exact(&exact, rows, 64, order);
	bootstrap_apgr(&a, rows, 64, order, 1000, 1);
	bootstrap_apgr(&b, rows, 64, order, 1000, 1);
	bootstrap_apgr(&c, rows, 64, order, 1000, 2);
	cr_expect_lt(a.low, exact.apgr);
	cr_expect_gt(a.high, exact.apgr);
	cr_expect_float_eq(a.low, b.low, 0);
	cr_expect_neq(a.low, c.low);
}

Test(bootstrap, a_mean_of_equal_values_has_no_width)
{
	static const double values[] = {0.5, 0.5, 0.5};
	struct interval i;

	bootstrap_mean(&i, values, 3, 100, 0);
	cr_expect_float_eq(i.low, 0.5, 0);
	cr_expect_float_eq(i.high, 0.5, 0);
}

Test(frontier, the_hull_is_convex_and_never_falls)
{
	struct frontier_point p[] = {
		{3, 0.6, 0}, {1, 0.2, 1}, {2, 0.3, 2}, {4, 0.5, 3}, {2, 0.55, 4}, {NAN, 1, 5}};
	size_t n = frontier_hull(p, 6);

	cr_assert_eq(n, 3);
	cr_expect_eq(p[0].tag, 1);
	cr_expect_eq(p[1].tag, 4);
	cr_expect_eq(p[2].tag, 0);
	cr_expect_float_eq(frontier_at(p, n, 1.5), 0.375, 1e-12);
	cr_expect_float_eq(frontier_at(p, n, 9), 0.6, 0);
	cr_expect(isnan(frontier_at(p, n, 0.5)));
	cr_expect_float_eq(frontier_cost_of(p, n, 0.375), 1.5, 1e-12);
	cr_expect(isnan(frontier_cost_of(p, n, 0.7)));
}

Test(frontier, aiq_is_the_mean_height_over_the_range)
{
	const struct frontier_point hull[] = {{1, 0, 0}, {2, 1, 0}};

	cr_expect_float_eq(frontier_aiq(hull, 2, 1, 2), 0.5, 1e-12);
	cr_expect_float_eq(frontier_aiq(hull, 2, 1, 3), 0.75, 1e-12);
	cr_expect_float_eq(frontier_aiq(hull, 2, 0, 2), 0.25, 1e-12, "nothing is reachable below");
	cr_expect(isnan(frontier_aiq(hull, 2, 2, 2)));
	cr_expect_float_eq(frontier_aiq(hull, 1, 1, 2), 0, 0);
}

Test(noise, is_seeded_and_changes_the_text)
{
	static const char text[] = "Prove that the sum of two Even numbers is even.\nShow steps.";
	AUTO(buf_fini) struct buf a = BUF_INIT;
	AUTO(buf_fini) struct buf b = BUF_INIT;

	for (enum noise n = 0; n < NOISES; n++) {
		noise_apply(&a, n, text, strlen(text), 11);
		noise_apply(&b, n, text, strlen(text), 11);
		cr_expect_str_eq(buf_str(&a), buf_str(&b), "%s", noise_name(n));
		cr_expect_str_neq(buf_str(&a), text, "%s", noise_name(n));
	}
}

Test(noise, typos_keep_the_letters)
{
	static const char text[] = "abcdefgh ijklmnop qrstuvwx";
	AUTO(buf_fini) struct buf out = BUF_INIT;
	unsigned counts[256] = {0};

	noise_apply(&out, NOISE_TYPOS, text, strlen(text), 3);
	cr_assert_eq(out.len, strlen(text));
	for (size_t i = 0; i < out.len; i++)
		counts[(unsigned char)out.data[i]]++;
	for (char c = 'a'; c <= 'x'; c++)
		cr_expect_eq(counts[(unsigned char)c], 1);
}

Test(noise, survives_texts_without_words)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;

	for (enum noise n = 0; n < NOISES; n++) {
		noise_apply(&out, n, "", 0, 1);
		noise_apply(&out, n, "7", 1, 1);
		noise_apply(&out, n, "a", 1, 1);
	}
}
