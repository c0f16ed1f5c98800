"""The cases behind one that spoils the GPU's context run in another process."""

from __future__ import annotations

import time

import pytest

from bench import cuda_nodes
from planck.errors import CudaError
from tests.conformance.backend import Outcome


def test_only_the_case_that_spoils_the_context_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt: list[str] = []  # of each process, as its context is

    def outcome(name: str, target: str, run: bool) -> Outcome:
        if name == "wrong":
            spoilt.append(name)
        return Outcome(name, f"{CudaError.__name__}: illegal address" if spoilt else "")

    monkeypatch.setattr(cuda_nodes, "outcome", outcome)
    names = ["first", "wrong", "third", "fourth"]
    found = list(cuda_nodes._outcomes(names, "cpu", True, 1, time.monotonic() + 60))
    assert sorted(o.name for o in found) == sorted(names)
    assert [o.name for o in found if o.why] == ["wrong"]
