"""The engine loop's text; how it runs is in tests/runtime."""

from __future__ import annotations

import pytest

from planck.codegen import engine
from planck.codegen.link import link
from planck.codegen.llvm import compile_object
from planck.errors import BuildError
from planck.plan import record
from planck.target import Target

TARGETS = [
    Target("avx512"),
    Target("avx2"),
    Target("portable"),
    Target("neon", "aarch64"),
    Target("portable", "aarch64"),
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t.arch}-{t.isa}")
def test_it_compiles_and_links_alone(target: Target) -> None:
    image = link({"loop": compile_object(target, engine.source(target), 2)})
    assert set(image.symbols) == {record.RUN, record.WORKER, record.STOP, record.CLOCK}
    assert "<" not in engine.source(target)


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(BuildError, match="riscv64"):
        engine.source(Target("portable", "riscv64"))
