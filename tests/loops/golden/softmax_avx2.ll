!0 = !{}
declare <16 x float> @llvm.fmuladd.v16f32(<16 x float>, <16 x float>, <16 x float>)
declare i64 @llvm.smin.i64(i64, i64)
define void @kernel(ptr %args, i64 %begin, i64 %end, ptr %scratch, i64 %direction) #0 {
entry:
  %acc19 = alloca <8 x float>, align 64
  %acc18 = alloca <8 x float>, align 64
  %acc17 = alloca <8 x float>, align 64
  %acc16 = alloca <8 x float>, align 64
  %acc15 = alloca <16 x float>, align 64
  %acc14 = alloca <16 x float>, align 64
  %acc13 = alloca <16 x float>, align 64
  %acc12 = alloca <16 x float>, align 64
  %t1 = load ptr, ptr %args, align 8
  %p2 = getelementptr i8, ptr %args, i64 8
  %t3 = load ptr, ptr %p2, align 8
  br label %pre8
pre8:
  br label %head5
head5:
  %i4 = phi i64 [ 0, %pre8 ], [ %n10, %latch9 ]
  %t11 = icmp slt i64 %i4, 12
  br i1 %t11, label %body6, label %done7
body6:
  store <16 x float> splat (float 0x0000000000000000), ptr %acc12, align 4
  store <16 x float> splat (float 0x0000000000000000), ptr %acc13, align 4
  store <16 x float> splat (float 0x0000000000000000), ptr %acc14, align 4
  store <16 x float> splat (float 0x0000000000000000), ptr %acc15, align 4
  store <8 x float> splat (float 0xFFF0000000000000), ptr %acc16, align 4
  store <8 x float> splat (float 0xFFF0000000000000), ptr %acc17, align 4
  store <8 x float> splat (float 0xFFF0000000000000), ptr %acc18, align 4
  store <8 x float> splat (float 0xFFF0000000000000), ptr %acc19, align 4
  br label %pre24
pre24:
  br label %head21
head21:
  %i20 = phi i64 [ 0, %pre24 ], [ %n26, %latch25 ]
  %t27 = icmp slt i64 %i20, 64
  br i1 %t27, label %body22, label %done23
body22:
  %t28 = load <8 x float>, ptr %acc16, align 4
  %t29 = mul nsw i64 %i4, 77
  %t30 = add nsw i64 %t29, %i20
  %p31 = getelementptr inbounds float, ptr %t1, i64 %t30
  %t32 = load <8 x float>, ptr %p31, align 4, !invariant.load !0
  %t33 = fcmp uno <8 x float> %t28, splat (float 0x0000000000000000)
  %t34 = fcmp ogt <8 x float> %t28, %t32
  %t35 = select <8 x i1> %t34, <8 x float> %t28, <8 x float> %t32
  %t36 = select <8 x i1> %t33, <8 x float> %t28, <8 x float> %t35
  store <8 x float> %t36, ptr %acc16, align 4
  %t37 = add nsw i64 %i20, 8
  %t38 = load <8 x float>, ptr %acc17, align 4
  %t39 = mul nsw i64 %i4, 77
  %t40 = add nsw i64 %t39, %t37
  %p41 = getelementptr inbounds float, ptr %t1, i64 %t40
  %t42 = load <8 x float>, ptr %p41, align 4, !invariant.load !0
  %t43 = fcmp uno <8 x float> %t38, splat (float 0x0000000000000000)
  %t44 = fcmp ogt <8 x float> %t38, %t42
  %t45 = select <8 x i1> %t44, <8 x float> %t38, <8 x float> %t42
  %t46 = select <8 x i1> %t43, <8 x float> %t38, <8 x float> %t45
  store <8 x float> %t46, ptr %acc17, align 4
  %t47 = add nsw i64 %i20, 16
  %t48 = load <8 x float>, ptr %acc18, align 4
  %t49 = mul nsw i64 %i4, 77
  %t50 = add nsw i64 %t49, %t47
  %p51 = getelementptr inbounds float, ptr %t1, i64 %t50
  %t52 = load <8 x float>, ptr %p51, align 4, !invariant.load !0
  %t53 = fcmp uno <8 x float> %t48, splat (float 0x0000000000000000)
  %t54 = fcmp ogt <8 x float> %t48, %t52
  %t55 = select <8 x i1> %t54, <8 x float> %t48, <8 x float> %t52
  %t56 = select <8 x i1> %t53, <8 x float> %t48, <8 x float> %t55
  store <8 x float> %t56, ptr %acc18, align 4
  %t57 = add nsw i64 %i20, 24
  %t58 = load <8 x float>, ptr %acc19, align 4
  %t59 = mul nsw i64 %i4, 77
  %t60 = add nsw i64 %t59, %t57
  %p61 = getelementptr inbounds float, ptr %t1, i64 %t60
  %t62 = load <8 x float>, ptr %p61, align 4, !invariant.load !0
  %t63 = fcmp uno <8 x float> %t58, splat (float 0x0000000000000000)
  %t64 = fcmp ogt <8 x float> %t58, %t62
  %t65 = select <8 x i1> %t64, <8 x float> %t58, <8 x float> %t62
  %t66 = select <8 x i1> %t63, <8 x float> %t58, <8 x float> %t65
  store <8 x float> %t66, ptr %acc19, align 4
  br label %latch25
latch25:
  %n26 = add nsw i64 %i20, 32
  br label %head21
done23:
  %t67 = load <8 x float>, ptr %acc16, align 4
  %t68 = mul nsw i64 %i4, 77
  %t69 = add nsw i64 %t68, 64
  %p70 = getelementptr inbounds float, ptr %t1, i64 %t69
  %t71 = load <8 x float>, ptr %p70, align 4, !invariant.load !0
  %t72 = fcmp uno <8 x float> %t67, splat (float 0x0000000000000000)
  %t73 = fcmp ogt <8 x float> %t67, %t71
  %t74 = select <8 x i1> %t73, <8 x float> %t67, <8 x float> %t71
  %t75 = select <8 x i1> %t72, <8 x float> %t67, <8 x float> %t74
  store <8 x float> %t75, ptr %acc16, align 4
  %t76 = load <8 x float>, ptr %acc16, align 4
  %t77 = mul nsw i64 %i4, 77
  %t78 = add nsw i64 %t77, 69
  %p79 = getelementptr inbounds float, ptr %t1, i64 %t78
  %t80 = load <8 x float>, ptr %p79, align 4, !invariant.load !0
  %t81 = select <8 x i1> <i1 false, i1 false, i1 false, i1 true, i1 true, i1 true, i1 true, i1 true>, <8 x float> %t80, <8 x float> splat (float 0xFFF0000000000000)
  %t82 = fcmp uno <8 x float> %t76, splat (float 0x0000000000000000)
  %t83 = fcmp ogt <8 x float> %t76, %t81
  %t84 = select <8 x i1> %t83, <8 x float> %t76, <8 x float> %t81
  %t85 = select <8 x i1> %t82, <8 x float> %t76, <8 x float> %t84
  store <8 x float> %t85, ptr %acc16, align 4
  %t86 = load <8 x float>, ptr %acc16, align 4
  %t87 = load <8 x float>, ptr %acc17, align 4
  %t88 = load <8 x float>, ptr %acc18, align 4
  %t89 = load <8 x float>, ptr %acc19, align 4
  %t90 = fcmp uno <8 x float> %t86, splat (float 0x0000000000000000)
  %t91 = fcmp ogt <8 x float> %t86, %t87
  %t92 = select <8 x i1> %t91, <8 x float> %t86, <8 x float> %t87
  %t93 = select <8 x i1> %t90, <8 x float> %t86, <8 x float> %t92
  %t94 = fcmp uno <8 x float> %t88, splat (float 0x0000000000000000)
  %t95 = fcmp ogt <8 x float> %t88, %t89
  %t96 = select <8 x i1> %t95, <8 x float> %t88, <8 x float> %t89
  %t97 = select <8 x i1> %t94, <8 x float> %t88, <8 x float> %t96
  %t98 = fcmp uno <8 x float> %t93, splat (float 0x0000000000000000)
  %t99 = fcmp ogt <8 x float> %t93, %t97
  %t100 = select <8 x i1> %t99, <8 x float> %t93, <8 x float> %t97
  %t101 = select <8 x i1> %t98, <8 x float> %t93, <8 x float> %t100
  %t102 = shufflevector <8 x float> %t101, <8 x float> poison, <4 x i32> <i32 0, i32 1, i32 2, i32 3>
  %t103 = shufflevector <8 x float> %t101, <8 x float> poison, <4 x i32> <i32 4, i32 5, i32 6, i32 7>
  %t104 = fcmp uno <4 x float> %t102, splat (float 0x0000000000000000)
  %t105 = fcmp ogt <4 x float> %t102, %t103
  %t106 = select <4 x i1> %t105, <4 x float> %t102, <4 x float> %t103
  %t107 = select <4 x i1> %t104, <4 x float> %t102, <4 x float> %t106
  %t108 = shufflevector <4 x float> %t107, <4 x float> poison, <2 x i32> <i32 0, i32 1>
  %t109 = shufflevector <4 x float> %t107, <4 x float> poison, <2 x i32> <i32 2, i32 3>
  %t110 = fcmp uno <2 x float> %t108, splat (float 0x0000000000000000)
  %t111 = fcmp ogt <2 x float> %t108, %t109
  %t112 = select <2 x i1> %t111, <2 x float> %t108, <2 x float> %t109
  %t113 = select <2 x i1> %t110, <2 x float> %t108, <2 x float> %t112
  %t114 = extractelement <2 x float> %t113, i64 0
  %t115 = extractelement <2 x float> %t113, i64 1
  %t116 = fcmp uno float %t114, 0x0000000000000000
  %t117 = fcmp ogt float %t114, %t115
  %t118 = select i1 %t117, float %t114, float %t115
  %t119 = select i1 %t116, float %t114, float %t118
  br label %pre124
pre124:
  br label %head121
head121:
  %i120 = phi i64 [ 0, %pre124 ], [ %n126, %latch125 ]
  %t127 = icmp slt i64 %i120, 64
  br i1 %t127, label %body122, label %done123
body122:
  %t128 = load <16 x float>, ptr %acc12, align 4
  %t129 = mul nsw i64 %i4, 77
  %t130 = add nsw i64 %t129, %i120
  %p131 = getelementptr inbounds float, ptr %t1, i64 %t130
  %t132 = load <16 x float>, ptr %p131, align 4, !invariant.load !0
  %t133 = insertelement <16 x float> poison, float %t119, i64 0
  %t134 = shufflevector <16 x float> %t133, <16 x float> poison, <16 x i32> zeroinitializer
  %t135 = fsub <16 x float> %t132, %t134
  %t136 = fcmp olt <16 x float> splat (float 0x4056400000000000), %t135
  %t137 = select <16 x i1> %t136, <16 x float> splat (float 0x4056400000000000), <16 x float> %t135
  %t138 = fcmp ogt <16 x float> splat (float 0xC05A400000000000), %t137
  %t139 = select <16 x i1> %t138, <16 x float> splat (float 0xC05A400000000000), <16 x float> %t137
  %t140 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> %t139, <16 x float> splat (float 0x3FF7154760000000), <16 x float> splat (float 0x4167FFFFE0000000))
  %t141 = fsub <16 x float> %t140, splat (float 0x4167FFFFE0000000)
  %t142 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> %t141, <16 x float> splat (float 0xBFE6300000000000), <16 x float> %t139)
  %t143 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> %t141, <16 x float> splat (float 0x3F2BD01060000000), <16 x float> %t142)
  %t144 = bitcast <16 x float> %t139 to <16 x i32>
  %t145 = ashr <16 x i32> %t144, splat (i32 31)
  %t146 = and <16 x i32> %t145, splat (i32 545259520)
  %t147 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> splat (float 0x3F56D1B1C0000000), <16 x float> %t143, <16 x float> splat (float 0x3F81215820000000))
  %t148 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> %t147, <16 x float> %t143, <16 x float> splat (float 0x3FA5555140000000))
  %t149 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> %t148, <16 x float> %t143, <16 x float> splat (float 0x3FC5554D40000000))
  %t150 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> %t149, <16 x float> %t143, <16 x float> splat (float 0x3FE0000000000000))
  %t151 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> %t150, <16 x float> %t143, <16 x float> splat (float 0x3FF0000000000000))
  %t152 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> %t151, <16 x float> %t143, <16 x float> splat (float 0x3FF0000000000000))
  %t153 = bitcast <16 x float> %t152 to <16 x i32>
  %t154 = bitcast <16 x float> %t140 to <16 x i32>
  %t155 = shl <16 x i32> %t154, splat (i32 23)
  %t156 = add <16 x i32> %t153, %t155
  %t157 = sub <16 x i32> splat (i32 1073741824), %t146
  %t158 = bitcast <16 x i32> %t157 to <16 x float>
  %t159 = add <16 x i32> %t156, %t146
  %t160 = bitcast <16 x i32> %t159 to <16 x float>
  %t161 = fmul <16 x float> %t160, %t158
  %t162 = fadd <16 x float> %t128, %t161
  store <16 x float> %t162, ptr %acc12, align 4
  %p163 = getelementptr inbounds float, ptr %scratch, i64 %i120
  store <16 x float> %t161, ptr %p163, align 4
  br label %latch125
latch125:
  %n126 = add nsw i64 %i120, 16
  br label %head121
done123:
  %t164 = load <16 x float>, ptr %acc12, align 4
  %t165 = mul nsw i64 %i4, 77
  %t166 = add nsw i64 %t165, 61
  %p167 = getelementptr inbounds float, ptr %t1, i64 %t166
  %t168 = load <16 x float>, ptr %p167, align 4, !invariant.load !0
  %t169 = insertelement <16 x float> poison, float %t119, i64 0
  %t170 = shufflevector <16 x float> %t169, <16 x float> poison, <16 x i32> zeroinitializer
  %t171 = fsub <16 x float> %t168, %t170
  %t172 = fcmp olt <16 x float> splat (float 0x4056400000000000), %t171
  %t173 = select <16 x i1> %t172, <16 x float> splat (float 0x4056400000000000), <16 x float> %t171
  %t174 = fcmp ogt <16 x float> splat (float 0xC05A400000000000), %t173
  %t175 = select <16 x i1> %t174, <16 x float> splat (float 0xC05A400000000000), <16 x float> %t173
  %t176 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> %t175, <16 x float> splat (float 0x3FF7154760000000), <16 x float> splat (float 0x4167FFFFE0000000))
  %t177 = fsub <16 x float> %t176, splat (float 0x4167FFFFE0000000)
  %t178 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> %t177, <16 x float> splat (float 0xBFE6300000000000), <16 x float> %t175)
  %t179 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> %t177, <16 x float> splat (float 0x3F2BD01060000000), <16 x float> %t178)
  %t180 = bitcast <16 x float> %t175 to <16 x i32>
  %t181 = ashr <16 x i32> %t180, splat (i32 31)
  %t182 = and <16 x i32> %t181, splat (i32 545259520)
  %t183 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> splat (float 0x3F56D1B1C0000000), <16 x float> %t179, <16 x float> splat (float 0x3F81215820000000))
  %t184 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> %t183, <16 x float> %t179, <16 x float> splat (float 0x3FA5555140000000))
  %t185 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> %t184, <16 x float> %t179, <16 x float> splat (float 0x3FC5554D40000000))
  %t186 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> %t185, <16 x float> %t179, <16 x float> splat (float 0x3FE0000000000000))
  %t187 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> %t186, <16 x float> %t179, <16 x float> splat (float 0x3FF0000000000000))
  %t188 = call  <16 x float> @llvm.fmuladd.v16f32(<16 x float> %t187, <16 x float> %t179, <16 x float> splat (float 0x3FF0000000000000))
  %t189 = bitcast <16 x float> %t188 to <16 x i32>
  %t190 = bitcast <16 x float> %t176 to <16 x i32>
  %t191 = shl <16 x i32> %t190, splat (i32 23)
  %t192 = add <16 x i32> %t189, %t191
  %t193 = sub <16 x i32> splat (i32 1073741824), %t182
  %t194 = bitcast <16 x i32> %t193 to <16 x float>
  %t195 = add <16 x i32> %t192, %t182
  %t196 = bitcast <16 x i32> %t195 to <16 x float>
  %t197 = fmul <16 x float> %t196, %t194
  %t198 = select <16 x i1> <i1 false, i1 false, i1 false, i1 true, i1 true, i1 true, i1 true, i1 true, i1 true, i1 true, i1 true, i1 true, i1 true, i1 true, i1 true, i1 true>, <16 x float> %t197, <16 x float> splat (float 0x0000000000000000)
  %t199 = fadd <16 x float> %t164, %t198
  store <16 x float> %t199, ptr %acc12, align 4
  %p200 = getelementptr inbounds float, ptr %scratch, i64 61
  store <16 x float> %t197, ptr %p200, align 4
  %t201 = load <16 x float>, ptr %acc12, align 4
  %t202 = shufflevector <16 x float> %t201, <16 x float> poison, <8 x i32> <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7>
  %t203 = shufflevector <16 x float> %t201, <16 x float> poison, <8 x i32> <i32 8, i32 9, i32 10, i32 11, i32 12, i32 13, i32 14, i32 15>
  %t204 = fadd <8 x float> %t202, %t203
  %t205 = shufflevector <8 x float> %t204, <8 x float> poison, <4 x i32> <i32 0, i32 1, i32 2, i32 3>
  %t206 = shufflevector <8 x float> %t204, <8 x float> poison, <4 x i32> <i32 4, i32 5, i32 6, i32 7>
  %t207 = fadd <4 x float> %t205, %t206
  %t208 = shufflevector <4 x float> %t207, <4 x float> poison, <2 x i32> <i32 0, i32 1>
  %t209 = shufflevector <4 x float> %t207, <4 x float> poison, <2 x i32> <i32 2, i32 3>
  %t210 = fadd <2 x float> %t208, %t209
  %t211 = extractelement <2 x float> %t210, i64 0
  %t212 = extractelement <2 x float> %t210, i64 1
  %t213 = fadd float %t211, %t212
  br label %pre218
pre218:
  br label %head215
head215:
  %i214 = phi i64 [ 0, %pre218 ], [ %n220, %latch219 ]
  %t221 = icmp slt i64 %i214, 10
  br i1 %t221, label %body216, label %done217
body216:
  %t222 = mul nsw i64 %i214, 8
  %t223 = call  i64 @llvm.smin.i64(i64 %t222, i64 69)
  %t224 = fdiv float 0x3FF0000000000000, %t213
  %t225 = insertelement <8 x float> poison, float %t224, i64 0
  %t226 = shufflevector <8 x float> %t225, <8 x float> poison, <8 x i32> zeroinitializer
  %p227 = getelementptr inbounds float, ptr %scratch, i64 %t223
  %t228 = load <8 x float>, ptr %p227, align 4
  %t229 = fmul <8 x float> %t228, %t226
  %t230 = mul nsw i64 %i4, 77
  %t231 = add nsw i64 %t230, %t223
  %p232 = getelementptr inbounds float, ptr %t3, i64 %t231
  store <8 x float> %t229, ptr %p232, align 4
  br label %latch219
latch219:
  %n220 = add nsw i64 %i214, 1
  br label %head215
done217:
  br label %latch9
latch9:
  %n10 = add nsw i64 %i4, 1
  br label %head5
done7:
  ret void
}
attributes #0 = { nounwind "prefer-vector-width"="256" "frame-pointer"="none" "min-legal-vector-width"="256" "no-trapping-math"="true" "no-builtins" "target-cpu"="x86-64-v3" }
