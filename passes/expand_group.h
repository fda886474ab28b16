/* SPDX-License-Identifier: Apache-2.0 */
/* expand_group.h -- transcode into groups of tokens that share scales, and what that asks of
 * the source. */
#ifndef KVJIT_PASSES_EXPAND_GROUP_H
#define KVJIT_PASSES_EXPAND_GROUP_H

#include "expand_write.h"

/* write_op.put_group of a transcode. */
void transcode_group(const write_op *w, kir_ref t, kir_ref slot);
/* Whether the values of a group fit where they are held together; else a message. */
bool group_fits(const write_side *s, kir_diag *why);

/* What head h of token t stands for: f32<1 x D>. */
kir_ref transcode_row(const write_op *w, const write_side *s, kir_ref t, kir_ref h);
/* The same of WRITE_RUN tokens whose slots follow each other: f32<RUN x D>. */
kir_ref transcode_run(const write_op *w, const write_side *s, kir_ref t, kir_ref h);
/* The scales of head h of token t's group as they are. */
void transcode_scales(const write_op *w, const write_side *s, kir_ref t, kir_ref h,
                      const write_place *to);

#endif
