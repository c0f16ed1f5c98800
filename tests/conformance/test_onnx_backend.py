"""ONNX's own backend tests through the compiled engine, but for those in unsupported.txt."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from tests.conformance.backend import cases, outcome

BATCHES = 32


@cache
def unsupported() -> dict[str, str]:
    """Patterns of kind/name, and why Planck cannot pass them."""
    lines = Path(__file__).with_name("unsupported.txt").read_text().splitlines()
    rows = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return {pattern: reason for pattern, reason in rows}


def listed(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in unsupported())


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
def test_backend(batch: int, record_property: Callable[[str, object], None]) -> None:
    """Every case of a batch passes, unless it is listed; what is listed must fail."""
    found = [outcome(name) for name in sorted(cases())[batch::BATCHES]]
    passed = [one for one in found if not one.why]
    compiled = sum(one.reference == 0 for one in passed)
    record_property("onnx_backend", (len(found), len(passed), compiled))
    failed = [f"{one.name}: {one.why}" for one in found if one.why and not listed(one.name)]
    assert not failed, "\n".join([f"{len(failed)} of {len(found)} failed", *failed])
    done = [one.name for one in passed if listed(one.name)]
    assert not done, f"these pass now; remove them from unsupported.txt: {', '.join(done)}"


def test_every_pattern_is_of_use() -> None:
    for pattern in unsupported():
        assert any(fnmatchcase(name, pattern) for name in cases()), pattern
