"""Regions of images, resampled to one size.

Notebook (AMD EPYC with AVX2, one thread, whole calls; ONNX Runtime, NumPy)

- 100 regions of up to 50 x 50 pixels to 7 x 7, 256 channels in rows, two samples a bin and axis:
  6.1 ms (29.9, 83.9); as many as a bin has pixels: 7.9 (48.0, 171). A channel at a time took 17 and
  23: each sum waited for the one before.
- Where x lies in blocks the kernel takes 4.0 ms, not 6.0. Layouts give it rows nevertheless, copied
  in 0.3 ms.
"""

from __future__ import annotations

from typing import Final

from planck.codegen import rois
from planck.dtypes import f32, i64
from planck.ir.graph import Node
from planck.ops.nn import RoiAlign
from planck.refusal import No
from planck.tactics.alone import Alone, strides_of
from planck.tactics.kernel import Code, Kernel
from planck.target import Target

UNITS: Final = 4  # that each thread has at least, where channels can be parted


class Regions(Alone[rois.RoiAlign]):
    """RoiAlign by the mean, of float32 in rows or in blocks of channels; gives rows."""

    name = "rois"
    ops = (RoiAlign,)

    def code(self, target: Target, name: str, spec: rois.RoiAlign) -> Code:
        text = rois.write(target, name, spec)
        scratch = spec.scratch_bytes
        return Code(name, text, spec.arguments, spec.units, scratch_bytes=scratch, level=3)

    def read(self, kernel: Kernel, node: Node) -> rois.RoiAlign | No:
        op, (x, regions, images), (out,) = node.op, node.inputs, node.outputs
        assert isinstance(op, RoiAlign)
        if op.mode != "avg":
            return No("takes the mean of a bin's samples, not the largest")
        if x.type.dtype is not f32 or images.type.dtype is not i64:
            return No(f"resamples f32 by images in i64, not {x.type} by {images.type}")
        if regions.type.block or images.type.block or out.type.block:
            return No("reads regions and writes rows, not blocks")
        if not x.type.size or not out.type.size:
            return No("there is nothing to resample")
        if x.name in kernel.constants and x.type.block:
            return No("a constant x does not lie in blocks")
        lanes = kernel.target.lanes
        if x.type.block not in (0, lanes):
            return No(f"%{x.name} lies in blocks of {x.type.block}, not of {lanes}")
        blocks = -(-x.type.dims[1] // lanes)
        parts = min(blocks, -(-UNITS * kernel.threads // regions.type.dims[0]))
        return rois.RoiAlign(
            arguments=(x.name, regions.name, images.name, out.name),
            images=x.type.dims[0],
            size=(x.type.dims[1], x.type.dims[2], x.type.dims[3]),
            lanes=lanes,
            blocked=bool(x.type.block),
            strides=(
                strides_of(kernel, x),
                strides_of(kernel, regions),
                strides_of(kernel, images),
                strides_of(kernel, out),
            ),
            regions=regions.type.dims[0],
            bins=(op.height, op.width),
            sampling=op.sampling,
            scale=op.scale,
            offset=op.offset,
            parts=parts if kernel.threads > 1 else 1,
        )
