"""cuDNN's convolutions, as steps of a plan.

An offer is an engine of cuDNN's with values of its knobs, as its heuristics name them: what no
engine takes is not offered. The steps behind the convolution run in its kernel, in float32; a
constant bias lies in the result's dtype. A tensor beside the sums is added before the bias, as the
engines that are compiled already want it: they have ReLU, other activations have engines that
compile.

Notebook (one H200, cuDNN 9.19.0, us in a graph of 8 launches, float16, the best of the first eight
engines beside the two best tiles that were known of Planck's own and cuBLASLt's best of four):

- ResNet-50 at batch 64, weights from memory, 23 layers: predicted was a gain with 3x3 filters only.
  3x3 64@56 40.5 (48.3), 512/2@14 28.6 (37.2), 512@7 28.6 (36.7), 128/2@56 30.5 (32.2), 128@28 29.9
  (26.8), 256@14 and 256/2@28 even; 1x1 256-512/2@56 33.9 (41.9), 128-512@28 with a residual 35.7
  (38.8), 256-1024@14 with one 24.8 (26.3), the others 0.85 to 1.01 of the best's speed. Together
  1580 to 1498.
- YOLOv5s at batch 18, weights in L2, SiLU by engines that compile, the first 16 layers: 3x3/2 62.9
  (72.8), 38.3 (44.8), 28.6 (35.4), 27.1 (30.9); 3x3 with a residual 0.84 to 1.06, 1x1 0.59 to 1.06
  of the best's speed. Together 600 to 563.
- ResNet-50 at batch 64 as a whole: 1800 us with cuBLASLt alone, 1735 with both: 25 of its steps are
  cuDNN's, 14 cuBLASLt's. The layers' times promised 82 us: a library's kernel does not overlap
  with its neighbours' ends. Outputs differ by 7e-3 of the largest; float16 is 2e-2 off float32.
- YOLOv5s at batch 18 as a whole, before its stem was deepened: 1650 us without, 1574 with 22 steps
  of cuDNN's. 50 engines compiled in 11 of the build's 19 s (one for each 1x1, else two). The plan
  is 0.9 MB longer for 22 images, and loaded and run once in 0.22 s.
- The best engine was among the first four in all but three of the 23 layers, which lose 2 % at
  most; of those that compile the second was the best about as often as the first.
- Heuristics take 10 to 20 ms a convolution, the first of a process 340 to 770. An engine's plan
  takes under 1 ms, one that compiles 400 to 700, 40 where the kernel was compiled for another
  layer; two threads compile no faster than one (9.14.0, two cores). Read from its image of 20 KB
  it takes 2.
- Errors beside Planck's own results over the largest one: float16 8e-5 to 8e-4. In float32 an
  engine on tensor cores is 2e-4 off, whether it says that it rounds or not: it is for TF32 alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from planck.codegen.library import LibraryCode
from planck.codegen.triton.convolution import Place, Sweep
from planck.device.cuda.library import CUDNN, Algorithm, Call, Convolution, Image, Step
from planck.dtypes import Array, f32
from planck.errors import BuildError, LibraryError
from planck.ops.nn import Conv
from planck.plan.model import WORKSPACE
from planck.refusal import No
from planck.tactics.kernel import Config, Kernel
from planck.tactics.library.product import check_beside, check_bias
from planck.tactics.library.source import MOST_WORKSPACE
from planck.tactics.library.tactic import LibraryTactic, packed_bias
from planck.tactics.pattern import Anchored, constant, symbol
from planck.tactics.triton import images
from planck.tactics.triton.operands import multiplied

_STEPS: Final[tuple[Step, ...]] = ("relu", "silu", "sigmoid", "gelu", "gelu_tanh", "tanh")


class Cudnn(LibraryTactic):
    """The first few engines of the library's own heuristics."""

    name = CUDNN

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        reading = read(kernel)
        if isinstance(reading, No):
            return reading
        found = self.found(reading.convolution)
        if isinstance(found, No):
            return found
        return tuple({"engine": own.data.hex(), "version": self.version} for own in found)

    def build(self, kernel: Kernel, config: Config) -> LibraryCode:
        reading = _take(kernel)
        algorithm = self._algorithm(reading, config)
        call = Call(
            CUDNN, config["version"], reading.convolution, algorithm.data.hex(),
            algorithm.workspace_bytes, algorithm.image.hex(),
        )  # fmt: skip
        workspace = WORKSPACE if algorithm.workspace_bytes else ""
        names = (reading.a, _packed(reading.b), reading.d, reading.beside, reading.bias, workspace)
        return LibraryCode(symbol(self.name, kernel, config), call, tuple(filter(None, names)))

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        reading = _take(kernel)
        weights = constant(kernel, constants, reading.b)
        return {
            _packed(reading.b): np.ascontiguousarray(np.moveaxis(weights, 1, -1)),
            **packed_bias(reading.form, reading.bias, constants, reading.convolution.result),
        }

    def _algorithm(self, reading: Reading, config: Config) -> Algorithm:
        """Made only now: an engine that compiles takes half a second. raises: BuildError"""
        found = self.source.algorithms(reading.convolution)
        own = next(own for own in found if own.data.hex() == config["engine"])
        try:
            made = self.source.complete(reading.convolution, own)
        except LibraryError as error:
            raise BuildError(error.what, know=error.know) from error
        if made.workspace_bytes > MOST_WORKSPACE:
            raise BuildError(f"an engine wants a workspace of {made.workspace_bytes} bytes")
        return made


@dataclass(frozen=True, slots=True)
class Reading:
    """A kernel as a convolution of the library's. a, b, d, beside, bias: operands"""

    form: Anchored
    convolution: Convolution
    a: str
    b: str
    d: str
    beside: str
    bias: str


def read(kernel: Kernel) -> Reading | No:
    """A kernel as a convolution; No where the library could not compute just that."""
    problem = images.read_problem(kernel)
    if isinstance(problem, No):
        return problem
    form, shape = problem.form, problem.shape
    op, inputs = form.node.op, form.node.inputs
    if not isinstance(op, Conv) or problem.transposed:
        return No("a transposed convolution")
    if form.parts or form.resized:
        return No("it writes parts, or reads what is resized")
    ending = _ending(form, inputs[2].name if len(inputs) > 2 else "")
    if isinstance(ending, No):
        return ending
    a, b, d = inputs[0].name, inputs[1].name, form.written[0]
    dtype, result = inputs[0].type.dtype, form.epilogue.dtype(d)
    if multiplied(dtype, inputs[1].type.dtype) is not dtype:
        return No(f"{dtype} meets {inputs[1].type.dtype}")
    if result is not dtype:
        return No(f"a result in {result} of a convolution in {dtype}")
    if (refused := check_beside(form, ending.beside, result)) is not None:
        return refused
    for name in filter(None, (a, d, ending.beside)):
        if not kernel.operands[name].aligned:
            return No(f"%{name} does not begin at a multiple of 16 bytes")
    if (refused := check_bias(form, ending.bias, result)) is not None:
        return refused
    down, across = shape.down, shape.across
    before = (-down.starts[0], -across.starts[0])
    convolution = Convolution(
        batch=shape.batch,
        channels=inputs[0].type.dims[1],
        columns=form.result.type.dims[1],
        groups=op.groups,
        size=(down.size, across.size),
        out=(down.out, across.out),
        taps=(down.taps, across.taps),
        strides=(down.stride, across.stride),
        dilations=(down.step, across.step),
        before=before,
        after=(_after(down), _after(across)),
        dtype=dtype.name,
        result=result.name,
        a=_image(shape.x_place),
        d=_image(shape.places[d]),
        c=_image(shape.places[ending.beside]) if ending.beside else None,
        steps=ending.steps,
        tf32=dtype is f32 and "tf32" in kernel.target.extras,
    )
    return Reading(form, convolution, a, b, d, ending.beside, ending.bias)


@dataclass(frozen=True, slots=True)
class _Ending:
    steps: tuple[Step, ...]
    bias: str
    beside: str


def _ending(form: Anchored, bias: str) -> _Ending | No:
    """An epilogue as steps. bias: what the anchor itself adds"""
    epilogue, current = form.epilogue, form.epilogue.source
    steps: list[Step] = ["bias"] if bias else []
    beside = ""
    for step in epilogue.steps:
        others = [name for name in step.args if name != current]
        kind = epilogue.operands.get(others[0], "") if len(others) == 1 else ""
        own = next((name for name in _STEPS if name == step.fn), None)
        if own and not others:
            steps.append(own)
        elif step.fn == "add" and kind == "channel" and not bias:
            bias = others[0]
            steps.append("bias")
        elif step.fn == "add" and kind == "full" and not beside and len(step.args) == 2:
            beside = others[0]
            # The engines that are compiled already add it before the bias.
            steps.insert(len(steps) - (steps[-1:] == ["bias"]), "beside")
        else:
            return No(f"its epilogue has {step.fn}, which no library's has so")
        current = step.result
    if [epilogue.rounded.get(name, name) for name in epilogue.outputs] != [current]:
        return No("it writes something else than its last result")
    return _Ending(tuple(steps), bias, beside)


def _image(place: Place) -> Image:
    return Image(place.batch, place.channel, place.row, place.column)


def _after(sweep: Sweep) -> int:
    """The zeros behind an axis: as many as before it, if the result is the same."""
    before, reach = -sweep.starts[0], (sweep.taps - 1) * sweep.step + 1
    if (sweep.size + 2 * before - reach) // sweep.stride + 1 == sweep.out:
        return before
    return max(0, (sweep.out - 1) * sweep.stride + reach - sweep.size - before)


def _take(kernel: Kernel) -> Reading:
    reading = read(kernel)
    assert isinstance(reading, Reading), reading
    return reading


def _packed(name: str) -> str:
    return f"{name}_krsc"
