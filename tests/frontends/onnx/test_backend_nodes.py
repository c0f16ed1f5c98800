"""ONNX's own node tests through the importer and the interpreter, but for the gaps listed."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from tests.frontends.onnx.backend import CASES, run
from tests.frontends.onnx.gaps import GAPS

LISTED = sorted(name for name in CASES if any(fnmatchcase(name, gap) for gap in GAPS))
INITIALS = sorted({name.removeprefix("test_")[:1] for name in CASES})


def failure(name: str) -> str:
    """Why a case fails; nothing if it passes."""
    try:
        run(name)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("initial", INITIALS)
def test_nodes(initial: str) -> None:
    """All cases whose names begin with a letter; failures are told together."""
    names = [n for n in CASES if n.startswith(f"test_{initial}") and n not in LISTED]
    failed = {name: why for name in names if (why := failure(name))}
    rows = "\n".join(f"{name}: {why}" for name, why in failed.items())
    assert not failed, f"{len(failed)} of {len(names)} failed\n{rows}"


def test_gaps_are_gaps() -> None:
    """A listed case that passes must leave the list."""
    passing = [name for name in LISTED if not failure(name)]
    assert not passing


def test_most_pass() -> None:
    print(f"{len(CASES) - len(LISTED)} of {len(CASES)} backend node tests pass")
    assert len(CASES) - len(LISTED) >= 1783
