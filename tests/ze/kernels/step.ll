; SPDX-License-Identifier: Apache-2.0
; x[i] = x[i] * factor + term, one work-item each: steps of it don't commute, so their order shows.
target triple = "spirv64-unknown-unknown"
define spir_kernel void @step(ptr addrspace(1) %x, i32 %factor, i32 %term) {
  %i = call spir_func i64 @_Z13get_global_idj(i32 0)
  %p = getelementptr i32, ptr addrspace(1) %x, i64 %i
  %old = load i32, ptr addrspace(1) %p
  %scaled = mul i32 %old, %factor
  %new = add i32 %scaled, %term
  store i32 %new, ptr addrspace(1) %p
  ret void
}
declare spir_func i64 @_Z13get_global_idj(i32)
