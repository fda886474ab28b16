; SPDX-License-Identifier: Apache-2.0
; Calls what nobody defines: the module doesn't build.
target triple = "spirv64-unknown-unknown"
define spir_kernel void @unknown(ptr addrspace(1) %x) {
  %v = call spir_func i32 @kvjit_nobody_defines_this(i32 1)
  store i32 %v, ptr addrspace(1) %x
  ret void
}
declare spir_func i32 @kvjit_nobody_defines_this(i32)
