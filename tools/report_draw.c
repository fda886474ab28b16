/* SPDX-License-Identifier: Apache-2.0 */
/* report_draw.c -- see report_draw.h. Sizes are in SVG units, a pixel at normal size. */
#include "report_draw.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 520, HEIGHT = 300, LEFT = 62, RIGHT = 14, TOP = 30, BOTTOM = 42 };

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1c2126;--faint:#8b949e;--rule:#d5dae0;--paper:#fff;"
    "--ok:#1f6feb;--slow:#a9b8cc;--bad:#c4432b;--best:#12805c;--heat:18,128,92}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e3e7ec;--faint:#8b949e;--rule:#39414a;"
    "--paper:#14181d;--ok:#6ea8fe;--slow:#5b6878;--bad:#f0735a;--best:#3fcf9b;"
    "--heat:63,207,155}}\n"
    "body{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);"
    "margin:2rem auto;max-width:1120px;padding:0 1rem}\n"
    "h1{font-size:1.5rem}h2{font:600 1rem/1.4 ui-monospace,monospace;margin:2.2rem 0 .4rem;"
    "border-top:1px solid var(--rule);padding-top:1rem;overflow-wrap:anywhere}\n"
    "table{border-collapse:collapse;width:100%;font-size:13px}"
    "th,td{text-align:left;padding:.35rem .6rem .35rem 0;border-bottom:1px solid var(--rule);"
    "vertical-align:top}.num{text-align:right;white-space:nowrap}"
    "td:nth-child(6){white-space:nowrap}\n"
    "code{font:12px ui-monospace,monospace;overflow-wrap:anywhere}a{color:inherit}\n"
    ".drawings{display:flex;flex-wrap:wrap;align-items:start;gap:1rem}"
    "svg{width:520px;max-width:100%;height:auto}\n"
    "svg text{font:12px system-ui,sans-serif;fill:var(--ink)}svg .faint{fill:var(--faint)}"
    "svg .name{font-weight:600;font-size:13px}\n"
    ".frame{fill:none;stroke:var(--rule)}.grid{stroke:var(--rule);stroke-width:.6}"
    ".ok{fill:var(--ok)}.slow{fill:var(--slow)}.bad{fill:var(--bad)}.same{fill:var(--rule)}"
    ".level{stroke:var(--faint);stroke-dasharray:4 3}"
    "line.best{stroke:var(--best);stroke-width:2}line.roof{stroke:var(--ink);stroke-width:1.4}"
    "line.bad{stroke:var(--bad)}line.same{stroke:var(--faint)}\n"
    ".none{fill:none;stroke:var(--rule);stroke-dasharray:2 2}"
    ".legend i{display:inline-block;width:.7em;height:.7em;border-radius:50%;margin:0 .3em 0 "
    "1em}"
    "\n";

/* -- text --------------------------------------------------------------------------------- */

void draw_text(draw *d, const char *fmt, ...)
{
	char text[2400];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	kir_text_add(&d->out, "%s", text);
}

void draw_escaped(draw *d, const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '<': kir_text_add(&d->out, "&lt;"); break;
		case '>': kir_text_add(&d->out, "&gt;"); break;
		case '&': kir_text_add(&d->out, "&amp;"); break;
		case '"': kir_text_add(&d->out, "&quot;"); break;
		default: kir_text_add(&d->out, "%c", *text);
		}
}

void draw_page_begin(draw *d, const char *title)
{
	kir_text_add(&d->out, "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n"
	                      "<meta name=viewport content=\"width=device-width\">\n<title>");
	draw_escaped(d, title);
	kir_text_add(&d->out, "</title>\n<style>\n%s</style></head>\n<body><h1>", style);
	draw_escaped(d, title);
	kir_text_add(&d->out,
	             "</h1>\n<p class=legend><i style=\"background:var(--ok)\"></i>measured to "
	             "the end<i style=\"background:var(--slow)\"></i>given up early"
	             "<i style=\"background:var(--bad)\"></i>refused, wrong or disturbed"
	             "<i style=\"background:var(--best)\"></i>best so far</p>\n");
}

void draw_page_end(draw *d)
{
	kir_text_add(&d->out, "</body></html>\n");
}

/* -- charts ------------------------------------------------------------------------------- */

static double px(const draw *d, double x)
{
	return LEFT + (x - d->x0) / (d->x1 - d->x0) * (WIDTH - LEFT - RIGHT);
}

static double py(const draw *d, double y)
{
	return HEIGHT - BOTTOM - (y - d->y0) / (d->y1 - d->y0) * (HEIGHT - TOP - BOTTOM);
}

static void open_svg(draw *d, const char *name, double height)
{
	draw_text(d, "<svg viewBox=\"0 0 %d %g\" role=img aria-label=\"%s\">", WIDTH, height,
	          name);
	draw_text(d, "<text class=name x=%d y=18>%s</text>\n", LEFT, name);
}

void draw_begin(draw *d, const char *name, double x0, double x1, double y0, double y1)
{
	d->x0 = x0;
	d->x1 = x1 > x0 ? x1 : x0 + 1;
	d->y0 = y0;
	d->y1 = y1 > y0 ? y1 : y0 + 1;
	open_svg(d, name, HEIGHT);
	draw_text(d, "<rect class=frame x=%d y=%d width=%d height=%d />\n", LEFT, TOP,
	          WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
}

/* 1, 2 or 5 times a power of ten, so that there are about five of them. */
static double step_of(double range)
{
	double raw = range / 5, base = pow(10, floor(log10(raw)));
	return base * (raw / base < 1.5 ? 1 : raw / base < 3.5 ? 2 : raw / base < 7.5 ? 5 : 10);
}

static void axis_names(draw *d, const char *x, const char *y)
{
	draw_text(d, "<text class=faint x=%d y=%d text-anchor=end>%s</text>\n", WIDTH - RIGHT,
	          HEIGHT - 8, x);
	draw_text(d, "<text class=faint x=%d y=18 text-anchor=end>%s</text>\n", WIDTH - RIGHT,
	          y);
}

static void mark_x(draw *d, double x, const char *label)
{
	draw_text(d, "<line class=grid x1=%.1f x2=%.1f y1=%d y2=%d />", px(d, x), px(d, x), TOP,
	          HEIGHT - BOTTOM);
	draw_text(d, "<text x=%.1f y=%d text-anchor=middle>%s</text>\n", px(d, x),
	          HEIGHT - BOTTOM + 16, label);
}

static void mark_y(draw *d, double y, const char *label)
{
	draw_text(d, "<line class=grid x1=%d x2=%d y1=%.1f y2=%.1f />", LEFT, WIDTH - RIGHT,
	          py(d, y), py(d, y));
	draw_text(d, "<text x=%d y=%.1f text-anchor=end>%s</text>\n", LEFT - 6, py(d, y) + 4,
	          label);
}

void draw_axes(draw *d, const char *x, const char *y)
{
	double sx = step_of(d->x1 - d->x0), sy = step_of(d->y1 - d->y0);
	char label[40];
	for (double v = ceil(d->x0 / sx) * sx; v <= d->x1; v += sx) {
		snprintf(label, sizeof label, "%g", v);
		mark_x(d, v, label);
	}
	for (double v = ceil(d->y0 / sy) * sy; v <= d->y1; v += sy) {
		snprintf(label, sizeof label, "%.3g", fabs(v) < sy / 2 ? 0 : v);
		mark_y(d, v, label);
	}
	axis_names(d, x, y);
}

void draw_log_axes(draw *d, const char *x, const char *y)
{
	char label[80];
	for (int e = (int)ceil(d->x0); e <= (int)floor(d->x1); e++) {
		snprintf(label, sizeof label, "%g", pow(10, e));
		mark_x(d, e, label);
	}
	for (int e = (int)ceil(d->y0); e <= (int)floor(d->y1); e++) {
		snprintf(label, sizeof label, "10<tspan dy=-5 font-size=9>%d</tspan>", e);
		mark_y(d, e, label);
	}
	axis_names(d, x, y);
}

void draw_level(draw *d, double y, const char *name)
{
	if (y < d->y0 || y > d->y1)
		return;
	draw_text(d, "<line class=level x1=%d x2=%d y1=%.1f y2=%.1f />", LEFT, WIDTH - RIGHT,
	          py(d, y), py(d, y));
	draw_text(d, "<text class=faint x=%d y=%.1f text-anchor=end>%s</text>\n",
	          WIDTH - RIGHT - 4, py(d, y) - 4, name);
}

void draw_dot(draw *d, double x, double y, const char *class, const char *text)
{
	draw_text(d, "<circle class=%s cx=%.1f cy=%.1f r=3><title>", class, px(d, x), py(d, y));
	draw_escaped(d, text);
	draw_text(d, "</title></circle>\n");
}

void draw_tick(draw *d, double x, const char *class, const char *text)
{
	draw_text(d, "<line class=%s x1=%.1f x2=%.1f y1=%d y2=%d><title>", class, px(d, x),
	          px(d, x), HEIGHT - BOTTOM, HEIGHT - BOTTOM - 7);
	draw_escaped(d, text);
	draw_text(d, "</title></line>\n");
}

void draw_line(draw *d, double xa, double ya, double xb, double yb, const char *class)
{
	draw_text(d, "<line class=%s x1=%.1f y1=%.1f x2=%.1f y2=%.1f />\n", class, px(d, xa),
	          py(d, ya), px(d, xb), py(d, yb));
}

void draw_end(draw *d)
{
	draw_text(d, "</svg>\n");
}

/* -- grids -------------------------------------------------------------------------------- */

void draw_grid_begin(draw *d, const char *name, const char *x, const char *y, unsigned nx,
                     unsigned ny)
{
	d->cell_w = fmin(84, (double)(WIDTH - LEFT - RIGHT) / nx);
	d->cell_h = 34;
	d->grid_bottom = TOP + d->cell_h * ny;
	open_svg(d, name, TOP + BOTTOM + d->cell_h * ny);
	draw_text(d, "<text class=faint x=%d y=%.1f>%s</text>\n", LEFT,
	          TOP + d->cell_h * ny + 34, x);
	draw_text(d, "<text class=faint x=4 y=18>%s</text>\n", y);
}

void draw_grid_label(draw *d, unsigned i, const char *text, bool column)
{
	if (column)
		draw_text(d, "<text x=%.1f y=%.1f text-anchor=middle>",
		          LEFT + (i + 0.5) * d->cell_w, d->grid_bottom + 16);
	else
		draw_text(d, "<text x=%d y=%.1f text-anchor=end>", LEFT - 6,
		          TOP + (i + 0.5) * d->cell_h + 4);
	draw_escaped(d, text);
	draw_text(d, "</text>\n");
}

void draw_cell(draw *d, unsigned x, unsigned y, double value, double best, double worst)
{
	double left = LEFT + x * d->cell_w, top = TOP + y * d->cell_h;
	if (isnan(value)) {
		draw_text(d, "<rect class=none x=%.1f y=%.1f width=%.1f height=%.1f />\n",
		          left + 1, top + 1, d->cell_w - 2, d->cell_h - 2);
		return;
	}
	double share = worst > best ? 1 - (value - best) / (worst - best) : 1;
	draw_text(d,
	          "<rect x=%.1f y=%.1f width=%.1f height=%.1f "
	          "style=\"fill:rgba(var(--heat),%.2f)\" />",
	          left + 1, top + 1, d->cell_w - 2, d->cell_h - 2,
	          0.06 + 0.84 * fmax(0, fmin(1, share)));
	draw_text(d, "<text x=%.1f y=%.1f text-anchor=middle>%.2f</text>\n",
	          left + d->cell_w / 2, top + d->cell_h / 2 + 4, value);
}
