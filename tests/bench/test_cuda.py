"""The GPU benchmark without a GPU: its table, its judgement, and how it deals cases out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from bench import cuda
from bench.cuda import Named, is_wrong, places_of, row, visible_gpus
from bench.rounding import tolerance

PLANCK = {"us": 100.0, "error": 1e-3, "steps": 3, "reference_steps": 0, "build_s": 1.0}


def test_a_row_has_milliseconds_and_ratios() -> None:
    failed = {"failed": "RuntimeError: no\nmemory"}
    text = row(
        "net-b1-fp16", {"contenders": {"planck": PLANCK, "eager": {"us": 250.0}, "x": failed}}
    )
    assert "planck 0.100 ms (1.00x); eager 0.250 ms (2.50x); x memory; error 1.0e-03" in text


def test_a_case_that_failed_says_why_in_one_line() -> None:
    assert row("net", {"failed": "Traceback\nRuntimeError: no GPU"}).endswith(
        "RuntimeError: no GPU"
    )


@pytest.mark.parametrize(
    ("error", "bound", "wrong"),
    [(1e-3, 2e-3, False), (3e-3, 2e-3, True), (float("nan"), 2e-3, True), (9.0, None, False)],
)
def test_an_error_beyond_the_tolerance_is_wrong(
    error: float, bound: float | None, wrong: bool
) -> None:
    found = {"contenders": {"planck": {**PLANCK, "error": error, "tolerance": bound}}}
    assert is_wrong(found) == wrong
    assert ("WRONG: error" in row("net", found)) == wrong


def test_tolerances_are_twice_the_rounding_and_in_fp32_the_budget() -> None:
    assert tolerance("resnet50", "fp16") == pytest.approx(2 * 0.0153, rel=0.01)
    assert tolerance("resnet50", "fp16", batch=8) == pytest.approx(3 * 0.0153, rel=0.01)
    assert tolerance("resnet50", "fp32") == 1e-4
    assert tolerance("vgg16", "fp16") is None


# A stand-in for a case's process: it takes what it is asked for, and says where it ran.
FAKE = """
import json, os, sys, time
asked = json.loads(sys.argv[1])
if asked["network"] == "mlp":
    sys.exit("Error: no GPU")
if asked["network"] == "vit_b16":
    time.sleep(60)
planck = {"error": 3e-3 * asked["batch"], "tolerance": 5e-3, "steps": 1, "build_s": 1.0}
planck = {**planck, "reference_steps": 0, "us": 1.0, "asked": asked}
gpu = os.environ["CUDA_VISIBLE_DEVICES"]
print(json.dumps({"gpu": gpu, "contenders": {"planck": planck}}))
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fake.py").write_text(FAKE)
    monkeypatch.setattr(cuda, "ONE", [sys.executable, "-S", str(tmp_path / "fake.py")])
    return tmp_path / "out.json"


def run(out: Path, names: list[str], **options: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "batch": None, "precision": None, "level": None, "timing_cache": "x", "only": None,
        "check": False, "tactic_sources": None, "jobs": 2, "gpus": "0,1", "case_seconds": 60.0,
        "budget_seconds": 60.0,
    }  # fmt: skip
    try:
        cuda.main(names, out=out, **{**given, **options})
    finally:
        found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    return found


def test_rounds_with_others_in_them_are_measured_again() -> None:
    loud, quiet = [[5.0, 7.0, 8.0], [4.0, 4.0, 4.1]], [[5.0, 5.1, 9.0], [4.0, 4.0, 6.0]]
    runs = iter([loud, quiet, loud])
    assert cuda.quietest(lambda: next(runs)) is quiet
    assert len(list(runs)) == 1
    assert cuda.quietest(lambda: loud) is loud  # as often as that may be
    assert cuda.quietest(list) == []


def test_cases_are_dealt_to_all_gpus_and_kept_beside_earlier_ones(fake: Path) -> None:
    fake.write_text('{"old-b1-fp16": {"seconds": 3}}')
    found = run(fake, ["unet", "lstm", "mlp"], precision=["fp16", "bf16"])
    assert len(found) == 7
    assert {own["gpu"] for own in found.values() if "gpu" in own} == {"0", "1"}
    assert found["mlp-b1-bf16"]["failed"] == "Error: no GPU"
    asked = found["unet-b1-bf16"]["contenders"]["planck"]["asked"]
    assert (asked["precision"], asked["level"], asked["only"][0]) == ("bf16", 3, "planck")


def test_a_wrong_network_is_the_exit_code(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as raised:
        run(fake, ["unet"], batch=[1, 2])
    assert raised.value.exit_code == 1
    assert "WRONG: unet-b2-fp16\n" in capsys.readouterr().out
    assert json.loads(fake.read_text()).keys() == {"unet-b1-fp16", "unet-b2-fp16"}


def test_a_check_is_of_all_precisions_and_planck_alone(fake: Path) -> None:
    found = run(fake, ["lstm"], check=True)
    assert found.keys() == {f"lstm-b1-{kind}" for kind in ("fp32", "tf32", "fp16", "bf16")}
    asked = found["lstm-b1-fp32"]["contenders"]["planck"]["asked"]
    assert (asked["only"], asked["level"], asked["check"]) == (["planck"], 1, True)


def test_what_the_budget_leaves_out_is_told(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(fake, ["unet"], budget_seconds=1.0) == {}
    assert capsys.readouterr().out == "the budget was over before unet-b1-fp16\n"


def test_a_case_that_is_over_time_leaves_what_an_earlier_call_found(fake: Path) -> None:
    fake.write_text('{"vit_b16-b1-fp16": {"seconds": 3}}')
    found = run(fake, ["vit_b16", "unet"], case_seconds=1.0)
    assert found["vit_b16-b1-fp16"] == {"seconds": 3}
    assert found["unet-b1-fp16"]["contenders"]


def test_the_longest_begin_first_and_those_that_nobody_knows_before_them() -> None:
    built = {"contenders": {"planck": {"build_s": 5.0}, "inductor": {"build_s": 20.0}}}
    known = {"a-b1-fp16": {"seconds": 9.0}, "a-b8-fp16": {"seconds": 40.0}, "b-b1-fp16": built}
    cases = [Named(*own, "fp16") for own in (("a", 1), ("b", 1), ("c", 1), ("a", 64))]
    seconds = [cuda._seconds_before(case, known) for case in cases]
    assert seconds == [9.0, 25.0, float("inf"), 40.0]


def test_gpus_are_those_that_one_may_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert visible_gpus() == ["2", "5"]
    places = places_of(["2", "5"], 2)
    assert [own["CUDA_VISIBLE_DEVICES"] for own in places] == ["2", "5", "2", "5"]
    assert "CUDA_VISIBLE_DEVICES" not in places_of([""], 1)[0]
