!0 = !{}
define void @kernel(ptr %args, i64 %begin, i64 %end, ptr %scratch, i64 %direction) #0 {
entry:
  %t1 = load ptr, ptr %args, align 8
  %p2 = getelementptr i8, ptr %args, i64 8
  %t3 = load ptr, ptr %p2, align 8
  br label %pre8
pre8:
  br label %head5
head5:
  %i4 = phi i64 [ 0, %pre8 ], [ %n10, %latch9 ]
  %t11 = icmp slt i64 %i4, 2
  br i1 %t11, label %body6, label %done7
body6:
  br label %pre16
pre16:
  br label %head13
head13:
  %i12 = phi i64 [ 0, %pre16 ], [ %n18, %latch17 ]
  %t19 = icmp slt i64 %i12, 10
  br i1 %t19, label %body14, label %done15
body14:
  %t20 = mul nsw i64 %i12, 4
  br label %pre25
pre25:
  br label %head22
head22:
  %i21 = phi i64 [ 0, %pre25 ], [ %n27, %latch26 ]
  %t28 = icmp slt i64 %i21, 6
  br i1 %t28, label %body23, label %done24
body23:
  %t29 = mul nsw i64 %i21, 4
  %t30 = mul nsw i64 %i4, 960
  %t31 = add nsw i64 %t30, %t20
  %t32 = mul nsw i64 %t29, 40
  %t33 = add nsw i64 %t31, %t32
  %p34 = getelementptr inbounds float, ptr %t1, i64 %t33
  %t35 = load <4 x float>, ptr %p34, align 4, !invariant.load !0
  %t36 = add nsw i64 %t29, 1
  %t37 = mul nsw i64 %i4, 960
  %t38 = add nsw i64 %t37, %t20
  %t39 = mul nsw i64 %t36, 40
  %t40 = add nsw i64 %t38, %t39
  %p41 = getelementptr inbounds float, ptr %t1, i64 %t40
  %t42 = load <4 x float>, ptr %p41, align 4, !invariant.load !0
  %t43 = add nsw i64 %t29, 2
  %t44 = mul nsw i64 %i4, 960
  %t45 = add nsw i64 %t44, %t20
  %t46 = mul nsw i64 %t43, 40
  %t47 = add nsw i64 %t45, %t46
  %p48 = getelementptr inbounds float, ptr %t1, i64 %t47
  %t49 = load <4 x float>, ptr %p48, align 4, !invariant.load !0
  %t50 = add nsw i64 %t29, 3
  %t51 = mul nsw i64 %i4, 960
  %t52 = add nsw i64 %t51, %t20
  %t53 = mul nsw i64 %t50, 40
  %t54 = add nsw i64 %t52, %t53
  %p55 = getelementptr inbounds float, ptr %t1, i64 %t54
  %t56 = load <4 x float>, ptr %p55, align 4, !invariant.load !0
  %t57 = shufflevector <4 x float> %t35, <4 x float> %t42, <4 x i32> <i32 0, i32 4, i32 2, i32 6>
  %t58 = shufflevector <4 x float> %t35, <4 x float> %t42, <4 x i32> <i32 1, i32 5, i32 3, i32 7>
  %t59 = shufflevector <4 x float> %t49, <4 x float> %t56, <4 x i32> <i32 0, i32 4, i32 2, i32 6>
  %t60 = shufflevector <4 x float> %t49, <4 x float> %t56, <4 x i32> <i32 1, i32 5, i32 3, i32 7>
  %t61 = shufflevector <4 x float> %t57, <4 x float> %t59, <4 x i32> <i32 0, i32 1, i32 4, i32 5>
  %t62 = shufflevector <4 x float> %t57, <4 x float> %t59, <4 x i32> <i32 2, i32 3, i32 6, i32 7>
  %t63 = shufflevector <4 x float> %t58, <4 x float> %t60, <4 x i32> <i32 0, i32 1, i32 4, i32 5>
  %t64 = shufflevector <4 x float> %t58, <4 x float> %t60, <4 x i32> <i32 2, i32 3, i32 6, i32 7>
  %t65 = mul nsw i64 %i4, 960
  %t66 = add nsw i64 %t65, %t29
  %t67 = mul nsw i64 %t20, 24
  %t68 = add nsw i64 %t66, %t67
  %p69 = getelementptr inbounds float, ptr %t3, i64 %t68
  store <4 x float> %t61, ptr %p69, align 4
  %t70 = add nsw i64 %t20, 1
  %t71 = mul nsw i64 %i4, 960
  %t72 = add nsw i64 %t71, %t29
  %t73 = mul nsw i64 %t70, 24
  %t74 = add nsw i64 %t72, %t73
  %p75 = getelementptr inbounds float, ptr %t3, i64 %t74
  store <4 x float> %t63, ptr %p75, align 4
  %t76 = add nsw i64 %t20, 2
  %t77 = mul nsw i64 %i4, 960
  %t78 = add nsw i64 %t77, %t29
  %t79 = mul nsw i64 %t76, 24
  %t80 = add nsw i64 %t78, %t79
  %p81 = getelementptr inbounds float, ptr %t3, i64 %t80
  store <4 x float> %t62, ptr %p81, align 4
  %t82 = add nsw i64 %t20, 3
  %t83 = mul nsw i64 %i4, 960
  %t84 = add nsw i64 %t83, %t29
  %t85 = mul nsw i64 %t82, 24
  %t86 = add nsw i64 %t84, %t85
  %p87 = getelementptr inbounds float, ptr %t3, i64 %t86
  store <4 x float> %t64, ptr %p87, align 4
  br label %latch26
latch26:
  %n27 = add nsw i64 %i21, 1
  br label %head22
done24:
  br label %latch17
latch17:
  %n18 = add nsw i64 %i12, 1
  br label %head13
done15:
  br label %latch9
latch9:
  %n10 = add nsw i64 %i4, 1
  br label %head5
done7:
  ret void
}
attributes #0 = { nounwind "prefer-vector-width"="128" "frame-pointer"="none" "min-legal-vector-width"="128" "no-trapping-math"="true" "no-builtins" }
