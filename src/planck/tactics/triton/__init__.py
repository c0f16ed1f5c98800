"""The ways to run a kernel on an NVIDIA GPU."""

from __future__ import annotations

from planck.tactics.triton.attention import FlashAttention
from planck.tactics.triton.convolution import StemConvolution, TensorConvolution
from planck.tactics.triton.depthwise import DepthwiseConvolution
from planck.tactics.triton.loops import Loops
from planck.tactics.triton.matmul import FewRows, TensorMatMul
from planck.tactics.triton.single import Single
from planck.tactics.triton.strips import StripConvolution
from planck.tactics.triton.tactic import CudaTactic
from planck.tactics.triton.tma import TmaProduct

TACTICS: tuple[CudaTactic, ...] = (
    TmaProduct(),
    StripConvolution(),
    TensorConvolution(),
    StemConvolution(),
    DepthwiseConvolution(),
    TensorMatMul(),
    FewRows(),
    FlashAttention(),
    Single(),
    Loops(),
)
"""In the order in which they are asked; all that offer are compared."""
