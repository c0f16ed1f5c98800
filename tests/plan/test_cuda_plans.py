"""Plans for GPUs: in files as any, and refused where a number in them cannot be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import planck
from planck.device.cuda import bindings
from planck.device.cuda.driver import TensorMap
from planck.device.cuda.library import CUBLASLT, CUDNN, Call, Convolution, Image, Product, Side
from planck.errors import BuildError, DeviceError, PlanFormatError, PlanTargetError
from planck.plan.check import check_plan, check_target
from planck.plan.codec import plan_from_json, plan_to_json
from planck.plan.format import load_plan, read_header, save_plan
from planck.plan.model import Launch, Place
from planck.runtime import Engine, engine_of
from planck.runtime.cuda.engine import CudaEngine
from planck.target import counterpart, host, resolve
from tests.device.fake_cuda import FakeDriver
from tests.runtime.cuda.plans import GENERIC, chain, fake
from tests.runtime.kernels import chain as cpu_chain

# Of the 4000 bytes of a vector.
HALVES = TensorMap(0, "f16", rows=16, columns=64, row_bytes=256, box=(64, 64))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """This machine's GPU."""
    made = fake()
    monkeypatch.setattr(bindings, "open_driver", lambda: made)
    monkeypatch.setattr("planck.runtime.cuda.engine.open_driver", lambda: made)
    return made


def test_a_saved_plan_loads_and_runs(tmp_path: Path, driver: FakeDriver) -> None:
    plan, expected = chain(3)
    path = tmp_path / "a.plan"
    save_plan(plan, path)
    assert read_header(path).target == GENERIC
    loaded = load_plan(path)
    assert replace(loaded, weights=bytes(loaded.weights)) == plan
    x = np.linspace(-1, 1, 1000, dtype=np.float32)
    engine = planck.load(path)
    assert isinstance(engine, CudaEngine)
    with engine:
        np.testing.assert_array_equal(engine(x)["my:output"], expected(x))
        assert "cuda:sm_90" in repr(engine)
        assert "cuda:sm_90" in str(engine.inspect())
        assert [b.name for b in (*engine.inputs, *engine.outputs)] == ["my input", "my:output"]
        engine.save(tmp_path / "b.plan")
    assert (tmp_path / "b.plan").read_bytes() == path.read_bytes()
    driver.finish()


def test_tensor_maps_stand_in_plans(tmp_path: Path, driver: FakeDriver) -> None:
    plan, expected = chain(2)
    plan = launch(tensors=(HALVES, replace(HALVES, argument=1)))(plan)
    save_plan(plan, tmp_path / "a.plan")
    loaded = load_plan(tmp_path / "a.plan")
    assert loaded.steps == plan.steps
    with engine_of(loaded) as engine:
        for seed in range(3):  # each in arrays of its own
            x = np.full(1000, seed, np.float32)
            np.testing.assert_array_equal(engine(x)["my:output"], expected(x))
    driver.finish()


def test_engines_are_of_the_plans_device(driver: FakeDriver) -> None:
    plan, _ = chain(1)
    with pytest.raises(PlanTargetError, match="cuda:sm_90"):
        Engine(plan)
    assert type(engine_of(cpu_chain(1, 10)[0])) is Engine
    made = engine_of(plan)
    assert isinstance(made, CudaEngine)
    made.close()
    driver.finish()


def test_plans_for_processors_say_nothing_of_gpus() -> None:
    data = plan_to_json(cpu_chain(1, 10)[0])
    assert not {"workspace_bytes", "counter_bytes"} & set(data)
    assert "launch" not in data["steps"][0]


def launch(**changes: Any) -> Any:
    return lambda p: step(p, launch=replace(p.steps[0].launch, **changes))


def step(plan: Any, **changes: Any) -> Any:
    return replace(plan, steps=(replace(plan.steps[0], **changes), *plan.steps[1:]))


@pytest.mark.parametrize(
    "change",
    [
        launch(grid=0),
        launch(grid=2**31),
        launch(threads=0),
        launch(threads=1056),
        launch(threads=100),
        launch(shared_bytes=-1),
        launch(shared_bytes=227 * 1024 + 1),
        launch(tensors=(replace(HALVES, argument=6),)),
        launch(tensors=(replace(HALVES, rows=0),)),
        launch(tensors=(replace(HALVES, rows=17),)),
        lambda p: step(p, launch=None),
        lambda p: step(p, symbol="nothing"),
        lambda p: step(p, symbol="", reference="graph"),
        lambda p: step(p, arguments=(Place("workspace", 4001),)),
        lambda p: step(p, arguments=(Place("counters", 9),)),
        lambda p: step(p, arguments=(Place("counters", -4),)),
        lambda p: replace(p, workspace_bytes=-1),
        lambda p: replace(p, counter_bytes=-8),
        lambda p: replace(p, slots=(replace(p.slots[0], place=Place("workspace")), *p.slots[1:])),
        lambda p: replace(p, symbols={**p.symbols, "axpy": len(p.code)}),
    ],
)
def test_numbers_that_cannot_be_are_refused(change: Any) -> None:
    plan, _ = chain(2)
    check_plan(plan)
    with pytest.raises(PlanFormatError):
        check_plan(change(plan))


@pytest.mark.parametrize(
    "change",
    [
        lambda p: step(p, launch=Launch(1, 32)),
        lambda p: step(p, arguments=(Place("workspace"),)),
        lambda p: step(p, arguments=(Place("counters"),)),
    ],
)
def test_processors_launch_nothing_and_share_what_a_plan_has(change: Any) -> None:
    plan, _ = cpu_chain(2, 10)
    with pytest.raises(PlanFormatError):
        check_plan(change(plan))


def test_targets_by_name(driver: FakeDriver) -> None:
    generic = resolve("cuda:sm_90")
    assert (generic.is_cuda, generic.sm, generic.machine) == (True, 90, "generic")
    here = resolve("cuda")
    assert (str(here), here.machine) == ("cuda:sm_90", "Fake H100 1 GiB")
    assert (here.cores, here.l1_bytes, here.l2_bytes) == (132, 227 * 1024, 50 << 20)
    assert counterpart(generic) == here
    assert counterpart(host()) == host()
    for name in ("cuda:sm_20", "cuda:", "tpu"):
        with pytest.raises(BuildError, match="no target") as caught:
            resolve(name)
        assert "cuda:sm_90" in caught.value.know
    driver.sm = 75
    with pytest.raises(DeviceError, match="Fake H100") as old:
        resolve("cuda")
    assert "7.5" in old.value.know
    driver.gpus = 0
    with pytest.raises(DeviceError):
        resolve("cuda")


def test_which_gpu_runs_what() -> None:
    here = replace(GENERIC, machine="H100")
    check_target(GENERIC, here, any_machine=False)  # built where no GPU was
    check_target(replace(GENERIC, extras=("tf32",)), here, any_machine=False)
    check_target(GENERIC, replace(here, isa="sm_91"), any_machine=False)
    for isa in ("sm_100", "sm_89"):
        with pytest.raises(PlanTargetError, match="compute capability") as caught:
            check_target(GENERIC, replace(here, isa=isa), any_machine=True)
        assert caught.value.know == f"compute capability: sm_90 in the plan, {isa} here"
    with pytest.raises(PlanTargetError, match="shared memory"):
        check_target(GENERIC, replace(here, l1_bytes=99 * 1024), any_machine=True)
    with pytest.raises(PlanTargetError, match="architecture"):
        check_target(GENERIC, host(), any_machine=True)
    with pytest.raises(PlanTargetError, match="another machine"):
        check_target(here, replace(here, machine="H200"), any_machine=False)
    check_target(here, replace(here, machine="H200"), any_machine=True)


def called(call: Any = None, **changes: Any) -> Any:
    """A plan whose first step a library runs."""
    side = Side(50)
    product = Product(20, 50, 50, "f32", "f32", side, side, side, bias=True)
    made = Call(CUBLASLT, 130_100, product, "00" * 64, 256)
    made = replace(made, **{"product": replace(product, **(call or {})), **changes})
    plan, _ = chain(2)
    matrix = Place("weights", len(plan.weights))
    plan = replace(plan, weights=bytes(plan.weights) + bytes(4 * 50 * 50))
    places = (Place("input"), matrix, Place("arena"), Place("weights"))
    return step(plan, symbol="products", launch=made, arguments=(*places, Place("workspace")))


def test_a_step_may_be_a_call_of_a_library() -> None:
    plan = called({"c": Side(50), "bias": False, "activation": "relu"})
    check_plan(plan)
    data = json.dumps(plan_to_json(plan)).encode()
    assert plan_from_json(data, plan.code, plan.weights, b"").steps == plan.steps


@pytest.mark.parametrize(
    "plan",
    [
        called(library="cutlass"),
        called(algorithm="00" * 63),
        called(algorithm="0g" * 64),
        called(workspace_bytes=4001),
        called(workspace_bytes=-1),
        called({"c": Side(50)}),  # an argument more
        called({"rows": 0}),
        called({"depth": 2**31}),
        called({"dtype": "f64"}),
        called({"result": "i8"}),
        called({"activation": "gelu"}),
        called({"a": Side(0)}),
        called({"b": Side(50, -1)}),
        called({"rows": 21}),  # more than the input has
        called({"a": Side(51)}),
        called({"columns": 51}),  # more than the weights have
        called({"batch": 2, "b": Side(50, 2500)}),
        replace(called(), target=resolve("cpu")),
    ],
)
def test_calls_that_cannot_be_are_refused(plan: Any) -> None:
    with pytest.raises(PlanFormatError):
        check_plan(plan)


def convolved(call: Any = None, arguments: int = 5, **changes: Any) -> Any:
    """A plan whose first step is a convolution of cuDNN's: 20 channels of 5 by 10, as it came."""
    image = Image(1000, 1, 200, 20)
    own = Convolution(
        1, 20, 20, 1, (5, 10), (5, 10), (3, 3), (1, 1), (1, 1), (1, 1), (1, 1), "f32", "f32",
        image, image, steps=("bias", "relu"),
    )  # fmt: skip
    made = Call(CUDNN, 91_400, own, "00" * 24, 256)
    made = replace(made, **{"product": replace(own, **(call or {})), **changes})
    plan, _ = chain(2)
    weights = Place("weights", len(plan.weights))
    plan = replace(plan, weights=bytes(plan.weights) + bytes(4 * 20 * 9 * 20))
    places = (Place("input"), weights, Place("arena"), Place("weights"), Place("workspace"))
    return step(plan, symbol="convolution", launch=made, arguments=places[:arguments])


def test_a_step_may_be_a_convolution_of_a_library() -> None:
    beside = {"c": Image(1000, 1, 200, 20), "steps": ("beside", "silu")}
    for plan in (convolved(), convolved(beside), convolved(algorithm="00" * 8)):
        check_plan(plan)
        data = json.dumps(plan_to_json(plan)).encode()
        assert plan_from_json(data, plan.code, plan.weights, b"").steps == plan.steps


@pytest.mark.parametrize(
    "plan",
    [
        convolved(library=CUBLASLT),
        convolved(algorithm="00" * 16),
        convolved(algorithm="00" * 7),
        convolved(algorithm=""),
        convolved(arguments=4),
        convolved({"steps": ("bias", "neg")}),
        convolved({"steps": ("bias", "bias")}),
        convolved({"steps": ("bias", "beside")}),
        convolved({"groups": 0}),
        convolved({"groups": 3}),
        convolved({"taps": (3,)}),
        convolved({"out": (5, 11)}),
        convolved({"before": (-1, 1), "after": (3, 1)}),
        convolved({"dtype": "f16"}),
        convolved({"a": Image(1000, 1, 201, 20)}),  # more than the input has
        convolved({"d": Image(1000, 1, -200, 20)}),
        convolved({"columns": 21}),
        convolved({"batch": 2}),
    ],
)
def test_convolutions_that_cannot_be_are_refused(plan: Any) -> None:
    with pytest.raises(PlanFormatError):
        check_plan(plan)
