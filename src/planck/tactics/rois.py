"""Regions of images, resampled to one size.

Notebook (AMD EPYC with AVX2, one thread, whole calls; ONNX Runtime, NumPy)

- 100 regions of up to 50 x 50 pixels to 7 x 7, 256 channels in rows, two samples a bin and axis:
  6.1 ms (29.9, 83.9); as many as a bin has pixels: 7.9 (48.0, 171). A channel at a time took 17 and
  23: each sum waited for the one before.
- Where x lies in blocks the kernel takes 4.0 ms, not 6.0. Layouts give it rows nevertheless, copied
  in 0.3 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from planck.codegen import rois
from planck.dtypes import Array, f32, i64
from planck.ops.nn import RoiAlign
from planck.refusal import No
from planck.tactics.kernel import Code, Config, Kernel
from planck.tactics.pattern import symbol

UNITS: Final = 4  # that each thread has at least, where channels can be parted


class Regions:
    """RoiAlign by the mean alone, on float32 in rows or in blocks of channels; gives rows."""

    name = "rois"
    exact = True

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        spec = self._spec(kernel)
        return spec if isinstance(spec, No) else ({},)

    def build(self, kernel: Kernel, config: Config) -> Code:
        spec = self._spec(kernel)
        assert isinstance(spec, rois.RoiAlign), spec
        name = symbol("rois", kernel, config)
        return Code(
            name,
            rois.write(kernel.target, name, spec),
            spec.arguments,
            spec.units,
            scratch_bytes=spec.scratch_bytes,
            level=3,
        )

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        return dict(constants)

    def _spec(self, kernel: Kernel) -> rois.RoiAlign | No:
        node = kernel.graph.nodes[0]
        op = node.op
        if len(kernel.graph.nodes) != 1 or not isinstance(op, RoiAlign):
            return No("is no RoiAlign")
        if op.mode != "avg":
            return No("takes the mean of a bin's samples, not the largest")
        if kernel.graph.weights:
            return No("an operand is a single number")
        x, regions, images = node.inputs
        out = node.outputs[0]
        if x.type.dtype is not f32 or images.type.dtype is not i64:
            return No(f"resamples f32 by images in i64, not {x.type} by {images.type}")
        if regions.type.block or images.type.block or out.type.block:
            return No("reads regions and writes rows, not blocks")
        if not x.type.size or not out.type.size:
            return No("there is nothing to resample")
        if x.name in kernel.constants and x.type.block:
            return No("a constant x does not lie in blocks")
        names = (x.name, regions.name, images.name, out.name)
        of_x, of_regions, of_images, of_out = (kernel.operands[name].strides for name in names)
        lanes = kernel.target.lanes
        if x.type.block not in (0, lanes):
            return No(f"%{x.name} lies in blocks of {x.type.block}, not of {lanes}")
        blocks = -(-x.type.dims[1] // lanes)
        parts = min(blocks, -(-UNITS * kernel.threads // regions.type.dims[0]))
        return rois.RoiAlign(
            arguments=names,
            images=x.type.dims[0],
            size=(x.type.dims[1], x.type.dims[2], x.type.dims[3]),
            lanes=lanes,
            blocked=bool(x.type.block),
            strides=(of_x, of_regions, of_images, of_out),
            regions=regions.type.dims[0],
            bins=(op.height, op.width),
            sampling=op.sampling,
            scale=op.scale,
            offset=op.offset,
            parts=parts if kernel.threads > 1 else 1,
        )
