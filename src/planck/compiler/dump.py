"""PLANCK_DUMP=folder: every stage's graph, and for each kernel its code and a plan that times it.

00-simplify.graph  01-fuse.graph  02-layout.graph
kernels/003-direct-1f0c.../kernel.graph   what it computes
                           kernel.ll      the LLVM IR that Planck wrote
                           kernel.s       the assembly that LLVM made of it
                           kernel.plan    the kernel alone: `planck bench kernel.plan --profile`
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from planck.codegen.llvm import assembly
from planck.files import make_folder, write_file
from planck.ir.graph import Graph
from planck.ir.text import text
from planck.plan.format import save_plan
from planck.tactics.kernel import Kernel
from planck.tune.choose import Choice
from planck.tune.measure import plan_of


def dump_stage(folder: Path, number: int, name: str, graph: Graph) -> None:
    """Write the graph after a stage. raises: FileError"""
    make_folder(folder)
    write_file(folder / f"{number:02d}-{name}.graph", text(graph).encode())


def dump_kernels(
    folder: Path, kernels: Mapping[str, Kernel], choices: Mapping[str, Choice]
) -> None:
    """Write each chosen kernel, in execution order. raises: FileError"""
    for number, (key, kernel) in enumerate(kernels.items()):
        choice = choices.get(key)
        if choice is None:
            continue
        place = folder / "kernels" / f"{number:03d}-{choice.tactic.name}-{key[:8]}"
        make_folder(place)
        code = choice.code
        write_file(place / "kernel.graph", text(kernel.graph).encode())
        write_file(place / "kernel.ll", code.llvm.encode())
        asm = assembly(kernel.target, code.llvm, code.level)
        write_file(place / "kernel.s", asm.encode())
        alone = plan_of(kernel, choice.tactic, choice.config, code, choice.object)
        save_plan(alone, place / "kernel.plan")
