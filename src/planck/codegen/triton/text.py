"""Text: a Triton kernel while it is written, its parameters as they are found to be needed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.scalar import HEADER, Functions, pointer
from planck.device.cuda.driver import MAP_LINE, TensorMap
from planck.dtypes import DType, f32, i32
from planck.plan.model import COUNTERS, WORKSPACE

# Interpreted kernels have no cache to fetch to.
FETCH: Final = """
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def fetch(p):
    if not INTERPRETED:
        tl.inline_asm_elementwise("prefetch.global.L2 [$1]; mov.u32 $0, 0;", "=r,l", [p],
                                  dtype=tl.int32, is_pure=False, pack=1)
"""


@dataclass(frozen=True, slots=True)
class _Parameter:
    """What is behind it, its type as Triton spells it."""

    name: str
    type: str
    aligned: bool
    tensor: TensorMap | None = None


@dataclass
class Text:
    """The lines of one kernel.

    dependent:  whether the GPU knows programmatic dependent launches (sm_90 and later)
    fetches:    whether the text calls `fetch`
    share:      the steps of a sum that are the block's, as a range
    """

    dependent: bool
    fetches: bool = False
    share: str = ""
    lines: list[str] = field(default_factory=list)
    indent: int = 1
    workspace_bytes: int = 0
    counters: int = 0
    functions: Functions = field(default_factory=Functions)
    _parameters: dict[str, _Parameter] = field(default_factory=dict)

    def __call__(self, *lines: str) -> None:
        self.lines += [f"{'    ' * self.indent}{line}" for line in lines]

    def pointer(self, name: str, dtype: DType, aligned: bool = True) -> str:
        """The parameter that points to an operand."""
        self._parameters.setdefault(f"p_{name}", _Parameter(name, pointer(dtype), aligned))
        return f"p_{name}"

    def tensor(
        self, name: str, dtype: DType, shape: tuple[int, int], row: int, tile: tuple[int, int]
    ) -> str:
        """The parameter that describes an operand as a matrix, of which a tile is loaded at once.

        row:  elements from one row to the next
        """
        made = f"t_{name}_{tile[0]}"
        box = (tile[0], min(tile[1], MAP_LINE // dtype.bytes))
        spelled = pointer(dtype).removeprefix("*")
        tensor = TensorMap(0, dtype.name, *shape, row * dtype.bytes, box)
        own = _Parameter(name, f"tensordesc<{spelled}[{tile[0]},{tile[1]}]>", False, tensor)
        self._parameters.setdefault(made, own)
        return made

    def workspace(self, numbers: int, dtype: DType = f32) -> str:
        """The parameter that points to this many numbers, which are anything."""
        self.workspace_bytes = dtype.bytes * numbers
        return self.pointer(WORKSPACE, dtype)

    def count(self, counters: int) -> str:
        """The parameter that points to counters, all zero."""
        self.counters = counters
        return self.pointer(COUNTERS, i32, aligned=False)

    def wait(self) -> None:
        """Nothing that an earlier step wrote is read before this."""
        if self.dependent:
            self("gdc_wait()")

    def trigger(self) -> None:
        """From here on the next step may begin."""
        if self.dependent:
            self("gdc_launch_dependents()")

    def finish(
        self, symbol: str, grid: int, warps: int, stages: int, growth_bytes: int = 0
    ) -> TritonCode:
        head = HEADER + FETCH * self.fetches + self.functions.text
        parameters, own = ", ".join(self._parameters), tuple(self._parameters.values())
        body = "\n".join(self.lines)
        return TritonCode(
            symbol=symbol,
            source=f"{head}\n\n@triton.jit\ndef {symbol}({parameters}):\n{body}\n",
            arguments=tuple(parameter.name for parameter in own),
            types=tuple(parameter.type for parameter in own),
            aligned=tuple(parameter.aligned for parameter in own),
            grid=grid,
            warps=warps,
            stages=stages,
            dependent=self.dependent,
            workspace_bytes=self.workspace_bytes,
            counters=self.counters,
            growth_bytes=growth_bytes,
            tensors=tuple(replace(p.tensor, argument=k) for k, p in enumerate(own) if p.tensor),
        )


def both(*conditions: str) -> str:
    """Conditions joined; "" where there is none."""
    there = [c for c in conditions if c]
    if len(there) == 1:
        return there[0]
    return " & ".join(c if c.isidentifier() else f"({c})" for c in there)


def total(*terms: str) -> str:
    """Terms added; "0" where there is none."""
    return " + ".join(t for t in terms if t) or "0"


def times(what: str, factor: int) -> str:
    """A product that is not written where it is nothing, or what it was; "" for nothing."""
    if factor == 0:
        return ""
    return what if factor == 1 else f"{what} * {factor}"


def load(pointer: str, mask: str = "", extra: str = "") -> str:
    """A load that gives zero where it is masked."""
    masked = f", mask={mask}, other=0.0" if mask else ""
    return f"tl.load({pointer}{masked}{extra})"


def power_of_two(size: int) -> int:
    """The least power of two that is no less."""
    return 1 << (size - 1).bit_length()
