!0 = !{}
declare <8 x float> @llvm.fmuladd.v8f32(<8 x float>, <8 x float>, <8 x float>)
declare <8 x float> @llvm.roundeven.v8f32(<8 x float>)
declare i64 @llvm.smin.i64(i64, i64)
define void @kernel(ptr %args, i64 %begin, i64 %end, ptr %scratch, i64 %direction) #0 {
entry:
  %acc19 = alloca <8 x float>, align 64
  %acc18 = alloca <8 x float>, align 64
  %acc17 = alloca <8 x float>, align 64
  %acc16 = alloca <8 x float>, align 64
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
  store <8 x float> splat (float 0x0000000000000000), ptr %acc12, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %acc13, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %acc14, align 4
  store <8 x float> splat (float 0x0000000000000000), ptr %acc15, align 4
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
  %t128 = load <8 x float>, ptr %acc12, align 4
  %t129 = mul nsw i64 %i4, 77
  %t130 = add nsw i64 %t129, %i120
  %p131 = getelementptr inbounds float, ptr %t1, i64 %t130
  %t132 = load <8 x float>, ptr %p131, align 4, !invariant.load !0
  %t133 = insertelement <8 x float> poison, float %t119, i64 0
  %t134 = shufflevector <8 x float> %t133, <8 x float> poison, <8 x i32> zeroinitializer
  %t135 = fsub <8 x float> %t132, %t134
  %t136 = fcmp olt <8 x float> splat (float 0x4056400000000000), %t135
  %t137 = select <8 x i1> %t136, <8 x float> splat (float 0x4056400000000000), <8 x float> %t135
  %t138 = fcmp ogt <8 x float> splat (float 0xC066000000000000), %t137
  %t139 = select <8 x i1> %t138, <8 x float> splat (float 0xC066000000000000), <8 x float> %t137
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
  store <8 x float> %t165, ptr %acc12, align 4
  %p166 = getelementptr inbounds float, ptr %scratch, i64 %i120
  store <8 x float> %t164, ptr %p166, align 4
  %t167 = add nsw i64 %i120, 8
  %t168 = load <8 x float>, ptr %acc13, align 4
  %t169 = mul nsw i64 %i4, 77
  %t170 = add nsw i64 %t169, %t167
  %p171 = getelementptr inbounds float, ptr %t1, i64 %t170
  %t172 = load <8 x float>, ptr %p171, align 4, !invariant.load !0
  %t173 = insertelement <8 x float> poison, float %t119, i64 0
  %t174 = shufflevector <8 x float> %t173, <8 x float> poison, <8 x i32> zeroinitializer
  %t175 = fsub <8 x float> %t172, %t174
  %t176 = fcmp olt <8 x float> splat (float 0x4056400000000000), %t175
  %t177 = select <8 x i1> %t176, <8 x float> splat (float 0x4056400000000000), <8 x float> %t175
  %t178 = fcmp ogt <8 x float> splat (float 0xC066000000000000), %t177
  %t179 = select <8 x i1> %t178, <8 x float> splat (float 0xC066000000000000), <8 x float> %t177
  %t180 = fmul <8 x float> %t179, splat (float 0x3FF7154760000000)
  %t181 = call  <8 x float> @llvm.roundeven.v8f32(<8 x float> %t180)
  %t182 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t181, <8 x float> splat (float 0xBFE6300000000000), <8 x float> %t179)
  %t183 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t181, <8 x float> splat (float 0x3F2BD01060000000), <8 x float> %t182)
  %t184 = fmul <8 x float> %t183, %t183
  %t185 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> splat (float 0x3F56D1B1C0000000), <8 x float> %t183, <8 x float> splat (float 0x3F81215820000000))
  %t186 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t185, <8 x float> %t183, <8 x float> splat (float 0x3FA5555140000000))
  %t187 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t186, <8 x float> %t183, <8 x float> splat (float 0x3FC5554D40000000))
  %t188 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t187, <8 x float> %t183, <8 x float> splat (float 0x3FE0000000000000))
  %t189 = fadd <8 x float> %t183, splat (float 0x3FF0000000000000)
  %t190 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t184, <8 x float> %t188, <8 x float> %t189)
  %t191 = fadd <8 x float> %t181, splat (float 0x4168000000000000)
  %t192 = bitcast <8 x float> %t191 to <8 x i32>
  %t193 = bitcast <8 x float> splat (float 0x4168000000000000) to <8 x i32>
  %t194 = sub <8 x i32> %t192, %t193
  %t195 = ashr <8 x i32> %t194, splat (i32 1)
  %t196 = sub <8 x i32> %t194, %t195
  %t197 = add <8 x i32> %t195, splat (i32 127)
  %t198 = shl <8 x i32> %t197, splat (i32 23)
  %t199 = bitcast <8 x i32> %t198 to <8 x float>
  %t200 = fmul <8 x float> %t190, %t199
  %t201 = add <8 x i32> %t196, splat (i32 127)
  %t202 = shl <8 x i32> %t201, splat (i32 23)
  %t203 = bitcast <8 x i32> %t202 to <8 x float>
  %t204 = fmul <8 x float> %t200, %t203
  %t205 = fadd <8 x float> %t168, %t204
  store <8 x float> %t205, ptr %acc13, align 4
  %p206 = getelementptr inbounds float, ptr %scratch, i64 %t167
  store <8 x float> %t204, ptr %p206, align 4
  %t207 = add nsw i64 %i120, 16
  %t208 = load <8 x float>, ptr %acc14, align 4
  %t209 = mul nsw i64 %i4, 77
  %t210 = add nsw i64 %t209, %t207
  %p211 = getelementptr inbounds float, ptr %t1, i64 %t210
  %t212 = load <8 x float>, ptr %p211, align 4, !invariant.load !0
  %t213 = insertelement <8 x float> poison, float %t119, i64 0
  %t214 = shufflevector <8 x float> %t213, <8 x float> poison, <8 x i32> zeroinitializer
  %t215 = fsub <8 x float> %t212, %t214
  %t216 = fcmp olt <8 x float> splat (float 0x4056400000000000), %t215
  %t217 = select <8 x i1> %t216, <8 x float> splat (float 0x4056400000000000), <8 x float> %t215
  %t218 = fcmp ogt <8 x float> splat (float 0xC066000000000000), %t217
  %t219 = select <8 x i1> %t218, <8 x float> splat (float 0xC066000000000000), <8 x float> %t217
  %t220 = fmul <8 x float> %t219, splat (float 0x3FF7154760000000)
  %t221 = call  <8 x float> @llvm.roundeven.v8f32(<8 x float> %t220)
  %t222 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t221, <8 x float> splat (float 0xBFE6300000000000), <8 x float> %t219)
  %t223 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t221, <8 x float> splat (float 0x3F2BD01060000000), <8 x float> %t222)
  %t224 = fmul <8 x float> %t223, %t223
  %t225 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> splat (float 0x3F56D1B1C0000000), <8 x float> %t223, <8 x float> splat (float 0x3F81215820000000))
  %t226 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t225, <8 x float> %t223, <8 x float> splat (float 0x3FA5555140000000))
  %t227 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t226, <8 x float> %t223, <8 x float> splat (float 0x3FC5554D40000000))
  %t228 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t227, <8 x float> %t223, <8 x float> splat (float 0x3FE0000000000000))
  %t229 = fadd <8 x float> %t223, splat (float 0x3FF0000000000000)
  %t230 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t224, <8 x float> %t228, <8 x float> %t229)
  %t231 = fadd <8 x float> %t221, splat (float 0x4168000000000000)
  %t232 = bitcast <8 x float> %t231 to <8 x i32>
  %t233 = bitcast <8 x float> splat (float 0x4168000000000000) to <8 x i32>
  %t234 = sub <8 x i32> %t232, %t233
  %t235 = ashr <8 x i32> %t234, splat (i32 1)
  %t236 = sub <8 x i32> %t234, %t235
  %t237 = add <8 x i32> %t235, splat (i32 127)
  %t238 = shl <8 x i32> %t237, splat (i32 23)
  %t239 = bitcast <8 x i32> %t238 to <8 x float>
  %t240 = fmul <8 x float> %t230, %t239
  %t241 = add <8 x i32> %t236, splat (i32 127)
  %t242 = shl <8 x i32> %t241, splat (i32 23)
  %t243 = bitcast <8 x i32> %t242 to <8 x float>
  %t244 = fmul <8 x float> %t240, %t243
  %t245 = fadd <8 x float> %t208, %t244
  store <8 x float> %t245, ptr %acc14, align 4
  %p246 = getelementptr inbounds float, ptr %scratch, i64 %t207
  store <8 x float> %t244, ptr %p246, align 4
  %t247 = add nsw i64 %i120, 24
  %t248 = load <8 x float>, ptr %acc15, align 4
  %t249 = mul nsw i64 %i4, 77
  %t250 = add nsw i64 %t249, %t247
  %p251 = getelementptr inbounds float, ptr %t1, i64 %t250
  %t252 = load <8 x float>, ptr %p251, align 4, !invariant.load !0
  %t253 = insertelement <8 x float> poison, float %t119, i64 0
  %t254 = shufflevector <8 x float> %t253, <8 x float> poison, <8 x i32> zeroinitializer
  %t255 = fsub <8 x float> %t252, %t254
  %t256 = fcmp olt <8 x float> splat (float 0x4056400000000000), %t255
  %t257 = select <8 x i1> %t256, <8 x float> splat (float 0x4056400000000000), <8 x float> %t255
  %t258 = fcmp ogt <8 x float> splat (float 0xC066000000000000), %t257
  %t259 = select <8 x i1> %t258, <8 x float> splat (float 0xC066000000000000), <8 x float> %t257
  %t260 = fmul <8 x float> %t259, splat (float 0x3FF7154760000000)
  %t261 = call  <8 x float> @llvm.roundeven.v8f32(<8 x float> %t260)
  %t262 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t261, <8 x float> splat (float 0xBFE6300000000000), <8 x float> %t259)
  %t263 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t261, <8 x float> splat (float 0x3F2BD01060000000), <8 x float> %t262)
  %t264 = fmul <8 x float> %t263, %t263
  %t265 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> splat (float 0x3F56D1B1C0000000), <8 x float> %t263, <8 x float> splat (float 0x3F81215820000000))
  %t266 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t265, <8 x float> %t263, <8 x float> splat (float 0x3FA5555140000000))
  %t267 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t266, <8 x float> %t263, <8 x float> splat (float 0x3FC5554D40000000))
  %t268 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t267, <8 x float> %t263, <8 x float> splat (float 0x3FE0000000000000))
  %t269 = fadd <8 x float> %t263, splat (float 0x3FF0000000000000)
  %t270 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t264, <8 x float> %t268, <8 x float> %t269)
  %t271 = fadd <8 x float> %t261, splat (float 0x4168000000000000)
  %t272 = bitcast <8 x float> %t271 to <8 x i32>
  %t273 = bitcast <8 x float> splat (float 0x4168000000000000) to <8 x i32>
  %t274 = sub <8 x i32> %t272, %t273
  %t275 = ashr <8 x i32> %t274, splat (i32 1)
  %t276 = sub <8 x i32> %t274, %t275
  %t277 = add <8 x i32> %t275, splat (i32 127)
  %t278 = shl <8 x i32> %t277, splat (i32 23)
  %t279 = bitcast <8 x i32> %t278 to <8 x float>
  %t280 = fmul <8 x float> %t270, %t279
  %t281 = add <8 x i32> %t276, splat (i32 127)
  %t282 = shl <8 x i32> %t281, splat (i32 23)
  %t283 = bitcast <8 x i32> %t282 to <8 x float>
  %t284 = fmul <8 x float> %t280, %t283
  %t285 = fadd <8 x float> %t248, %t284
  store <8 x float> %t285, ptr %acc15, align 4
  %p286 = getelementptr inbounds float, ptr %scratch, i64 %t247
  store <8 x float> %t284, ptr %p286, align 4
  br label %latch125
latch125:
  %n126 = add nsw i64 %i120, 32
  br label %head121
done123:
  %t287 = load <8 x float>, ptr %acc12, align 4
  %t288 = mul nsw i64 %i4, 77
  %t289 = add nsw i64 %t288, 64
  %p290 = getelementptr inbounds float, ptr %t1, i64 %t289
  %t291 = load <8 x float>, ptr %p290, align 4, !invariant.load !0
  %t292 = insertelement <8 x float> poison, float %t119, i64 0
  %t293 = shufflevector <8 x float> %t292, <8 x float> poison, <8 x i32> zeroinitializer
  %t294 = fsub <8 x float> %t291, %t293
  %t295 = fcmp olt <8 x float> splat (float 0x4056400000000000), %t294
  %t296 = select <8 x i1> %t295, <8 x float> splat (float 0x4056400000000000), <8 x float> %t294
  %t297 = fcmp ogt <8 x float> splat (float 0xC066000000000000), %t296
  %t298 = select <8 x i1> %t297, <8 x float> splat (float 0xC066000000000000), <8 x float> %t296
  %t299 = fmul <8 x float> %t298, splat (float 0x3FF7154760000000)
  %t300 = call  <8 x float> @llvm.roundeven.v8f32(<8 x float> %t299)
  %t301 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t300, <8 x float> splat (float 0xBFE6300000000000), <8 x float> %t298)
  %t302 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t300, <8 x float> splat (float 0x3F2BD01060000000), <8 x float> %t301)
  %t303 = fmul <8 x float> %t302, %t302
  %t304 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> splat (float 0x3F56D1B1C0000000), <8 x float> %t302, <8 x float> splat (float 0x3F81215820000000))
  %t305 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t304, <8 x float> %t302, <8 x float> splat (float 0x3FA5555140000000))
  %t306 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t305, <8 x float> %t302, <8 x float> splat (float 0x3FC5554D40000000))
  %t307 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t306, <8 x float> %t302, <8 x float> splat (float 0x3FE0000000000000))
  %t308 = fadd <8 x float> %t302, splat (float 0x3FF0000000000000)
  %t309 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t303, <8 x float> %t307, <8 x float> %t308)
  %t310 = fadd <8 x float> %t300, splat (float 0x4168000000000000)
  %t311 = bitcast <8 x float> %t310 to <8 x i32>
  %t312 = bitcast <8 x float> splat (float 0x4168000000000000) to <8 x i32>
  %t313 = sub <8 x i32> %t311, %t312
  %t314 = ashr <8 x i32> %t313, splat (i32 1)
  %t315 = sub <8 x i32> %t313, %t314
  %t316 = add <8 x i32> %t314, splat (i32 127)
  %t317 = shl <8 x i32> %t316, splat (i32 23)
  %t318 = bitcast <8 x i32> %t317 to <8 x float>
  %t319 = fmul <8 x float> %t309, %t318
  %t320 = add <8 x i32> %t315, splat (i32 127)
  %t321 = shl <8 x i32> %t320, splat (i32 23)
  %t322 = bitcast <8 x i32> %t321 to <8 x float>
  %t323 = fmul <8 x float> %t319, %t322
  %t324 = fadd <8 x float> %t287, %t323
  store <8 x float> %t324, ptr %acc12, align 4
  %p325 = getelementptr inbounds float, ptr %scratch, i64 64
  store <8 x float> %t323, ptr %p325, align 4
  %t326 = load <8 x float>, ptr %acc12, align 4
  %t327 = mul nsw i64 %i4, 77
  %t328 = add nsw i64 %t327, 69
  %p329 = getelementptr inbounds float, ptr %t1, i64 %t328
  %t330 = load <8 x float>, ptr %p329, align 4, !invariant.load !0
  %t331 = insertelement <8 x float> poison, float %t119, i64 0
  %t332 = shufflevector <8 x float> %t331, <8 x float> poison, <8 x i32> zeroinitializer
  %t333 = fsub <8 x float> %t330, %t332
  %t334 = fcmp olt <8 x float> splat (float 0x4056400000000000), %t333
  %t335 = select <8 x i1> %t334, <8 x float> splat (float 0x4056400000000000), <8 x float> %t333
  %t336 = fcmp ogt <8 x float> splat (float 0xC066000000000000), %t335
  %t337 = select <8 x i1> %t336, <8 x float> splat (float 0xC066000000000000), <8 x float> %t335
  %t338 = fmul <8 x float> %t337, splat (float 0x3FF7154760000000)
  %t339 = call  <8 x float> @llvm.roundeven.v8f32(<8 x float> %t338)
  %t340 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t339, <8 x float> splat (float 0xBFE6300000000000), <8 x float> %t337)
  %t341 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t339, <8 x float> splat (float 0x3F2BD01060000000), <8 x float> %t340)
  %t342 = fmul <8 x float> %t341, %t341
  %t343 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> splat (float 0x3F56D1B1C0000000), <8 x float> %t341, <8 x float> splat (float 0x3F81215820000000))
  %t344 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t343, <8 x float> %t341, <8 x float> splat (float 0x3FA5555140000000))
  %t345 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t344, <8 x float> %t341, <8 x float> splat (float 0x3FC5554D40000000))
  %t346 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t345, <8 x float> %t341, <8 x float> splat (float 0x3FE0000000000000))
  %t347 = fadd <8 x float> %t341, splat (float 0x3FF0000000000000)
  %t348 = call  <8 x float> @llvm.fmuladd.v8f32(<8 x float> %t342, <8 x float> %t346, <8 x float> %t347)
  %t349 = fadd <8 x float> %t339, splat (float 0x4168000000000000)
  %t350 = bitcast <8 x float> %t349 to <8 x i32>
  %t351 = bitcast <8 x float> splat (float 0x4168000000000000) to <8 x i32>
  %t352 = sub <8 x i32> %t350, %t351
  %t353 = ashr <8 x i32> %t352, splat (i32 1)
  %t354 = sub <8 x i32> %t352, %t353
  %t355 = add <8 x i32> %t353, splat (i32 127)
  %t356 = shl <8 x i32> %t355, splat (i32 23)
  %t357 = bitcast <8 x i32> %t356 to <8 x float>
  %t358 = fmul <8 x float> %t348, %t357
  %t359 = add <8 x i32> %t354, splat (i32 127)
  %t360 = shl <8 x i32> %t359, splat (i32 23)
  %t361 = bitcast <8 x i32> %t360 to <8 x float>
  %t362 = fmul <8 x float> %t358, %t361
  %t363 = select <8 x i1> <i1 false, i1 false, i1 false, i1 true, i1 true, i1 true, i1 true, i1 true>, <8 x float> %t362, <8 x float> splat (float 0x0000000000000000)
  %t364 = fadd <8 x float> %t326, %t363
  store <8 x float> %t364, ptr %acc12, align 4
  %p365 = getelementptr inbounds float, ptr %scratch, i64 69
  store <8 x float> %t362, ptr %p365, align 4
  %t366 = load <8 x float>, ptr %acc12, align 4
  %t367 = load <8 x float>, ptr %acc13, align 4
  %t368 = load <8 x float>, ptr %acc14, align 4
  %t369 = load <8 x float>, ptr %acc15, align 4
  %t370 = fadd <8 x float> %t366, %t367
  %t371 = fadd <8 x float> %t368, %t369
  %t372 = fadd <8 x float> %t370, %t371
  %t373 = shufflevector <8 x float> %t372, <8 x float> poison, <4 x i32> <i32 0, i32 1, i32 2, i32 3>
  %t374 = shufflevector <8 x float> %t372, <8 x float> poison, <4 x i32> <i32 4, i32 5, i32 6, i32 7>
  %t375 = fadd <4 x float> %t373, %t374
  %t376 = shufflevector <4 x float> %t375, <4 x float> poison, <2 x i32> <i32 0, i32 1>
  %t377 = shufflevector <4 x float> %t375, <4 x float> poison, <2 x i32> <i32 2, i32 3>
  %t378 = fadd <2 x float> %t376, %t377
  %t379 = extractelement <2 x float> %t378, i64 0
  %t380 = extractelement <2 x float> %t378, i64 1
  %t381 = fadd float %t379, %t380
  br label %pre386
pre386:
  br label %head383
head383:
  %i382 = phi i64 [ 0, %pre386 ], [ %n388, %latch387 ]
  %t389 = icmp slt i64 %i382, 10
  br i1 %t389, label %body384, label %done385
body384:
  %t390 = mul nsw i64 %i382, 8
  %t391 = call  i64 @llvm.smin.i64(i64 %t390, i64 69)
  %t392 = fdiv float 0x3FF0000000000000, %t381
  %t393 = insertelement <8 x float> poison, float %t392, i64 0
  %t394 = shufflevector <8 x float> %t393, <8 x float> poison, <8 x i32> zeroinitializer
  %p395 = getelementptr inbounds float, ptr %scratch, i64 %t391
  %t396 = load <8 x float>, ptr %p395, align 4
  %t397 = fmul <8 x float> %t396, %t394
  %t398 = mul nsw i64 %i4, 77
  %t399 = add nsw i64 %t398, %t391
  %p400 = getelementptr inbounds float, ptr %t3, i64 %t399
  store <8 x float> %t397, ptr %p400, align 4
  br label %latch387
latch387:
  %n388 = add nsw i64 %i382, 1
  br label %head383
done385:
  br label %latch9
latch9:
  %n10 = add nsw i64 %i4, 1
  br label %head5
done7:
  ret void
}
attributes #0 = { nounwind "prefer-vector-width"="256" "frame-pointer"="none" "min-legal-vector-width"="256" "no-trapping-math"="true" "no-builtins" "target-cpu"="x86-64-v3" }
