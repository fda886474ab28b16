; SPDX-License-Identifier: Apache-2.0
; As gemm.ll, in the newer spelling: instructions of two SPIR-V extensions.
; llc: --spirv-ext=+SPV_INTEL_subgroup_matrix_multiply_accumulate,+SPV_INTEL_2d_block_io
target triple = "spirv64-unknown-unknown"
define spir_kernel void @gemm(ptr addrspace(1) %A, ptr addrspace(1) %B, ptr addrspace(1) %C,
                              i32 %offset, i32 %width, i32 %pitch) !intel_reqd_sub_group_size !0 {
entry:
  %va = alloca <8 x i16>
  %vb = alloca <8 x i32>
  %Ai = getelementptr i8, ptr addrspace(1) %A, i32 %offset
  %lid = call spir_func i64 @_Z12get_local_idj(i32 0)
  br label %loop
loop:
  %k = phi i32 [0, %entry], [%kn, %loop]
  %acc = phi <8 x float> [zeroinitializer, %entry], [%r, %loop]
  %ca = insertelement <2 x i32> zeroinitializer, i32 %k, i32 0
  %cb = insertelement <2 x i32> zeroinitializer, i32 %k, i32 1
  call spir_func void @_Z32__spirv_Subgroup2DBlockLoadINTELiiiiPU3AS1KviiiDv2_iPv(i32 2, i32 16, i32 8, i32 1, ptr addrspace(1) %Ai, i32 %width, i32 8, i32 %pitch, <2 x i32> %ca, ptr %va)
  call spir_func void @_Z41__spirv_Subgroup2DBlockLoadTransformINTELiiiiPU3AS1KviiiDv2_iPv(i32 2, i32 16, i32 16, i32 1, ptr addrspace(1) %B, i32 64, i32 64, i32 64, <2 x i32> %cb, ptr %vb)
  %a = load <8 x i16>, ptr %va
  %b = load <8 x i32>, ptr %vb
  %r = call spir_func <8 x float> @_Z45__spirv_SubgroupMatrixMultiplyAccumulateINTELiDv8_sDv8_iDv8_fi(i32 16, <8 x i16> %a, <8 x i32> %b, <8 x float> %acc, i32 3072)
  %kn = add i32 %k, 16
  %more = icmp slt i32 %kn, 64
  br i1 %more, label %loop, label %store
store:
  %m = phi i64 [0, %loop], [%mn, %store]
  %m32 = trunc i64 %m to i32
  %v = extractelement <8 x float> %r, i32 %m32
  %row = mul i64 %m, 16
  %ix = add i64 %row, %lid
  %p = getelementptr float, ptr addrspace(1) %C, i64 %ix
  store float %v, ptr addrspace(1) %p
  %mn = add i64 %m, 1
  %again = icmp ult i64 %mn, 8
  br i1 %again, label %store, label %done
done:
  ret void
}
declare spir_func i64 @_Z12get_local_idj(i32)
declare spir_func void @_Z32__spirv_Subgroup2DBlockLoadINTELiiiiPU3AS1KviiiDv2_iPv(i32, i32, i32, i32, ptr addrspace(1), i32, i32, i32, <2 x i32>, ptr)
declare spir_func void @_Z41__spirv_Subgroup2DBlockLoadTransformINTELiiiiPU3AS1KviiiDv2_iPv(i32, i32, i32, i32, ptr addrspace(1), i32, i32, i32, <2 x i32>, ptr)
declare spir_func <8 x float> @_Z45__spirv_SubgroupMatrixMultiplyAccumulateINTELiDv8_sDv8_iDv8_fi(i32, <8 x i16>, <8 x i32>, <8 x float>, i32)
!0 = !{i32 16}
