"""Builds for GPUs without one: every model's kernels, the plan, what it says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import planck
from bench import models
from planck.codegen.triton import pool
from planck.compiler.api import options_of, stage
from planck.errors import BuildError, DeviceError, FileError, MissingExtraError, NoDeviceError
from planck.knobs import turned
from planck.plan.check import check_plan
from planck.plan.format import load_plan
from planck.runtime.engine import PlanOnly, engine_or_plan


def built(model: Any, precision: str = "fp16", **how: Any) -> planck.Engine:
    return planck.build(model, target="cuda:sm_90", precision=precision, **how)


# What no tactic can take: kernels run where they are, in NumPy.
REFERENCES: dict[str, int] = {}


@pytest.mark.usefixtures("codes")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", models.NAMES)
def test_every_step_of_a_model_has_a_kernel(name: str, precision: str) -> None:
    engine = built(models.build(name, small=True), precision)
    check_plan(engine.plan)
    slow = engine.plan.build["references"]
    assert len(slow) == REFERENCES.get(name, 0), "\n".join(f"{k}: {v}" for k, v in slow.items())
    for step in engine.plan.steps:
        assert (step.launch is not None) == bool(step.symbol)
    assert engine.plan.target.machine == "generic"


@pytest.mark.usefixtures("codes")
def test_the_bytes_are_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        built(models.build("squeezenet", small=True)).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.usefixtures("codes")
def test_kernels_are_dumped_where_there_can_be_a_folder(tmp_path: Path) -> None:
    model = models.build("mlp", small=True)
    with turned(dump=tmp_path / "a"):
        built(model)
    assert list(tmp_path.glob("a/kernels/*/kernel.py"))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "kernels").write_bytes(b"")
    with turned(dump=tmp_path / "b"), pytest.raises(FileError, match="cannot make the folder"):
        built(model)


@pytest.mark.usefixtures("codes")
def test_a_plan_says_that_nothing_was_timed(tmp_path: Path) -> None:
    engine = built(models.build("mlp", small=True))
    report = engine.inspect()
    assert not report.tuned
    assert "kernels not timed" in str(report)
    engine.save(tmp_path / "mlp.plan")
    again = load_plan(tmp_path / "mlp.plan", any_target=True)
    assert again.steps == engine.plan.steps


@pytest.mark.usefixtures("codes")
def test_an_engine_without_its_gpu_says_what_is_missing() -> None:
    engine = built(models.build("mlp", small=True))
    if not isinstance(engine, PlanOnly):
        pytest.skip("there is a GPU here")
    with pytest.raises((DeviceError, MissingExtraError), match=r"GPU|NVIDIA"):
        engine(np.zeros(engine.inputs[0].shape, np.float32))


def test_a_real_build_compiles_and_packs() -> None:
    pytest.importorskip("triton")
    plan = built(models.build("mlp", small=True)).plan
    assert all(step.symbol for step in plan.steps)
    for symbol, begin in plan.symbols.items():
        assert plan.code[begin : begin + 4] == b"\x7fELF", symbol


def test_tf32_is_no_precision_of_processors() -> None:
    with pytest.raises(BuildError, match="tf32 is a precision of GPUs"):
        options_of("cpu", "tf32", 1, 0, None, None)
    options = options_of("cuda:sm_90", "tf32", None, 3, None, None)
    assert options.target.extras == ("tf32",)
    assert options.threads == 1


def test_a_gpu_that_is_missing_can_be_built_for_elsewhere() -> None:
    try:
        options_of("cuda", "fp16", None, 3, None, None)
    except NoDeviceError as error:
        assert 'target="cuda:sm_90"' in error.try_  # noqa: PT017 - or there is a GPU
    except MissingExtraError:
        pytest.skip("cuda-bindings are not installed")


def test_stages_of_a_gpu_are_its_own() -> None:
    model = models.build("squeezenet", small=True)
    graph = stage(model, "layout", target="cuda:sm_90")
    blocks = {v.type.block for v in graph.values() if v.type.rank == 4} - {0}
    assert all(block % 8 == 0 for block in blocks)
    with pytest.raises(BuildError, match="no stage 'depth_first'"):
        stage(model, "depth_first", target="cuda:sm_90")


def test_without_triton_a_build_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="Triton") as caught:
        built(models.build("mlp", small=True))
    assert "planckrt[cuda]" in caught.value.try_


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", models.NAMES)
def test_models_on_a_gpu(name: str, precision: str) -> None:
    """Within 1e-4 of the CPU's float32 plan; in float16 within what the interpreter rounds."""
    model = models.build(name, small=True)
    engine = planck.build(model, target="cuda", precision=precision, optimization_level=0)
    feed = models.inputs(model)
    with engine.create_execution_context() as context:
        got = context(feed)
    want = engine_or_plan(planck.build(model, optimization_level=0).plan)(feed)
    bound = 1e-4 if precision == "fp32" else 5e-2
    for key, array in want.items():
        if array.dtype == np.float32:
            scale = float(np.abs(array).max()) or 1.0
            assert np.abs(got[key] - array).max() <= bound * scale
