"""PLANCK_DUMP=folder: for each kernel of a GPU's plan what it computes, its source and its cubin.

kernels/003-convolution-1f0c.../kernel.graph   what it computes
                                kernel.py      the Triton source that Planck wrote
                                kernel.cubin   what became of it: `cuobjdump -sass kernel.cubin`
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from planck.files import make_folder, write_file
from planck.ir.text import text
from planck.tactics.kernel import Kernel
from planck.tune.cuda.choice import Choice


def dump_kernels(
    folder: Path, kernels: Mapping[str, Kernel], choices: Mapping[str, Choice]
) -> None:
    """Write each chosen kernel, in execution order. raises: FileError"""
    for number, (key, kernel) in enumerate(kernels.items()):
        choice = choices[key]
        place = folder / "kernels" / f"{number:03d}-{choice.tactic.name}-{key[:8]}"
        make_folder(place)
        write_file(place / "kernel.graph", text(kernel.graph).encode())
        write_file(place / "kernel.py", choice.code.source.encode())
        if choice.cubin is not None:
            write_file(place / "kernel.cubin", choice.cubin.image)
