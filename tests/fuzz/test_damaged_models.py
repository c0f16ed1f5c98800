"""Damaged models end in a result or in a PlanckError, within ten seconds and two gigabytes.

`python -m bench.fuzz` runs many more of the same cases.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.fuzz import darknet_cases, onnx_cases
from bench.fuzz.__main__ import fuzz
from bench.fuzz.worker import Kind, draw_of, write_case
from planck.frontends import darknet

COUNT = 150


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "darknet"])
def test_damage_is_refused_or_survived(kind: Kind) -> None:
    results = list(fuzz(kind, range(COUNT), seed=7))
    failed = [f"case {r.number}: {r.outcome}\n{r.detail}" for r in results if r.failed]
    assert not failed, "\n".join(failed)
    outcomes = {r.outcome for r in results}
    assert {"ok", "ModelFormatError", "UnsupportedOperator"} <= outcomes


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "darknet"])
def test_cases_are_the_same_each_time(kind: Kind, tmp_path: Path) -> None:
    first, second = (write_case(kind, 3, 5, tmp_path).read_bytes() for _ in range(2))
    assert first == second


@pytest.mark.slow
def test_seeds_are_many() -> None:
    assert len(onnx_cases.seeds()) > 1000


@pytest.mark.filterwarnings("ignore")
def test_darknet_seeds_are_valid(tmp_path: Path) -> None:
    for text, _ in darknet_cases.seeds():
        path = tmp_path / "net.cfg"
        path.write_text(text)
        assert darknet.read(path).nodes


def test_every_case_has_its_own_numbers() -> None:
    drawn = {draw_of(seed, number).random() for seed in range(3) for number in range(3)}
    assert len(drawn) == 9
