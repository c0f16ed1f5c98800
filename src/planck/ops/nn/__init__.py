"""Operators of neural networks: convolution, matrix product, pooling, normalisation, attention."""

from planck.ops.nn.attention import Attention
from planck.ops.nn.boxes import NonMaxSuppression
from planck.ops.nn.convolution import Conv, ConvTranspose
from planck.ops.nn.deform import DeformColumns
from planck.ops.nn.matmul import MatMul
from planck.ops.nn.norm import LRN, BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from planck.ops.nn.pool import MaxPoolIndices, Pool
from planck.ops.nn.resize import Resize
from planck.ops.nn.sample import GridSample, RoiAlign
from planck.ops.nn.softmax import Hardmax, LogSoftmax, Softmax

OPERATORS = (
    Conv, ConvTranspose, MatMul, Pool, MaxPoolIndices, BatchNorm, LayerNorm, RMSNorm, InstanceNorm,
    GroupNorm, LRN, Softmax, LogSoftmax, Hardmax, Resize, Attention,
    GridSample, RoiAlign, DeformColumns, NonMaxSuppression,
)  # fmt: skip

__all__ = [
    "LRN",
    "OPERATORS",
    "Attention",
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "DeformColumns",
    "GridSample",
    "GroupNorm",
    "Hardmax",
    "InstanceNorm",
    "LayerNorm",
    "LogSoftmax",
    "MatMul",
    "MaxPoolIndices",
    "NonMaxSuppression",
    "Pool",
    "RMSNorm",
    "Resize",
    "RoiAlign",
    "Softmax",
]
