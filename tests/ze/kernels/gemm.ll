; SPDX-License-Identifier: Apache-2.0
; C[8x16] f32 = A[8xK] B[Kx16], f16, K = 64, by block loads and matrix products of one sub-group.
; Widths and pitches are parameters, so that a test can break the rules for surfaces.
target triple = "spirv64-unknown-unknown"
define spir_kernel void @gemm(ptr addrspace(1) %A, ptr addrspace(1) %B, ptr addrspace(1) %C,
                              i32 %offset, i32 %width, i32 %pitch) !intel_reqd_sub_group_size !0 {
entry:
  %A0 = ptrtoint ptr addrspace(1) %A to i64
  %off = sext i32 %offset to i64
  %Ai = add i64 %A0, %off
  %Bi = ptrtoint ptr addrspace(1) %B to i64
  %w1 = sub i32 %width, 1
  %p1 = sub i32 %pitch, 1
  %lid = call spir_func i64 @_Z12get_local_idj(i32 0)
  br label %loop
loop:
  %k = phi i32 [0, %entry], [%kn, %loop]
  %acc = phi <8 x float> [zeroinitializer, %entry], [%r, %loop]
  %ca = insertelement <2 x i32> zeroinitializer, i32 %k, i32 0
  %cb = insertelement <2 x i32> zeroinitializer, i32 %k, i32 1
  %va = call spir_func <8 x i16> @__builtin_IB_subgroup_block_read_flat_u16_m8k16v1(i64 %Ai, i32 %w1, i32 7, i32 %p1, <2 x i32> %ca)
  %vb = call spir_func <8 x i32> @__builtin_IB_subgroup_block_read_flat_transform_u16_k16(i64 %Bi, i32 63, i32 63, i32 63, <2 x i32> %cb)
  %r = call spir_func <8 x float> @_Z38intel_sub_group_f16_f16_matrix_mad_k16Dv8_sDv8_iDv8_f(<8 x i16> %va, <8 x i32> %vb, <8 x float> %acc)
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
declare spir_func <8 x i16> @__builtin_IB_subgroup_block_read_flat_u16_m8k16v1(i64, i32, i32, i32, <2 x i32>)
declare spir_func <8 x i32> @__builtin_IB_subgroup_block_read_flat_transform_u16_k16(i64, i32, i32, i32, <2 x i32>)
declare spir_func <8 x float> @_Z38intel_sub_group_f16_f16_matrix_mad_k16Dv8_sDv8_iDv8_f(<8 x i16>, <8 x i32>, <8 x float>)
!0 = !{i32 16}
