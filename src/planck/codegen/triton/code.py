"""TritonCode: the source of one GPU kernel and how it is launched; Cubin: what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass

from planck.device.cuda.driver import TensorMap


@dataclass(frozen=True, slots=True)
class TritonCode:
    """A module's text that defines one function, whose parameters are pointers and tensor maps.

    symbol:     the function's name, unique to kernel key and config
    source:     the text; it imports what it needs from triton, and decorates with triton.jit. All
                sizes stand in it as numbers
    arguments:  for each parameter: a name of the kernel's inputs and outputs, of an array that
                `pack` makes, "workspace" or "counters"
    types:      the parameters' types as Triton spells them: "*fp16", "*fp32", "*i64"
    tensors:    parameters that are tensor maps
    aligned:    for each parameter whether it is a multiple of 16
    grid:       blocks, as one number
    warps, stages:  of a block; of the software pipeline
    dependent:  whether it may be launched programmatically dependent: it waits by itself
    workspace_bytes, counters:  what it needs: bytes that hold anything, and 32-bit numbers that are
                zero before and after it
    work_flops, growth_bytes:  as in tactics.kernel.Code
    """

    symbol: str
    source: str
    arguments: tuple[str, ...]
    types: tuple[str, ...]
    aligned: tuple[bool, ...]
    grid: int
    warps: int = 4
    stages: int = 2
    dependent: bool = False
    workspace_bytes: int = 0
    counters: int = 0
    work_flops: int = 0
    growth_bytes: int = 0
    tensors: tuple[TensorMap, ...] = ()


@dataclass(frozen=True, slots=True)
class Cubin:
    """A compiled kernel.

    threads:  of a block
    """

    image: bytes
    threads: int
    shared_bytes: int
    registers: int = 0
