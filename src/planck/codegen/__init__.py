"""From kernels to LLVM IR to machine code."""
