"""The limits of a machine: what measures them, and the file that keeps them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from planck.benchmark.limits import MEMORY, Level, Limits, load_limits, path, save_limits
from planck.codegen.llvm import assembly
from planck.knobs import turned
from planck.target import Target, host
from planck.tune import limits as measuring
from tests.loops.running import TARGETS

LIMITS = Limits(
    2,
    500.0,
    (Level("L1", 98304, 1000.0), Level("L3", 1 << 25, 200.0), Level(MEMORY, 0, 50.0)),
    1000.0 if host().multiplies_bfloat16 else 0.0,
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    with turned(cache=tmp_path / "deep" / "cache"):
        yield tmp_path / "deep" / "cache"


def test_what_is_kept_is_read_again(folder: Path) -> None:
    here = host()
    assert load_limits(here, 2) is None
    save_limits(here, LIMITS)
    save_limits(here, replace(LIMITS, threads=1))
    assert path() == folder / "limits.json"
    assert [p.name for p in folder.iterdir()] == ["limits.json"]
    assert load_limits(here, 2) == LIMITS
    assert load_limits(here, 1) == replace(LIMITS, threads=1)
    assert load_limits(here, 3) is None


def test_another_machine_or_isa_has_its_own() -> None:
    save_limits(host(), LIMITS)
    assert load_limits(replace(host(), machine="another x8"), 2) is None
    assert load_limits(replace(host(), isa="other"), 2) is None


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "3", '{"format": 9, "entries": {}}', '{"format": 1, "entries": []}',
     '{"format": 1, "entries": {"m": 3}}', "\x00\xff"],
)  # fmt: skip
def test_a_damaged_file_counts_as_empty_and_is_replaced(folder: Path, body: str) -> None:
    folder.mkdir(parents=True)
    path().write_text(body)
    assert load_limits(host(), 2) is None
    save_limits(host(), LIMITS)
    assert load_limits(host(), 2) == LIMITS


@pytest.mark.parametrize(
    "damage",
    [{"peak_gflops": -1}, {"peak_gflops": "x"}, {"peak_gflops": None}, {"levels": []},
     {"levels": [{"name": "L1"}]}, {"levels": 5},
     {"levels": [{"name": "L1", "bytes": 1, "gbytes_per_s": 0}]}],
)  # fmt: skip
def test_a_damaged_entry_counts_as_missing(damage: dict[str, object]) -> None:
    save_limits(host(), LIMITS)
    content = json.loads(path().read_text())
    (machine,) = content["entries"].values()
    machine["2"].update(damage)
    path().write_text(json.dumps(content))
    assert load_limits(host(), 2) is None


def test_a_file_from_before_pairs_is_measured_again_where_they_matter() -> None:
    plain = replace(host(), extras=())
    pairs = replace(host(), isa="avx512", extras=("avx512_bf16",))
    for target in (plain, pairs):
        save_limits(target, replace(LIMITS, pairs_gflops=0.0))
    content = json.loads(path().read_text())
    for machine in content["entries"].values():
        del machine["2"]["pairs_gflops"]
    path().write_text(json.dumps(content))
    assert load_limits(plain, 2) == replace(LIMITS, pairs_gflops=0.0)
    assert load_limits(pairs, 2) is None


def test_a_folder_that_cannot_be_made_is_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.parent.write_text("a file in the way")
    save_limits(host(), LIMITS)
    assert "cannot be kept" in caplog.text


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_the_loops_do_nothing_else(target: Target) -> None:
    """Arithmetic in registers only; each vector read once, by the instruction that uses it."""
    chains = target.registers - 4
    peak = _innermost(assembly(target, measuring._peak(target), 2))
    fused = [i for i in peak if i.startswith("vfmadd")]
    apart = [i for i in peak if i.startswith(("mulps", "addps"))]
    assert (len(fused), len(apart)) == ((0, chains) if target.isa == "portable" else (chains, 0))
    assert not [i for i in peak if "(" in i]
    if target.isa == "avx512":
        pairs = replace(target, extras=("avx512_bf16",))
        dots = _innermost(assembly(pairs, measuring._peak_of_pairs(pairs), 2))
        assert len([i for i in dots if i.startswith("vdpbf16ps")]) == chains
        assert not [i for i in dots if "(" in i]
    reads = _innermost(assembly(target, measuring._reader(target, "L1", 1 << 14, 3), 2))
    assert len([i for i in reads if "(" in i]) == measuring.READS
    assert len(reads) <= measuring.READS + 4


def _innermost(text: str) -> list[str]:
    """The instructions from the label that an assembly mark follows to the jump back to it."""
    loop = re.search(
        r"^(\S+):\n\t#APP\n\t#NO_APP\n(.*?)\tj\w+\t\1$", text, re.MULTILINE | re.DOTALL
    )
    assert loop, text
    return [line.strip() for line in loop[2].splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_measured(threads: int) -> None:
    found = measuring.measure_limits(host(), threads, seconds=0.05)
    names = [level.name for level in found.levels]
    assert names == (["L1", "L2", "L3", MEMORY] if host().l3_bytes else ["L1", "L2", MEMORY])
    assert found.threads == threads
    assert found.levels[0].gbytes_per_s > found.levels[-1].gbytes_per_s > 0.5
    assert found.peak_gflops > 1
    assert (found.pairs_gflops > found.peak_gflops) == host().multiplies_bfloat16
    save_limits(host(), found)
    assert load_limits(host(), threads) == found
