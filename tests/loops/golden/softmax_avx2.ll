!0 = !{}
declare <8 x float> @llvm.fmuladd.v8f32(<8 x float>, <8 x float>, <8 x float>)
declare <8 x float> @llvm.roundeven.v8f32(<8 x float>)
declare i64 @llvm.smin.i64(i64, i64)
define void @kernel(ptr %args, i64 %begin, i64 %end, ptr %scratch) #0 {
entry:
  %acc119 = alloca <8 x float>, align 64
  %acc118 = alloca <8 x float>, align 64
  %acc117 = alloca <8 x float>, align 64
  %acc116 = alloca <8 x float>, align 64
  %acc15 = alloca <8 x float>, align 64
  %acc14 = alloca <8 x float>, align 64
  %acc13 = alloca <8 x float>, align 64
  %acc12 = alloca <8 x float>, align 64
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
  store <8 x float> splat (float 0xFFF0000000000000), ptr %acc12, align 4
  store <8 x float> splat (float 0xFFF0000000000000), ptr %acc13, align 4
  store <8 x float> splat (float 0xFFF0000000000000), ptr %acc14, align 4
  store <8 x float> splat (float 0xFFF0000000000000), ptr %acc15, align 4
  br label %pre20
pre20:
  br label %head17
head17:
  %i16 = phi i64 [ 0, %pre20 ], [ %n22, %latch21 ]
  %t23 = icmp slt i64 %i16, 64
  br i1 %t23, label %body18, label %done19
body18:
  %t24 = load <8 x float>, ptr %acc12, align 4
  %t25 = mul nsw i64 %i4, 77
  %t26 = add nsw i64 %t25, %i16
  %p27 = getelementptr inbounds float, ptr %t1, i64 %t26
  %t28 = load <8 x float>, ptr %p27, align 4, !invariant.load !0
  %t29 = fcmp uno <8 x float> %t24, splat (float 0x0000000000000000)
  %t30 = fcmp ogt <8 x float> %t24, %t28
  %t31 = select <8 x i1> %t30, <8 x float> %t24, <8 x float> %t28
  %t32 = select <8 x i1> %t29, <8 x float> %t24, <8 x float> %t31
  store <8 x float> %t32, ptr %acc12, align 4
  %t33 = add nsw i64 %i16, 8
  %t34 = load <8 x float>, ptr %acc13, align 4
  %t35 = mul nsw i64 %i4, 77
  %t36 = add nsw i64 %t35, %t33
  %p37 = getelementptr inbounds float, ptr %t1, i64 %t36
  %t38 = load <8 x float>, ptr %p37, align 4, !invariant.load !0
  %t39 = fcmp uno <8 x float> %t34, splat (float 0x0000000000000000)
  %t40 = fcmp ogt <8 x float> %t34, %t38
  %t41 = select <8 x i1> %t40, <8 x float> %t34, <8 x float> %t38
  %t42 = select <8 x i1> %t39, <8 x float> %t34, <8 x float> %t41
  store <8 x float> %t42, ptr %acc13, align 4
  %t43 = add nsw i64 %i16, 16
  %t44 = load <8 x float>, ptr %acc14, align 4
  %t45 = mul nsw i64 %i4, 77
  %t46 = add nsw i64 %t45, %t43
  %p47 = getelementptr inbounds float, ptr %t1, i64 %t46
  %t48 = load <8 x float>, ptr %p47, align 4, !invariant.load !0
  %t49 = fcmp uno <8 x float> %t44, splat (float 0x0000000000000000)
  %t50 = fcmp ogt <8 x float> %t44, %t48
  %t51 = select <8 x i1> %t50, <8 x float> %t44, <8 x float> %t48
  %t52 = select <8 x i1> %t49, <8 x float> %t44, <8 x float> %t51
  store <8 x float> %t52, ptr %acc14, align 4
  %t53 = add nsw i64 %i16, 24
  %t54 = load <8 x float>, ptr %acc15, align 4
  %t55 = mul nsw i64 %i4, 77
  %t56 = add nsw i64 %t55, %t53
  %p57 = getelementptr inbounds float, ptr %t1, i64 %t56
  %t58 = load <8 x float>, ptr %p57, align 4, !invariant.load !0
  %t59 = fcmp uno <8 x float> %t54, splat (float 0x0000000000000000)
  %t60 = fcmp ogt <8 x float> %t54, %t58
  %t61 = select <8 x i1> %t60, <8 x float> %t54, <8 x float> %t58
  %t62 = select <8 x i1> %t59, <8 x float> %t54, <8 x float> %t61
  store <8 x float> %t62, ptr %acc15, align 4
  br label %latch21
latch21:
  %n22 = add nsw i64 %i16, 32
  br label %head17
done19:
  %t63 = load <8 x float>, ptr %acc12, align 4
  %t64 = mul nsw i64 %i4, 77
  %t65 = add nsw i64 %t64, 64
  %p66 = getelementptr inbounds float, ptr %t1, i64 %t65
  %t67 = load <8 x float>, ptr %p66, align 4, !invariant.load !0
  %t68 = fcmp uno <8 x float> %t63, splat (float 0x0000000000000000)
  %t69 = fcmp ogt <8 x float> %t63, %t67
  %t70 = select <8 x i1> %t69, <8 x float> %t63, <8 x float> %t67
  %t71 = select <8 x i1> %t68, <8 x float> %t63, <8 x float> %t70
  store <8 x float> %t71, ptr %acc12, align 4
  %t72 = load <8 x float>, ptr %acc12, align 4
  %t73 = mul nsw i64 %i4, 77
  %t74 = add nsw i64 %t73, 69
  %p75 = getelementptr inbounds float, ptr %t1, i64 %t74
  %t76 = load <8 x float>, ptr %p75, align 4, !invariant.load !0
  %t77 = select <8 x i1> <i1 false, i1 false, i1 false, i1 true, i1 true, i1 true, i1 true, i1 true>, <8 x float> %t76, <8 x float> splat (float 0xFFF0000000000000)
  %t78 = fcmp uno <8 x float> %t72, splat (float 0x0000000000000000)
  %t79 = fcmp ogt <8 x float> %t72, %t77
  %t80 = select <8 x i1> %t79, <8 x float> %t72, <8 x float> %t77
  %t81 = select <8 x i1> %t78, <8 x float> %t72, <8 x float> %t80
  store <8 x float> %t81, ptr %acc12, align 4
  %t82 = load <8 x float>, ptr %acc12, align 4
  %t83 = load <8 x float>, ptr %acc13, align 4
  %t84 = load <8 x float>, ptr %acc14, align 4
  %t85 = load <8 x float>, ptr %acc15, align 4
  %t86 = fcmp uno <8 x float> %t82, splat (float 0x0000000000000000)
  %t87 = fcmp ogt <8 x float> %t82, %t83
  %t88 = select <8 x i1> %t87, <8 x float> %t82, <8 x float> %t83
  %t89 = select <8 x i1> %t86, <8 x float> %t82, <8 x float> %t88
  %t90 = fcmp uno <8 x float> %t84, splat (float 0x0000000000000000)
  %t91 = fcmp ogt <8 x float> %t84, %t85
  %t92 = select <8 x i1> %t91, <8 x float> %t84, <8 x float> %t85
  %t93 = select <8 x i1> %t90, <8 x float> %t84, <8 x float> %t92
  %t94 = fcmp uno <8 x float> %t89, splat (float 0x0000000000000000)
  %t95 = fcmp ogt <8 x float> %t89, %t93
  %t96 = select <8 x i1> %t95, <8 x float> %t89, <8 x float> %t93
  %t97 = select <8 x i1> %t94, <8 x float> %t89, <8 x float> %t96
  %t98 = shufflevector <8 x float> %t97, <8 x float> poison, <4 x i32> <i32 0, i32 1, i32 2, i32 3>
  %t99 = shufflevector <8 x float> %t97, <8 x float> poison, <4 x i32> <i32 4, i32 5, i32 6, i32 7>
  %t100 = fcmp uno <4 x float> %t98, splat (float 0x0000000000000000)
  %t101 = fcmp ogt <4 x float> %t98, %t99
  %t102 = select <4 x i1> %t101, <4 x float> %t98, <4 x float> %t99
  %t103 = select <4 x i1> %t100, <4 x float> %t98, <4 x float> %t102
  %t104 = shufflevector <4 x float> %t103, <4 x float> poison, <2 x i32> <i32 0, i32 1>
  %t105 = shufflevector <4 x float> %t103, <4 x float> poison, <2 x i32> <i32 2, i32 3>
  %t106 = fcmp uno <2 x float> %t104, splat (float 0x0000000000000000)
  %t107 = fcmp ogt <2 x float> %t104, %t105
  %t108 = select <2 x i1> %t107, <2 x float> %t104, <2 x float> %t105
  %t109 = select <2 x i1> %t106, <2 x float> %t104, <2 x float> %t108
  %t110 = extractelement <2 x float> %t109, i64 0
  %t111 = extractelement <2 x float> %t109, i64 1
  %t112 = fcmp uno float %t110, 0x0000000000000000
  %t113 = fcmp ogt float %t110, %t111
  %t114 = select i1 %t113, float %t110, float %t111
  %t115 = select i1 %t112, float %t110, float %t114
  store <8 x float> splat (float 0x0000000000000000), ptr %acc116, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %acc117, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %acc118, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %acc119, align 4
  br label %pre124
pre124:
  br label %head121
head121:
  %i120 = phi i64 [ 0, %pre124 ], [ %n126, %latch125 ]
  %t127 = icmp slt i64 %i120, 64
  br i1 %t127, label %body122, label %done123
body122:
  %t128 = load <8 x float>, ptr %acc116, align 4
  %t129 = mul nsw i64 %i4, 77
  %t130 = add nsw i64 %t129, %i120
  %p131 = getelementptr inbounds float, ptr %t1, i64 %t130
  %t132 = load <8 x float>, ptr %p131, align 4, !invariant.load !0
  %t133 = insertelement <8 x float> poison, float %t115, i64 0
  %t134 = shufflevector <8 x float> %t133, <8 x float> poison, <8 x i32> zeroinitializer
  %t135 = fsub <8 x float> %t132, %t134
  %t136 = fcmp olt <8 x float> splat (float 0x4056400000000000), %t135
  %t137 = select <8 x i1> %t136, <8 x float> splat (float 0x4056400000000000), <8 x float> %t135
  %t138 = fcmp ogt <8 x float> splat (float 0xC05A400000000000), %t137
  %t139 = select <8 x i1> %t138, <8 x float> splat (float 0xC05A400000000000), <8 x float> %t137
  %t140 = fmul <8 x float> %t139, splat (float 0x3FF7154760000000)
  %t141 = call  <8 x float> @llvm.roundeven.v8f32(<8 x float> %t140)
  %t142 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t141, <8 x float> splat (float 0xBFE6300000000000), <8 x float> %t139)
  %t143 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t141, <8 x float> splat (float 0x3F2BD01060000000), <8 x float> %t142)
  %t144 = fmul <8 x float> %t143, %t143
  %t145 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> splat (float 0x3F56D1B1C0000000), <8 x float> %t143, <8 x float> splat (float 0x3F81215820000000))
  %t146 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t145, <8 x float> %t143, <8 x float> splat (float 0x3FA5555140000000))
  %t147 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t146, <8 x float> %t143, <8 x float> splat (float 0x3FC5554D40000000))
  %t148 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t147, <8 x float> %t143, <8 x float> splat (float 0x3FE0000000000000))
  %t149 = fadd <8 x float> %t143, splat (float 0x3FF0000000000000)
  %t150 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t144, <8 x float> %t148, <8 x float> %t149)
  %t151 = fadd <8 x float> %t141, splat (float 0x4168000000000000)
  %t152 = bitcast <8 x float> %t151 to <8 x i32>
  %t153 = bitcast <8 x float> splat (float 0x4168000000000000) to <8 x i32>
  %t154 = sub <8 x i32> %t152, %t153
  %t155 = ashr <8 x i32> %t154, splat (i32 1)
  %t156 = sub <8 x i32> %t154, %t155
  %t157 = add <8 x i32> %t155, splat (i32 127)
  %t158 = shl <8 x i32> %t157, splat (i32 23)
  %t159 = bitcast <8 x i32> %t158 to <8 x float>
  %t160 = fmul <8 x float> %t150, %t159
  %t161 = add <8 x i32> %t156, splat (i32 127)
  %t162 = shl <8 x i32> %t161, splat (i32 23)
  %t163 = bitcast <8 x i32> %t162 to <8 x float>
  %t164 = fmul <8 x float> %t160, %t163
  %t165 = fadd <8 x float> %t128, %t164
  store <8 x float> %t165, ptr %acc116, align 4
  %t166 = add nsw i64 %i120, 8
  %t167 = load <8 x float>, ptr %acc117, align 4
  %t168 = mul nsw i64 %i4, 77
  %t169 = add nsw i64 %t168, %t166
  %p170 = getelementptr inbounds float, ptr %t1, i64 %t169
  %t171 = load <8 x float>, ptr %p170, align 4, !invariant.load !0
  %t172 = insertelement <8 x float> poison, float %t115, i64 0
  %t173 = shufflevector <8 x float> %t172, <8 x float> poison, <8 x i32> zeroinitializer
  %t174 = fsub <8 x float> %t171, %t173
  %t175 = fcmp olt <8 x float> splat (float 0x4056400000000000), %t174
  %t176 = select <8 x i1> %t175, <8 x float> splat (float 0x4056400000000000), <8 x float> %t174
  %t177 = fcmp ogt <8 x float> splat (float 0xC05A400000000000), %t176
  %t178 = select <8 x i1> %t177, <8 x float> splat (float 0xC05A400000000000), <8 x float> %t176
  %t179 = fmul <8 x float> %t178, splat (float 0x3FF7154760000000)
  %t180 = call  <8 x float> @llvm.roundeven.v8f32(<8 x float> %t179)
  %t181 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t180, <8 x float> splat (float 0xBFE6300000000000), <8 x float> %t178)
  %t182 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t180, <8 x float> splat (float 0x3F2BD01060000000), <8 x float> %t181)
  %t183 = fmul <8 x float> %t182, %t182
  %t184 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> splat (float 0x3F56D1B1C0000000), <8 x float> %t182, <8 x float> splat (float 0x3F81215820000000))
  %t185 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t184, <8 x float> %t182, <8 x float> splat (float 0x3FA5555140000000))
  %t186 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t185, <8 x float> %t182, <8 x float> splat (float 0x3FC5554D40000000))
  %t187 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t186, <8 x float> %t182, <8 x float> splat (float 0x3FE0000000000000))
  %t188 = fadd <8 x float> %t182, splat (float 0x3FF0000000000000)
  %t189 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t183, <8 x float> %t187, <8 x float> %t188)
  %t190 = fadd <8 x float> %t180, splat (float 0x4168000000000000)
  %t191 = bitcast <8 x float> %t190 to <8 x i32>
  %t192 = bitcast <8 x float> splat (float 0x4168000000000000) to <8 x i32>
  %t193 = sub <8 x i32> %t191, %t192
  %t194 = ashr <8 x i32> %t193, splat (i32 1)
  %t195 = sub <8 x i32> %t193, %t194
  %t196 = add <8 x i32> %t194, splat (i32 127)
  %t197 = shl <8 x i32> %t196, splat (i32 23)
  %t198 = bitcast <8 x i32> %t197 to <8 x float>
  %t199 = fmul <8 x float> %t189, %t198
  %t200 = add <8 x i32> %t195, splat (i32 127)
  %t201 = shl <8 x i32> %t200, splat (i32 23)
  %t202 = bitcast <8 x i32> %t201 to <8 x float>
  %t203 = fmul <8 x float> %t199, %t202
  %t204 = fadd <8 x float> %t167, %t203
  store <8 x float> %t204, ptr %acc117, align 4
  %t205 = add nsw i64 %i120, 16
  %t206 = load <8 x float>, ptr %acc118, align 4
  %t207 = mul nsw i64 %i4, 77
  %t208 = add nsw i64 %t207, %t205
  %p209 = getelementptr inbounds float, ptr %t1, i64 %t208
  %t210 = load <8 x float>, ptr %p209, align 4, !invariant.load !0
  %t211 = insertelement <8 x float> poison, float %t115, i64 0
  %t212 = shufflevector <8 x float> %t211, <8 x float> poison, <8 x i32> zeroinitializer
  %t213 = fsub <8 x float> %t210, %t212
  %t214 = fcmp olt <8 x float> splat (float 0x4056400000000000), %t213
  %t215 = select <8 x i1> %t214, <8 x float> splat (float 0x4056400000000000), <8 x float> %t213
  %t216 = fcmp ogt <8 x float> splat (float 0xC05A400000000000), %t215
  %t217 = select <8 x i1> %t216, <8 x float> splat (float 0xC05A400000000000), <8 x float> %t215
  %t218 = fmul <8 x float> %t217, splat (float 0x3FF7154760000000)
  %t219 = call  <8 x float> @llvm.roundeven.v8f32(<8 x float> %t218)
  %t220 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t219, <8 x float> splat (float 0xBFE6300000000000), <8 x float> %t217)
  %t221 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t219, <8 x float> splat (float 0x3F2BD01060000000), <8 x float> %t220)
  %t222 = fmul <8 x float> %t221, %t221
  %t223 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> splat (float 0x3F56D1B1C0000000), <8 x float> %t221, <8 x float> splat (float 0x3F81215820000000))
  %t224 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t223, <8 x float> %t221, <8 x float> splat (float 0x3FA5555140000000))
  %t225 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t224, <8 x float> %t221, <8 x float> splat (float 0x3FC5554D40000000))
  %t226 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t225, <8 x float> %t221, <8 x float> splat (float 0x3FE0000000000000))
  %t227 = fadd <8 x float> %t221, splat (float 0x3FF0000000000000)
  %t228 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t222, <8 x float> %t226, <8 x float> %t227)
  %t229 = fadd <8 x float> %t219, splat (float 0x4168000000000000)
  %t230 = bitcast <8 x float> %t229 to <8 x i32>
  %t231 = bitcast <8 x float> splat (float 0x4168000000000000) to <8 x i32>
  %t232 = sub <8 x i32> %t230, %t231
  %t233 = ashr <8 x i32> %t232, splat (i32 1)
  %t234 = sub <8 x i32> %t232, %t233
  %t235 = add <8 x i32> %t233, splat (i32 127)
  %t236 = shl <8 x i32> %t235, splat (i32 23)
  %t237 = bitcast <8 x i32> %t236 to <8 x float>
  %t238 = fmul <8 x float> %t228, %t237
  %t239 = add <8 x i32> %t234, splat (i32 127)
  %t240 = shl <8 x i32> %t239, splat (i32 23)
  %t241 = bitcast <8 x i32> %t240 to <8 x float>
  %t242 = fmul <8 x float> %t238, %t241
  %t243 = fadd <8 x float> %t206, %t242
  store <8 x float> %t243, ptr %acc118, align 4
  %t244 = add nsw i64 %i120, 24
  %t245 = load <8 x float>, ptr %acc119, align 4
  %t246 = mul nsw i64 %i4, 77
  %t247 = add nsw i64 %t246, %t244
  %p248 = getelementptr inbounds float, ptr %t1, i64 %t247
  %t249 = load <8 x float>, ptr %p248, align 4, !invariant.load !0
  %t250 = insertelement <8 x float> poison, float %t115, i64 0
  %t251 = shufflevector <8 x float> %t250, <8 x float> poison, <8 x i32> zeroinitializer
  %t252 = fsub <8 x float> %t249, %t251
  %t253 = fcmp olt <8 x float> splat (float 0x4056400000000000), %t252
  %t254 = select <8 x i1> %t253, <8 x float> splat (float 0x4056400000000000), <8 x float> %t252
  %t255 = fcmp ogt <8 x float> splat (float 0xC05A400000000000), %t254
  %t256 = select <8 x i1> %t255, <8 x float> splat (float 0xC05A400000000000), <8 x float> %t254
  %t257 = fmul <8 x float> %t256, splat (float 0x3FF7154760000000)
  %t258 = call  <8 x float> @llvm.roundeven.v8f32(<8 x float> %t257)
  %t259 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t258, <8 x float> splat (float 0xBFE6300000000000), <8 x float> %t256)
  %t260 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t258, <8 x float> splat (float 0x3F2BD01060000000), <8 x float> %t259)
  %t261 = fmul <8 x float> %t260, %t260
  %t262 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> splat (float 0x3F56D1B1C0000000), <8 x float> %t260, <8 x float> splat (float 0x3F81215820000000))
  %t263 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t262, <8 x float> %t260, <8 x float> splat (float 0x3FA5555140000000))
  %t264 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t263, <8 x float> %t260, <8 x float> splat (float 0x3FC5554D40000000))
  %t265 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t264, <8 x float> %t260, <8 x float> splat (float 0x3FE0000000000000))
  %t266 = fadd <8 x float> %t260, splat (float 0x3FF0000000000000)
  %t267 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t261, <8 x float> %t265, <8 x float> %t266)
  %t268 = fadd <8 x float> %t258, splat (float 0x4168000000000000)
  %t269 = bitcast <8 x float> %t268 to <8 x i32>
  %t270 = bitcast <8 x float> splat (float 0x4168000000000000) to <8 x i32>
  %t271 = sub <8 x i32> %t269, %t270
  %t272 = ashr <8 x i32> %t271, splat (i32 1)
  %t273 = sub <8 x i32> %t271, %t272
  %t274 = add <8 x i32> %t272, splat (i32 127)
  %t275 = shl <8 x i32> %t274, splat (i32 23)
  %t276 = bitcast <8 x i32> %t275 to <8 x float>
  %t277 = fmul <8 x float> %t267, %t276
  %t278 = add <8 x i32> %t273, splat (i32 127)
  %t279 = shl <8 x i32> %t278, splat (i32 23)
  %t280 = bitcast <8 x i32> %t279 to <8 x float>
  %t281 = fmul <8 x float> %t277, %t280
  %t282 = fadd <8 x float> %t245, %t281
  store <8 x float> %t282, ptr %acc119, align 4
  br label %latch125
latch125:
  %n126 = add nsw i64 %i120, 32
  br label %head121
done123:
  %t283 = load <8 x float>, ptr %acc116, align 4
  %t284 = mul nsw i64 %i4, 77
  %t285 = add nsw i64 %t284, 64
  %p286 = getelementptr inbounds float, ptr %t1, i64 %t285
  %t287 = load <8 x float>, ptr %p286, align 4, !invariant.load !0
  %t288 = insertelement <8 x float> poison, float %t115, i64 0
  %t289 = shufflevector <8 x float> %t288, <8 x float> poison, <8 x i32> zeroinitializer
  %t290 = fsub <8 x float> %t287, %t289
  %t291 = fcmp olt <8 x float> splat (float 0x4056400000000000), %t290
  %t292 = select <8 x i1> %t291, <8 x float> splat (float 0x4056400000000000), <8 x float> %t290
  %t293 = fcmp ogt <8 x float> splat (float 0xC05A400000000000), %t292
  %t294 = select <8 x i1> %t293, <8 x float> splat (float 0xC05A400000000000), <8 x float> %t292
  %t295 = fmul <8 x float> %t294, splat (float 0x3FF7154760000000)
  %t296 = call  <8 x float> @llvm.roundeven.v8f32(<8 x float> %t295)
  %t297 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t296, <8 x float> splat (float 0xBFE6300000000000), <8 x float> %t294)
  %t298 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t296, <8 x float> splat (float 0x3F2BD01060000000), <8 x float> %t297)
  %t299 = fmul <8 x float> %t298, %t298
  %t300 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> splat (float 0x3F56D1B1C0000000), <8 x float> %t298, <8 x float> splat (float 0x3F81215820000000))
  %t301 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t300, <8 x float> %t298, <8 x float> splat (float 0x3FA5555140000000))
  %t302 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t301, <8 x float> %t298, <8 x float> splat (float 0x3FC5554D40000000))
  %t303 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t302, <8 x float> %t298, <8 x float> splat (float 0x3FE0000000000000))
  %t304 = fadd <8 x float> %t298, splat (float 0x3FF0000000000000)
  %t305 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t299, <8 x float> %t303, <8 x float> %t304)
  %t306 = fadd <8 x float> %t296, splat (float 0x4168000000000000)
  %t307 = bitcast <8 x float> %t306 to <8 x i32>
  %t308 = bitcast <8 x float> splat (float 0x4168000000000000) to <8 x i32>
  %t309 = sub <8 x i32> %t307, %t308
  %t310 = ashr <8 x i32> %t309, splat (i32 1)
  %t311 = sub <8 x i32> %t309, %t310
  %t312 = add <8 x i32> %t310, splat (i32 127)
  %t313 = shl <8 x i32> %t312, splat (i32 23)
  %t314 = bitcast <8 x i32> %t313 to <8 x float>
  %t315 = fmul <8 x float> %t305, %t314
  %t316 = add <8 x i32> %t311, splat (i32 127)
  %t317 = shl <8 x i32> %t316, splat (i32 23)
  %t318 = bitcast <8 x i32> %t317 to <8 x float>
  %t319 = fmul <8 x float> %t315, %t318
  %t320 = fadd <8 x float> %t283, %t319
  store <8 x float> %t320, ptr %acc116, align 4
  %t321 = load <8 x float>, ptr %acc116, align 4
  %t322 = mul nsw i64 %i4, 77
  %t323 = add nsw i64 %t322, 69
  %p324 = getelementptr inbounds float, ptr %t1, i64 %t323
  %t325 = load <8 x float>, ptr %p324, align 4, !invariant.load !0
  %t326 = insertelement <8 x float> poison, float %t115, i64 0
  %t327 = shufflevector <8 x float> %t326, <8 x float> poison, <8 x i32> zeroinitializer
  %t328 = fsub <8 x float> %t325, %t327
  %t329 = fcmp olt <8 x float> splat (float 0x4056400000000000), %t328
  %t330 = select <8 x i1> %t329, <8 x float> splat (float 0x4056400000000000), <8 x float> %t328
  %t331 = fcmp ogt <8 x float> splat (float 0xC05A400000000000), %t330
  %t332 = select <8 x i1> %t331, <8 x float> splat (float 0xC05A400000000000), <8 x float> %t330
  %t333 = fmul <8 x float> %t332, splat (float 0x3FF7154760000000)
  %t334 = call  <8 x float> @llvm.roundeven.v8f32(<8 x float> %t333)
  %t335 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t334, <8 x float> splat (float 0xBFE6300000000000), <8 x float> %t332)
  %t336 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t334, <8 x float> splat (float 0x3F2BD01060000000), <8 x float> %t335)
  %t337 = fmul <8 x float> %t336, %t336
  %t338 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> splat (float 0x3F56D1B1C0000000), <8 x float> %t336, <8 x float> splat (float 0x3F81215820000000))
  %t339 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t338, <8 x float> %t336, <8 x float> splat (float 0x3FA5555140000000))
  %t340 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t339, <8 x float> %t336, <8 x float> splat (float 0x3FC5554D40000000))
  %t341 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t340, <8 x float> %t336, <8 x float> splat (float 0x3FE0000000000000))
  %t342 = fadd <8 x float> %t336, splat (float 0x3FF0000000000000)
  %t343 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t337, <8 x float> %t341, <8 x float> %t342)
  %t344 = fadd <8 x float> %t334, splat (float 0x4168000000000000)
  %t345 = bitcast <8 x float> %t344 to <8 x i32>
  %t346 = bitcast <8 x float> splat (float 0x4168000000000000) to <8 x i32>
  %t347 = sub <8 x i32> %t345, %t346
  %t348 = ashr <8 x i32> %t347, splat (i32 1)
  %t349 = sub <8 x i32> %t347, %t348
  %t350 = add <8 x i32> %t348, splat (i32 127)
  %t351 = shl <8 x i32> %t350, splat (i32 23)
  %t352 = bitcast <8 x i32> %t351 to <8 x float>
  %t353 = fmul <8 x float> %t343, %t352
  %t354 = add <8 x i32> %t349, splat (i32 127)
  %t355 = shl <8 x i32> %t354, splat (i32 23)
  %t356 = bitcast <8 x i32> %t355 to <8 x float>
  %t357 = fmul <8 x float> %t353, %t356
  %t358 = select <8 x i1> <i1 false, i1 false, i1 false, i1 true, i1 true, i1 true, i1 true, i1 true>, <8 x float> %t357, <8 x float> splat (float 0x0000000000000000)
  %t359 = fadd <8 x float> %t321, %t358
  store <8 x float> %t359, ptr %acc116, align 4
  %t360 = load <8 x float>, ptr %acc116, align 4
  %t361 = load <8 x float>, ptr %acc117, align 4
  %t362 = load <8 x float>, ptr %acc118, align 4
  %t363 = load <8 x float>, ptr %acc119, align 4
  %t364 = fadd <8 x float> %t360, %t361
  %t365 = fadd <8 x float> %t362, %t363
  %t366 = fadd <8 x float> %t364, %t365
  %t367 = shufflevector <8 x float> %t366, <8 x float> poison, <4 x i32> <i32 0, i32 1, i32 2, i32 3>
  %t368 = shufflevector <8 x float> %t366, <8 x float> poison, <4 x i32> <i32 4, i32 5, i32 6, i32 7>
  %t369 = fadd <4 x float> %t367, %t368
  %t370 = shufflevector <4 x float> %t369, <4 x float> poison, <2 x i32> <i32 0, i32 1>
  %t371 = shufflevector <4 x float> %t369, <4 x float> poison, <2 x i32> <i32 2, i32 3>
  %t372 = fadd <2 x float> %t370, %t371
  %t373 = extractelement <2 x float> %t372, i64 0
  %t374 = extractelement <2 x float> %t372, i64 1
  %t375 = fadd float %t373, %t374
  br label %pre380
pre380:
  br label %head377
head377:
  %i376 = phi i64 [ 0, %pre380 ], [ %n382, %latch381 ]
  %t383 = icmp slt i64 %i376, 10
  br i1 %t383, label %body378, label %done379
body378:
  %t384 = mul nsw i64 %i376, 8
  %t385 = call  i64 @llvm.smin.i64(i64 %t384, i64 69)
  %t386 = fdiv float 0x3FF0000000000000, %t375
  %t387 = insertelement <8 x float> poison, float %t386, i64 0
  %t388 = shufflevector <8 x float> %t387, <8 x float> poison, <8 x i32> zeroinitializer
  %t389 = mul nsw i64 %i4, 77
  %t390 = add nsw i64 %t389, %t385
  %p391 = getelementptr inbounds float, ptr %t1, i64 %t390
  %t392 = load <8 x float>, ptr %p391, align 4, !invariant.load !0
  %t393 = insertelement <8 x float> poison, float %t115, i64 0
  %t394 = shufflevector <8 x float> %t393, <8 x float> poison, <8 x i32> zeroinitializer
  %t395 = fsub <8 x float> %t392, %t394
  %t396 = fcmp olt <8 x float> splat (float 0x4056400000000000), %t395
  %t397 = select <8 x i1> %t396, <8 x float> splat (float 0x4056400000000000), <8 x float> %t395
  %t398 = fcmp ogt <8 x float> splat (float 0xC05A400000000000), %t397
  %t399 = select <8 x i1> %t398, <8 x float> splat (float 0xC05A400000000000), <8 x float> %t397
  %t400 = fmul <8 x float> %t399, splat (float 0x3FF7154760000000)
  %t401 = call  <8 x float> @llvm.roundeven.v8f32(<8 x float> %t400)
  %t402 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t401, <8 x float> splat (float 0xBFE6300000000000), <8 x float> %t399)
  %t403 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t401, <8 x float> splat (float 0x3F2BD01060000000), <8 x float> %t402)
  %t404 = fmul <8 x float> %t403, %t403
  %t405 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> splat (float 0x3F56D1B1C0000000), <8 x float> %t403, <8 x float> splat (float 0x3F81215820000000))
  %t406 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t405, <8 x float> %t403, <8 x float> splat (float 0x3FA5555140000000))
  %t407 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t406, <8 x float> %t403, <8 x float> splat (float 0x3FC5554D40000000))
  %t408 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t407, <8 x float> %t403, <8 x float> splat (float 0x3FE0000000000000))
  %t409 = fadd <8 x float> %t403, splat (float 0x3FF0000000000000)
  %t410 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t404, <8 x float> %t408, <8 x float> %t409)
  %t411 = fadd <8 x float> %t401, splat (float 0x4168000000000000)
  %t412 = bitcast <8 x float> %t411 to <8 x i32>
  %t413 = bitcast <8 x float> splat (float 0x4168000000000000) to <8 x i32>
  %t414 = sub <8 x i32> %t412, %t413
  %t415 = ashr <8 x i32> %t414, splat (i32 1)
  %t416 = sub <8 x i32> %t414, %t415
  %t417 = add <8 x i32> %t415, splat (i32 127)
  %t418 = shl <8 x i32> %t417, splat (i32 23)
  %t419 = bitcast <8 x i32> %t418 to <8 x float>
  %t420 = fmul <8 x float> %t410, %t419
  %t421 = add <8 x i32> %t416, splat (i32 127)
  %t422 = shl <8 x i32> %t421, splat (i32 23)
  %t423 = bitcast <8 x i32> %t422 to <8 x float>
  %t424 = fmul <8 x float> %t420, %t423
  %t425 = fmul <8 x float> %t424, %t388
  %p426 = getelementptr inbounds float, ptr %t3, i64 %t390
  store <8 x float> %t425, ptr %p426, align 4
  br label %latch381
latch381:
  %n382 = add nsw i64 %i376, 1
  br label %head377
done379:
  br label %latch9
latch9:
  %n10 = add nsw i64 %i4, 1
  br label %head5
done7:
  ret void
}
attributes #0 = { nounwind "prefer-vector-width"="256" "frame-pointer"="none" "min-legal-vector-width"="256" "no-trapping-math"="true" "target-cpu"="x86-64-v3" }
