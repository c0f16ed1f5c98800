"""A tactic, a compiler and a clock that pretend: choices are made by their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from planck.codegen.library import LibraryCode
from planck.codegen.triton.code import Cubin, TritonCode
from planck.device.cuda.library import CUBLASLT, Call, Product, Side
from planck.dtypes import Array
from planck.errors import BuildError, CudaError
from planck.ir.parse import parse
from planck.refusal import No
from planck.tactics.kernel import Config, Kernel, Operand
from planck.target import Target
from planck.tune.cuda.clock import Trial
from tests.device.fake_cuda import cubin

TARGET = Target("sm_90", "cuda", machine="pretended", cores=132, l1_bytes=1 << 17, l2_bytes=1 << 20)


def kernel(channels: int = 16) -> Kernel:
    """y = relu(conv(x, w)), with constant weights."""
    graph = parse(
        f'graph "g"(%x: f32[1,{channels},4,4]:c{channels}, %w: f32[8,{channels},1,1]) {{ '
        f"%a: f32[1,8,4,4] = Conv(%x, %w, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), "
        f'groups=1) %y: f32[1,8,4,4]:c8 = Pointwise(%a, fn="relu") return %y }}'
    )
    operands = {v.name: Operand.dense(v.type) for v in (*graph.inputs, *graph.outputs)}
    return Kernel(graph, operands, frozenset(["w"]), TARGET)


@dataclass
class Pretence:
    """Offers configs `tile` (and `trigger`); some do not compile, some need too much memory."""

    name: str = "pretence"
    configs: tuple[Config, ...] = tuple({"tile": n} for n in range(5))
    broken: tuple[int, ...] = ()
    huge: tuple[int, ...] = ()

    def offers(self, kernel: Kernel) -> tuple[Config, ...] | No:
        return self.configs

    def build(self, kernel: Kernel, config: Config) -> TritonCode:
        marks = "_".join(f"{k}{v}" for k, v in config.items())
        symbol = f"{self.name}_{kernel.key}_{marks}"
        names = ("x", "w_packed", "y", "workspace", "counters")
        return TritonCode(
            symbol, str(config), names, ("*fp32",) * 4 + ("*i32",), (True,) * 5, 4,
            dependent=True, workspace_bytes=256, counters=3,
        )  # fmt: skip

    def pack(
        self, kernel: Kernel, config: Config, constants: Mapping[str, Array]
    ) -> Mapping[str, Array]:
        return {"w_packed": np.ascontiguousarray(constants["w"].reshape(8, -1))}


@dataclass
class Called(Pretence):
    """The same by a library, with nothing to compile."""

    name: str = CUBLASLT

    def build(self, kernel: Kernel, config: Config) -> Any:
        marks = "_".join(f"{k}{v}" for k, v in config.items())
        side = Side(16, transposed=True)
        product = Product(16, 8, 16, "f32", "f32", Side(16), side, Side(8), activation="relu")
        call = Call(self.name, 130_100, product, "00" * 64, 512)
        symbol = f"called_{kernel.key}_{marks}"
        return LibraryCode(symbol, call, ("x", "w_packed", "y", "workspace"))


@dataclass
class Compilers:
    """What a pool is to who submits; it keeps what was submitted."""

    tactic: Pretence
    submitted: list[str] = field(default_factory=list)

    def submit(self, code: TritonCode) -> Future[Cubin]:
        self.submitted.append(code.source)
        future: Future[Cubin] = Future()
        tile = eval(code.source)["tile"]
        if tile in self.tactic.broken:
            future.set_exception(BuildError("the GPU kernel does not compile"))
        else:
            shared = 1 << 20 if tile in self.tactic.huge else 1 << 10
            future.set_result(Cubin(cubin(code.symbol), 128, shared))
        return future


class Timer:
    """A clock by which a graph takes the sum of its steps' times, by function and place.

    us:       of a symbol's last part ("tile3"), and of ("tile3", place in the graph)
    faulty:   a symbol's last part, with which the GPU fails
    """

    def __init__(self, us: Mapping[Any, float], faulty: str = "") -> None:
        self.us, self.trials, self.cold, self.faulty = us, list[Trial](), list[bool](), faulty
        self.live = 0

    def open(self, trial: Trial) -> Timing:
        self.trials.append(trial)
        return Timing(self, trial)


@dataclass
class Timing:
    timer: Timer
    trial: Trial

    def capture(self, steps: Sequence[int]) -> list[str]:
        self.timer.live += 1
        return [self.trial.plan.steps[n].symbol for n in steps]

    def drop(self, graph: list[str]) -> None:
        self.timer.live -= 1

    def run_us(self, graph: list[str], cold: bool) -> float:
        self.timer.cold.append(cold)
        us, total = self.timer.us, 0.0
        for place, symbol in enumerate(graph):
            mark = symbol.split("_", 2)[-1]
            if mark == self.timer.faulty:
                self.timer.live = 0  # a session that ends by an error gives the rest back
                raise CudaError("cuStreamSynchronize failed", know="CUDA_ERROR_LAUNCH_FAILED")
            total += us.get((mark, place), us.get(mark, 0.0))
        return total

    def __enter__(self) -> Timing:
        return self

    def __exit__(self, *_: object) -> None:
        assert not self.timer.live, "graphs that were not dropped"
