/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plot.c - the PGR curve of a pair, or quality against cost, as SVG or PNG
 */
#include <cairo-svg.h>
#include <cairo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cli/eval.h"

enum {
	WIDTH = 820,
	HEIGHT = 560,
	LEFT = 78,
	RIGHT = 24,
	TOP = 74,
	BOTTOM = 62,
	TICKS_ABOUT = 6,
	PNG_SCALE = 2
};

enum line { LINE_FULL, LINE_DASHED };

/* Colours that differ in brightness as well. */
static const double ink[3] = {0.13, 0.13, 0.15}, grey[3] = {0.55, 0.55, 0.58},
		    blue[3] = {0.08, 0.35, 0.72}, orange[3] = {0.85, 0.40, 0.02},
		    green[3] = {0.10, 0.50, 0.25};

struct plot {
	cairo_t *c;
	double x0, x1, y0, y1; /* of the data */
	double legend_x;
};

static double
plot_x(const struct plot *p, double x)
{
	return LEFT + (x - p->x0) / (p->x1 - p->x0) * (WIDTH - LEFT - RIGHT);
}

static double
plot_y(const struct plot *p, double y)
{
	return HEIGHT - BOTTOM - (y - p->y0) / (p->y1 - p->y0) * (HEIGHT - TOP - BOTTOM);
}

static void
set_colour(const struct plot *p, const double rgb[3])
{
	cairo_set_source_rgb(p->c, rgb[0], rgb[1], rgb[2]);
}

enum anchor { ANCHOR_LEFT, ANCHOR_MIDDLE, ANCHOR_RIGHT };

static void
put_text(const struct plot *p, double x, double y, enum anchor anchor, const char *text)
{
	cairo_text_extents_t size;

	cairo_text_extents(p->c, text, &size);
	cairo_move_to(p->c, x - (double)anchor * size.x_advance / 2, y);
	cairo_show_text(p->c, text);
	cairo_new_path(p->c);
}

/* A round step, so that about TICKS_ABOUT of them fit the range. */
static double
tick_step(double range)
{
	double rough = range / TICKS_ABOUT, power = pow(10, floor(log10(rough)));
	double part = rough / power;

	return power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
}

static void
put_grid_line(const struct plot *p, double x0, double y0, double x1, double y1)
{
	cairo_set_source_rgb(p->c, 0.88, 0.88, 0.89);
	cairo_set_line_width(p->c, 1);
	cairo_move_to(p->c, x0, y0);
	cairo_line_to(p->c, x1, y1);
	cairo_stroke(p->c);
	set_colour(p, ink);
}

static void
put_axes(const struct plot *p, const char *x_label, const char *y_label)
{
	double sx = tick_step(p->x1 - p->x0), sy = tick_step(p->y1 - p->y0);
	char text[32];

	cairo_set_font_size(p->c, 12);
	for (long i = lround(ceil(p->x0 / sx)); (double)i * sx <= p->x1 + sx * 1e-6; i++) {
		const double x = (double)i * sx;

		put_grid_line(p, plot_x(p, x), TOP, plot_x(p, x), HEIGHT - BOTTOM);
		(void)snprintf(text, sizeof(text), "%.4g", x);
		put_text(p, plot_x(p, x), HEIGHT - BOTTOM + 18, ANCHOR_MIDDLE, text);
	}
	for (long i = lround(ceil(p->y0 / sy)); (double)i * sy <= p->y1 + sy * 1e-6; i++) {
		const double y = (double)i * sy;

		put_grid_line(p, LEFT, plot_y(p, y), WIDTH - RIGHT, plot_y(p, y));
		(void)snprintf(text, sizeof(text), "%.4g", y);
		put_text(p, LEFT - 8, plot_y(p, y) + 4, ANCHOR_RIGHT, text);
	}
	cairo_set_line_width(p->c, 1.2);
	cairo_rectangle(p->c, LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
	cairo_stroke(p->c);
	cairo_set_font_size(p->c, 13);
	put_text(p, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 18, ANCHOR_MIDDLE, x_label);
	cairo_save(p->c);
	cairo_translate(p->c, 20, (TOP + HEIGHT - BOTTOM) / 2.0);
	cairo_rotate(p->c, -M_PI / 2);
	put_text(p, 0, 0, ANCHOR_MIDDLE, y_label);
	cairo_restore(p->c);
}

static void
set_line(const struct plot *p, const double rgb[3], enum line line)
{
	static const double dashes[] = {6, 4};

	set_colour(p, rgb);
	cairo_set_line_width(p->c, line == LINE_FULL ? 2.2 : 1.5);
	cairo_set_dash(p->c, dashes, line == LINE_FULL ? 0 : 2, 0);
}

/* The name of a line, above the drawing, one beside the other. */
static void
put_legend(struct plot *p, const double rgb[3], enum line line, const char *name)
{
	cairo_text_extents_t size;
	const double y = TOP - 16;

	set_line(p, rgb, line);
	cairo_move_to(p->c, p->legend_x, y - 4);
	cairo_line_to(p->c, p->legend_x + 30, y - 4);
	cairo_stroke(p->c);
	cairo_set_dash(p->c, NULL, 0, 0);
	set_colour(p, ink);
	cairo_set_font_size(p->c, 12);
	put_text(p, p->legend_x + 36, y, ANCHOR_LEFT, name);
	cairo_text_extents(p->c, name, &size);
	p->legend_x += 36 + size.x_advance + 26;
}

static void
put_line(struct plot *p, const double *x, const double *y, size_t len, const double rgb[3],
	enum line line)
{
	set_line(p, rgb, line);
	for (size_t i = 0; i < len; i++)
		cairo_line_to(p->c, plot_x(p, x[i]), plot_y(p, y[i]));
	cairo_stroke(p->c);
	cairo_set_dash(p->c, NULL, 0, 0);
}

static void
put_level(struct plot *p, double y, const double rgb[3], const char *name)
{
	const double x[2] = {p->x0, p->x1}, ys[2] = {y, y};

	put_line(p, x, ys, 2, rgb, LINE_DASHED);
	put_legend(p, rgb, LINE_DASHED, name);
}

static void
fit_y(struct plot *p, double low, double high)
{
	double room = high > low ? (high - low) * 0.06 : 0.05;

	p->y0 = low - room;
	p->y1 = high + room;
}

static void
put_title(const struct plot *p, const struct evaluation *v, const struct report_labels *labels)
{
	char text[256];

	set_colour(p, ink);
	cairo_set_font_size(p->c, 15);
	if (v->has_pair)
		(void)snprintf(text, sizeof(text), "%s (%s): APGR %.3f [%.3f, %.3f], %zu rows",
			labels->scorer, labels->mode, v->pair.exact.apgr, v->pair.apgr_ci95.low,
			v->pair.apgr_ci95.high, v->rows);
	else
		(void)snprintf(text, sizeof(text), "%s (%s): AIQ %.4f, %zu models, %zu rows",
			labels->scorer, labels->mode, v->cost.aiq, v->plan->models_len, v->rows);
	put_text(p, LEFT, 32, ANCHOR_LEFT, text);
}

static void
draw_pair(struct plot *p, const struct evaluation *v, const struct report_labels *labels)
{
	const struct evaluate_pair *q = &v->pair;
	const double x[2] = {0, 1}, y[2] = {q->means.weak, q->means.strong};
	double low = q->means.weak, high = q->means.oracle;

	for (size_t i = 0; i < EVALUATE_CURVE; i++) {
		low = fmin(low, q->curve_score[i]);
		high = fmax(high, q->curve_score[i]);
	}
	p->x0 = 0;
	p->x1 = 1;
	fit_y(p, low, high);
	put_axes(p, "share of prompts sent to the strong model", "mean score");
	put_line(p, q->curve_share, q->curve_score, EVALUATE_CURVE, blue, LINE_FULL);
	put_legend(p, blue, LINE_FULL, labels->scorer);
	put_line(p, x, y, 2, grey, LINE_DASHED);
	put_legend(p, grey, LINE_DASHED, "random");
	put_level(p, q->means.better, orange, "best single model");
	put_level(p, q->means.oracle, green, "oracle");
}

static void
draw_dots(const struct plot *p, const struct evaluation *v)
{
	cairo_set_font_size(p->c, 10);
	for (size_t m = 0; m < v->plan->models_len; m++) {
		double x = plot_x(p, v->costs[m]), y = plot_y(p, v->means[m]);
		const char *name = v->plan->d->models[v->plan->models[m]];
		const char *slash = strrchr(name, '/');

		set_colour(p, m == v->best ? orange : grey);
		cairo_arc(p->c, x, y, 3.5, 0, 2 * M_PI);
		cairo_fill(p->c);
		set_colour(p, ink);
		if (v->plan->models_len <= 16)
			put_text(p, x + 6, y - 5, x > WIDTH - 200 ? ANCHOR_RIGHT : ANCHOR_LEFT,
				slash != NULL ? slash + 1 : name);
	}
}

static void
draw_frontier(struct plot *p, const struct evaluation *v, const struct report_labels *labels)
{
	double x[EVALUATE_SETTINGS + 2] = {0}, y[EVALUATE_SETTINGS + 2] = {0}, low = v->random;
	size_t n = v->cost.hull_len;
	char label[64];

	p->x0 = fmin(v->cost.low, v->cost.oracle) * 0.9;
	p->x1 = v->cost.high + (v->cost.high - v->cost.low) * 0.05;
	if (!(p->x1 > p->x0)) /* nothing costs anything */
		p->x1 = p->x0 + 1;
	for (size_t m = 0; m < v->plan->models_len; m++)
		low = fmin(low, v->means[m]);
	for (size_t i = 0; i < n; i++) {
		x[i] = v->cost.hull[i].cost;
		y[i] = v->cost.hull[i].quality;
	}
	x[n] = fmax(p->x1, x[n - 1]);
	y[n] = y[n - 1];
	fit_y(p, low, v->oracle);
	(void)snprintf(label, sizeof(label), "mean cost per call (%s)",
		labels->cost == COST_OUT_CHARS ? "characters of the answer" : "USD");
	put_axes(p, label, "mean score");
	put_line(p, x, y, n + 1, blue, LINE_FULL);
	put_legend(p, blue, LINE_FULL, labels->scorer);
	put_level(p, v->random, grey, "random model");
	put_level(p, v->means[v->best], orange, "best single model");
	put_level(p, v->oracle, green, "oracle");
	draw_dots(p, v);
}

static cairo_status_t
append(void *arg, const unsigned char *data, unsigned len)
{
	buf_add(arg, data, len);
	return CAIRO_STATUS_SUCCESS;
}

static void
draw(cairo_surface_t *to, double scale, const struct evaluation *v,
	const struct report_labels *labels)
{
	struct plot p = {.c = cairo_create(to), .legend_x = LEFT};

	cairo_scale(p.c, scale, scale);
	cairo_set_source_rgb(p.c, 1, 1, 1);
	cairo_paint(p.c);
	cairo_select_font_face(
		p.c, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
	put_title(&p, v, labels);
	if (v->has_pair)
		draw_pair(&p, v, labels);
	else
		draw_frontier(&p, v, labels);
	cairo_destroy(p.c);
}

static bool
plot_ends_in(const char *path, const char *end)
{
	const char *dot = strrchr(path, '.');

	return dot != NULL && strcasecmp(dot, end) == 0;
}

enum err_code
plot_check(const char *path, struct err *e)
{
	if (!plot_ends_in(path, ".svg") && !plot_ends_in(path, ".png"))
		return err_set(
			e, ERR_INPUT, "--plot %s: the name ends in neither .svg nor .png", path);
	return lab_write_check(path, e);
}

enum err_code
plot_evaluation(const char *path, const struct evaluation *v, const struct report_labels *labels,
	struct err *e)
{
	AUTO(buf_fini) struct buf out = BUF_INIT;
	const bool svg = plot_ends_in(path, ".svg");
	cairo_surface_t *to;
	cairo_status_t status;

	if (!v->has_pair && v->costs == NULL)
		return err_set(e, ERR_INPUT,
			"--plot: many models are drawn against their cost, and none is known "
			"(--cost-source)");
	to = svg ? cairo_svg_surface_create_for_stream(append, &out, WIDTH, HEIGHT)
		 : cairo_image_surface_create(
			   CAIRO_FORMAT_RGB24, WIDTH * PNG_SCALE, HEIGHT * PNG_SCALE);
	draw(to, svg ? 1 : PNG_SCALE, v, labels);
	if (!svg)
		status = cairo_surface_write_to_png_stream(to, append, &out);
	cairo_surface_finish(to);
	if (svg)
		status = cairo_surface_status(to);
	cairo_surface_destroy(to);
	if (status != CAIRO_STATUS_SUCCESS)
		return err_set(e, ERR_SYS, "%s: %s", path, cairo_status_to_string(status));
	return lab_write(path, &out, e);
}
