/* SPDX-License-Identifier: Apache-2.0 */
/* report_draw.h -- charts of a report as SVG: points, lines and grids in the user's units. */
#ifndef KVJIT_TOOL_REPORT_DRAW_H
#define KVJIT_TOOL_REPORT_DRAW_H

#include "../ir/kir.h"

typedef struct draw {
	kir_text out;
	double x0, x1, y0, y1; /* what the drawing shows */
	double cell_w, cell_h, grid_bottom;
} draw;

void draw_page_begin(draw *d, const char *title);
void draw_page_end(draw *d);
void draw_text(draw *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void draw_escaped(draw *d, const char *text); /* for HTML */

/* A chart over [x0, x1] by [y0, y1]; close with draw_end. Classes: ok, slow, bad, same, best,
 * roof. text is what a pointer shows. */
void draw_begin(draw *d, const char *name, double x0, double x1, double y0, double y1);
void draw_axes(draw *d, const char *x, const char *y);
void draw_log_axes(draw *d, const char *x, const char *y); /* units are log10 */
void draw_level(draw *d, double y, const char *name);
void draw_dot(draw *d, double x, double y, const char *class, const char *text);
void draw_tick(draw *d, double x, const char *class, const char *text); /* at the bottom */
void draw_line(draw *d, double xa, double ya, double xb, double yb, const char *class);
void draw_end(draw *d);

/* A grid of nx by ny cells; close with draw_end. */
void draw_grid_begin(draw *d, const char *name, const char *x, const char *y, unsigned nx,
                     unsigned ny);
void draw_grid_label(draw *d, unsigned i, const char *text, bool column);
/* NAN: nothing known. best has the strongest colour, worst none. */
void draw_cell(draw *d, unsigned x, unsigned y, double value, double best, double worst);

#endif
