; SPDX-License-Identifier: Apache-2.0
; A kernel with the entry of backends/backend.h: x[i] = x[i] * factor + phase + 1, i from the
; iteration, which is a work-group of 16 lanes. Phases don't commute, so their order shows.
target triple = "spirv64-unknown-unknown"
define spir_kernel void @entry(ptr addrspace(1) %x, i32 %factor, i64 %phase, i64 %begin, i64 %end)
    !intel_reqd_sub_group_size !0 {
  %g = call spir_func i64 @_Z12get_group_idj(i32 0)
  %l = call spir_func i64 @_Z12get_local_idj(i32 0)
  %it = add i64 %g, %begin
  %row = mul i64 %it, 16
  %i = add i64 %row, %l
  %p = getelementptr i32, ptr addrspace(1) %x, i64 %i
  %old = load i32, ptr addrspace(1) %p
  %scaled = mul i32 %old, %factor
  %ph = trunc i64 %phase to i32
  %ph1 = add i32 %ph, 1
  %new = add i32 %scaled, %ph1
  store i32 %new, ptr addrspace(1) %p
  ret void
}
declare spir_func i64 @_Z12get_group_idj(i32)
declare spir_func i64 @_Z12get_local_idj(i32)
!0 = !{i32 16}
