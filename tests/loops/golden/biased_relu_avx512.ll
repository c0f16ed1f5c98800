!0 = !{}
declare <16 x float> @llvm.masked.load.v16f32.p0(ptr, <16 x i1>, <16 x float>)
define void @kernel(ptr %args, i64 %begin, i64 %end, ptr %scratch, i64 %direction) #0 {
entry:
  %t1 = load ptr, ptr %args, align 8
  %p2 = getelementptr i8, ptr %args, i64 8
  %t3 = load ptr, ptr %p2, align 8
  %p4 = getelementptr i8, ptr %args, i64 16
  %t5 = load ptr, ptr %p4, align 8
  br label %pre10
pre10:
  br label %head7
head7:
  %i6 = phi i64 [ 0, %pre10 ], [ %n12, %latch11 ]
  %t13 = icmp slt i64 %i6, 2
  br i1 %t13, label %body8, label %done9
body8:
  br label %pre18
pre18:
  br label %head15
head15:
  %i14 = phi i64 [ 0, %pre18 ], [ %n20, %latch19 ]
  %t21 = icmp slt i64 %i14, 36
  br i1 %t21, label %body16, label %done17
body16:
  %t22 = mul nsw i64 %i6, 16
  %t23 = add nsw i64 %t22, 0
  %t24 = trunc i64 %t23 to i32
  %t25 = insertelement <16 x i32> poison, i32 %t24, i64 0
  %t26 = shufflevector <16 x i32> %t25, <16 x i32> poison, <16 x i32> zeroinitializer
  %t27 = add <16 x i32> %t26, <i32 0, i32 1, i32 2, i32 3, i32 4, i32 5, i32 6, i32 7, i32 8, i32 9, i32 10, i32 11, i32 12, i32 13, i32 14, i32 15>
  %t28 = icmp slt <16 x i32> %t27, splat (i32 20)
  %t29 = mul nsw i64 %i6, 576
  %t30 = mul nsw i64 %i14, 16
  %t31 = add nsw i64 %t29, %t30
  %t32 = add nsw i64 %t31, 0
  %p33 = getelementptr inbounds float, ptr %t1, i64 %t32
  %t34 = load <16 x float>, ptr %p33, align 4, !invariant.load !0
  %t35 = mul nsw i64 %i6, 16
  %t36 = add nsw i64 %t35, 0
  %p37 = getelementptr inbounds float, ptr %t3, i64 %t36
  %t38 = call <16 x float> @llvm.masked.load.v16f32.p0(ptr align 4 %p37, <16 x i1> %t28, <16 x float> zeroinitializer)
  %t39 = fadd <16 x float> %t34, %t38
  %t40 = fcmp ogt <16 x float> splat (float 0x0000000000000000), %t39
  %t41 = select <16 x i1> %t40, <16 x float> splat (float 0x0000000000000000), <16 x float> %t39
  %p42 = getelementptr inbounds float, ptr %t5, i64 %t32
  store <16 x float> %t41, ptr %p42, align 4
  br label %latch19
latch19:
  %n20 = add nsw i64 %i14, 1
  br label %head15
done17:
  br label %latch11
latch11:
  %n12 = add nsw i64 %i6, 1
  br label %head7
done9:
  ret void
}
attributes #0 = { nounwind "prefer-vector-width"="512" "frame-pointer"="none" "min-legal-vector-width"="512" "no-trapping-math"="true" "no-builtins" "target-cpu"="x86-64-v4" }
